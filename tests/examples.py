"""How Hypothesis runs here: one profile for every test, the fixed examples of each day or many fresh ones.

No example has a deadline, and slow or large ones are no fault: that would measure the machine. Each day's examples
follow from the code alone, so that a change is red or green for what it changes. ``LIKENESS_THOROUGH=20`` draws twenty
times as many, anew each time; what it finds prints the blob that repeats it.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

THOROUGH = int(os.environ.get("LIKENESS_THOROUGH") or 0)
"""How many times the usual number of examples, with fresh randomness. 0: the fixed, short run of the suite."""

settings.register_profile(
    "likeness",
    deadline=None,
    derandomize=not THOROUGH,
    database=None,
    max_examples=100 * max(1, THOROUGH),
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("likeness")


def examples(count: int) -> int:
    """A number of examples: ``count`` each day, more in a thorough run."""
    return count * max(1, THOROUGH)
