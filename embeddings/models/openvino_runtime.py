"""Running a network on OpenVINO, in float32 or bfloat16, one thread a call. Imported only when it is chosen.

Owns compiled models and their infer requests; knows no images or faces.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino

from embeddings.errors import WeightsError
from embeddings.types import Float32

HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoSession:
    """A :class:`embeddings.types.ModelSession` on OpenVINO's CPU plugin, for any number of worker threads.

    An infer request serves one thread at a time, and requests of one compiled model with one stream wait for each
    other. So every concurrent call has a compiled model of its own, made when first needed and then kept: as many as
    there are workers. Each has one stream and one thread, and is not pinned: pinned, two of them share a core.
    """

    def __init__(self, graph: bytes, *, precision: str) -> None:
        self._core = openvino.Core()
        self._options = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        self._lock = threading.Lock()
        self._idle: list[Any] = []
        try:
            self._model = self._core.read_model(graph)
            self._idle.append(self._new_request())
        except Exception as error:
            raise WeightsError(f"the runtime does not take the graph ({type(error).__name__})") from error

    def _new_request(self) -> Any:
        return self._core.compile_model(self._model, "CPU", self._options).create_infer_request()

    def run(self, inputs: Mapping[str, npt.NDArray[np.generic]]) -> list[Float32]:
        """Run the network and return its outputs in the order of the graph, copied out of the runtime's memory."""
        with self._lock:
            request = self._idle.pop() if self._idle else None
        if request is None:
            request = self._new_request()
        request.infer({name: np.ascontiguousarray(value) for name, value in inputs.items()}, share_inputs=True)
        outputs = [np.array(tensor.data, dtype=np.float32) for tensor in request.output_tensors]
        with self._lock:
            self._idle.append(request)
        return outputs

    def close(self) -> None:
        """Release the compiled models. A call of :meth:`run` after this is an error."""
        with self._lock:
            self._idle.clear()
        del self._model, self._core
