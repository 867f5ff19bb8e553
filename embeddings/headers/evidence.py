"""What the metadata of a model file says about whom it was trained on: texts with their places.

The keys are those of :mod:`embeddings.headers.places`; what stands under any other, and all that a known one says
beside what it is for, is searched as ``other``, because a name may stand anywhere. All of it can be forged or left out,
so it supports other evidence and proves nothing; what cannot be read costs its own key. Knows no file and no names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeGuard

from embeddings.headers.loose import is_text, own_name, strings_of, telling_names, telling_texts, value_of, wanted_of
from embeddings.headers.places import (
    CONFIGURED,
    COVERS,
    MERGES,
    PLAIN,
    SHOWN,
    TECHNICAL,
    THUMBNAIL,
    TRADE,
)
from embeddings.infotext.fields import InfotextLimits
from embeddings.infotext.read import texts_of_field
from embeddings.infotext.roles import is_negative

_MOST_COUNTED: Final = 1 << 53
"""A count of images beyond this is no count. Up to here a float holds every integer, and none overflows it."""
_MOST_PARTS: Final = 1_000_000
"""Commas and brackets of a graph."""
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_FEW_TENSORS: Final = 8
"""Tensors up to which their names may be words of a prompt, as in a textual inversion."""
_MOST_VERSIONS: Final = 3
"""Values of a key that occurs several times that are read as the last one is; all further ones are searched."""
_TRADE: Final = re.compile(TRADE, re.IGNORECASE)


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


def evident_texts(
    metadata: Mapping[str, str],
    *,
    limits: TextLimits,
    names: Sequence[str] = (),
    hidden: Sequence[tuple[str, str]] = (),
) -> tuple[HeaderText, ...]:
    """Return the texts of a header, each once per place, in a fixed order. Never raises.

    ``names``: of the tensors; ``hidden``: earlier values of keys that occur several times, each with its key.
    """
    found: dict[str, list[str]] = {}
    for version in _versions(metadata, hidden):
        for place, texts in _told(version, limits).items():
            found.setdefault(place, []).extend(texts)
    telling = telling_names(names)
    found["embedding_name" if len(names) <= _FEW_TENSORS else "tensor_names"] = telling
    known = {text for texts in found.values() for text in texts}
    every = (text for pair in (*_in_order(metadata), *hidden) for text in _loose(*pair))
    found["other"] = [text for text in every if text not in known and not (_is_name(text) and own_name(text) in known)]
    return bounded(found, limits=limits)


def _is_name(text: str) -> bool:
    return "/" not in text and "\\" not in text


def bounded(found: Mapping[str, list[str]], *, limits: TextLimits) -> tuple[HeaderText, ...]:
    """Return the texts by place, each once per place and none of them blank, within the bound of each place."""
    return tuple(
        HeaderText(f"header:{place}", text)
        for place, texts in found.items()
        for text in _within(texts, limits.max_chars)
    )


def _versions(metadata: Mapping[str, str], hidden: Sequence[tuple[str, str]]) -> list[Mapping[str, str]]:
    """The metadata, and what it would be if the first value of a key counted, or the second."""
    earlier: dict[str, list[str]] = {}
    for key, value in hidden:
        earlier.setdefault(key, []).append(value)
    most = min(_MOST_VERSIONS, max((len(values) for values in earlier.values()), default=0))
    others = [{key: values[at] for key, values in earlier.items() if at < len(values)} for at in range(most)]
    return [metadata, *others]


def _told(metadata: Mapping[str, str], limits: TextLimits) -> dict[str, list[str]]:
    """What stands where writers put it, by place."""
    datasets = _json(metadata, "ss_datasets")
    folders = _json(metadata, "ss_dataset_dirs")
    frequencies = [_json(metadata, "ss_tag_frequency"), *_nested(datasets, "tag_frequency")]
    images = _image_counts(folders, datasets)
    found = {name: list(_plain(metadata[name])) for name in PLAIN if name in metadata}
    found["identity_token"] = _identity_tokens(frequencies, images, limits)
    found["ss_dataset_dirs"] = [own_name(name) for name in folders] if isinstance(folders, dict) else []
    for key in CONFIGURED:
        found[key] = list(telling_texts(_json(metadata, key)))
    for key in MERGES:
        found[key] = list(strings_of(metadata[key])) if key in metadata else []
    for key in SHOWN:
        found[key] = list(_shown(key, metadata[key], limits)) if key in metadata else []
    found["ss_tag_frequency"] = _frequent_tags(frequencies, limits)
    return found


def _plain(text: str) -> Iterable[str]:
    return [wanted_of(text)] if isinstance(value_of(text), str) else strings_of(text)


def _shown(key: str, text: str, limits: TextLimits) -> tuple[str, ...]:
    """What the prompt or workflow of a picture says, by the rules by which it is read in a picture."""
    read = InfotextLimits(max_bytes=0, max_chars=limits.max_chars, max_parts=_MOST_PARTS, max_pixels=0)
    return texts_of_field(key, text, limits=read)


def _in_order(metadata: Mapping[str, str]) -> list[tuple[str, str]]:
    """The entries, those with most words last: the others are read before the bound is reached."""
    return sorted(metadata.items(), key=lambda pair: pair[0] in (*CONFIGURED, *SHOWN, "ss_tag_frequency"))


def _loose(key: str, value: str) -> Iterator[str]:
    """Every text of an entry, its key as well; of the words of the trade those that a name may be are passed over."""
    if key in (THUMBNAIL, COVERS, *SHOWN) or is_negative(key):
        return
    technical = key in TECHNICAL
    if key not in PLAIN and not key.startswith(("ss_", "ssmd_", "sshs_", "modelspec.", "general.")) and is_text(key):
        yield key
    for text in strings_of(value):
        yield _TRADE.sub(" ", text) if technical else text


def _json(metadata: Mapping[str, str], key: str) -> object:
    return value_of(metadata[key]) if key in metadata else None


def _parts(datasets: object) -> Iterator[dict[str, object]]:
    """Each data set, followed by its subsets."""
    for dataset in datasets if isinstance(datasets, list) else ():
        if isinstance(dataset, dict):
            yield dataset
            subsets = dataset.get("subsets")
            yield from (part for part in (subsets if isinstance(subsets, list) else ()) if isinstance(part, dict))


def _nested(datasets: object, key: str) -> list[object]:
    return [part[key] for part in _parts(datasets) if key in part]


def _image_counts(folders: object, datasets: object) -> dict[str, float]:
    """How many images each folder has, by the folder's name, as far as the header says."""
    parts: list[tuple[object, object]] = list(folders.items()) if isinstance(folders, dict) else []
    parts += [(part.get("image_dir"), part) for part in _parts(datasets)]
    counts: dict[str, float] = {}
    for name, about in parts:
        count = about.get("img_count") if isinstance(about, dict) else None
        if isinstance(name, str) and _is_count(count):
            counts.setdefault(name, count)
    return counts


