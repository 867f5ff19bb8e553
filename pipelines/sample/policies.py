"""The settings and the two policy files of the sample: its own policy, and another that is only simulated."""

from __future__ import annotations

from pathlib import Path
from typing import Final

POLICY_FILE: Final = "sample-policy.toml"
OTHER_POLICY_FILE: Final = "other-policy.toml"
UNDO_MINUTES: Final = 2

_SETTINGS: Final = f"""\
policy = "{POLICY_FILE}"

# Most of the sample's uploads show a registered person; on a real platform so many would mean a broken model.
[sweep]
max_hit_rate = 0.9
"""

_POLICY: Final = f"""\
version = "sample"

# Two people of the sample stay below this, one is above.
[breakers]
hours = 24
subject = 27
uploader = 0
run = 0
day = 0

# Shares of a small platform where a few people are in much of everything.
[enrolment]
min_items = 20
second_approval_items = 1000
second_approval_share = 0.17
refuse_share = 0.3

[decisions]
undo_minutes = {UNDO_MINUTES}
"""

_OTHER_POLICY: Final = """\
version = "sample-other"

[bands]
opencv-zoo = { review = 0.5, strong = 0.5 }

[text]
strong_places = [
    "title", "prompt", "tags", "trigger_words", "header:identity_token", "header:modelspec.title",
    "header:modelspec.trigger_phrase", "header:ss_dataset_dirs", "header:ss_datasets", "header:ss_output_name",
    "infotext:lora", "infotext:prompt",
]
strong_matches = ["full_name", "reordered", "joined"]
weak_alone = "clear"

[takedown]
distinct_images = 2
duplicate_distance = 31
named = true
exact = ["sha256", "payload"]
hours = 48

[mature]
level = "mature"
hours = 24
strong_face_alone = true

[bounty]
named = "takedown"
"""


def write_settings(home: Path) -> None:
    """Put ``likeness.toml`` and both policies into a home folder."""
    for name, text in (("likeness.toml", _SETTINGS), (POLICY_FILE, _POLICY), (OTHER_POLICY_FILE, _OTHER_POLICY)):
        (home / name).write_text(text, encoding="utf-8")
