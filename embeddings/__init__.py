"""Faces from bytes: decode, detect, align, recognise.

A plain library. It knows bytes, arrays and Arrow tables; it must not know a database, Dagster, the
environment, who is in the registry or what an item is beyond its content.
"""
