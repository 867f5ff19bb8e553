"""Networks of the architecture and tensor layout of insightface's, with seeded random weights, as ONNX files.

The real weights need a download and forbid most uses. Time depends on the architecture alone; and whatever one side
computes from such a file, the other must compute as well. Follows the published configurations: SCRFD-10G (stem of
three convolutions, BasicBlocks, PAFPN, stacked heads with nine outputs) and IResNet (BatchNorm, convolution, PRelu).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[np.float32]
LANDMARKS = np.array([[-0.9, -0.8], [0.9, -0.8], [0.0, 0.2], [-0.7, 1.1], [0.7, 1.1]], dtype=np.float32)
"""Where a random detector puts landmarks, in box half sides from the anchor: a face upright."""


@dataclass(frozen=True, slots=True)
class ScrfdSize:
    """Channels of the stem, of the stages at strides 4 to 32, blocks of each, of the pyramid and of the heads."""

    stem: int
    stages: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int]
    pyramid: int
    head: int
    head_layers: int


@dataclass(frozen=True, slots=True)
class ArcFaceSize:
    """Channels and blocks of the four stages, and the embedding's dimension."""

    stages: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int]
    dimension: int = 512


DET_10G = ScrfdSize(28, (56, 88, 88, 224), (3, 4, 2, 3), 56, 80, 3)
SMALL_DETECTOR = ScrfdSize(8, (8, 16, 16, 24), (1, 1, 1, 1), 16, 16, 1)
R50 = ArcFaceSize((64, 128, 256, 512), (3, 4, 14, 3))
SMALL_RECOGNISER = ArcFaceSize((8, 16, 24, 32), (1, 1, 1, 1))


@dataclass(slots=True)
class Builder:
    """Adds layers with random weights to a graph; a layer's answer is the name of its output."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    names: int = 0

    def name(self) -> str:
        """A name that is not taken."""
        self.names += 1
        return str(self.names)

    def weight(self, value: npt.NDArray[np.generic]) -> str:
        """Keep an array; the answer is its name."""
        name = f"w{self.name()}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: object) -> str:
        """Any operation with one output."""
        output = self.name()
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=f"{kind}_{output}", **attributes))
        return output

    def conv(self, x: str, into: int, out: int, kernel: int, stride: int = 1, *, gain: float = 1.0) -> str:
        """A convolution without bias that keeps the activations' variance (times ``gain`` squared) under a Relu."""
        spread = gain * np.sqrt(2 / (into * kernel * kernel))
        weight = self.rng.normal(0, spread, (out, into, kernel, kernel)).astype(np.float32)
        bias = np.zeros(out, dtype=np.float32)
        pads = [kernel // 2] * 4
        attributes = {"kernel_shape": [kernel, kernel], "strides": [stride, stride], "pads": pads}
        return self.node("Conv", x, self.weight(weight), self.weight(bias), **attributes)

    def norm(self, x: str, channels: int) -> str:
        """A BatchNorm with random statistics."""
        values = [
            self.rng.uniform(0.8, 1.2, channels),
            self.rng.normal(0, 0.1, channels),
            self.rng.normal(0, 0.1, channels),
            self.rng.uniform(0.8, 1.2, channels),
        ]
        parameters = [self.weight(value.astype(np.float32)) for value in values]
        return self.node("BatchNormalization", x, *parameters, epsilon=1e-5)

    def prelu(self, x: str, channels: int) -> str:
        """A PRelu with a slope per channel."""
        return self.node("PRelu", x, self.weight(self.rng.uniform(0, 0.4, (channels, 1, 1)).astype(np.float32)))

    def reshape(self, x: str, *shape: int) -> str:
        """A Reshape to constant sizes."""
        return self.node("Reshape", x, self.weight(np.array(shape, dtype=np.int64)))

    def file(self, input_shape: list[object], outputs: list[tuple[str, list[object]]]) -> bytes:
        """The finished network, opset 11 as insightface exports, its input called ``input.1``."""
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, input_shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())


def scrfd_like(size: ScrfdSize, *, seed: int, score_bias: float, score_gain: float = 4.0) -> bytes:
    """A detector with nine outputs. ``score_bias`` is the logit around which scores lie: low means few faces."""
    build = Builder(np.random.default_rng(seed))
    x = "input.1"
    for into, out, stride in ((3, size.stem, 2), (size.stem, size.stem, 1), (size.stem, size.stages[0], 1)):
        x = build.node("Relu", build.conv(x, into, out, 3, stride))
    x = build.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    into, maps = size.stages[0], []
    for level, (channels, blocks) in enumerate(zip(size.stages, size.blocks, strict=True)):
        for block in range(blocks):
            x = _basic_block(build, x, into, channels, stride=2 if block == 0 and level else 1)
            into = channels
        maps.append(x)
    levels = _pyramid(build, maps[1:], size)
    heads = [_head(build, level, size, score_bias, score_gain) for level in levels]
    outputs = [(heads[level][kind], width) for kind, width in enumerate((1, 4, 10)) for level in range(3)]
    return build.file([1, 3, "?", "?"], [(name, ["?", width]) for name, width in outputs])


