"""The analysts' pages: a thin skin over the functions that the command line calls, drawn on the server.

Every state is an address, and reading works without scripts. A module of :mod:`pipelines.web.pages` has the routes of
one subject, each declared once with its method, path and roles (:mod:`pipelines.web.routes`); :mod:`pipelines.web.app`
puts them together. Nothing here decides what counts, what may be done or what follows: it asks, and shows.
"""
