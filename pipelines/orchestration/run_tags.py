"""The tags of each job: by which ``dagster.yaml`` limits the queue, and how long a run may take.

A run that is stuck (a disk that hangs, a library that never returns) would keep its kind of work from being done for
ever, because each kind has one place in the queue. Dagster's run monitoring ends a run after the time in its tag. What
was committed stays: every stage goes on where it was cut off, so a limit that proves too short costs a repetition and
never the work. After a limit a nightly run is repeated by Dagster at once and by the next night's schedule, a rescan
and a backfill are wanted again by their sensors, a delivery and a compaction by their schedules.
"""

from __future__ import annotations

from typing import Final

JOB_TAG: Final = "likeness/job"
FIRST_DAY_TAG: Final = "likeness/first_day"
"""Tag with the first partition that the schedule knew; its runs take all older items."""
_HOUR: Final = 3600
MAX_RUNTIME_SECONDS: Final = {
    # The schedule wants a day's run once a night, and a first listing of everything is the longest there is.
    "nightly": 24 * _HOUR,
    # Half of the 48 hours that a removal request has, so that there is time for another attempt.
    "rescan": 24 * _HOUR,
    # Weeks of work: as many attempts as `sweep.max_backfill_attempts` go on from one another.
    "backfill": 14 * 24 * _HOUR,
    # It comes every five minutes; a pass over a hung service ends by itself (`takedown.max_unanswered`).
    "dispatch": 1 * _HOUR,
    # It must be over before the next one, and gives way to the sweeps.
    "compaction": 20 * _HOUR,
}

ONCE: Final = {"dagster/max_retries": "0"}
"""Tags of runs that a sensor, the next tick or a person starts again, so that Dagster need not."""
BY_HAND_TAGS: Final = {JOB_TAG: "by_hand", "dagster/max_runtime": str(_HOUR)}
"""Tags of short jobs that only people launch, without a limit of their own in the queue."""


def job_tags(job: str) -> dict[str, str]:
    """Return the tags of the job of this name."""
    return {JOB_TAG: job, "dagster/max_runtime": str(MAX_RUNTIME_SECONDS[job])}
