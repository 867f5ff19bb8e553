"""What is cut out for a hit: of which frame, within which bounds, and with how much in memory."""

from __future__ import annotations

import io
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from embeddings.images.decode import DecodedImage, Frame
from embeddings.images.several import together
from pipelines.database.tables import kept_evidence
from pipelines.decisions.looks import look_at
from pipelines.evidence.cutting import cut_hit, place_in_cut
from pipelines.evidence.kept import read_kept
from pipelines.hits.listing import Hit
from pipelines.home.workspace import Workspace
from pipelines.reviewing.pictures import show_face, show_whole
from tests.fakes import SIDE, WHITE, person, picture
from tests.pipelines.evidence.test_second_opinions import ColourNetwork, use_network
from tests.platform_actions import enrol, night, upload
from tests.platform_facts import hits_in_force


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


@pytest.fixture
def hit(workspace: Workspace, uploads: Path) -> Hit:
    """A face in the second of two pictures in one content, the first of which is tiny."""
    use_network(workspace, ColourNetwork())
    enrol(workspace, person(1))
    dot = io.BytesIO()
    Image.new("RGB", (8, 8), WHITE).save(dot, format="PNG")
    upload(uploads, "a.png", together([dot.getvalue(), picture(person(1))]))
    night(workspace, uploads)
    (found,) = hits_in_force(workspace)
    return found


def test_of_several_pictures_each_is_cut_within_its_own_bounds(workspace: Workspace, uploads: Path, hit: Hit) -> None:
    with workspace.database.read() as connection:
        facts = read_kept(connection, hit.hit_id)
    assert facts is not None
    assert (facts.width, facts.height) == (facts.frame_width, facts.frame_height) == (SIDE, SIDE)
    for name in ("a.png", "a.png.json"):  # first from the source, then what was kept
        for shown in (
            look_at(workspace, hit.hit_id, actor="ann").png,
            show_face(workspace, hit.hit_id, actor="ann", veil="clear").jpeg,
        ):
            assert pixels(shown).shape == (SIDE, SIDE, 3)
            assert np.abs(pixels(shown) - np.array(person(1))).max() < 12
        (uploads / name).unlink()


def test_a_second_network_finds_the_face_in_what_is_kept_of_several_pictures(workspace: Workspace, hit: Hit) -> None:
    with workspace.database.read() as connection:
        rows = connection.execute(kept_evidence.select()).all()
    assert len(rows) == 1
    assert look_at(workspace, hit.hit_id, actor="ann").second_opinion is not None
    assert (look_at(workspace, hit.hit_id, actor="ann").second_opinion or {})["opinion"] == "agrees"


def test_the_whole_of_several_pictures_has_the_face_framed_where_it_is(workspace: Workspace, hit: Hit) -> None:
    whole = pixels(show_whole(workspace, hit.hit_id, actor="ann", veil="clear").jpeg)
    assert np.abs(whole[SIDE // 2, SIDE // 2] - np.array(person(1))).max() < 12
    assert whole[1, :, 0].mean() > 150  # the frame's red along the upper edge


@pytest.mark.parametrize("own", [None, (400, 300)])
@pytest.mark.parametrize("box", [(10, 20, 50, 90), (300, 200, 380, 290), (0, 0, 400, 300)])
def test_a_box_lies_in_its_cut_where_it_lay_in_the_frame(own: tuple[int, int] | None, box: tuple[int, ...]) -> None:
    image = np.zeros((300, 400, 3), dtype=np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    frame = Frame(0, image, 1.0, (0.0, 0.0), own_size=own)
    sides: dict[str, Any] = {"width": 400, "height": 300} if own is None else {"width": 8, "height": 8}
    row = SimpleNamespace(**dict(zip(("x1", "y1", "x2", "y2"), map(float, box), strict=True)), **sides)
    cut = cut_hit(frame, row, long_side=1000)
    rows, columns = np.nonzero(cut.pixels[..., 0])
    seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert place_in_cut(row, cut.pixels.shape[1::-1], cut.frame_size) == pytest.approx(seen, abs=1)


def test_of_an_animation_one_frame_after_another_is_held(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    frames = [Image.open(io.BytesIO(picture(colour))) for colour in (*[WHITE, (254, 254, 255)] * 3, person(1), WHITE)]
    file = io.BytesIO()
    frames[0].save(file, format="PNG", save_all=True, append_images=frames[1:], duration=100)
    upload(uploads, "a.png", file.getvalue())
    real, alive, most = workspace.decoder, list[weakref.ref[np.ndarray]](), [0]

    def passing(given: Iterator[Frame]) -> Iterator[Frame]:
        for frame in given:
            alive.append(weakref.ref(frame.image))
            most.append(sum(one() is not None for one in alive))
            yield frame
            del frame

    def decoder(data: bytes, **more: Any) -> DecodedImage:
        image = real(data, **more)
        return replace(image, frames=passing(image.frames))

    workspace.decoder = decoder  # type: ignore[assignment,misc]
    night(workspace, uploads)
    (found,) = hits_in_force(workspace)
    with workspace.database.read() as connection:
        kept = read_kept(connection, found.hit_id)
    assert kept is not None
    assert kept.picture
    assert len(alive) > len(frames), "frames were decoded to be scanned, and again to be cut"
    assert max(most) <= 2
