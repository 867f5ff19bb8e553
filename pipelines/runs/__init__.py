"""What runs as a whole: sweep, rescan, backfill, compaction, delivery; how far each is; verification and restoring."""
