"""Pictures are decoded a few at once, whoever asks for how many, and of each the frame that is shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from embeddings.errors import StateError
from embeddings.images.decode import DecodedImage, Frame
from embeddings.images.look_names import FIRST
from pipelines.evidence.cutting import frame_of
from pipelines.exploring.recognising import recognise
from pipelines.home import decoding as turns
from pipelines.home.decoding import decoding_slot, slots_of
from pipelines.home.workspace import Workspace
from pipelines.reviewing.pictures import show_other, show_whole
from pipelines.reviewing.queue import waiting_cases
from tests.fakes import person, picture
from tests.pipelines.web.judging import case_about, hits_on
from tests.pipelines.web.visiting import Visitor


def test_a_picture_waits_until_another_is_done(
    platform: Workspace, ann: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = case_about(ann, platform, "single.png")
    (hit_id,) = hits_on(ann.get(address).text)
    with platform.database.read() as connection:
        key = next(case.key for case in waiting_cases(connection, platform) if case.key.about == "m-1")
    data = picture(person(1))
    shows = (
        lambda: show_whole(platform, hit_id, actor="account:ann", veil="clear"),
        lambda: show_other(platform, key, "m-c.png", actor="account:ann", veil="clear"),
        lambda: recognise(platform, data, actor="account:ann"),
    )
    monkeypatch.setattr(turns, "WAIT_SECONDS", 0.0)
    with ExitStack() as taken:
        for _ in range(slots_of(platform)):
            taken.enter_context(decoding_slot(platform))
        for show in shows:
            with pytest.raises(StateError, match="too many pictures"):
                show()
        assert "too many pictures" in ann.get(f"{address}/hits/{hit_id}/whole?shown=clear").text
    for show in shows:
        show()
    assert ann.get(f"{address}/hits/{hit_id}/whole?shown=clear").headers["content-type"] == "image/jpeg"


def test_turns_are_of_the_process_and_given_back_after_a_fault(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "WAIT_SECONDS", 0.0)
    for _ in range(slots_of(workspace) + 1):
        with pytest.raises(RuntimeError), decoding_slot(workspace):
            raise RuntimeError
    assert slots_of(workspace) == (workspace.config.embedding.workers or turns.FEWEST)


@pytest.mark.parametrize("wanted", [0, 2])
def test_of_an_animation_the_frame_that_is_shown_is_decoded_and_no_later_one(workspace: Workspace, wanted: int) -> None:
    made: list[int] = []

    def frames() -> Iterator[Frame]:
        for number in (0, 2, 4):
            made.append(number)
            yield Frame(number, np.full((4, 4, 3), number, dtype=np.uint8), 1.0, (0.0, 0.0))

    workspace.decoder = lambda *_given, **_more: DecodedImage("gif", 4, 4, 5, frames(), 3)  # type: ignore[misc]
    assert frame_of(workspace, b"", (wanted, FIRST)).index == wanted
    assert made == [number for number in (0, 2, 4) if number <= wanted]
    with pytest.raises(StateError):
        frame_of(workspace, b"", (1, FIRST))
