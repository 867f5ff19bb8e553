"""Stored faces, probes and templates for benchmarks.search: made from a seed, block by block, kept sealed on disk.

Directions have a spectrum that falls off, as those of face networks do, so that two strangers score 0 +- 0.06 and not
the 0 +- 0.044 of pure noise at 512 dimensions. Each probe has mates among the stored faces, their scores spread around
0.62 with a tail below any threshold: some are hits, some are near it, some are missed by everyone.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from embeddings.types import Float32
from indexes.sealed import SealedEntry, SealedVectors, write_sealed

SHARD_ROWS = 1 << 17
MAX_PROBES = 64
MATES = 50
"""Mates of each probe per million stored faces."""
KEY = bytes(range(32))
MODEL = "benchmark"


@dataclass(frozen=True, slots=True)
class Population:
    """Where faces come from: a seed and a dimension."""

    seed: int
    dimension: int

    def people(self, count: int, *, stream: int) -> Float32:
        """``count`` strangers, unit float32 (count, dimension); another ``stream`` is another crowd."""
        random = np.random.default_rng([self.seed, stream])
        spread = (1.0 / (1.0 + np.arange(self.dimension) / (self.dimension / 2))).astype(np.float32)
        return _unit((random.standard_normal((count, self.dimension), dtype=np.float32) * spread) @ _rotation(self))

    def probes(self) -> Float32:
        """The ``MAX_PROBES`` people whom all searches look for, the first ones first."""
        return self.people(MAX_PROBES, stream=1)

    def with_mates(self, faces: Float32, targets: Float32, *, stream: int, share: float) -> Float32:
        """``faces`` with a ``share`` of them, for each target, replaced by other photographs of that target."""
        random = np.random.default_rng([self.seed, stream, 7])
        count = random.poisson(len(faces) * share * len(targets))
        rows = random.choice(len(faces), min(count, len(faces)), replace=False)
        score = np.clip(random.normal(0.62, 0.13, (len(rows), 1)), 0.1, 0.98).astype(np.float32)
        person = targets[random.integers(len(targets), size=len(rows))]
        other = faces[rows] - np.sum(faces[rows] * person, axis=1, keepdims=True) * person
        faces[rows] = _unit(score * person + np.sqrt(1 - score**2) * _unit(other))
        return faces


def stored_shards(folder: Path, population: Population, rows: int) -> list[SealedEntry]:
    """Seal ``rows`` faces into ``folder``, or take those that an earlier run left there."""
    entries = []
    for number, start in enumerate(range(0, rows, SHARD_ROWS)):
        count = min(SHARD_ROWS, rows - start)
        name = f"{population.seed}-{population.dimension}-{number}-{count}"
        described = folder / f"{name}.json"
        if not described.exists():
            faces = population.people(count, stream=100 + number)
            faces = population.with_mates(faces, population.probes(), stream=100 + number, share=MATES / 1e6)
            entry = write_sealed(
                folder,
                faces,
                shard_id=name,
                model_id=MODEL,
                key=KEY,
                vector_type="float16",
                before_rename=lambda: None,
            )
            described.write_text(json.dumps(asdict(entry) | {"salt": entry.salt.hex()}), encoding="utf-8")
        kept = json.loads(described.read_text(encoding="utf-8"))
        entries.append(SealedEntry(**kept | {"salt": bytes.fromhex(kept["salt"])}))
    return entries


def stored_vectors(shards: list[SealedVectors], *, start: int, stop: int) -> Iterator[Float32]:
    """The stored vectors of rows ``start`` to ``stop``, counted through all shards, a few thousand at a time."""
    offset = 0
    for shard in shards:
        low, high = max(start - offset, 0), min(stop - offset, shard.rows)
        for first in range(low, high, 8192):
            yield shard.vectors(np.arange(first, min(first + 8192, high)))
        offset += shard.rows


def _unit(vectors: Float32) -> Float32:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@functools.cache
def _rotation(population: Population) -> Float32:
    """Spreads what is uneven over all components: none stands out in the vectors of face networks either."""
    dimension = population.dimension
    rotation, _ = np.linalg.qr(np.random.default_rng(population.seed).standard_normal((dimension, dimension)))
    turned: Float32 = rotation.astype(np.float32)
    return turned
