"""The list of concepts: a readable TOML file, and the heads that follow from it.

Knows no database and loads no model: it says which texts have to be encoded and, given their directions, gives the
matrices that :mod:`indexes.heads` works with. Two digests tell what a change costs: if that of the texts changes, the
text tower has to run again; if that of everything that decides a score changes, stored vectors have to be scored again.
Thresholds and levels are in neither.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pydantic
from pydantic import Field, TypeAdapter

from embeddings.content.clip_text import fill
from embeddings.errors import ConfigError
from embeddings.strict_toml import parse_toml, read_toml
from embeddings.types import Float32
from indexes.heads import Heads
from pipelines.settings.config import explain
from pipelines.settings.scanning import FORBID

SCORING_VERSION = 1
"""Part of every concepts id. Raise it whenever :mod:`indexes.heads` changes the scores that come out."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Prompt = Annotated[str, Field(min_length=1, max_length=300)]
Template = Annotated[str, Field(max_length=300, pattern=r"^[^{}]*\{\}[^{}]*$")]
Prompts = Annotated[tuple[Prompt, ...], Field(min_length=1, max_length=200)]
Templates = Annotated[tuple[Template, ...], Field(max_length=50)]


@dataclass(frozen=True, slots=True)
class NeutralSettings:
    """Something harmless that pictures show. Without templates of its own it takes the file's."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = FORBID
    prompts: Prompts
    templates: Templates = ()


@dataclass(frozen=True, slots=True)
class ConceptSettings:
    """One concept. ``against``: names of concepts or neutral entries; empty: all neutral ones."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = FORBID
    prompts: Prompts
    threshold: Annotated[float, Field(ge=-20, le=20)]
    weight: Annotated[float, Field(gt=0, le=10)] = 1.0
    templates: Templates = ()
    against: tuple[Name, ...] = ()
    frames: Literal["any", "all"] = "any"
    level: Literal["suggestive", "mature", "explicit"] | None = None


@dataclass(frozen=True, slots=True)
class ConceptsFile:
    """The file's schema."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = FORBID
    version: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
    templates: Annotated[tuple[Template, ...], Field(min_length=1, max_length=50)]
    neutral: Annotated[dict[Name, NeutralSettings], Field(min_length=1, max_length=200)]
    concepts: Annotated[dict[Name, ConceptSettings], Field(min_length=1, max_length=200)]


@dataclass(frozen=True, slots=True)
class ConceptList:
    """A loaded list. ``version`` is the file's own word for it."""

    settings: ConceptsFile

    @property
    def version(self) -> str:
        """The version that the file states."""
        return self.settings.version

    @property
    def names(self) -> tuple[str, ...]:
        """The concepts, in the file's order."""
        return tuple(self.settings.concepts)

    def texts(self) -> list[tuple[str, ...]]:
        """Return the texts to encode: one group per direction, the concepts' before the neutral ones."""
        entries: list[ConceptSettings | NeutralSettings] = [*self.settings.concepts.values()]
        entries += self.settings.neutral.values()
        return [fill(entry.templates or self.settings.templates, entry.prompts) for entry in entries]

    def texts_id(self, clip_model_id: str) -> str:
        """Return a digest of the texts and of the weights that encode them."""
        return _digest([clip_model_id, self.texts()])

    def concepts_id(self, clip_model_id: str) -> str:
        """Return a short name for everything that decides a score of a vector by these weights."""
        heads = [
            [name, entry.weight, sorted(self._against(entry)), entry.frames]
            for name, entry in self.settings.concepts.items()
        ]
        deciding = [SCORING_VERSION, clip_model_id, self.texts(), list(self.settings.neutral), heads]
        return f"concepts-{_digest(deciding)[:12]}"

    def heads(self, directions: Float32, *, model_id: str) -> Heads:
        """Return the matrices for :mod:`indexes.heads`, from the directions of :meth:`texts`, float32 (m, d)."""
        order = [*self.settings.concepts, *self.settings.neutral]
        entries = self.settings.concepts.values()
        return Heads(
            names=self.names,
            directions=directions,
            against=np.array([[name in self._against(entry) for name in order] for entry in entries], dtype=np.bool_),
            weights=np.array([entry.weight for entry in entries], dtype=np.float32),
            every_frame=np.array([entry.frames == "all" for entry in entries], dtype=np.bool_),
            model_id=model_id,
        )

    def present(self, scores: Mapping[str, float]) -> frozenset[str]:
        """Return the concepts whose score reaches their threshold. Names that the list does not have are passed
        over."""
        entries = self.settings.concepts
        return frozenset(name for name, score in scores.items() if name in entries and score >= entries[name].threshold)

    def _against(self, entry: ConceptSettings) -> tuple[str, ...]:
        return entry.against or tuple(self.settings.neutral)


@functools.cache
def _concepts_file() -> TypeAdapter[ConceptsFile]:
    return TypeAdapter(ConceptsFile)


def load_concepts(path: Path | None) -> ConceptList:
    """Return the list in ``path``, or the packaged one. Raises ``ConfigError`` saying which entry is wrong."""
    name = str(path) if path else "the packaged list of concepts"
    try:
        packaged = resources.files("pipelines.policy").joinpath("concepts.toml")
        entries = read_toml(path)[0] if path else parse_toml(packaged.read_bytes())
        settings = _concepts_file().validate_python(entries)
    except OSError as error:
        raise ConfigError(f"cannot read the list of concepts {name}: {error.strerror}") from error
    except pydantic.ValidationError as error:
        raise ConfigError(f"{name}: {explain(error)}") from None
    except ValueError as error:
        raise ConfigError(f"{name} is not valid TOML: {error}") from error
    if problem := _contradiction(settings):
        raise ConfigError(f"{name}: {problem}")
    return ConceptList(settings)


def _contradiction(settings: ConceptsFile) -> str | None:
    """A contradiction between entries, which the schema alone cannot see, or None."""
    if both := sorted(settings.concepts.keys() & settings.neutral.keys()):
        return f"neutral.{both[0]}: a concept has the same name"
    known = settings.concepts.keys() | settings.neutral.keys()
    for name, entry in settings.concepts.items():
        if unknown := sorted(set(entry.against) - known):
            return f"concepts.{name}.against: there is no entry {unknown[0]}"
        if name in entry.against:
            return f"concepts.{name}.against: a concept cannot stand against itself"
    return None


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()
