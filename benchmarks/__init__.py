"""Measurements, one question to a module. Each compares with a named peer, on the same work in the same run."""
