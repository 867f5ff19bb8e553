"""``likeness.toml`` and the environment, as frozen dataclasses. Reads files and variables, and decides nothing."""
