"""Search for uploads that do what nobody foresaw: ``make fuzz SECONDS=600``, or ``python -m tests.fuzzing``.

Each target is a function of bytes that raises for a finding. Hypothesis changes known files and shrinks what it finds,
which goes into ``.fuzz/`` as a file and is named in the output; the exit status is then 1. It becomes a test.
Pictures and headers go through confined processes, so that a crash is a finding and not the end.

With ``--atheris TARGET`` the same function is driven by atheris (Apache-2.0, not among the dependencies:
``pip install atheris``), which follows the coverage of our own code; a crash file is written where it runs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import FunctionType

from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from embeddings.errors import ConfigError, CorruptionError, UnscannableError
from embeddings.faults import SCANNER_REASONS
from embeddings.headers.reading import HeaderReader, read_header
from embeddings.headers.safetensors import LENGTH_BYTES
from embeddings.images.decode import decode
from embeddings.images.decoder import Decoder
from embeddings.sandbox.decoding import SandboxedDecoder
from embeddings.sandbox.headers import SandboxedHeaderReader
from embeddings.sandbox.pool import DecodingPool
from pipelines.exchange.limits import HeadLimits
from pipelines.sources import FetchSettings, Item, open_source
from tests.embeddings.model_files import data_url, model_file
from tests.embeddings.test_hostile_bytes import KINDS, LIMITS, sample_file
from tests.embeddings.test_sandbox import OWN, READING

FOUND = Path(".fuzz")
FOLLOWED = ("embeddings.images", "embeddings.headers", "embeddings.strict_json", "pipelines.sources", "PIL.", "json.")
"""Modules whose coverage atheris follows."""
AT_ONCE = 200
"""Examples between two looks at the clock."""


@cache
def pool() -> DecodingPool:
    """The processes that pictures and headers are read in."""
    return DecodingPool(OWN)


def no_fault_of_the_scanner(error: UnscannableError) -> None:
    """A reason that says more of the scanner than of the item is a finding."""
    if error.reason in SCANNER_REASONS:
        raise AssertionError(f"unscannable:{error.reason}") from error


def picture(data: bytes, *, here: bool = False) -> None:
    """Decoding gives frames of the size that was announced, or a reason of the file's. ``here``: in this process."""
    decoder: Decoder = decode if here else SandboxedDecoder(pool())
    try:
        image = decoder(data, limits=LIMITS, long_side=40)
        for frame in image.frames:
            assert frame.image.size <= 3 * LIMITS.max_pixels
            assert max(frame.image.shape[:2]) <= max(image.width, image.height)
            frame.at_least(1.0)
    except UnscannableError as error:
        no_fault_of_the_scanner(error)


def header(data: bytes, *, here: bool = False) -> None:
    """A header gives texts within the limits, or a reason of the file's. ``here``: in this process."""
    reader: HeaderReader = read_header if here else SandboxedHeaderReader(pool())
    try:
        read = reader(data, file_bytes=None, limits=READING)
    except UnscannableError as error:
        no_fault_of_the_scanner(error)
        return
    for one in read.texts:
        one.text.encode()
        assert 0 < len(one.text) <= READING.texts.max_chars
        assert "\x00" not in one.text
    assert read.picture is None or len(read.picture) <= READING.thumbnail_bytes


