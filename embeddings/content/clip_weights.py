"""CLIP weights: which checkpoint the settings mean, whether this machine has it, and the model id of its vectors.

Owns files and digests. Loads neither torch nor open_clip, except in :func:`pull_weights`, so that a run without CLIP
weights finds that out at once. Checkpoints are the operator's files and are never unpickled: safetensors, or
torch's own format read with ``weights_only=True``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embeddings.errors import WeightsError

CLIP_PREPARATION_VERSION = 1
"""Part of every CLIP model id. Raise it whenever decoding or preprocessing changes the vectors that come out."""

KNOWN_TERMS = {
    ("ViT-B-32", "laion2b_s34b_b79k"): ("MIT", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
    ("ViT-B-32", "openai"): ("MIT", "openai/CLIP"),
}
"""Licence and publisher of the weights that were looked up. Every other model and tag has its publisher's terms."""

SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
CONFIG_NAME = "open_clip_config.json"
_MEMO = "digests.json"


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """Which CLIP model. ``checkpoint`` wins over a download of ``pretrained``."""

    model: str
    """An architecture that open_clip knows, such as ``ViT-B-32``."""
    pretrained: str
    """A tag that open_clip knows for it, such as ``laion2b_s34b_b79k``; also says how images are normalised."""
    checkpoint: Path | None
    """A local weights file of ``model``; or a folder as open_clip publishes them, whose configuration then says
    what the model is and how images are prepared."""


@dataclass(frozen=True, slots=True)
class ClipWeights:
    """A checkpoint that is on this machine."""

    settings: ClipSettings
    path: Path
    """The weights file."""
    config: Path | None
    """The configuration beside it, when a folder was given."""


@dataclass(frozen=True, slots=True)
class ClipTerms:
    """The licence under which weights are published, and who published them."""

    licence: str
    origin: str


def clip_terms(settings: ClipSettings) -> ClipTerms:
    """Return licence and publisher of the weights that ``settings`` name, without loading anything."""
    if settings.checkpoint is not None:
        return ClipTerms("not known: a local checkpoint", "local")
    unknown = "as its publisher states: read it first", "open_clip's list of models"
    return ClipTerms(*KNOWN_TERMS.get((settings.model, settings.pretrained), unknown))


def find_weights(settings: ClipSettings, *, folder: Path) -> ClipWeights | None:
    """Return the weights that ``settings`` mean: the given checkpoint, else what was pulled into ``folder``, else None.

    Raises :class:`WeightsError` for a checkpoint of an unsupported format.
    """
    if settings.checkpoint is None:
        pulled = _pulled(settings, folder)
        return ClipWeights(settings, pulled, None) if pulled else None
    if settings.checkpoint.is_dir():
        config = settings.checkpoint / CONFIG_NAME
        files = [settings.checkpoint / f"open_clip_model{suffix}" for suffix in SUFFIXES]
        found = next((file for file in files if file.is_file()), None)
        return ClipWeights(settings, found, config) if found and config.is_file() else None
    if not settings.checkpoint.is_file():
        return None
    if settings.checkpoint.suffix not in SUFFIXES:
        raise WeightsError(f"a CLIP checkpoint must be one of {', '.join(SUFFIXES)}")
    return ClipWeights(settings, settings.checkpoint, None)


def pull_weights(settings: ClipSettings, *, folder: Path) -> ClipWeights:
    """Download the weights of ``settings.pretrained`` into ``folder`` with open_clip's loader, unless they are there.

    Raises :class:`WeightsError` when open_clip does not know the tag or the download fails.
    """
    if found := find_weights(settings, folder=folder):
        return found
    if settings.checkpoint is not None:
        raise WeightsError("the local CLIP checkpoint is not there: correct its path, or unset it to download weights")
    from open_clip import pretrained  # type: ignore[import-untyped]

    source = pretrained.get_pretrained_cfg(settings.model, settings.pretrained)
    if not source:
        raise WeightsError("these CLIP weights cannot be downloaded: open_clip has no such model and tag")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        path = Path(pretrained.download_pretrained(source, cache_dir=str(folder)))
    except Exception as error:
        raise WeightsError(
            f"CLIP {settings.model} {settings.pretrained} could not be downloaded ({type(error).__name__}): "
            "check the connection to the model hub and repeat, or use a local checkpoint"
        ) from error
    if path.suffix not in SUFFIXES:
        raise WeightsError(f"the CLIP weights came as {path.suffix}, which is not read")
    _write_json(_record(settings, folder), {"path": os.path.relpath(path, folder)})
    return ClipWeights(settings, path, None)


def clip_model_id(weights: ClipWeights, *, folder: Path) -> str:
    """Return a short name for everything that decides which vectors come out, the same on every machine (I4).

    ``clip-<model>-<12 hex>``: a digest of architecture, tag, the files' SHA-256 and the preparation version. Whether a
    processor computes in bf16 or fp32 is no part of it: the cosine between the two is above 0.9999
    (``benchmarks/clip.py``). A file's digest is computed once and remembered in ``folder``, by path, inode, size and
    times.
    """
    name = "local" if weights.config else weights.settings.model
    parts = {
        "model": name,
        "tag": None if weights.config else weights.settings.pretrained,
        "files": [_digest(file, folder) for file in (weights.path, weights.config) if file],
        "preparation": CLIP_PREPARATION_VERSION,
    }
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return f"clip-{_slug(name)}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _pulled(settings: ClipSettings, folder: Path) -> Path | None:
    relative = _read_json(_record(settings, folder)).get("path")
    path = folder / relative if isinstance(relative, str) else None
    return path if path and path.is_file() else None


def _record(settings: ClipSettings, folder: Path) -> Path:
    """The file that records which weights file a download gave."""
    return folder / f"{_slug(settings.model)}--{_slug(settings.pretrained)}.json"


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)


def _digest(file: Path, folder: Path) -> str:
    stat = file.stat()
    # Inode and time of change as well: who replaces a file may keep its size and set its time of modification.
    key = json.dumps([str(file.resolve()), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns])
    known = _read_json(folder / _MEMO)
    if isinstance(digest := known.get(key), str):
        return digest
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    _write_json(folder / _MEMO, {**known, key: digest})
    return digest


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _write_json(file: Path, value: dict[str, Any]) -> None:
    """Write under a temporary name, then rename: readers see all of it or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=".clip-", delete=False, encoding="utf-8") as stream:
        json.dump(value, stream)
    Path(stream.name).replace(file)