def _basic_block(build: Builder, x: str, into: int, channels: int, *, stride: int) -> str:
    y = build.node("Relu", build.conv(x, into, channels, 3, stride))
    y = build.conv(y, channels, channels, 3, gain=0.5)
    if stride == 2:
        x = build.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    if stride == 2 or into != channels:
        x = build.conv(x, into, channels, 1, gain=0.7)
    return build.node("Relu", build.node("Add", x, y))


def _pyramid(build: Builder, maps: list[str], size: ScrfdSize) -> list[str]:
    width = size.pyramid
    sides = [build.conv(x, into, width, 1, gain=0.7) for x, into in zip(maps, size.stages[1:], strict=True)]
    scales = build.weight(np.array([1, 1, 2, 2], dtype=np.float32))
    region = build.weight(np.empty(0, dtype=np.float32))
    for level in (1, 0):
        up = build.node("Resize", sides[level + 1], region, scales, mode="nearest")
        sides[level] = build.node("Add", sides[level], up)
    levels = [build.conv(x, width, width, 3, gain=0.7) for x in sides]
    for level in (1, 2):
        down = build.conv(levels[level - 1], width, width, 3, 2, gain=0.5)
        levels[level] = build.node("Add", levels[level], down)
    return [levels[0], *(build.conv(x, width, width, 3, gain=0.7) for x in levels[1:])]


def _head(build: Builder, x: str, size: ScrfdSize, score_bias: float, score_gain: float) -> tuple[str, str, str]:
    into = size.pyramid
    for _ in range(size.head_layers):
        x = build.node("Relu", build.conv(x, into, size.head, 3))
        into = size.head
    boxes = np.full(4, 3.0)
    biases = {1: np.array([score_bias]), 4: boxes, 10: (LANDMARKS * 2.0).ravel()}
    gains = {1: score_gain, 4: 0.4, 10: 0.15}
    outputs = []
    for width in (1, 4, 10):
        raw = build.conv(x, into, 2 * width, 3, gain=gains[width])
        raw = build.node("Add", raw, build.weight(np.tile(biases[width], 2).reshape(1, -1, 1, 1).astype(np.float32)))
        rows = build.reshape(build.node("Transpose", raw, perm=[2, 3, 0, 1]), -1, width)
        outputs.append(build.node("Sigmoid", rows) if width == 1 else rows)
    return outputs[0], outputs[1], outputs[2]


def arcface_like(size: ArcFaceSize, *, seed: int, centre: Array | None = None) -> bytes:
    """A recogniser 112x112 -> ``size.dimension``.

    A random network answers nearly the same to all faces. ``centre`` (d,), the mean of its raw answers, is taken away
    in its last BatchNorm, so that different faces get different embeddings.
    """
    build = Builder(np.random.default_rng(seed))
    into = size.stages[0]
    x = build.prelu(build.norm(build.conv("input.1", 3, into, 3), into), into)
    for channels, blocks in zip(size.stages, size.blocks, strict=True):
        for block in range(blocks):
            stride = 2 if block == 0 else 1
            y = build.conv(build.norm(x, into), into, channels, 3)
            y = build.prelu(build.norm(y, channels), channels)
            y = build.conv(y, channels, channels, 3, stride, gain=0.4)
            if stride == 2:
                x = build.norm(build.conv(x, into, channels, 1, 2, gain=0.7), channels)
            x, into = build.node("Add", build.norm(y, channels), x), channels
    x = build.node("Flatten", build.norm(x, into), axis=1)
    features = into * 7 * 7
    matrix = build.rng.normal(0, features**-0.5, (size.dimension, features)).astype(np.float32)
    zero = np.zeros(size.dimension, dtype=np.float32)
    x = build.node("Gemm", x, build.weight(matrix), build.weight(zero), transB=1)
    one = np.ones(size.dimension, dtype=np.float32)
    mean = zero if centre is None else centre.astype(np.float32)
    x = build.node("BatchNormalization", x, *(build.weight(value) for value in (one, zero, mean, one)), epsilon=0.0)
    return build.file(["None", 3, 112, 112], [(x, ["None", size.dimension])])
