"""Pictures as the pages show them: decoded, sized, veiled and encoded anew here, never the upload's own bytes.

Each picture that leaves is a look, and an audit row before it is anything. The row says how it was shown (``clear``,
``grey`` or ``blurred``) and whether it was fetched ahead, for a case that is not on anybody's screen yet. What is
blurred is blurred here: nothing sharper reaches a browser that has not asked for it. Few are decoded at once
(:mod:`pipelines.home.decoding`), and of each the frame that is shown.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import sqlalchemy as sa

from embeddings.errors import ConfigError, ItemError, StateError
from embeddings.faults import guarded
from embeddings.types import UInt8
from pipelines.database.tables import items, templates
from pipelines.decisions.looks import content_now, kept_picture, picture_now, record_look, reference_crop
from pipelines.evidence.cutting import FIRST_PLACE, Cut, frame_of, frame_size, place_in_cut, place_of
from pipelines.home import audit
from pipelines.home.decoding import decoding_slot
from pipelines.home.workspace import Workspace
from pipelines.registry.templates import require_kept
from pipelines.reviewing.queue import CaseKey, belongs_to

Veil = Literal["clear", "grey", "blurred"]
FACE_SIDE: Final = 640
WHOLE_SIDE: Final = 1280
SMALL_SIDE: Final = 200
"""Pixels of the longer side, at most."""
_BLURRED_CELLS: Final = 14
"""Of what is left of a blurred picture's longer side: enough for a head and shoulders, too little for a face."""
_CLOSE: Final = 0.62
"""Of a face box's longer side, shown on each side of its middle."""
_QUALITY: Final = 85
_FRAME: Final = (214, 48, 49)


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture that may leave. ``jpeg``: pixels and nothing else."""

    jpeg: bytes = field(repr=False)


def show_face(
    workspace: Workspace, hit_id: str, *, actor: str, veil: Veil, ahead: bool = False, small: bool = False
) -> Shown:
    """The face of a hit with its margin, or the whole picture where the evidence is none.

    As it was kept when the hit was found; else from the source. Raises :class:`StateError` and :class:`ItemError` where
    neither gives it.
    """
    row = record_look(workspace, hit_id, action="crop.view", actor=actor, **_how(veil, ahead))
    kept = kept_picture(workspace, row)
    cut = kept.cut if kept is not None else picture_now(workspace, row)
    return _shown(cut.pixels if small else _closer(cut, row), veil, side=SMALL_SIDE if small else FACE_SIDE)


def show_whole(workspace: Workspace, hit_id: str, *, actor: str, veil: Veil) -> Shown:
    """The whole picture as the source gives it, with the face framed. Raises :class:`StateError` and :class:`ItemError`
    where the source does not give it."""
    row = record_look(workspace, hit_id, action="picture.view", actor=actor, **_how(veil, ahead=False))
    data = content_now(workspace, row)
    with decoding_slot(workspace):
        frame = guarded(lambda: frame_of(workspace, data, place_of(row)))
        return _shown(_framed(np.asarray(frame.image), row, frame_size(frame, row)), veil, side=WHOLE_SIDE)


def show_reference(
    workspace: Workspace, subject_id: str, reference_id: str, *, actor: str, veil: Veil, ahead: bool = False
) -> Shown:
    """A reference as it was cropped when it was enrolled. Raises :class:`StateError` for another subject's."""
    with workspace.database.write() as tx:
        own = sa.select(templates.c.subject_id).where(templates.c.template_id == reference_id)
        if tx.execute(own).scalar() != subject_id:
            raise StateError("there is no such reference (any more)")
        require_kept(tx, subject_id)
        facts = {"subject_id": subject_id, "reference_id": reference_id, **_how(veil, ahead)}
        audit.append(tx, workspace.sealer, actor=actor, action="reference.view", now=workspace.now(), **facts)
    with workspace.database.read() as connection:
        return _shown(reference_crop(connection, workspace, reference_id), veil, side=FACE_SIDE)


def show_other(workspace: Workspace, key: CaseKey, item_id: str, *, actor: str, veil: Veil) -> Shown:
    """A small picture of another item of the same model. Raises :class:`StateError` and :class:`ItemError` where the
    source does not give it, or the item is another model's."""
    columns = [items.c[name] for name in ("item_id", "sealed_record", "live", "width")]
    content = (items.c.content_sha256.label(name) for name in ("content_key", "content_now"))
    own = sa.select(*columns, *content, sa.literal("face").label("tier"))
    with workspace.database.write() as tx:
        row: Any = tx.execute(own.where(items.c.item_id == item_id, belongs_to(key.about))).first()
        if row is None:
            raise StateError("there is no such picture of this model (any more)")
        facts = {"item_id": item_id, "subject_id": key.subject_id, **_how(veil, ahead=False)}
        audit.append(tx, workspace.sealer, actor=actor, action="picture.view", now=workspace.now(), **facts)
    data = content_now(workspace, row)
    with decoding_slot(workspace):
        return _shown(np.asarray(guarded(lambda: frame_of(workspace, data, FIRST_PLACE)).image), veil, side=SMALL_SIDE)


NOT_SHOWN: Final = (ItemError, StateError, ConfigError)
"""What is raised where there is nothing to show (any more)."""


def _how(veil: Veil, ahead: bool) -> dict[str, str]:
    return {"shown": veil, **({"ahead": "yes"} if ahead else {})}


def _shown(pixels: UInt8, veil: Veil, *, side: int) -> Shown:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
    picture.thumbnail((side, side))
    if veil != "clear":
        picture = picture.convert("L")
    if veil == "blurred":
        shares = _BLURRED_CELLS / max(picture.size)
        cells = max(1, round(picture.width * shares)), max(1, round(picture.height * shares))
        picture = picture.resize(cells, Image.Resampling.BOX).resize(picture.size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return Shown(buffer.getvalue())


def _closer(cut: Cut, row: Any) -> UInt8:
    """The face as large as references show it: a square around its box, out of the picture with the wider margin."""
    pixels = cut.pixels
    if row.x1 is None:
        return pixels
    height, width = pixels.shape[:2]
    left, top, right, bottom = place_in_cut(row, (width, height), cut.frame_size)
    reach, across, down = _CLOSE * max(right - left, bottom - top), (left + right) / 2, (top + bottom) / 2
    x1, y1 = max(0, round(across - reach)), max(0, round(down - reach))
    x2, y2 = min(width, round(across + reach)), min(height, round(down + reach))
    return pixels[y1:y2, x1:x2] if x2 > x1 and y2 > y1 else pixels


def _framed(pixels: UInt8, row: Any, size: tuple[int, int]) -> UInt8:
    """The picture, ``size`` at full size, with the hit's box drawn, if it has one."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
    if row.x1 is not None:
        across, down = picture.width / size[0], picture.height / size[1]
        box = (row.x1 * across, row.y1 * down, row.x2 * across, row.y2 * down)
        width = max(2, round(max(picture.size) / 200))
        ImageDraw.Draw(picture).rectangle(
            (min(box[0], box[2]), min(box[1], box[3]), *box[2:]), outline=_FRAME, width=width
        )
    return np.asarray(picture)
