"""Graph preparation: from the block-quantised files of the OpenCV zoo to graphs that ONNX Runtime runs fast.

Owns the rewriting of ONNX graphs. Knows nothing of where files come from or where prepared ones are kept.

The files as published have opset-21 block quantisation (which no CPU runtime here runs), list their weights as graph
inputs and fix the batch to 1. What is done to them changes no output by more than float32 rounding:

- weights are dequantised, and the batch axis (for the detector also height and width) is freed;
- BatchNorm is folded into the Conv or Gemm before it;
- PRelu becomes ``p*x + q*relu(x)`` in two 1x1 depthwise convolutions. ONNX Runtime has no blocked (NCHWc) PRelu, so
  each one cost two layout changes and a slow loop: 70% of the recogniser's time, 22.6 ms a face before, 7.4 ms after;
- the detector's twelve outputs are merged into one 16-channel map per stride (12% faster, and a score mask can be
  applied before anything else is computed);
- the input becomes uint8 RGB of shape (n, height, width, 3), so that callers hand over pixels as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from embeddings.errors import WeightsError

if TYPE_CHECKING:
    import onnx

PREPARATION_VERSION = 1
"""Part of every model id. Raise it whenever preparation, detection or alignment changes the vectors that come out."""

STRIDES = (8, 16, 32)
"""Cell sizes of the YuNet detector, in pixels."""

Array = npt.NDArray[Any]
Weights = dict[str, Array]


def prepare_yunet(original: bytes) -> bytes:
    """YuNet 2023mar as published -> a graph from ``image`` uint8 RGB (n, h, w, 3) to one head per stride.

    A head, ``head_8`` to ``head_32``, is float32 (n, 16, h/stride, w/stride): class and object logits, four box and ten
    landmark terms. Height and width must be multiples of 32. Raises :class:`WeightsError` if the graph is not the
    expected one.
    """
    return rewrite(original, _edit_yunet)


def prepare_sface(original: bytes) -> bytes:
    """SFace 2021dec as published -> a graph from ``image`` uint8 RGB (n, 112, 112, 3) to ``embedding`` (n, 128).

    The embedding is not normalised. Raises :class:`WeightsError` if the graph is not the expected one.
    """
    return rewrite(original, _edit_sface)


def dequantise(model: onnx.ModelProto) -> tuple[list[onnx.NodeProto], Weights]:
    """Return the nodes of ``model`` that compute, and its weights as arrays, block-quantised ones as float32.

    A scale and a zero point cover ``block_size`` consecutive elements along ``axis`` (ONNX DequantizeLinear, opset 21).
    """
    from onnx import numpy_helper

    weights: Weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            weights[node.output[0]] = _dequantised(node, weights)
        elif node.op_type == "Reshape" and node.input[0] in weights:
            weights[node.output[0]] = weights[node.input[0]].reshape(weights[node.input[1]].astype(np.int64))
        else:
            nodes.append(node)
    return nodes, weights


def _dequantised(node: onnx.NodeProto, weights: Weights) -> Array:
    attributes = _attributes(node)
    quantised, scale, zero = (weights[name] for name in node.input)
    axis, block = attributes["axis"], attributes["block_size"]
    if not block:
        raise ValueError("expected block quantisation")
    length = quantised.shape[axis]
    spread = [np.repeat(part, block, axis=axis).take(range(length), axis=axis) for part in (scale, zero)]
    return (quantised.astype(np.float32) - spread[1].astype(np.float32)) * spread[0].astype(np.float32)


def rewrite(original: bytes, edit: Callable[[onnx.GraphProto, list[onnx.NodeProto], Weights], None]) -> bytes:
    """Dequantise, let ``edit`` change nodes and weights in place, and serialise what is left."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import numpy_helper

    try:
        model = onnx.load_from_string(original)
        nodes, weights = dequantise(model)
        graph = model.graph
        edit(graph, nodes, weights)
        used = {name for node in nodes for name in node.input}
        kept = [
            numpy_helper.from_array(np.ascontiguousarray(weights[name]), name) for name in sorted(used & set(weights))
        ]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(nodes)
        graph.initializer.extend(kept)
        onnx.checker.check_model(model)
    except (DecodeError, KeyError, IndexError, ValueError, TypeError, onnx.checker.ValidationError) as error:
        raise WeightsError(
            f"the graph is not the one this preparation was written for ({type(error).__name__})"
        ) from error
    return bytes(model.SerializeToString(deterministic=True))


def _edit_yunet(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], weights: Weights) -> None:
    first = next(node for node in nodes if node.op_type == "Conv")
    weights[first.input[1]] = weights[first.input[1]][:, ::-1]  # published for BGR
    outputs = [_merge_heads(nodes, weights, stride) for stride in STRIDES]
    take_pixels(graph, nodes, ("n", "h", "w", 3))
    del graph.output[:]
    graph.output.extend(outputs)


def _edit_sface(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], weights: Weights) -> None:
    from onnx import TensorProto, helper

    fold_batch_norm(nodes, weights)
    if nodes[-1].op_type != "Gemm":
        raise ValueError("expected a fully connected last layer")
    replace_prelu(nodes, weights)
    take_pixels(graph, nodes, ("n", 112, 112, 3))
    nodes[-1].output[0] = "embedding"
    dimension = weights[nodes[-1].input[1]].shape[0]
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", dimension]))


