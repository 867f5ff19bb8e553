"""CLIP through open_clip: pixels and texts to unit vectors of one space (Radford et al. 2021).

Owns preprocessing and the towers. torch and open_clip take seconds to import and are imported only by
:func:`load_clip`. Preprocessing is open_clip's own (bicubic or bilinear with antialiasing to the shorter side, centre
crop) in one Pillow call that computes the cropped pixels alone; from a frame at full size it gives the same bytes.
From a JPEG decoded at reduced scale they differ a little: see :data:`MARGIN`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from PIL import Image

from embeddings.content.clip_weights import ClipWeights
from embeddings.errors import VectorError, WeightsError
from embeddings.faces.recognition import normalise
from embeddings.images.decode import Frame
from embeddings.types import Float32, UInt8

if TYPE_CHECKING:
    import torch

MARGIN = 2
"""A JPEG is decoded at the smallest scale whose shorter side is still this many times the network's input.

Against open_clip's transform of a full decode, the reduced ones of 40 generated variants then differ by 0.24 of 255 a
pixel on average and by 6 at most, and their vectors have a cosine of at least 0.99998 (at 1: 0.64, 31 and 0.99994). A
frame that is not reduced differs by 1 at most, in one pixel of ten thousand."""
CPU_BATCH = 8
"""Images per call on a CPU thread: 4 to 32 take the same time per image there, and small batches end together."""
CUDA_BATCH = 128
TEXT_BATCH = 64


@dataclass(frozen=True, slots=True)
class ClipTransform:
    """How a model wants its images, as open_clip's ``PreprocessCfg`` says."""

    size: tuple[int, int]
    """Height and width in pixels."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"]
    resize_mode: Literal["shortest", "squash"]
    """``shortest``: shorter side to ``size``, centre crop. ``squash``: both sides to ``size``."""

    @property
    def short_side(self) -> int:
        """Least length in pixels of a decoded frame's shorter side."""
        return MARGIN * max(self.size)

    def pixels(self, frame: Frame, *, full: tuple[int, int]) -> UInt8:
        """Return the part of ``frame`` that the model sees, RGB uint8 (height, width, 3).

        ``full`` is width and height of the full-size frame, from which open_clip computes the crop.
        """
        height, width = self.size
        box = (0.0, 0.0, float(full[0]), float(full[1]))
        if self.resize_mode == "shortest":
            box = _centre(full, side=width)
        corners = ((np.array(box).reshape(2, 2) - frame.offset) * frame.scale).reshape(4)
        far = (*frame.image.shape[1::-1], *frame.image.shape[1::-1])
        left, top, right, bottom = np.clip(corners, 0.0, far).tolist()
        resample = Image.Resampling.BICUBIC if self.interpolation == "bicubic" else Image.Resampling.BILINEAR
        return np.asarray(
            Image.fromarray(frame.image).resize((width, height), resample, box=(left, top, right, bottom))
        )


def _centre(full: tuple[int, int], *, side: int) -> tuple[float, float, float, float]:
    """The box in full-size pixels that torchvision's Resize(side) and CenterCrop(side) keep, with their rounding."""
    short = min(full)
    resized = tuple(side if length == short else int(side * length / short) for length in full)
    starts = tuple(round((length - side) / 2.0) for length in resized)
    (x, y), (by_x, by_y) = starts, (length / to for length, to in zip(full, resized, strict=True))
    return x * by_x, y * by_y, (x + side) * by_x, (y + side) * by_y


class ImageEncoder(Protocol):
    """Turns prepared images into vectors. Safe to call from several threads."""

    dimension: int
    batch: int
    """Images per call at which it is fastest."""
    transform: ClipTransform

    def encode_images(self, pixels: UInt8) -> Float32:
        """Encode RGB uint8 (n, h, w, 3) of :meth:`ClipTransform.pixels` as unit vectors float32 (n, dimension)."""
        ...


