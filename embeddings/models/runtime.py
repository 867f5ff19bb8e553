"""Running a network on ONNX Runtime, on its CPU or CUDA provider. Owns session options; knows no images or faces."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from embeddings.errors import WeightsError
from embeddings.types import Float32

ERRORS_ONLY = 3
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


class OnnxSession:
    """A :class:`embeddings.types.ModelSession` on ONNX Runtime.

    One session serves all worker threads: ``run`` may be called concurrently, computes on the calling thread alone
    (``intra_op=1``, nothing spins), and two threads sharing one session measured the same as one session each.
    ``provider`` CUDA raises :class:`WeightsError` where ONNX Runtime would quietly fall back to the CPU.
    """

    def __init__(self, graph: bytes, *, provider: str = CPU) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        # A memory plan is kept per input shape, and images come in all shapes: without it memory stays flat at no cost.
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = ERRORS_ONLY
        # TF32 rounds to 10 bits; float32 is what the other runtimes are compared with.
        providers: list[object] = [(CUDA, {"use_tf32": "0"}), CPU] if provider == CUDA else [CPU]
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=providers)
        except Exception as error:
            raise WeightsError(f"the runtime does not take the graph ({type(error).__name__})") from error
        if self._session.get_providers()[0] != provider:
            raise WeightsError(f'{provider} did not start: check the driver, or set embedding.runtime = "onnxruntime"')

    def run(self, inputs: Mapping[str, npt.NDArray[np.generic]]) -> list[Float32]:
        """Run the network on ``inputs`` by name, and return its outputs in the order of the graph."""
        outputs: list[Float32] = self._session.run(None, dict(inputs))
        return outputs

    def close(self) -> None:
        """Release the network. A call of :meth:`run` after this is an error."""
        del self._session
