"""Uploads decoded in confined processes: the same pictures, and nothing that their decoding does gets any further."""

from __future__ import annotations

import ast
import gc
import json
import multiprocessing
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.errors import NotReadyError, UnscannableError
from embeddings.headers.evidence import TextLimits
from embeddings.headers.reading import ReadHeader, ReadingLimits, read_header
from embeddings.headers.safetensors import LENGTH_BYTES, HeaderLimits
from embeddings.images.decode import decode
from embeddings.images.decoder import Decoder
from embeddings.sandbox.decoding import _IMAGE_TYPES, SandboxedDecoder, _checked_fields
from embeddings.sandbox.headers import SandboxedHeaderReader
from embeddings.sandbox.image_work import _ON_USE, DECODE_IMAGE, IMAGE_FACTS, decoding_facts
from embeddings.sandbox.pool import DecodingPool, SandboxSettings
from embeddings.sandbox.process import DecodingProcess, Died, ProcessLimits
from embeddings.shard import embed_shard
from embeddings.types import ImageLimits, UInt8
from tests.embeddings.conftest import encode
from tests.embeddings.model_files import data_url, model_file
from tests.embeddings.stand_ins import LIES, deed
from tests.embeddings.test_hostile_bytes import KINDS, LIMITS, OTHER_KINDS, other_file, sample_file
from tests.embeddings.test_images import animation, exif, oriented
from tests.embeddings.test_video import video
from tests.examples import examples
from tests.fakes import content_of, fake_models, person, picture
from tests.source_code import nodes_of

ROOT = Path(__file__).parent.parent.parent
OWN = SandboxSettings(
    processes=1,
    limits=ProcessLimits(memory_bytes=2**31, processor_seconds=60.0, item_seconds=600.0, start_seconds=600.0),
    recycle_items=10_000,
    recycle_bytes=2**40,
)
ACTING = replace(OWN, limits=replace(OWN.limits, processor_seconds=1.0), module="tests.embeddings.stand_ins")
"""A second of processor time is enough for what the good files here need, however busy the machine is."""
READING = ReadingLimits(HeaderLimits(2**20, 1000), TextLimits(500, 20, 0.9), 2**20)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodingPool]:
    opened = DecodingPool(OWN)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def sandboxed(pool: DecodingPool) -> Decoder:
    return SandboxedDecoder(pool)


@pytest.fixture(scope="module")
def acting() -> Iterator[SandboxedDecoder]:
    """A decoder that can be made to do anything."""
    opened = DecodingPool(ACTING)
    yield SandboxedDecoder(opened)
    opened.close()


def outcome(decoder: Decoder, data: bytes, *, long_side: int = 40) -> object:
    """All that decoding gives, or its reason."""
    try:
        image = decoder(data, limits=LIMITS, long_side=long_side)
        frames = [(one.index, one.scale, one.offset, one.image.shape, one.image.tobytes()) for one in image.frames]
    except UnscannableError as error:
        return error.reason
    return image.format, image.width, image.height, image.frames_total, frames


@pytest.mark.parametrize("name", ["width", "frames_total", "planned"])
def test_no_number_that_no_column_holds_is_believed(name: str) -> None:
    said: dict[str, object] = {one: "png" if one == "format" else 8 for one in IMAGE_FACTS}
    assert _checked_fields(IMAGE_FACTS, _IMAGE_TYPES, {**said, name: 2**31 - 1})[name] == 2**31 - 1
    with pytest.raises(UnscannableError):
        _checked_fields(IMAGE_FACTS, _IMAGE_TYPES, {**said, name: 2**31})


@pytest.mark.parametrize("kind", [*KINDS, *OTHER_KINDS, "MP4", "WEBM", "WEBM VP8"])
def test_a_picture_has_the_same_frames_wherever_it_is_decoded(kind: str, sandboxed: Decoder) -> None:
    data = file_of(kind)
    assert outcome(sandboxed, data) == outcome(decode, data)
    assert isinstance(outcome(sandboxed, data), tuple)


