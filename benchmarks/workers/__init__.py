"""The processes that benchmarks start, ours and the peers', and how they take turns."""
