"""Benchmarks of evidence that is no face."""
