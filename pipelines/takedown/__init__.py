"""Delivery of takedowns to the service that acts on them: outbox, leases, signatures, client, dispatcher, receiver."""
