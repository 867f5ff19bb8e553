"""Exact search over unit vectors: the gallery in memory, the corpus on disk, and the join between them.

A plain library on arrays and Arrow tables. It must not know a database, Dagster, the environment, or whose vectors
these are: identifiers are opaque strings, keys are handed in.
"""
