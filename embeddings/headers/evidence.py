"""What the metadata of a model file says about whom it was trained on: texts with their places, and a thumbnail.

The keys are those of kohya-ss's trainer (``ss_*``, ``train_network.py``) and of Stability's "modelspec" 1.0.0.
Some hold JSON in a string. All of it can be forged or left out, so it supports other evidence and proves nothing; what
cannot be read costs its own key. Knows no file and no names.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeGuard

from embeddings.errors import UnscannableError
from embeddings.images.containers import sniff
from embeddings.strict_json import parse_strictly

PLAIN: Final = (
    *("ss_output_name", "modelspec.title", "modelspec.trigger_phrase", "modelspec.tags"),
    *("ss_training_comment", "modelspec.description"),
)
"""Keys whose value is a text as it stands."""
THUMBNAIL: Final = "modelspec.thumbnail"
_MAX_PARTS: Final = 1_000_000
_MOST_COUNTED: Final = 1 << 53
"""A count of images beyond this is no count. Up to here a float holds every integer, and none overflows it."""
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_REPEATS: Final = re.compile(r"\d+_")
_DATA_URL: Final = re.compile(r"data:image/[a-z0-9.+-]{1,32};base64,", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TextLimits:
    """Limits on what is read of a header, and the share from which a tag is an identity token."""

    max_chars: int
    """Characters from one place; what is beyond is cut off."""
    top_tags: int
    """Tags of ``ss_tag_frequency``, the most frequent first."""
    identity_share: float
    """Share of a folder's images, in (0, 1], from which a tag is the folder's identity token: what the folder shows."""


@dataclass(frozen=True, slots=True, repr=False)
class HeaderText:
    """A text in which a name may stand, and where it was: ``header:ss_output_name``. ``repr`` does not show it."""

    place: str
    text: str


def evident_texts(metadata: Mapping[str, str], *, limits: TextLimits) -> tuple[HeaderText, ...]:
    """Return the texts of a header, each once per place, in a fixed order. Never raises."""
    datasets = _json(metadata, "ss_datasets")
    folders = _json(metadata, "ss_dataset_dirs")
    frequencies = [_json(metadata, "ss_tag_frequency"), *_nested(datasets, "tag_frequency")]
    images = _image_counts(folders, datasets)
    found: dict[str, list[str]] = {name: [metadata[name]] for name in PLAIN if name in metadata}
    found["identity_token"] = _identity_tokens(frequencies, images, limits)
    found["ss_dataset_dirs"] = [_subject_of(name) for name in folders] if isinstance(folders, dict) else []
    found["ss_datasets"] = list(_of_datasets(datasets))
    found["ss_tag_frequency"] = _frequent_tags(frequencies, limits)
    return tuple(
        HeaderText(f"header:{place}", text)
        for place, texts in found.items()
        for text in _within(texts, limits.max_chars)
    )


def thumbnail(metadata: Mapping[str, str], *, max_bytes: int) -> bytes | None:
    """Return the image file in ``modelspec.thumbnail``; None without one. Not decoded: only its first bytes were looked
    at.

    Raises :class:`UnscannableError` ``thumbnail`` for anything but a data URL, strict base64, of an image of a known
    format and at most ``max_bytes``: another viewer may show it, so it must not count as no thumbnail.
    """
    value = metadata.get(THUMBNAIL, "")
    if not value:
        return None
    start = _DATA_URL.match(value)
    if start is None or len(value) - start.end() > 4 * (max_bytes + 2) // 3 + 4:
        raise UnscannableError("thumbnail")
    encoded = value[start.end() :]
    try:
        data = base64.b64decode(encoded, validate=True)
        sniff(data)
    except (ValueError, UnscannableError):
        raise UnscannableError("thumbnail") from None
    if len(data) > max_bytes or base64.b64encode(data).decode() != encoded:  # too much padding, or stray bits
        raise UnscannableError("thumbnail")
    return data


def _json(metadata: Mapping[str, str], key: str) -> object:
    try:
        return parse_strictly(metadata[key], max_parts=_MAX_PARTS) if key in metadata else None
    except UnscannableError:
        return None


def _parts(datasets: object) -> Iterator[dict[str, object]]:
    """Each data set, followed by its subsets."""
    for dataset in datasets if isinstance(datasets, list) else ():
        if isinstance(dataset, dict):
            yield dataset
            subsets = dataset.get("subsets")
            yield from (part for part in (subsets if isinstance(subsets, list) else ()) if isinstance(part, dict))


def _nested(datasets: object, key: str) -> list[object]:
    return [part[key] for part in _parts(datasets) if key in part]


def _of_datasets(datasets: object) -> Iterator[str]:
    for token in _nested(datasets, "class_tokens"):
        yield from (word for word in (token if isinstance(token, list) else [token]) if isinstance(word, str))
    yield from (_subject_of(folder) for folder in _nested(datasets, "image_dir") if isinstance(folder, str))


def _subject_of(folder: str) -> str:
    """What a folder of training images is called: its last part, without the repeats (``10_jane doe``)."""
    name = re.split(r"[/\\]", folder.rstrip("/\\"))[-1]
    return _REPEATS.sub("", name, count=1) if _REPEATS.match(name) else name


def _image_counts(folders: object, datasets: object) -> dict[str, int]:
    """How many images each folder has, by the folder's name, as far as the header says."""
    parts: list[tuple[object, object]] = list(folders.items()) if isinstance(folders, dict) else []
    parts += [(part.get("image_dir"), part) for part in _parts(datasets)]
    counts: dict[str, int] = {}
    for name, about in parts:
        count = about.get("img_count") if isinstance(about, dict) else None
        if isinstance(name, str) and _is_count(count):
            counts.setdefault(name, count)
    return counts


