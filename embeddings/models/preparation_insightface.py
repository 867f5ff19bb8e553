"""Graph preparation of insightface's files: SCRFD detectors and ArcFace recognisers as exported from PyTorch.

What is done to them changes no output by more than float32 rounding: constants become weights, the batch axis is freed,
BatchNorm is folded and PRelu replaced as in :mod:`embeddings.models.preparation`, and the input becomes uint8 RGB of
shape (n, height, width, 3) with the normalisation inside the graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embeddings.models.preparation import STRIDES, Weights, fold_batch_norm, replace_prelu, rewrite, take_pixels

if TYPE_CHECKING:
    import onnx

OUTPUT_WIDTHS = (1, 4, 10)
"""Numbers per anchor in SCRFD's outputs: score, box, landmarks."""
SCRFD_STD = 128.0
ARCFACE_STD = 127.5
MEAN = 127.5
FIRST_NODES = 8
"""An export that normalises by itself does so within so many nodes; insightface's ``ArcFaceONNX`` looks as far."""


def prepare_scrfd(original: bytes) -> bytes:
    """SCRFD with landmarks as published -> a graph from ``image`` uint8 RGB (n, h, w, 3) to nine outputs.

    They are scores, boxes and landmarks, each at strides 8, 16 and 32: float32 (n, h/stride, w/stride, 2 * k) with k
    of ``OUTPUT_WIDTHS``. Height and width must be multiples of 32. Raises :class:`WeightsError` if the graph is not
    the expected one.
    """
    return rewrite(original, _edit_scrfd)


def prepare_arcface(original: bytes) -> bytes:
    """ArcFace as published -> a graph from ``image`` uint8 RGB (n, 112, 112, 3) to ``embedding`` (n, d), unnormalised.

    Raises :class:`WeightsError` if the graph is not the expected one.
    """
    return rewrite(original, _edit_arcface)


def _edit_scrfd(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], weights: Weights) -> None:
    from onnx import TensorProto, helper

    from embeddings.faces.scrfd import ANCHORS

    _constants_to_weights(nodes, weights)
    names = [output.name for output in graph.output]
    if len(names) != len(STRIDES) * len(OUTPUT_WIDTHS):
        raise ValueError("expected nine outputs: a detector with landmarks")
    outputs = []
    for number, name in enumerate(names):
        width = ANCHORS * OUTPUT_WIDTHS[number // len(STRIDES)]
        stride = STRIDES[number % len(STRIDES)]
        _keep_map(nodes, name)
        shape = ["n", f"h_{stride}", f"w_{stride}", width]
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    fold_batch_norm(nodes, weights)
    _take_normalised(graph, nodes, weights, ("n", "h", "w", 3), std=SCRFD_STD)
    del graph.output[:]
    graph.output.extend(outputs)


def _keep_map(nodes: list[onnx.NodeProto], output: str) -> None:
    """Where ``output`` is a map (n, c, h, w) flattened to one row per anchor, make it (n, h, w, c), for any n."""
    from onnx import helper

    makers = {node.output[0]: node for node in nodes}
    node = makers[output]
    if node.op_type == "Sigmoid":
        node = makers[node.input[0]]
    transpose = makers[node.input[0]] if node.op_type == "Reshape" else node
    if node.op_type != "Reshape" or transpose.op_type != "Transpose":
        raise ValueError("expected outputs that end in Transpose and Reshape")
    nodes.remove(node)
    transpose.output[0] = node.output[0]
    del transpose.attribute[:]
    transpose.attribute.append(helper.make_attribute("perm", [0, 2, 3, 1]))


def _edit_arcface(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], weights: Weights) -> None:
    from onnx import TensorProto, helper

    _constants_to_weights(nodes, weights)
    first = [node.name for node in nodes[:FIRST_NODES]]
    normalises = _any_begins(first, "Sub", "_minus") and _any_begins(first, "Mul", "_mul")
    makers = {node.output[0]: node for node in nodes}
    for node in nodes:  # a flattening that was traced with a batch of one
        if node.op_type == "Reshape" and (shape := weights.get(node.input[1])) is not None and shape[0] == 1:
            weights[f"{node.output[0]}_shape"] = np.array([0, *shape[1:]], dtype=np.int64)
            node.input[1] = f"{node.output[0]}_shape"
    output = graph.output[0].name
    fold_batch_norm(nodes, weights)
    replace_prelu(nodes, weights)
    if len(graph.output) != 1 or output not in makers:
        raise ValueError("expected one output")
    last = next(node for node in nodes if node.output[0] == output)
    last.output[0] = "embedding"
    if normalises:
        take_pixels(graph, nodes, ("n", 112, 112, 3))
    else:
        _take_normalised(graph, nodes, weights, ("n", 112, 112, 3), std=ARCFACE_STD)
    dimension = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", dimension or "d"]))


def _any_begins(names: list[str], *beginnings: str) -> bool:
    return any(name.startswith(beginnings) for name in names)


def _constants_to_weights(nodes: list[onnx.NodeProto], weights: Weights) -> None:
    from onnx import numpy_helper

    for node in [node for node in nodes if node.op_type == "Constant"]:
        (value,) = (attribute.t for attribute in node.attribute if attribute.name == "value")
        weights[node.output[0]] = numpy_helper.to_array(value)
        nodes.remove(node)


def _take_normalised(
    graph: onnx.GraphProto, nodes: list[onnx.NodeProto], weights: Weights, shape: tuple[str | int, ...], *, std: float
) -> None:
    """Read uint8 pixels as :func:`take_pixels` does, and put (x - mean) / std between them and the network."""
    from onnx import helper

    name = graph.input[0].name
    weights["pixel_mean"] = np.array(MEAN, dtype=np.float32)
    weights["pixel_scale"] = np.array(1 / std, dtype=np.float32)
    nodes.insert(0, helper.make_node("Sub", ["pixels", "pixel_mean"], ["pixels_centred"]))
    nodes.insert(1, helper.make_node("Mul", ["pixels_centred", "pixel_scale"], [name]))
    graph.input[0].name = "pixels"
    take_pixels(graph, nodes, shape)
