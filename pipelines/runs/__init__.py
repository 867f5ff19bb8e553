"""Whole runs: sweep, rescan, backfill, compaction, delivery; their progress; verification and restoring."""
