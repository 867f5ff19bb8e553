"""A pack of one's own: a folder with ``pack.toml`` and the files it names.

::

    name = "our-faces"                # small letters, digits, - and _
    dimension = 512
    licence = "Apache-2.0"
    non_commercial = false            # true: refused until the terms are accepted
    terms = ""                        # shown by `likeness models licence`; may be left out

    [detector]
    kind = "scrfd"                    # or "yunet"; "yunet" without a file takes the one of opencv-zoo
    file = "detector.onnx"
    sha256 = "..."                    # may be left out; given, the file must match

    [recognizer]
    kind = "arcface"                  # or "sface"
    file = "recogniser.onnx"

The model id is made of the files' digests, stated or computed, so another file is another model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pydantic
from pydantic import ConfigDict, Field, TypeAdapter

from embeddings.errors import WeightsError
from embeddings.models.preparation import prepare_sface, prepare_yunet
from embeddings.models.preparation_insightface import prepare_arcface, prepare_scrfd
from embeddings.models.weights import DetectorKind, ModelFile, Pack
from embeddings.strict_toml import read_toml

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_FORBID = ConfigDict(extra="forbid")
PREPARE: dict[str, Callable[[bytes], bytes]] = {
    "yunet": prepare_yunet,
    "scrfd": prepare_scrfd,
    "sface": prepare_sface,
    "arcface": prepare_arcface,
}


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of a local pack."""

    path: Path

    def read(self, folder: Path | None = None) -> bytes:
        """Return the file's bytes. Raises :class:`WeightsError` when it cannot be read."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise WeightsError(f"the local pack's {self.path.name} cannot be read ({error.strerror})") from error


@dataclass(frozen=True, slots=True)
class DetectorEntry:
    """``[detector]`` of the file."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    kind: DetectorKind
    file: FileName | None = None
    sha256: Digest | None = None


@dataclass(frozen=True, slots=True)
class RecognizerEntry:
    """``[recognizer]`` of the file."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    kind: Literal["arcface", "sface"]
    file: FileName
    sha256: Digest | None = None


@dataclass(frozen=True, slots=True)
class PackFile:
    """The file's schema."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
    dimension: Annotated[int, Field(gt=0, le=4096)]
    licence: Annotated[str, Field(min_length=1)]
    non_commercial: bool
    detector: DetectorEntry
    recognizer: RecognizerEntry
    terms: str = ""


def read_local_pack(folder: Path, *, known: Mapping[str, Pack]) -> Pack:
    """Return the pack in ``folder``. Raises :class:`WeightsError` naming what is wrong.

    ``known``: the packs whose names are refused, and whose detectors the pack may use.
    """
    try:
        stated = TypeAdapter(PackFile).validate_python(read_toml(folder / "pack.toml")[0])
    except OSError as error:
        raise WeightsError(f"pack.toml of the local pack cannot be read ({error.strerror})") from error
    except pydantic.ValidationError as error:
        where = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise WeightsError(f"pack.toml of the local pack: {where}") from None
    except ValueError as error:
        raise WeightsError(f"pack.toml of the local pack is not valid TOML: {error}") from error
    if stated.name in known:
        raise WeightsError(f"a local pack cannot be called {stated.name}: that name has published thresholds and files")
    detector, recognizer = stated.detector, stated.recognizer
    if detector.file is None and detector.kind != "yunet":
        raise WeightsError(f"pack.toml of the local pack: detector.file is needed for {detector.kind}")
    return Pack(
        name=stated.name,
        detector=_file(folder, detector.kind, detector.file, detector.sha256, stated.licence)
        if detector.file
        else known["opencv-zoo"].detector,
        recognizer=_file(folder, recognizer.kind, recognizer.file, recognizer.sha256, stated.licence),
        dimension=stated.dimension,
        detector_kind=detector.kind,
        terms=stated.terms,
        non_commercial=stated.non_commercial,
    )


def _file(folder: Path, kind: str, name: str, sha256: str | None, licence: str) -> ModelFile:
    source = LocalFile(folder / name)
    digest = sha256 or hashlib.sha256(source.read()).hexdigest()
    return ModelFile(name, source, digest, licence, origin="local", prepare=PREPARE[kind])
