"""Writes the sample platform: two days of uploads as a directory source, three people's references, and the truth.

Everything is made from photographs inside installed packages, without the network. The same days give the same bytes.
Knows no database and no model: what the pipeline makes of it is for ``make sweep`` and the tests to compare.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from itertools import chain
from pathlib import Path
from typing import Final

from embeddings.errors import ConfigError
from embeddings.types import UInt8
from pipelines.sample.bystanders import broken_cases, faceless_cases, stranger_cases
from pipelines.sample.case import BETA_REFERENCE, GAMMA_HEAD, Case
from pipelines.sample.encoding import jpeg, png
from pipelines.sample.expectation import expected, expected_models, group_of, item_id
from pipelines.sample.first_subject import first_subject_cases
from pipelines.sample.griefs import grief_cases
from pipelines.sample.infotext_uploads import infotext_cases
from pipelines.sample.model_headers import model_file_cases
from pipelines.sample.named_uploads import ALIAS, EXCLUSION, face_cases, named_cases
from pipelines.sample.photographs import load_photographs
from pipelines.sample.second_subject import second_subject_cases
from pipelines.sample.third_subject import third_subject_cases
from pipelines.sample.truth import ALPHA, BETA, GAMMA, PHASES, PlantedSubject, PlantedUpload, SamplePlatform
from pipelines.sample.variants import crop

_SECONDS_OF_A_DAY: Final = 86_400
_UPLOADERS: Final = 9
_EAST: Final = timezone(timedelta(hours=9))


def build_platform(folder: Path, *, days: tuple[date, date]) -> SamplePlatform:
    """Write ``folder/uploads`` and ``folder/references`` and say what is in them.

    ``days`` are the two UTC days of the uploads, the earlier one first. Raises :class:`ConfigError` when they are not
    in order, when there are uploads or references in ``folder`` already, or when a photograph is not installed.
    """
    if days[0] >= days[1]:
        raise ConfigError("the sample platform needs two different days, the earlier one first")
    uploads, references = folder / "uploads", folder / "references"
    if any(place.exists() and any(place.iterdir()) for place in (uploads, references)):
        raise ConfigError("the folder holds a sample platform already: name an empty one")
    pictures = load_photographs()
    cases = planted_cases(pictures)
    group = pictures["group"]
    planted = [_plant(uploads, case, days, position / len(cases)) for position, case in enumerate(cases)]
    return SamplePlatform(
        folder=folder,
        uploads=uploads,
        days=days,
        registered=_write_subject(
            references, ALPHA, png(pictures["astronaut"]), ".png", ALIAS, exclusions=(EXCLUSION,)
        ),
        requested=_write_subject(references, BETA, jpeg(crop(group, BETA_REFERENCE), quality=95), ".jpg"),
        poisoned=_write_subject(references, GAMMA, jpeg(crop(group, GAMMA_HEAD), quality=95), ".jpg"),
        planted=tuple(sorted(planted, key=lambda upload: upload.item_id)),
        models={phase: expected_models(cases, phase) for phase in PHASES},
    )


def planted_cases(pictures: Mapping[str, UInt8]) -> tuple[Case, ...]:
    """Return every case, made from the packaged ``pictures``. Names are unique."""
    parts: tuple[Iterable[Case], ...] = (
        first_subject_cases(pictures),
        second_subject_cases(pictures),
        stranger_cases(pictures),
        faceless_cases(pictures),
        broken_cases(pictures),
        model_file_cases(pictures),
        named_cases(pictures),
        infotext_cases(pictures),
        face_cases(pictures),
        third_subject_cases(pictures),
        grief_cases(pictures),
    )
    return tuple(chain.from_iterable(parts))


def _plant(uploads: Path, case: Case, days: tuple[date, date], position: float) -> PlantedUpload:
    """Write one case's file and side-car. ``position`` in [0, 1) spreads the arrivals over the day."""
    path = uploads / days[case.day].isoformat() / f"{case.name}{case.suffix}"
    received = _received(case, days[case.day], position)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(case.data)
    ordinary = f"uploader-of-{group_of(case)}" if group_of(case) else f"uploader-{int(position * _UPLOADERS) + 1}"
    uploader = case.uploader or ordinary
    sidecar = _sidecar(case, uploader, received)
    if sidecar is not None:
        path.with_name(f"{path.name}.json").write_bytes(sidecar)
    os.utime(path, (received.timestamp(), received.timestamp()))
    readable = case.sidecar not in ("not_json", "none")
    relative = path.relative_to(uploads).as_posix()
    return PlantedUpload(
        item_id=item_id(case) if readable else relative,
        path=relative,
        day=days[case.day],
        case=case.name,
        kind=case.kind,
        uploader=uploader if readable else None,
        parent_model=case.model,
        expected_faces=case.faces,
        faint="face_above_review_threshold" in case.rules.values(),
        expected={phase: expected(case, phase) for phase in PHASES},
    )


def _received(case: Case, day: date, position: float) -> datetime:
    """When the upload came, UTC. A side-car with an offset is from the evening, where the local day is the next one."""
    midnight = datetime.combine(day, time(), UTC)
    if case.sidecar == "offset":
        return midnight + timedelta(hours=22, minutes=30)
    return midnight + timedelta(seconds=int(position * _SECONDS_OF_A_DAY))


def _sidecar(case: Case, uploader: str, received: datetime) -> bytes | None:
    if case.sidecar == "none":
        return None
    if case.sidecar == "not_json":
        return b'id = "unreadable"\n'
    fields: dict[str, object] = {
        "id": item_id(case),
        "kind": case.kind,
        "uploader": uploader,
        "received_at": received.astimezone(_EAST if case.sidecar == "offset" else UTC).isoformat(),
        "title": case.title or f"Upload {case.name.replace('-', ' ')}",
        "tags": [*case.tags, "upload", case.suffix.removeprefix(".")],
        "trigger_words": list(case.trigger_words),
    }
    optional = {"parent_model": case.model, "prompt": case.prompt, "nsfw_level": case.nsfw_level}
    fields |= {name: value for name, value in optional.items() if value is not None}
    if case.sidecar == "bad_field":
        fields["tags"] = {"not": "a list"}
    return json.dumps(fields, indent=1, sort_keys=True).encode() + b"\n"


def _write_subject(
    references: Path, label: str, data: bytes, suffix: str, *aliases: str, exclusions: tuple[str, ...] = ()
) -> PlantedSubject:
    path = references / label / f"portrait{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    names = (f"Sample Subject {label.capitalize()}", *aliases)
    return PlantedSubject(label=label, names=names, exclusions=exclusions, references=(path,))
