"""The policy: a readable TOML file, and the pure functions that turn evidence into verdicts.

::

    default.toml / your own ──> schema ──┐
    hits, ratings, decisions ──> evidence ┴──> items: one item and one person    ──> verdict, rule, reasons
                                          └──> models: a model with its pictures ──> likeness model or not

Knows no database. Every verdict names the rule that gave it.
"""

from __future__ import annotations

from pipelines.policy.evidence import (
    BOUNTIES,
    Context,
    Evidence,
    SecondOpinion,
    Tier,
    Witnessed,
    count_distinct,
    may_act,
    witnesses,
)
from pipelines.policy.items import RULES, Judgement, judge
from pipelines.policy.models import ModelJudgement, judge_model
from pipelines.policy.schema import Band, BandSettings, Policy, PolicyFile, Verdict, band_of, load_policy

__all__ = [
    "BOUNTIES",
    "RULES",
    "Band",
    "BandSettings",
    "Context",
    "Evidence",
    "Judgement",
    "ModelJudgement",
    "Policy",
    "PolicyFile",
    "SecondOpinion",
    "Tier",
    "Verdict",
    "Witnessed",
    "band_of",
    "count_distinct",
    "judge",
    "judge_model",
    "load_policy",
    "may_act",
    "witnesses",
]