def file_of(kind: str) -> bytes:
    """A sound file of each kind that is decoded."""
    if kind in VIDEOS:
        return video(kind.split()[0].lower(), 20, (), codec=VIDEOS[kind])
    return other_file(kind) if kind in OTHER_KINDS else sample_file(kind)


VIDEOS = {"MP4": "libx264", "WEBM": "libvpx-vp9", "WEBM VP8": "libvpx"}


def test_whatever_decoding_imports_on_use_is_imported_before_it_is_confined() -> None:
    """Of its own modules at least: there is no file to import from later."""
    own = ("embeddings.images", "embeddings.headers")
    lazy = {
        name
        for path in sorted((ROOT / "embeddings").glob("*/*.py"))
        if f"embeddings.{path.parent.name}" in own and path.stem != "pdq"  # which no decoder calls
        for node in nodes_of(path)
        if isinstance(node, ast.FunctionDef)
        for name in imports_within(node)
    }
    assert lazy
    assert lazy <= set(_ON_USE)


def imports_within(node: ast.FunctionDef) -> Iterator[str]:
    """Modules that a function imports when it is called."""
    for one in ast.walk(node):
        if isinstance(one, ast.Import):
            yield from (alias.name for alias in one.names)
        elif isinstance(one, ast.ImportFrom):
            yield str(one.module)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_a_reduced_frame_is_enlarged_to_the_same_pixels(
    orientation: int, scale: float, photographs: dict[str, UInt8], sandboxed: Decoder
) -> None:
    image = photographs["chelsea.png"][:299, :451]
    data = encode(oriented(image, orientation), "JPEG", exif=exif(orientation))
    ours, theirs = (
        next(iter(how(data, limits=LIMITS, long_side=50).frames)).at_least(scale) for how in (decode, sandboxed)
    )
    assert (ours.scale, ours.offset) == (theirs.scale, theirs.offset)
    assert np.array_equal(ours.image, theirs.image)


@settings(max_examples=examples(60))
@given(st.sampled_from(KINDS), st.data())
def test_i9_a_damaged_file_has_the_same_fate_wherever_it_is_decoded(
    sandboxed: Decoder, kind: str, drawn: st.DataObject
) -> None:
    data = bytearray(sample_file(kind))
    for _ in range(drawn.draw(st.integers(1, 6))):
        data[drawn.draw(st.integers(0, len(data) - 1))] = drawn.draw(st.integers(0, 255))
    cut = drawn.draw(st.integers(0, len(data)))
    for some in (bytes(data), bytes(data[:cut])):
        assert outcome(sandboxed, some) == outcome(decode, some)


def test_too_many_bytes_and_none_at_all_are_refused_as_here(sandboxed: Decoder) -> None:
    large = bytes(LIMITS.max_bytes + 1)
    assert outcome(sandboxed, large) == outcome(decode, large) == "too_large"
    assert outcome(sandboxed, b"") == outcome(decode, b"") == "empty"


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"ss_output_name": "jané \ud83d\ude00 doe", "modelspec.title": "\x00"},
        {"modelspec.thumbnail": "nonsense"},
        {"modelspec.thumbnail": data_url(sample_file("JPEG")), "ss_tag_frequency": '{"a": {"b": 3}}'},
    ],
)
def test_a_header_reads_the_same_wherever_it_is_read(metadata: dict[str, str] | None, pool: DecodingPool) -> None:
    data = model_file(metadata)[LENGTH_BYTES:-4]
    elsewhere = SandboxedHeaderReader(pool)

    def fate(read: object, some: bytes, size: int | None) -> object:
        try:
            found: ReadHeader = read(some, file_bytes=size, limits=READING)  # type: ignore[operator]
        except UnscannableError as error:
            return error.reason
        return {name: getattr(found, name) for name in ReadHeader.__slots__}

    for some, size in ((data, None), (data, 3), (data[:-1], None), (b"[" * 5000, None), (b"", None)):
        assert fate(elsewhere, some, size) == fate(read_header, some, size)
    assert isinstance(fate(elsewhere, data, None), dict)
    covers = {"ssmd_cover_images": json.dumps([data_url(picture(person(n))) for n in (1, 2)]), "x": "jane"}
    odd = b'{"__metadata__":{"a":"jane","a":"b"}}'
    others = (odd, b"GGUF\x03\0\0\0" + bytes(16), pickle.dumps({"name": "jane"}, protocol=2), model_file(covers)[8:-4])
    for some in others:
        assert fate(elsewhere, some, None) == fate(read_header, some, None)
        assert isinstance(fate(elsewhere, some, None), dict)


