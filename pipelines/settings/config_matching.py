"""The settings of the comparison of faces: the table ``[matching]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict

from pipelines.settings.scanning import FORBID, Unit


@dataclass(frozen=True, slots=True)
class MatchingConfig:
    """How faces are compared with references.

    ``index``: what finds the pairs, our own join or FAISS's flat index, which compares with every reference. They find
    the same, and each night the other one compares a part again (:mod:`pipelines.matching.second_engine`).
    ``references``: how subjects with more than four are compared (:mod:`indexes.clusters`). ``exact`` finds what
    comparing with every reference finds. ``centroids`` first compares with four centroids of a subject, and with its
    references where one scores within ``centroid_margin`` of the threshold: faster, but it misses some hits
    (benchmarks.templates), and what it missed counts as compared.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    index: Literal["join", "faiss"] = "join"
    references: Literal["exact", "centroids"] = "exact"
    centroid_margin: Unit = 0.1

    def margin(self) -> float | None:
        """Return the margin in the form that the gallery takes: None is exact."""
        return self.centroid_margin if self.references == "centroids" else None
