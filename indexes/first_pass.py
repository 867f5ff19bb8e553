"""The first pass: products of int8 codes, exact whole numbers, by the fastest way this machine has.

NumKong multiplies int8 with VNNI (or its like on Arm) and releases the interpreter, so blocks run on threads. Where it
is missing or has no such instructions, the codes are widened and multiplied by BLAS: products of codes and their sums
are whole numbers below 2**24 up to dimension 1040, which float32 holds exactly, and float64 beyond. Both give the same
numbers; :func:`choose_kernel` picks once, by what the processor can do and by a trial product.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from embeddings.types import Float32, check_unit
from indexes.quantise import LEVELS, Int8, quantise_unit

EXACT_IN_FLOAT32 = (1 << 24) // LEVELS**2
"""Largest dimension whose products of codes are all below 2**24."""
DOT_INSTRUCTIONS = ("icelake", "alder", "sierra", "sapphireamx", "neonsdot", "svesdot", "sme", "rvv")
"""NumKong's names for instruction sets with an int8 dot product."""

Products = npt.NDArray[Any]
"""(n, q), int32 or a float type that holds whole numbers exactly."""


class Scratch:
    """Memory for one thread's products, kept from block to block: fresh pages cost more than the products."""

    def __init__(self) -> None:
        self._memory = np.empty(0, dtype=np.int32)
        self.address = 0

    def int32(self, rows: int, columns: int) -> npt.NDArray[np.int32]:
        """Uninitialised (rows, columns), valid until the next call; it begins at ``address``."""
        if rows * columns > len(self._memory):
            self._memory = np.empty(rows * columns, dtype=np.int32)
            self.address = int(self._memory.ctypes.data)
        return self._memory[: rows * columns].reshape(rows, columns)


class Kernel(Protocol):
    """Multiplies codes. Safe to call from several threads with different buffers."""

    name: str
    threads: bool
    """Whether several threads gain anything; False: one call already uses all cores."""
    probes_per_pack: int
    """Most probes to multiply at once."""

    def pack(self, codes: Int8) -> Any:
        """Prepare codes (q, d) of probes for any number of :meth:`products`."""
        ...

    def products(self, codes: Int8, packed: Any, scratch: Scratch) -> Products:
        """Inner products of codes (n, d) with the packed ones: (n, q), in ``scratch`` where it fits."""
        ...


class NumKongKernel:
    """int8 by NumKong, 7.8: https://github.com/ashvardanian/NumKong."""

    name = "numkong"
    threads = True
    probes_per_pack = 128  # a block's products then stay near the core; more gain nothing

    def __init__(self) -> None:
        import numkong

        self._library = numkong

    def pack(self, codes: Int8) -> Any:
        """Return a copy in NumKong's own layout."""
        return self._library.dots_pack(np.ascontiguousarray(codes), dtype="int8"), len(codes)

    def products(self, codes: Int8, packed: Any, scratch: Scratch) -> Products:
        """int32 (n, q)."""
        matrix, columns = packed
        out = scratch.int32(len(codes), columns)
        tensor = self._library.from_pointer(scratch.address, out.shape, "int32", owner=out)
        self._library.dots_packed(codes, matrix, out=tensor)
        return out


class BlasKernel:
    """The same whole numbers by a float matrix product, on any processor."""

    name = "blas"
    threads = False
    probes_per_pack = 1024  # the codes are widened once per pack

    def pack(self, codes: Int8) -> Any:
        """Return the codes widened and transposed."""
        return codes.astype(np.float32 if codes.shape[1] <= EXACT_IN_FLOAT32 else np.float64).T

    def products(self, codes: Int8, packed: Any, scratch: Scratch) -> Products:
        """float32 or float64 (n, q)."""
        if packed.dtype != np.float32:
            wide: Products = codes.astype(packed.dtype) @ packed
            return wide
        out = scratch.int32(len(codes), packed.shape[1]).view(np.float32)
        return np.matmul(codes.astype(np.float32), packed, out=out)


@functools.cache
def choose_kernel() -> Kernel:
    """Return the kernel of this machine: NumKong where it multiplies int8 in hardware and agrees with BLAS, else
    BLAS."""
    try:
        kernel = NumKongKernel()
        has = kernel._library.get_capabilities()
    except ImportError:
        return BlasKernel()
    if not any(has.get(name, False) for name in DOT_INSTRUCTIONS) or not agree(kernel, BlasKernel()):
        return BlasKernel()
    return kernel


def agree(one: Kernel, other: Kernel) -> bool:
    """Whether two kernels give the same products of codes at their extremes."""
    rows, columns, dimension = 33, 17, 130
    random = np.random.default_rng(0)
    codes = random.integers(-LEVELS, LEVELS + 1, (rows, dimension), dtype=np.int8)
    probes = random.integers(-LEVELS, LEVELS + 1, (columns, dimension), dtype=np.int8)
    codes[0], probes[0], probes[1] = LEVELS, LEVELS, -LEVELS
    found = [k.products(codes, k.pack(probes), Scratch()) for k in (one, other)]
    return bool(np.array_equal(found[0], found[1]))


def available_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Probes:
    """The side of a join that is held whole: unit vectors float32 (q, d), and their codes packed for ``kernel``."""

    vectors: Float32 = field(repr=False)
    kernel: Kernel
    packs: tuple[tuple[int, Any], ...]
    """First probe of each pack, and the pack."""
    scale: float
    residual: float

    def __len__(self) -> int:
        return int(self.vectors.shape[0])


def pack_probes(vectors: Float32, *, kernel: Kernel | None = None) -> Probes:
    """Quantise and pack unit vectors float32 (q, d). Raises :class:`VectorError` for others (I4)."""
    check_unit(vectors)
    kernel = kernel or choose_kernel()
    codes = quantise_unit(vectors)
    size = kernel.probes_per_pack
    packs = tuple((start, kernel.pack(codes.codes[start : start + size])) for start in range(0, len(codes), size))
    worst = codes.worst() if len(codes) else None
    return Probes(
        vectors=vectors,
        kernel=kernel,
        packs=packs,
        scale=worst.scale if worst else 1.0,
        residual=worst.residual if worst else 0.0,
    )
