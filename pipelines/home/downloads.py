"""Fetching the files of a pack. A download that was cut goes on where it stopped; what arrives is checked by digest.

The bytes go to a ``.part`` file beside the target; only a file with the digest that the pack pins is moved into place.
A model file may take hours, so no deadline covers it as a whole: in each span of time a least number of bytes has to
come, and a slower connection counts as cut.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embeddings.errors import WeightsError
from embeddings.models.packs import DownloadedFile
from embeddings.models.weights import Pack
from pipelines.home.download_file import PullLimits, fetch_file
from pipelines.home.private_files import open_private
from pipelines.home.progress import Progress, silent

__all__ = ["PullCounts", "PullLimits", "downloads", "missing", "pull"]

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class PullCounts:
    """Files that were fetched, and those that were there already."""

    fetched: int = 0
    present: int = 0


def downloads(pack: Pack) -> list[DownloadedFile]:
    """Return the files of a pack that come from the network."""
    sources = (pack.detector.source, pack.recognizer.source)
    return [source for source in sources if isinstance(source, DownloadedFile)]


def missing(pack: Pack, *, folder: Path) -> list[DownloadedFile]:
    """Return the files of a pack that are not in ``folder`` with the right bytes."""
    return [file for file in downloads(pack) if not _is_whole(file.path(folder), file.sha256)]


def pull(
    pack: Pack, *, folder: Path, limits: PullLimits, proxy: str | None = None, progress: Progress = silent
) -> PullCounts:
    """Fetch what is missing of ``pack`` into ``folder``, by way of ``proxy`` if there is one.

    Raises :class:`WeightsError` when a file cannot be had or is not the pinned one. After a cut connection, calling
    this again goes on with what is there.
    """
    wanted = missing(pack, folder=folder)
    by_url: dict[str, list[DownloadedFile]] = {}
    for file in wanted:
        by_url.setdefault(file.url, []).append(file)
    for url, files in by_url.items():
        part = files[0].path(folder).with_name(f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.part")
        part.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fetch_file(url, part, limits=limits, proxy=proxy, progress=progress)
        _install(part, files, folder=folder, limits=limits)
    return PullCounts(fetched=len(wanted), present=len(downloads(pack)) - len(wanted))


def _install(part: Path, files: Sequence[DownloadedFile], *, folder: Path, limits: PullLimits) -> None:
    """Move what ``files`` name into place; a part that does not hold it is deleted, so that the next pull is fresh."""
    try:
        for file in files:
            if file.member is None:
                _place(part, file, folder)
            else:
                extracted = part.with_suffix(".member")
                _extract(part, file.member, extracted, limits=limits)
                _place(extracted, file, folder)
    finally:
        part.unlink(missing_ok=True)


def _place(arrived: Path, file: DownloadedFile, folder: Path) -> None:
    if not _is_whole(arrived, file.sha256):
        arrived.unlink(missing_ok=True)
        raise WeightsError(
            f"what arrived is not the file that pack {file.pack} pins (SHA-256 {file.sha256[:12]}): not used. Pull "
            "again; if it happens again, the publisher changed the file"
        )
    with arrived.open("rb") as data:
        os.fsync(data.fileno())
    arrived.replace(file.path(folder))


def _extract(archive: Path, member: str, target: Path, *, limits: PullLimits) -> None:
    try:
        with zipfile.ZipFile(archive) as opened:
            (entry,) = (info for info in opened.infolist() if info.filename.rpartition("/")[2] == member)
            if entry.file_size > limits.max_bytes:
                raise WeightsError("the archive's file is larger than any model of this pack: not taken")
            with opened.open(entry) as source, open(target, "wb", opener=open_private) as file:
                while chunk := source.read(CHUNK):
                    file.write(chunk)
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise WeightsError(f"what arrived is not an archive with {member} in it: not used, pull again") from error


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False
