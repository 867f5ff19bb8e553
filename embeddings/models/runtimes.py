"""Which runtime and precision a network runs on: from what is installed and what the machine can do.

``auto`` takes what measured fastest within tolerance (``benchmarks/runtimes.py``): CUDA where there is a device;
OpenVINO in bfloat16 on a processor that computes it natively; ONNX Runtime in float32 otherwise. Every runtime gives
vectors of cosine at least ``MIN_COSINE`` to float32 on the CPU, and so the choice is no part of the model id: vectors
of one may be compared with those of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from embeddings.errors import WeightsError
from embeddings.models.runtime import CPU, CUDA, OnnxSession
from embeddings.types import ModelSession

RuntimeName = Literal["onnxruntime", "onnxruntime-cuda", "openvino"]
Precision = Literal["fp32", "bf16"]

MIN_COSINE = 0.998
"""Lowest cosine to the float32 vector of the same face at which a runtime may be used without a model id of its own."""


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """The runtime and the precision that the settings ask for."""

    runtime: RuntimeName | Literal["auto"]
    precision: Precision | Literal["auto"]


@dataclass(frozen=True, slots=True)
class Runtime:
    """The runtime and the precision that a network runs with."""

    name: RuntimeName
    precision: Precision

    def __str__(self) -> str:
        return f"{self.name} {self.precision}"


@dataclass(frozen=True, slots=True)
class Machine:
    """What is installed here, and what the hardware has."""

    openvino: bool
    cuda: bool
    """ONNX Runtime has the CUDA provider, and there is a device for it."""
    bf16: bool
    """The processor multiplies bfloat16 natively (AVX512_BF16 or AMX_BF16)."""


REFERENCE = RuntimeSettings("onnxruntime", "fp32")
"""The runtime that the others are compared with."""


def inspect_machine() -> Machine:
    """Look at what is installed and at the hardware. Loads ONNX Runtime only where there is a device to ask it for."""
    return Machine(
        openvino=find_spec("openvino") is not None,
        cuda=any(Path("/dev").glob("nvidia[0-9]*")) and _takes_cuda(),
        bf16=_computes_bf16(Path("/proc/cpuinfo")),
    )


def choose_runtime(settings: RuntimeSettings, machine: Machine) -> Runtime:
    """Return the runtime for ``settings`` on ``machine``. Raises :class:`WeightsError` for what cannot be had there."""
    name = settings.runtime
    if name == "auto":
        bf16 = settings.precision == "bf16" or (settings.precision == "auto" and machine.bf16)
        if machine.cuda and settings.precision != "bf16":
            name = "onnxruntime-cuda"
        else:
            name = "openvino" if machine.openvino and bf16 else "onnxruntime"
    if name == "openvino" and not machine.openvino:
        raise WeightsError("OpenVINO is not installed: pip install 'likeness[openvino]'")
    if name == "onnxruntime-cuda" and not machine.cuda:
        raise WeightsError("ONNX Runtime has no CUDA device here: install 'likeness[gpu]', check the driver")
    if name != "openvino":
        if settings.precision == "bf16":
            raise WeightsError(f'{name} computes in fp32 only: bf16 needs embedding.runtime = "openvino"')
        return Runtime(name, "fp32")
    # Where bf16 is emulated it is slower than fp32, so `auto` leaves it.
    precision: Precision = ("bf16" if machine.bf16 else "fp32") if settings.precision == "auto" else settings.precision
    return Runtime(name, precision)


def open_session(graph: bytes, runtime: Runtime) -> ModelSession:
    """Load a prepared graph. Raises :class:`WeightsError` when the runtime does not take it."""
    if runtime.name == "openvino":
        from embeddings.models.openvino_runtime import OpenVinoSession  # an extra: imported only where it was chosen

        return OpenVinoSession(graph, precision=runtime.precision)
    return OnnxSession(graph, provider=CUDA if runtime.name == "onnxruntime-cuda" else CPU)


def _takes_cuda() -> bool:
    import onnxruntime

    return CUDA in onnxruntime.get_available_providers()


def _computes_bf16(cpuinfo: Path) -> bool:
    try:
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return bool({"avx512_bf16", "amx_bf16"} & set(flags))
