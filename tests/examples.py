"""How Hypothesis runs here: one profile for every test, the fixed examples of each day or many fresh ones.

No example has a deadline, and slow or large ones are no fault: that would measure the machine. Each day's examples
follow from the code alone, so that a change is red or green for what it changes. ``LIKENESS_THOROUGH=20`` draws twenty
times as many, anew each time, and prints the blob that repeats what it finds; ``LIKENESS_THOROUGH=0.1`` draws a tenth.
"""

from __future__ import annotations

import math
import os

from hypothesis import HealthCheck, settings

THOROUGH = float(os.environ.get("LIKENESS_THOROUGH") or 1)
"""How many times the usual number of examples; beyond 1 with fresh randomness."""


def examples(count: int) -> int:
    """A number of examples: ``count`` each day, more in a thorough run and fewer in a quick one."""
    return math.ceil(count * THOROUGH)


settings.register_profile(
    "likeness",
    deadline=None,
    derandomize=THOROUGH <= 1,
    database=None,
    max_examples=examples(100),
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("likeness")
