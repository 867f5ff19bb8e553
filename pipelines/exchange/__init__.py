"""HTTP exchanges with servers that nobody here controls, each held to one deadline and to stated sizes.

::

    Allowance   what the exchange of this thread may still take: seconds, and bytes before the answer's body
    network     the way to the network: resolves, connects, reads and writes within the allowance
    client      one exchange: request, head, body
    urls        which addresses may be configured

Everything that leaves this project goes through here: takedowns, the list of open cases, content behind URLs, model
files. Knows no item, no message and no setting; the caller decides what a failure means.
"""