def listing(data: bytes) -> None:
    """A listing gives items that any database stores, with ids of their own, or is refused as a whole."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "uploads.jsonl"
        file.write_bytes(data)
        settings = FetchSettings(1.0, (), allow_private_addresses=False)
        try:
            found = list(open_source(f"manifest:{file}", settings=settings, head=HeadLimits()).items(None))
        except (CorruptionError, ConfigError):
            return
    plain = [item.item_id for item in found if not item.deleted and item.listed.updated_at is None]
    assert len(set(plain)) == len(plain)
    for item in found:
        assert Item.from_record(json.loads(json.dumps(item.to_record()))) == item
        json.dumps(item.to_record(), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class Target:
    """What is searched, by which known files."""

    check: Callable[[bytes], None]
    known: Callable[[], Sequence[bytes]]
    followed: Callable[[bytes], None]
    """The same check in this process, where coverage is seen and a crash is the end."""


def known_headers() -> list[bytes]:
    """Headers of every kind of field."""
    tags = json.dumps({"10_jane": {"jane doe": 10, "smile": 3}})
    datasets = json.dumps([{"subsets": [{"image_dir": "10_jane", "class_tokens": "jane", "img_count": 10}]}])
    fields = {"ss_tag_frequency": tags, "ss_datasets": datasets, "modelspec.title": "Jane"}
    files = [model_file(), model_file(fields), model_file({"modelspec.thumbnail": data_url(sample_file("JPEG"))})]
    return [one[LENGTH_BYTES:-4] for one in files]


def known_rows() -> list[bytes]:
    """Listings with every field."""
    row = {"id": "a", "kind": "image", "path": "a.png", "received_at": "2026-03-01T10:00:00Z", "deleted": False}
    more = {"tags": ["a", "b"], "title": "t", "nsfw_level": 4, "sha256": "00", "updated_at": 1796032800000}
    lines = [{"generation": 3}, row, {**row, "id": 7, **more}, {**row, "url": "https://h/x"}, {**row, **more}]
    return [b"\n".join(json.dumps(line).encode() for line in lines)]


TARGETS = {
    "pictures": Target(picture, lambda: [sample_file(kind) for kind in KINDS], partial(picture, here=True)),
    "headers": Target(header, known_headers, partial(header, here=True)),
    "rows": Target(listing, known_rows, listing),
}


def changed(known: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Known files with bytes set, cut out, repeated and put in, or a few bytes of nothing that is known."""
    places = st.integers(0, max(map(len, known)))
    edit = st.tuples(places, st.integers(0, 64), st.one_of(st.binary(max_size=8), st.sampled_from(LIKELY)))

    def apply(data: bytes, edits: Sequence[tuple[int, int, bytes]]) -> bytes:
        for at, gone, new in edits:
            data = data[:at] + new + data[at + min(gone, len(new) + gone % 3) :]
        return data

    return st.one_of(st.binary(max_size=200), st.builds(apply, st.sampled_from(known), st.lists(edit, max_size=6)))


LIKELY = (b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xd8\xff", b'"', b"{", b"[" * 64, b"1e999", b"\\ud800")
"""What parsers stumble over."""


def search(target: Target, *, seconds: float, examples: int | None = None, start: int = 0) -> bytes | None:
    """Return a small file that is a finding, or None once the time, or so many examples, are over."""
    failing: list[bytes] = []

    def check(data: bytes) -> None:
        try:
            target.check(data)
        except Exception:
            failing.append(data)
            raise

    ends = time.monotonic() + seconds
    number = start
    while examples is None or number == start:
        how = settings(
            max_examples=examples or AT_ONCE,
            database=None,
            deadline=None,
            derandomize=False,
            phases=[Phase.generate, Phase.shrink],
        )
        try:
            how(seed(number)(given(changed(target.known()))(check)))()
        except Exception:  # noqa: BLE001 - whatever it is, it is a finding
            return failing[-1] if failing else None
        number += 1
        if time.monotonic() > ends:
            break
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Search every target, or those that are named, for their share of the time."""
    parser = argparse.ArgumentParser(prog="tests.fuzzing", description="Search for what nobody foresaw.")
    parser.add_argument("--only", choices=[*TARGETS], action="append", help="a target; repeat it for several")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--atheris", choices=[*TARGETS], help="drive one target by atheris instead")
    options = parser.parse_args(arguments)
    if options.atheris:
        return drive(options.atheris, seconds=options.seconds)
    names = options.only or list(TARGETS)
    found = 0
    for name in names:
        started = time.monotonic()
        data = search(TARGETS[name], seconds=options.seconds / len(names), start=random.randrange(2**32))
        print(f"{name}: {'a finding' if data is not None else 'nothing'} in {time.monotonic() - started:.0f} s")
        if data is not None:
            found += 1
            FOUND.mkdir(exist_ok=True)
            file = FOUND / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
            file.write_bytes(data)
            print(f"  {file}: {len(data)} bytes; make a test of it")
    pool().close()
    return 1 if found else 0


def drive(name: str, *, seconds: float) -> int:
    """Hand one target to atheris, which ends the process itself."""
    try:
        import atheris  # type: ignore[import-not-found]
    except ImportError:
        print("atheris is not installed: pip install atheris", file=sys.stderr)
        return 2
    for module in [one for known, one in sys.modules.items() if known.startswith(FOLLOWED)]:
        for kind in [vars(module), *(vars(one) for one in vars(module).values() if isinstance(one, type))]:
            for one in kind.values():
                if isinstance(one, FunctionType) and one.__module__ == module.__name__:
                    atheris.instrument_func(one)
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(TARGETS[name].known()):
            (Path(corpus) / str(number)).write_bytes(data)
        atheris.Setup([sys.argv[0], f"-max_total_time={int(seconds)}", corpus], TARGETS[name].followed)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