REASONS = {
    **dict.fromkeys(("segfault", "abort", "exit"), "decoder_crash"),
    "spin": "decoder_timeout",
    **dict.fromkeys(("allocate", "allocate_at_once"), "scanner_memory"),
    "raise": "scanner_error",
    **dict.fromkeys(("open_file", "deny_twice", "write_file", "list_folder", "run_memory"), "decoder_forbidden"),
    **dict.fromkeys(("open_socket", "open_unix_socket", "fork", "run_program", "kill_scanner"), "decoder_forbidden"),
    **dict.fromkeys(LIES, "decoder_crash"),
}


@pytest.mark.parametrize("what", REASONS)
def test_i9_whatever_decoding_does_costs_its_item_and_the_batch_goes_on(
    what: str, acting: SandboxedDecoder, caplog: pytest.LogCaptureFixture
) -> None:
    bad = content_of(deed(what))
    good = [content_of(picture(person(number))) for number in (1, 2, 3)]
    result = embed_shard([good[0], bad, *good[1:]], fake_models(), limits=LIMITS, workers=2, decoder=acting)
    statuses = {row["content_sha256"]: row["status"] for row in result.statuses.to_pylist()}
    assert statuses.pop(bad.sha256) == f"unscannable:{REASONS[what]}"
    assert statuses == {one.sha256: "faces" for one in good}
    assert "Jane Doe" not in caplog.text
    if what == "raise":
        assert any(line.endswith("the process that decodes them (LookupError)") for line in caplog.messages)


def test_decoding_that_waits_for_ever_is_ended_by_the_clock() -> None:
    process = DecodingProcess(ACTING.module, arena_bytes=2**26, limits=replace(ACTING.limits, item_seconds=0.2))
    facts = decoding_facts(LIMITS, long_side=40)
    with pytest.raises(Died) as death:
        process.call(DECODE_IMAGE, facts, deed("sleep"))
    assert death.value.reason == "decoder_timeout"
    process.end()


def tell(pool: DecodingPool) -> dict[str, object]:
    """What a decoding process says of itself."""
    facts = decoding_facts(LIMITS, long_side=40)
    return next(pool.results(DECODE_IMAGE, facts, deed("tell"), room=1000)).facts


