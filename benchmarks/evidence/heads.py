"""How long does it take to score a stored CLIP corpus anew when the list of concepts changes, and to search it?

    python -m benchmarks.evidence.heads [--vectors 1000000] [--dimension 512] [--looped 20000] [--seed 0] [--json]

A home with so many generated vectors in sealed content shards of 256, as sweeps leave them, each its content's and each
content a live item's. The directions of the packaged list are random too: no CLIP weights could be had here, and
neither speed nor correctness depends on what they mean.

Work "heads": `pipelines.scan.concepts.apply_concepts` from a list to another one, every step included: reading,
checking and opening the shards, the scores, and writing them to the database. ``first_seconds``: the same over a corpus
that has no scores yet, whose rows grow. Peers, over vectors that are in memory already and with nothing written:

- ``loop``: as the safety checker of Stable Diffusion works, a batch of 8 at a time: torch's cosines, then a Python loop
  over images and concepts that subtracts, rounds and keeps each score. Of ``--looped`` vectors, scaled.
- ``matmul``: one float32 numpy product per 65,536 vectors, with the margins: the least that can be had.

Work "search": `pipelines.scan.search.search_text` for the 20 nearest of everything. Peer: a numpy product over the
vectors in memory and `argpartition`.

``ratio``: the peer's seconds by ours; above 1 ours is faster. ``correct``: every stored score is that of a float64
product to the fourth decimal, and the search's items are the peer's. ``peak_mb``: of this process after all of our
work, before any peer had the vectors in memory. A run that is not correct exits with 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from rich.console import Console

from benchmarks.finish import finish
from benchmarks.machine import peak_mb
from benchmarks.rescan import item
from embeddings.types import Float32, vector_column
from indexes.heads import Heads
from pipelines.corpus.clip_manifest import insert_content_shard
from pipelines.database.tables import contents, items
from pipelines.home.content_models import content_schema
from pipelines.home.sealing import KeyFileWarning
from pipelines.home.workspace import Workspace, create_workspace
from pipelines.policy.concept_list import load_concepts
from pipelines.scan.concepts import apply_concepts, heads_for
from pipelines.scan.search import search_text
from pipelines.settings.environment import read_environment

Row = dict[str, Any]
MODEL = "clip-benchmark"
SHARD_CONTENTS = 256
BLOCK = 1 << 16
LOOP_BATCH = 8
NEAREST = 20
TOLERANCE = 0.5e-4 + 1e-6
"""Half of the last decimal that is kept, and what float32 adds."""


class RandomTower:
    """Weights that are at hand and give random directions, the same for the same text."""

    rating_model_id = None
    clip_model_id = MODEL
    clip_wanted = True

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.text_encoder = self

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Unit vectors float32 (n, dimension)."""
        seeds = [list(hashlib.sha256(text.encode()).digest()) for text in texts]
        return unit(np.stack([np.random.default_rng(seed).standard_normal(self.dimension) for seed in seeds]))


