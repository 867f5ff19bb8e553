"""Which hits count, with their verdicts: the one place that joins them with items, people and decisions."""
