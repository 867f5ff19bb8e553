"""The sample platform says the truth: what the real models find in every planted upload is what was planted."""

from __future__ import annotations

import hashlib
import itertools
import pickle
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pdqhash
import pytest
from PIL import Image

from embeddings.errors import ConfigError
from embeddings.headers.safetensors import is_safetensors
from embeddings.shard import embed_shard, load_models
from embeddings.types import Content, Float32, vectors_of
from pipelines.hits.listing import TIERS
from pipelines.intake.model_reading import read_bytes
from pipelines.policy import RULES, load_policy
from pipelines.sample import ALPHA, BETA, GAMMA, PHASES, Phase, PlantedUpload, SamplePlatform, build_platform
from pipelines.sample.expectation import REGISTERED, SIMULATED
from pipelines.sample.messages import wanted_messages
from pipelines.sample.policies import POLICY_FILE, write_settings
from pipelines.sample.truth import VERDICTS
from pipelines.settings.config import EmbeddingConfig, ImagesConfig, ModelFilesConfig, RegistryConfig, SweepConfig
from pipelines.sources import FetchSettings, Item, open_source

DAYS = (date(2026, 3, 4), date(2026, 3, 5))
REVIEW, STRONG = 0.363, 0.50  # the pack's published thresholds
NEAR_DUPLICATE = 31  # bits of PDQ


@dataclass(frozen=True)
class Findings:
    """What the models find: per content its status, its vectors and, per subject label, the best score."""

    statuses: dict[bytes, str]
    vectors: dict[bytes, Float32]
    references: dict[str, Float32]

    def best(self, data: bytes, label: str) -> float:
        vectors = self.vectors[hashlib.sha256(data).digest()]
        return float((vectors @ self.references[label]).max(initial=-1.0))

    def expected(self, data: bytes, registered: frozenset[str]) -> tuple[str, set[str]]:
        """Status of a scan, and whose faces there are, by brute force."""
        subjects = {label for label in registered if self.best(data, label) >= REVIEW}
        return self.statuses[hashlib.sha256(data).digest()], subjects


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> SamplePlatform:
    return build_platform(tmp_path_factory.mktemp("platform"), days=DAYS)


@pytest.fixture(scope="module")
def findings(platform: SamplePlatform, tmp_path_factory: pytest.TempPathFactory) -> Findings:
    models = load_models("opencv-zoo", cache_dir=tmp_path_factory.mktemp("graphs"), settings=EmbeddingConfig().faces())
    subjects = platform.subjects
    files = [read(platform, upload) for upload in platform.planted]
    files += [reference.read_bytes() for subject in subjects for reference in subject.references]
    contents = [Content(sha256=hashlib.sha256(data).digest(), data=seen_of(data)) for data in files]
    found = embed_shard(contents, models, limits=ImagesConfig(), workers=2)
    matrix = vectors_of(found.faces["vector"], models.dimension)
    owners = found.faces["content_sha256"].to_pylist()
    statuses = {row["content_sha256"]: row["status"] for row in found.statuses.to_pylist()}
    vectors = {sha: matrix[[index for index, owner in enumerate(owners) if owner == sha]] for sha in statuses}
    references = {s.label: vectors[hashlib.sha256(s.references[0].read_bytes()).digest()][0] for s in subjects}
    return Findings(statuses, vectors, references)


def seen_of(data: bytes) -> bytes:
    """The picture in a file: itself, or the thumbnail of a model file."""
    found = read_bytes(data, config=ModelFilesConfig())
    return data if found.content is None else found.content.data


def read(platform: SamplePlatform, upload: PlantedUpload) -> bytes:
    return (platform.uploads / upload.path).read_bytes()