class OpenClipEncoder:
    """An :class:`ImageEncoder` on torch.

    On a CPU a call computes on the calling thread alone: images are spread over one worker per core, which beside one
    call on all cores saves the waiting at every layer's end. Safe to call from several threads.
    """

    def __init__(self, model: Any, tokenizer: Any, transform: ClipTransform, *, device: str, compiled: bool) -> None:
        import torch

        self._torch = torch
        self._device = torch.device(device)
        fast = self._device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
        self.precision = "bf16" if fast else "fp32"
        self._dtype = torch.bfloat16 if fast else torch.float32
        self._model = model.eval().requires_grad_(False).to(self._device, self._dtype)
        self._encode = torch.compile(self._model.encode_image) if compiled else self._model.encode_image
        self._tokenizer = tokenizer
        self.transform = transform
        self.batch = CUDA_BATCH if self._device.type == "cuda" else CPU_BATCH
        scale = [1 / (255 * std) for std in transform.std]
        shift = [-mean / std for mean, std in zip(transform.mean, transform.std, strict=True)]
        self._scale, self._shift = (torch.tensor(part, device=self._device) for part in (scale, shift))
        self.dimension = int(self.encode_images(np.zeros((1, *transform.size, 3), dtype=np.uint8)).shape[1])

    def encode_images(self, pixels: UInt8) -> Float32:
        """Unit vectors float32 (n, dimension) of ``pixels``, RGB uint8 (n, h, w, 3), in one call of the network.

        Raises :class:`VectorError` when the pixels have another shape or an output is NaN, infinite or zero.
        """
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (*self.transform.size, 3):
            raise VectorError(f"expected uint8 (n, {self.transform.size}, 3), got {pixels.dtype} {pixels.shape}")
        if len(pixels) == 0:
            return np.empty((0, self.dimension), dtype=np.float32)
        torch = self._torch
        torch.get_num_threads()  # a thread takes over the process's setting when it first asks
        with torch.inference_mode():
            given = torch.from_numpy(np.ascontiguousarray(pixels)).to(self._device, non_blocking=True)
            images = torch.addcmul(self._shift, given.float(), self._scale).to(self._dtype).permute(0, 3, 1, 2)
            return self._unit(self._encode(images))

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Unit vectors float32 (n, dimension) of ``texts``, in the space of the images. Long texts are cut off."""
        torch = self._torch
        parts = [np.empty((0, self.dimension), dtype=np.float32)]
        with torch.inference_mode():
            for start in range(0, len(texts), TEXT_BATCH):
                tokens = self._tokenizer(list(texts[start : start + TEXT_BATCH])).to(self._device)
                parts.append(self._unit(self._model.encode_text(tokens)))
        return np.concatenate(parts)

    def _unit(self, raw: torch.Tensor) -> Float32:
        vectors = raw.float().cpu().numpy()
        return normalise(vectors, dimension=vectors.shape[1])


def load_clip(weights: ClipWeights, *, device: str, compiled: bool) -> OpenClipEncoder:
    """Load both towers onto ``device`` (``auto``: CUDA where there is one), in bf16 where that is fast.

    ``compiled`` runs the image tower through ``torch.compile``, on CUDA only. Also tells torch to use one thread per
    call in this process. Raises :class:`WeightsError` when the file does not hold this model.
    """
    import open_clip  # type: ignore[import-untyped]
    import torch

    chosen = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    settings = weights.settings
    name = f"local-dir:{weights.path.parent}" if weights.config else settings.model
    try:
        if weights.config:
            model = open_clip.create_model(name, pretrained_text=False, require_pretrained=True, weights_only=True)
        else:
            wanted = open_clip.get_pretrained_cfg(name, settings.pretrained) or {}
            model = open_clip.create_model(
                name,
                pretrained=str(weights.path),
                pretrained_text=False,
                force_quick_gelu=bool(wanted.get("quick_gelu")),
                force_preprocess_cfg={part: wanted[part] for part in _PREPARATION if wanted.get(part)},
                weights_only=True,
            )
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:
        raise WeightsError(f"the CLIP checkpoint does not hold this model ({type(error).__name__})") from error
    transform = _transform(open_clip.get_model_preprocess_cfg(model))
    return OpenClipEncoder(model, tokenizer, transform, device=chosen, compiled=compiled and chosen == "cuda")


_PREPARATION = ("mean", "std", "interpolation", "resize_mode")


def _transform(config: dict[str, Any]) -> ClipTransform:
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    mode, interpolation = config["resize_mode"], config["interpolation"]
    if interpolation == "random":  # open_clip's word for training; it prepares with bicubic then
        interpolation = "bicubic"
    known = mode == "squash" or (mode == "shortest" and height == width)
    if not known or interpolation not in ("bicubic", "bilinear"):
        raise WeightsError(f"a CLIP model that wants its images {mode} and {interpolation} is not supported")
    mean, std = ((float(r), float(g), float(b)) for r, g, b in (config["mean"], config["std"]))
    return ClipTransform((int(height), int(width)), mean, std, interpolation, mode)