def _is_count(value: object) -> TypeGuard[int]:
    """A header may hold integers of thousands of digits, which no float can be compared with."""
    return isinstance(value, int) and 0 <= value <= _MOST_COUNTED


def _tags(frequencies: list[object]) -> Iterator[tuple[str, dict[str, int]]]:
    """Each folder's tags and how many of its images have them."""
    for folders in frequencies:
        for folder, tags in folders.items() if isinstance(folders, dict) else ():
            if isinstance(tags, dict):
                yield folder, {tag.strip(): count for tag, count in tags.items() if _is_count(count)}


def _identity_tokens(frequencies: list[object], images: Mapping[str, int], limits: TextLimits) -> list[str]:
    """Tags on (nearly) every image of a folder; of a folder of unknown size, on as many as its most frequent tag."""
    found: dict[str, int] = {}
    for folder, tags in _tags(frequencies):
        everywhere = images.get(folder, 0) or max(tags.values(), default=0)
        for tag, count in tags.items():
            if count >= limits.identity_share * everywhere > 0:
                found[tag] = max(found.get(tag, 0), count)
    return _most_frequent(found, limits.top_tags)


def _frequent_tags(frequencies: list[object], limits: TextLimits) -> list[str]:
    """The most frequent tags of all folders, after what the folders are called."""
    total: dict[str, int] = {}
    folders = []
    for folder, tags in _tags(frequencies):
        folders.append(_subject_of(folder))
        for tag, count in tags.items():
            total[tag] = total.get(tag, 0) + count
    return folders[: limits.top_tags] + _most_frequent(total, limits.top_tags)


def _most_frequent(counts: Mapping[str, int], most: int) -> list[str]:
    return sorted(counts, key=lambda tag: (-counts[tag], tag))[:most]


def _within(texts: list[str], max_chars: int) -> Iterator[str]:
    """Yield each distinct text that is not blank, ``max_chars`` characters in all."""
    left = max_chars
    for text in dict.fromkeys(_UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text[:max_chars]).strip() for text in texts):
        if text and left > 0:
            yield text[:left]
            left -= len(text)
