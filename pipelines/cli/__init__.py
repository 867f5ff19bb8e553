"""The command line: a thin skin over the library. ``likeness --help`` lists what there is.

A command's module is imported when the command is called (:mod:`pipelines.cli.lazy`).
"""

from __future__ import annotations

import click

from pipelines.cli.lazy import LazyGroup, Place
from pipelines.cli.spoken import prepare_streams
from pipelines.cli.typed import CheckedGroup

PLACES = {
    "init": Place(
        "operations",
        "init",
        "Make the home folder, its sealing key and its database, and load the models once.",
    ),
    "subject": Place("subjects", "subject", "The registry of people who opted out."),
    "request": Place("requests", "request", "Removal requests: 48 hours from the receipt to the last acknowledgement."),
    "source": Place("sources", "source", "What a source lists, before any of it is entered."),
    "sweep": Place("scanning", "sweep", "Compare new items with everybody in the registry."),
    "rescan": Place("scanning", "rescan", "Compare new subjects with everything on the platform."),
    "hits": Place("scanning", "hits", "List hits in force, faces first, the strongest first."),
    "verdicts": Place(
        "scanning",
        "verdicts",
        "List verdicts in force on items, or on models, the most pressing first.",
    ),
    "decide": Place(
        "decisions",
        "decide",
        "Say of hits that they are right (confirm), wrong (reject) or unclear (unsure), and let the verdicts follow.",
    ),
    "cases": Place("cases", "cases", "What waits for a person, and what colleagues say of it."),
    "decisions": Place("decisions", "decisions", "What people said about hits."),
    "audit": Place("audit", "audit", "The chain of what people and programs did."),
    "look": Place(
        "decisions",
        "look",
        "Write the face of a hit, or the whole picture, to a PNG that only its owner can read.",
    ),
    "statement": Place(
        "statements",
        "statement",
        "Print the statement of reasons of a takedown, or those on an item, after Article 17 of the DSA.",
    ),
    "transparency": Place(
        "statements",
        "transparency",
        "Count requests, hits, decisions, removals and reversals of a period, with the time that removals took.",
    ),
    "review": Place(
        "review",
        "review",
        "Serve the analysts' pages until interrupted: cases with pictures side by side, decided by keys.",
    ),
    "account": Place("review", "account", "Who may use the pages, and in which roles."),
    "search": Place(
        "content",
        "search",
        "List the live items whose pictures show what TEXT describes, nearest first.",
    ),
    "concepts": Place(
        "content",
        "concepts",
        "The concepts that every picture is scored for: the list, its scores, and scoring anew.",
    ),
    "models": Place("models", "models", "List packs of models, fetch them, read and accept their licences."),
    "calibrate": Place(
        "calibration",
        "calibrate",
        "Measure error rates on labelled photographs, and the thresholds for a false positive identification rate.",
    ),
    "calibration": Place("calibration", "calibration", "Stored calibrations, and which one is in force."),
    "policy": Place("policy", "policy", "The policy that every verdict is made by."),
    "dispatch": Place(
        "operations",
        "dispatch",
        "Send what is due to the takedown service (LIKENESS_TAKEDOWN_URL, LIKENESS_TAKEDOWN_SECRET); 1 if it refuses "
        "any.",
    ),
    "outbox": Place(
        "outbox",
        "outbox",
        "The messages to the takedown service: what waits and why, and letting go or discarding what is stuck.",
    ),
    "reconcile": Place(
        "operations",
        "reconcile",
        "Compare delivered takedowns with the service's open cases (LIKENESS_TAKEDOWN_CASES_URL); 1 if they differ.",
    ),
    "receiver": Place(
        "operations",
        "receiver",
        "Run a development receiver: verifies signatures, de-duplicates by key, shows cases at /cases.",
    ),
    "report": Place(
        "operations",
        "report",
        "Write the match report: a page, a CSV and a Parquet file of opaque ids.",
    ),
    "compact": Place(
        "operations",
        "compact",
        "Merge small shards, and delete from the disk what is not searched any more.",
    ),
    "clock": Place(
        "clock", "clock", "Compare the clock with the last recorded time; one that jumped stops whatever acts."
    ),
    "status": Place(
        "operations",
        "status",
        "Show coverage by status, watermark, outbox by state, and requests with the time left.",
    ),
    "day": Place(
        "days", "day", "The days as the nights left them: complete, blocked by a check, or approved all the same."
    ),
    "verify": Place(
        "operations",
        "verify",
        "Re-check digests, manifest, templates, audit chain, and that every hit has its verdict and outbox row.",
    ),
    "restore": Place(
        "operations",
        "restore",
        "Say what an older or altered database lacks of what this home remembers; 1 if anything.",
    ),
}


class _Tree(CheckedGroup, LazyGroup):
    """The whole command tree."""


@click.group(cls=_Tree, places=PLACES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="likeness")
def main() -> None:
    """Scan a model-sharing platform for the faces of people who opted out.

    State lives under LIKENESS_HOME (--home), settings in likeness.toml (--config), keys and the takedown service's
    address in the environment. Exit codes: 0 done, 1 failed, 2 usage.
    """
    prepare_streams()
