"""Decoding and parsing of uploaded bytes in processes that can do nothing else."""