def test_i8_a_decoding_process_has_nothing_of_the_scanners(
    acting: SandboxedDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIKENESS_KEY", "a key")
    acting.pool.close()  # so that the next one is started in this environment
    environment = tell(acting.pool)["environment"]
    assert set(environment) == {  # type: ignore[call-overload]
        *("LC_ALL", "MALLOC_ARENA_MAX", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONPATH")
    }


def test_a_process_serves_many_items_and_then_another_does() -> None:
    pool = DecodingPool(replace(ACTING, recycle_items=3))
    pids = [tell(pool)["pid"] for _ in range(7)]
    pool.close()
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


def test_a_process_is_ended_after_so_many_bytes() -> None:
    pool = DecodingPool(replace(ACTING, recycle_bytes=1))
    assert tell(pool)["pid"] != tell(pool)["pid"]
    pool.close()


@pytest.mark.parametrize("module", ["tests.embeddings.stand_ins_broken", "tests.embeddings.no_such_module"])
def test_i7_processes_in_which_nothing_can_be_decoded_are_no_items_fault(module: str) -> None:
    pool = DecodingPool(replace(OWN, module=module))
    with pytest.raises(NotReadyError, match=r"decode.sandbox = \"off\""):
        SandboxedDecoder(pool)(picture(person(1)), limits=LIMITS, long_side=40)
    pool.close()


def test_animations_are_decoded_frame_by_frame_side_by_side_and_may_be_left(pool: DecodingPool) -> None:
    sandboxed = SandboxedDecoder(pool)
    data = animation("GIF", 4)
    one, other = (sandboxed(data, limits=LIMITS, long_side=40) for _ in range(2))  # there is one process at a time
    assert [frame.index for frame in one.frames] == [0, 1, 2, 3]
    assert next(other.frames).index == 0
    del one, other
    gc.collect()
    assert outcome(sandboxed, data) == outcome(decode, data)
    assert len(pool._idle) == OWN.processes


def test_a_process_whose_answer_nobody_took_is_ended(pool: DecodingPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by Ctrl-C while a frame is waited for: its answer would be taken for the one to the next question."""

    def interrupted(process: DecodingProcess, seconds: float) -> object:
        raise KeyboardInterrupt

    facts = decoding_facts(LIMITS, long_side=40)
    results = pool.results(DECODE_IMAGE, facts, animation("GIF", 4), room=1 << 20)
    assert next(results).facts["frame"]["index"] == 0
    with monkeypatch.context() as patched:
        patched.setattr(DecodingProcess, "_answer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(results)
    results.close()
    again = pool.results(DECODE_IMAGE, facts, animation("GIF", 4), room=1 << 20)
    assert [answer.facts["frame"]["index"] for answer in again] == [0, 1, 2, 3]


def test_results_may_be_collected_while_the_pool_is_locked(pool: DecodingPool) -> None:
    facts = decoding_facts(LIMITS, long_side=40)
    left = pool.results(DECODE_IMAGE, facts, animation("GIF", 4), room=10_000)
    with pool._lock:
        assert pool._lock.acquire(blocking=False), "a collector that runs here would wait for ever"
        pool._lock.release()
        left.close()


def test_many_threads_share_the_processes(sandboxed: Decoder) -> None:
    files = [picture(person(number)) for number in range(24)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda data: outcome(sandboxed, data), files))
    assert found == [outcome(decode, data) for data in files]


def test_a_larger_picture_gets_a_larger_arena(pool: DecodingPool) -> None:
    roomy = ImageLimits(**{**{n: getattr(LIMITS, n) for n in LIMITS.__slots__}, "max_pixels": 100_000_000})
    data = encode(np.zeros((3000, 9000, 3), dtype=np.uint8), "PNG")
    assert outcome(SandboxedDecoder(pool), data) == "too_many_pixels"
    (frame,) = SandboxedDecoder(pool)(data, limits=roomy, long_side=40).frames
    assert frame.image.shape == (3000, 9000, 3)


def _decode_after_a_fork(pool: DecodingPool, results: object) -> None:
    (frame,) = SandboxedDecoder(pool)(picture(person(5)), limits=LIMITS, long_side=40).frames
    results.put(frame.image[0, 0].tolist())  # type: ignore[attr-defined]
    pool.close()


def test_a_forked_process_has_processes_of_its_own(pool: DecodingPool) -> None:
    outcome(SandboxedDecoder(pool), picture(person(1)))
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=_decode_after_a_fork, args=(pool, results))
    child.start()
    assert results.get() == list(person(5))
    child.join()
    assert child.exitcode == 0
    assert outcome(SandboxedDecoder(pool), picture(person(1))) == outcome(decode, picture(person(1)))