def listed(platform: SamplePlatform, day: date | None) -> list[Item]:
    settings = FetchSettings(timeout_seconds=1, allowed_hosts=(), allow_private_addresses=False)
    return list(open_source(platform.source_uri, settings=settings).items(day))


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    """Digest and modification time of the uploads and references beneath ``folder``, by relative path."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            int(path.stat().st_mtime) if path.is_relative_to(folder / "uploads") and path.suffix != ".json" else 0,
        )
        for path in files
    }


def by_model(platform: SamplePlatform, label: str) -> dict[str, list[PlantedUpload]]:
    models: dict[str, list[PlantedUpload]] = {}
    for upload in platform.planted:
        if upload.parent_model and label in upload.expected["poison"].faces:
            models.setdefault(upload.parent_model, []).append(upload)
    return models


def fingerprint(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return pdqhash.compute(np.asarray(image.convert("RGB")))[0]


def test_there_are_at_least_sixty_uploads_spread_over_two_days(platform: SamplePlatform) -> None:
    per_day = Counter(upload.day for upload in platform.planted)
    assert len(platform.planted) >= 60
    assert min(per_day[day] for day in DAYS) >= 25
    assert set(per_day) == set(DAYS)


def test_names_of_cases_and_ids_of_items_are_unique(platform: SamplePlatform) -> None:
    assert len({upload.case for upload in platform.planted}) == len(platform.planted)
    assert len({upload.item_id for upload in platform.planted}) == len(platform.planted)


def test_the_platform_is_small(platform: SamplePlatform) -> None:
    assert sum(path.stat().st_size for path in platform.folder.rglob("*") if path.is_file()) < 40_000_000


@pytest.mark.parametrize("position", [0, 1])
def test_the_directory_source_lists_exactly_what_was_planted_on_a_day(platform: SamplePlatform, position: int) -> None:
    items = {item.item_id: item for item in listed(platform, DAYS[position])}
    planted = {upload.item_id: upload for upload in platform.planted if upload.day == DAYS[position]}
    assert set(items) == set(planted)
    for item_id, upload in planted.items():
        item = items[item_id]
        seen = (item.locator, item.kind, item.uploader, item.parent_model, item.received_at.date())
        assert seen == (upload.path, upload.kind, upload.uploader, upload.parent_model, upload.day), upload.case


def test_only_the_two_malformed_sidecars_are_problems(platform: SamplePlatform) -> None:
    problems = {Path(item.locator).stem: item.problem for item in listed(platform, None) if item.problem}
    assert problems == {"sidecar-not-json": "sidecar_invalid", "sidecar-bad-field": "sidecar_invalid"}


def test_the_same_days_give_the_same_bytes_and_times(platform: SamplePlatform, tmp_path: Path) -> None:
    again = build_platform(tmp_path, days=DAYS)
    assert again.planted == platform.planted
    assert digests(tmp_path) == digests(platform.folder)


def test_days_out_of_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two different days"):
        build_platform(tmp_path, days=(DAYS[1], DAYS[0]))
    with pytest.raises(ConfigError, match="two different days"):
        build_platform(tmp_path, days=(DAYS[0], DAYS[0]))


def test_a_folder_with_older_uploads_is_refused_because_they_would_falsify_the_truth(platform: SamplePlatform) -> None:
    with pytest.raises(ConfigError, match="already"):
        build_platform(platform.folder, days=DAYS)


def test_each_reference_shows_one_face_that_is_large_enough(platform: SamplePlatform, findings: Findings) -> None:
    for subject in platform.subjects:
        data = subject.references[0].read_bytes()
        assert len(findings.vectors[hashlib.sha256(data).digest()]) == 1
        with Image.open(subject.references[0]) as image:
            assert min(image.size) > 2 * RegistryConfig().min_reference_pixels


def test_the_subjects_do_not_match_each_other(findings: Findings) -> None:
    for one, other in itertools.combinations(findings.references.values(), 2):
        assert one @ other < 0.25


@pytest.mark.parametrize("phase", PHASES)
def test_every_face_that_is_planted_is_there_and_no_other(
    platform: SamplePlatform, findings: Findings, phase: Phase
) -> None:
    """But for what somebody rejected. The headers of model files without a thumbnail are for the whole run to read."""
    wrong = {}
    for upload in platform.planted:
        wanted, data = upload.expected[phase], read(platform, upload)
        if any(not finding.tiers for finding in wanted.findings.values()):
            continue
        status, faces = findings.expected(data, REGISTERED[phase])
        hit = wanted.subjects and status in ("faces", "no_face")
        got = ("hit" if hit else "clean" if status == "faces" else status, faces)
        if got[1] != wanted.faces or (got[0] != wanted.status and not is_safetensors(data)):
            wrong[upload.case] = got
    assert wrong == {}


def test_no_planted_score_is_near_a_threshold(platform: SamplePlatform, findings: Findings) -> None:
    """Another runtime or precision moves scores by well under 0.05; it must not change what is planted."""
    for upload in platform.planted:
        for label in (ALPHA, BETA, GAMMA):
            score = findings.best(read(platform, upload), label)
            if label not in set[str]().union(*(expected.faces for expected in upload.expected.values())):
                assert score < REVIEW - 0.05, (upload.case, label)
            elif upload.faint:
                assert REVIEW + 0.05 < score < STRONG - 0.05, (upload.case, label)
            else:
                assert score > STRONG + 0.05, (upload.case, label)


def test_the_number_of_faces_is_what_was_planted(platform: SamplePlatform, findings: Findings) -> None:
    for upload in platform.planted:
        if upload.expected_faces is not None:
            found = findings.vectors[hashlib.sha256(read(platform, upload)).digest()]
            assert len(found) == upload.expected_faces, upload.case


@pytest.mark.parametrize("label", [ALPHA, BETA, GAMMA])
def test_distinct_pictures_are_the_rule_exactly_where_a_model_has_them(platform: SamplePlatform, label: str) -> None:
    for upload in platform.planted:
        siblings = by_model(platform, label).get(upload.parent_model or "", [])
        distances = [
            int((fingerprint(platform.uploads / upload.path) != fingerprint(platform.uploads / other.path)).sum())
            for other in siblings
            if upload in siblings and other != upload and other.uploader == upload.uploader
        ]
        corroborated = any(distance > NEAR_DUPLICATE for distance in distances)
        finding = upload.expected["poison"].findings.get(label)
        ruled = finding is not None and finding.rule == "strong_face_in_distinct_images"
        assert ruled == corroborated, upload.case


def test_pictures_of_one_model_are_clearly_distinct_or_clearly_the_same(platform: SamplePlatform) -> None:
    for siblings in [*by_model(platform, ALPHA).values(), *by_model(platform, BETA).values()]:
        prints = [fingerprint(platform.uploads / upload.path) for upload in siblings]
        for index, one in enumerate(prints):
            assert all(not 16 < int((one != other).sum()) < 80 for other in prints[:index])


def test_every_rule_and_every_tier_is_planted(platform: SamplePlatform) -> None:
    findings = [one for upload in platform.planted for at in upload.expected.values() for one in at.findings.values()]
    assert {one.rule for one in findings} == set(VERDICTS)
    # An operator's act, and the answer of a network that the sample does not have: no upload plants either.
    # Nor is any picture there that is weak alone and not together with others of its model.
    # Pictures that name a confirmed model are the affair of tests/pipelines/matching/test_infotext.py.
    unplanted = {"message_discarded", "strong_face_not_agreed", "pooled_face_above_review_threshold"}
    unplanted |= {"made_by_confirmed_model"}
    assert set(VERDICTS) | {rule for _, rule in SIMULATED.values()} | unplanted == set(RULES)
    assert {tier for one in findings for tier in one.tiers} == set(TIERS) - {"pooled_face", "made_by"}
    said = {one for of_phase in platform.models.values() for one in of_phase.values()}
    assert {one.rule for one in said} >= {"confirmed_by_person", "copy_of_confirmed", "strong_face_with_name"}


def test_only_copies_look_like_the_picture_that_is_confirmed(platform: SamplePlatform) -> None:
    confirmed = fingerprint(platform.uploads / path_of(platform, "confirmed-face"))
    for upload in platform.planted:
        if upload.kind == "model" or upload.expected["nights"].status.startswith("unscannable"):
            continue
        if upload.case.startswith(("truncated-", "damaged-")):
            continue  # Pillow refuses these
        distance = int((fingerprint(platform.uploads / upload.path) != confirmed).sum())
        copied = upload.case.startswith("confirmed-")
        assert distance < 16 if copied else distance > 50, upload.case


def test_the_cleaned_model_file_has_the_tensors_of_the_confirmed_one_and_nothing_else_of_it(
    platform: SamplePlatform,
) -> None:
    files = [(platform.uploads / path_of(platform, name)).read_bytes() for name in ("lora-confirmed", "lora-cleaned")]
    assert files[0][-64:] == files[1][-64:]
    assert b"alpha" in files[0]
    assert b"alpha" not in files[1]


def test_the_poisoned_request_would_take_more_down_than_the_breaker_allows_and_the_others_less(
    platform: SamplePlatform, tmp_path: Path
) -> None:
    write_settings(tmp_path)
    limit = load_policy(tmp_path / POLICY_FILE).settings.breakers.subject
    assert len(set(wanted_messages(platform, GAMMA))) > limit
    assert max(len(set(wanted_messages(platform, label))) for label in (ALPHA, BETA)) < limit


def path_of(platform: SamplePlatform, case: str) -> str:
    return next(upload.path for upload in platform.planted if upload.case == case)


def test_one_model_is_corroborated_only_by_the_second_day(platform: SamplePlatform) -> None:
    split = by_model(platform, ALPHA)["model-split"]
    assert sorted(upload.day for upload in split) == list(DAYS)


def test_the_second_subject_is_on_both_days_and_unknown_before_the_request(platform: SamplePlatform) -> None:
    shown = [upload for upload in platform.planted if BETA in upload.expected["request"].subjects]
    assert {upload.day for upload in shown} == set(DAYS)
    for upload in platform.planted:
        assert BETA not in upload.expected["nights"].findings
        assert BETA not in upload.expected["withdrawal"].findings


def test_the_share_of_hits_stays_below_the_bound_of_a_healthy_day(platform: SamplePlatform) -> None:
    for day in DAYS:
        uploads = [upload for upload in platform.planted if upload.day == day]
        hits = sum(upload.expected["nights"].status == "hit" for upload in uploads)
        assert hits / len(uploads) < SweepConfig().max_hit_rate


def test_the_planted_pickle_would_be_heard_if_anything_loaded_it(platform: SamplePlatform) -> None:
    upload = next(upload for upload in platform.planted if upload.case == "weights-pickle")
    with pytest.raises(ValueError, match="not a number"):
        pickle.loads(read(platform, upload))