@dataclass(frozen=True, slots=True)
class Vectors:
    """Generated vectors, made anew whenever they are asked for, so that they need not be kept."""

    seed: int
    count: int
    dimension: int

    def shard(self, number: int) -> Float32:
        """The vectors of one shard, unit float32 (n, dimension)."""
        rows = min(SHARD_CONTENTS, self.count - number * SHARD_CONTENTS)
        random = np.random.default_rng([self.seed, number])
        return unit(random.standard_normal((rows, self.dimension), dtype=np.float32))

    def shards(self) -> range:
        """Numbers of all shards."""
        return range(-(-self.count // SHARD_CONTENTS))

    def everything(self) -> Float32:
        """All vectors in memory."""
        return np.concatenate([self.shard(number) for number in self.shards()])


def unit(vectors: Any) -> Float32:
    """Rows at unit length."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def digest(number: int) -> bytes:
    """The digest of the content of this vector."""
    return hashlib.sha256(str(number).encode()).digest()


def measure(vectors: Vectors, *, looped: int, folder: Path, say: Any) -> list[Row]:
    """Fill a home in ``folder``, run ours, then the peers; a row for each work."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KeyFileWarning)
        workspace = create_workspace(read_environment({}, home=folder / "home"))
    with workspace:
        workspace.content_models = RandomTower(vectors.dimension)  # type: ignore[assignment, misc]
        fill(workspace, vectors)
        say(f"{vectors.count:,} vectors sealed, peak {peak_mb():.0f} MB")
        first = timed(partial(apply_concepts, workspace))[1]
        use_other_list(workspace)
        counts, ours = timed(partial(apply_concepts, workspace))
        say(f"scored in {first:.1f} s, anew in {ours:.1f} s")
        found, searching = timed(partial(search_text, workspace, "anything", limit=NEAREST, actor="benchmark"))
        peak = peak_mb()
        heads = heads_for(workspace, MODEL)
        if heads is None:
            raise RuntimeError("there are no heads")
        correct = counts.scored == vectors.count and all(is_correct(part, heads) for part in stored(workspace, vectors))
        query = workspace.content_models.text_encoder.encode_texts(["anything"])[0]
    in_memory = vectors.everything()
    loop = timed(partial(safety_checker, in_memory[:looped], heads))[1] * vectors.count / min(looped, vectors.count)
    matmul = timed(partial(bare_product, in_memory, heads))[1]
    nearest, bare_search = timed(partial(nearest_in_memory, in_memory, query))
    same = [one.item_id for one in found.found] == [f"item-{row:09}" for row in nearest]
    common = {"vectors": vectors.count, "dimension": vectors.dimension, "peak_mb": peak}
    return [
        {
            "work": "heads",
            **common,
            "concepts": len(heads.names),
            "seconds": round(ours, 2),
            "first_seconds": round(first, 2),
            "per_second": round(vectors.count / ours),
            "loop_seconds": round(loop, 2),
            "ratio_loop": round(loop / ours, 2),
            "matmul_seconds": round(matmul, 2),
            "ratio_matmul": round(matmul / ours, 4),
            "correct": correct,
        },
        {
            "work": "search",
            **common,
            "seconds": round(searching, 2),
            "per_second": round(vectors.count / searching),
            "matmul_seconds": round(bare_search, 3),
            "ratio_matmul": round(bare_search / searching, 4),
            "correct": same and found.contents_searched == vectors.count,
        },
    ]


def fill(workspace: Workspace, vectors: Vectors) -> None:
    """Write and list the shards, with their contents and items."""
    now, tables = workspace.now(), []
    for number in vectors.shards():
        part, shard_id = vectors.shard(number), hashlib.sha256(f"shard {number}".encode()).hexdigest()[:32]
        digests = [digest(number * SHARD_CONTENTS + at) for at in range(len(part))]
        columns = [pa.array(digests, type=pa.binary(32)), pa.array([0] * len(part), pa.int32()), vector_column(part)]
        entry = workspace.content_corpus.write(
            pa.Table.from_arrays(columns, schema=content_schema(vectors.dimension)),
            shard_id=shard_id,
            model_id=MODEL,
            dimension=vectors.dimension,
            key=workspace.sealer.shard_key(shard_id),
            before_rename=lambda: None,
        )
        tables.append((entry, [one.hex() for one in digests], number * SHARD_CONTENTS))
        if len(tables) == 16 or number == vectors.shards()[-1]:
            with workspace.database.write() as tx:
                for entry, names, start in tables:
                    insert_content_shard(tx, workspace.sealer, entry, now=now)
                    described = {"status": "described", "attempts": 0, "clip_model_id": MODEL, "described_at": now}
                    tx.execute(
                        sa.insert(contents),
                        [described | {"content_sha256": name, "clip_shard_id": entry.shard_id} for name in names],
                    )
                    ids = ((f"item-{start + at:09}", name) for at, name in enumerate(names))
                    tx.execute(sa.insert(items), [item(workspace, one, name, "none") for one, name in ids])
            tables = []


def use_other_list(workspace: Workspace) -> None:
    """Put a list in force that asks for every concept in other words."""
    listed = load_concepts(None)
    settings = replace(listed.settings, templates=("{}", "a picture that shows {}"))
    workspace.concept_list = replace(listed, settings=settings)  # type: ignore[misc]


def stored(workspace: Workspace, vectors: Vectors) -> Iterator[tuple[Float32, Float32]]:
    """Each shard's vectors with the scores in the database."""
    for number in vectors.shards():
        part = vectors.shard(number)
        names = [digest(number * SHARD_CONTENTS + at).hex() for at in range(len(part))]
        query = sa.select(contents.c.content_sha256, contents.c.concepts).where(contents.c.content_sha256.in_(names))
        with workspace.database.read() as connection:
            found = {row.content_sha256: list(json.loads(row.concepts).values()) for row in connection.execute(query)}
        yield part, np.array([found[name] for name in names], dtype=np.float32)


def is_correct(part: tuple[Float32, Float32], heads: Heads) -> bool:
    """Whether scores are what the definition gives, written out here once more."""
    vectors, scores = part
    cosines = vectors.astype(np.float64) @ heads.directions.astype(np.float64).T
    for number, against in enumerate(heads.against):
        wanted = heads.weights[number] * (cosines[:, number] - cosines[:, against].max(axis=1))
        if np.abs(wanted - scores[:, number]).max() > TOLERANCE:
            return False
    return True


def safety_checker(vectors: Float32, heads: Heads) -> list[dict[int, float]]:
    """Scores a batch at a time, in a loop over images and concepts."""
    import torch

    torch.set_num_threads(1)  # two only wait for each other over a product this small
    directions = torch.nn.functional.normalize(torch.from_numpy(heads.directions))
    margins = [np.flatnonzero(against).tolist() for against in heads.against]
    kept = []
    for start in range(0, len(vectors), LOOP_BATCH):
        images = torch.nn.functional.normalize(torch.from_numpy(vectors[start : start + LOOP_BATCH]))
        for cosines in torch.mm(images, directions.t()).tolist():
            scores: dict[int, float] = {}
            for number, against in enumerate(margins):
                scores[number] = round(cosines[number] - max(cosines[other] for other in against), 4)
            kept.append(scores)
    return kept


def bare_product(vectors: Float32, heads: Heads) -> Float32:
    """All scores in float32, nothing checked and nothing written."""
    scores = np.empty((len(vectors), len(heads.names)), dtype=np.float32)
    for start in range(0, len(vectors), BLOCK):
        cosines = vectors[start : start + BLOCK] @ heads.directions.T
        for number, against in enumerate(heads.against):
            scores[start : start + BLOCK, number] = cosines[:, number] - cosines[:, against].max(axis=1)
    return scores


def nearest_in_memory(vectors: Float32, query: Float32) -> list[int]:
    """Rows of the nearest vectors, nearest first."""
    scores = vectors @ query
    some = np.argpartition(-scores, min(NEAREST, len(scores) - 1))[:NEAREST]
    return [int(row) for row in some[np.argsort(-scores[some])]]


def timed(work: Any) -> tuple[Any, float]:
    """Result and seconds of a call."""
    started = time.perf_counter()
    return work(), time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.evidence.heads", description="Concept scores made anew.")
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--looped", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the rows as one JSON object on the last line")
    options = parser.parse_args(arguments)
    say = partial(Console(stderr=True).print, highlight=False)
    with tempfile.TemporaryDirectory(prefix="likeness-heads-") as folder:
        vectors = Vectors(options.seed, options.vectors, options.dimension)
        rows = measure(vectors, looped=options.looped, folder=Path(folder), say=say)
    return finish(rows, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