def take_pixels(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], shape: tuple[str | int, ...]) -> None:
    """Make the graph read ``image`` uint8 (n, h, w, 3) where it read float32 (n, 3, h, w)."""
    from onnx import TensorProto, helper

    name = graph.input[0].name
    nodes.insert(0, helper.make_node("Cast", ["image"], ["image_float"], to=TensorProto.FLOAT))
    nodes.insert(1, helper.make_node("Transpose", ["image_float"], [name], perm=[0, 3, 1, 2]))
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info("image", TensorProto.UINT8, list(shape)))


def fold_batch_norm(nodes: list[onnx.NodeProto], weights: Weights) -> None:
    """Fold every BatchNormalization whose input is only used by it into the Conv or Gemm that makes that input."""
    makers = {node.output[0]: node for node in nodes}
    uses = [name for node in nodes for name in node.input]
    for norm in [node for node in nodes if node.op_type == "BatchNormalization"]:
        maker = makers.get(norm.input[0])
        if maker is None or maker.op_type not in ("Conv", "Gemm") or uses.count(norm.input[0]) != 1:
            continue
        gamma, beta, mean, variance = (weights[name].astype(np.float64) for name in norm.input[1:5])
        scale = gamma / np.sqrt(variance + _attributes(norm)["epsilon"])
        weight = weights[maker.input[1]]
        if maker.op_type == "Gemm" and not _attributes(maker).get("transB"):
            raise ValueError("expected Gemm weights of shape (outputs, inputs)")
        bias = weights[maker.input[2]].astype(np.float64) if len(maker.input) > 2 else np.zeros_like(scale)
        folded, shift = f"{maker.output[0]}_weight", f"{maker.output[0]}_bias"
        weights[folded] = (weight * scale.reshape([-1] + [1] * (weight.ndim - 1))).astype(np.float32)
        weights[shift] = (bias * scale + beta - mean * scale).astype(np.float32)
        del maker.input[1:]
        maker.input.extend([folded, shift])
        maker.output[0] = norm.output[0]
        nodes.remove(norm)


def replace_prelu(nodes: list[onnx.NodeProto], weights: Weights) -> None:
    """Replace each per-channel PRelu of slope a by ``a*x + relu((1-a)*x)``; where some a > 1, the sum of ``a*x`` and
    ``(1-a)*relu(x)``.
    """
    from onnx import helper

    for at in range(len(nodes) - 1, -1, -1):
        node = nodes[at]
        if node.op_type != "PRelu":
            continue
        source, result = node.input[0], node.output[0]
        slope = weights[node.input[1]].reshape(-1, 1, 1, 1).astype(np.float32)
        weights[f"{result}_slope"], weights[f"{result}_rest"] = slope, np.float32(1) - slope
        group = {"group": slope.shape[0], "kernel_shape": [1, 1]}
        names = [f"{result}_{part}" for part in ("scaled", "first", "positive")]
        if slope.max() <= 1:  # the Relu then fuses into the convolution: one pass over memory less
            positive = [
                helper.make_node("Conv", [source, f"{result}_rest"], [names[1]], **group),
                helper.make_node("Relu", [names[1]], [names[2]]),
            ]
        else:
            positive = [
                helper.make_node("Relu", [source], [names[1]]),
                helper.make_node("Conv", [names[1], f"{result}_rest"], [names[2]], **group),
            ]
        nodes[at : at + 1] = [
            *positive,
            helper.make_node("Conv", [source, f"{result}_slope"], [names[0]], **group),
            helper.make_node("Add", [names[0], names[2]], [result]),
        ]


def _merge_heads(nodes: list[onnx.NodeProto], weights: Weights, stride: int) -> onnx.ValueInfoProto:
    """Replace the four heads of ``stride`` (cls, obj, bbox, kps; each 1x1 then 3x3 depthwise) by one of 16 channels."""
    from onnx import TensorProto, helper

    makers = {node.output[0]: node for node in nodes}
    inner, outer = [], []
    for kind in ("cls", "obj", "bbox", "kps"):
        node = makers[f"{kind}_{stride}"]
        while node.op_type != "Conv":
            nodes.remove(node)
            node = makers[node.input[0]]
        outer.append(node)
        inner.append(makers[node.input[0]])
    for node in inner + outer:
        nodes.remove(node)
    names = [f"head_{stride}_{part}" for part in ("inner", "inner_weight", "inner_bias", "outer_weight", "outer_bias")]
    weights[names[1]] = np.concatenate([weights[node.input[1]] for node in inner])
    weights[names[2]] = np.concatenate([weights[node.input[2]] for node in inner])
    weights[names[3]] = np.concatenate([weights[node.input[1]] for node in outer])
    weights[names[4]] = np.concatenate([weights[node.input[2]] for node in outer])
    source, channels = inner[0].input[0], weights[names[3]].shape[0]
    nodes.append(helper.make_node("Conv", [source, *names[1:3]], [names[0]], kernel_shape=[1, 1]))
    outer_inputs = [names[0], *names[3:5]]
    shape = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "group": channels}
    nodes.append(helper.make_node("Conv", outer_inputs, [f"head_{stride}"], **shape))
    size = ["n", channels, f"h_{stride}", f"w_{stride}"]
    return helper.make_tensor_value_info(f"head_{stride}", TensorProto.FLOAT, size)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