def _is_count(value: object) -> TypeGuard[float]:
    """A header may hold integers of hundreds of digits, which no float can be compared with."""
    return isinstance(value, int | float) and 0 <= value <= _MOST_COUNTED


def _tags(frequencies: list[object]) -> Iterator[tuple[str | None, dict[str, float]]]:
    """Each folder's tags and how many of its images have them; without a folder, tags that stand by themselves."""
    for folders in frequencies:
        alone: dict[str, float] = {}
        for folder, tags in folders.items() if isinstance(folders, dict) else ():
            if isinstance(tags, dict):
                yield folder, {tag.strip(): count for tag, count in tags.items() if _is_count(count)}
            elif _is_count(tags):
                alone[folder.strip()] = tags
        if alone:
            yield None, alone


def _identity_tokens(frequencies: list[object], images: Mapping[str, float], limits: TextLimits) -> list[str]:
    """Tags on (nearly) every image of a folder; of a folder of unknown size, on as many as its most frequent tag."""
    found: dict[str, float] = {}
    for folder, tags in _tags(frequencies):
        everywhere = images.get(folder or "", 0) or max(tags.values(), default=0)
        for tag, count in tags.items():
            if count >= limits.identity_share * everywhere > 0:
                found[tag] = max(found.get(tag, 0), count)
    return _most_frequent(found, limits.top_tags)


def _frequent_tags(frequencies: list[object], limits: TextLimits) -> list[str]:
    """The most frequent tags of all folders, after what the folders are called."""
    total: dict[str, float] = {}
    folders = []
    for folder, tags in _tags(frequencies):
        folders += [] if folder is None else [own_name(folder)]
        for tag, count in tags.items():
            total[tag] = total.get(tag, 0) + count
    return folders[: limits.top_tags] + _most_frequent(total, limits.top_tags)


def _most_frequent(counts: Mapping[str, float], most: int) -> list[str]:
    return sorted(counts, key=lambda tag: (-counts[tag], tag))[:most]


def _within(texts: list[str], max_chars: int) -> Iterator[str]:
    """Yield each distinct text that is not blank, ``max_chars`` characters in all."""
    left = max_chars
    for text in dict.fromkeys(_UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text[:max_chars]).strip() for text in texts):
        if text and left > 0:
            yield text[:left]
            left -= len(text)
