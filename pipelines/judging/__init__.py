"""The judging stage: from hits without a verdict to verdicts on items and models, and messages in the outbox.

::

    hits, decisions, ratings ──> evidence ──> groups (policy: items, models) ──> verdicts
                                                                            └──> messages ──> breakers ──> outbox

Verdict and outbox row are written in one transaction (I5, I6). When a hit arrives, every item of its model is judged
again for that subject, because a second picture can corroborate the first.
"""

from __future__ import annotations

from pipelines.hits.counting import hits_in_force, live_hits, model_of_item, verdict_of_hit
from pipelines.judging.evidence import earlier_hits_count, unjudged_count
from pipelines.judging.groups import JudgeCounts, judge_pending, judge_without, rejudge
from pipelines.judging.messages import hit_rate

__all__ = [
    "JudgeCounts",
    "earlier_hits_count",
    "hit_rate",
    "hits_in_force",
    "judge_pending",
    "judge_without",
    "live_hits",
    "model_of_item",
    "rejudge",
    "unjudged_count",
    "verdict_of_hit",
]
