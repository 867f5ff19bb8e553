"""The files that settings name, listed in one place, and the digests by which a long-lived process watches them.

What counts is the content: an editor that renames a new file over the old one, or one that keeps size and time, changes
the digest all the same. Not listed, because they change by themselves: the database's content, its witness, the
corpus, and the source, which every run lists anew. Knows nothing of what the files mean.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from embeddings.content.clip_weights import ClipSettings, find_weights
from embeddings.errors import ConfigError, WeightsError
from embeddings.models.packs import LOCAL
from pipelines.settings.config import Config
from pipelines.settings.environment import Environment

ABSENT: Final = "absent"
"""Stands for the digest of a file that is lacking; whoever needs the file says so."""
_SMALL: Final = 1 << 20
"""Bytes up to which a file is read at every look; a larger one only when its inode, size or times differ."""
_SETTLED_SECONDS: Final = 2.0
"""How long before its digest was taken a file must have been touched last, for the next touch to show in its times."""


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A file and the setting that names it."""

    setting: str
    path: Path


@dataclass(frozen=True, slots=True)
class _Digested:
    """A digest, and what the system said of the file when it was taken."""

    digest: str
    stamp: tuple[int, ...]
    settled: bool


_LARGE_FILES: dict[Path, _Digested] = {}


def settings_files(environment: Environment, config: Config) -> tuple[SettingsFile, ...]:
    """Return every file whose content decides what a run does: settings, key, policy, concepts, a pack of one's own, a
    CLIP checkpoint. What the home may lack is listed as well, so that it is noticed when it comes."""
    home = environment.home
    listed = [
        SettingsFile("--config", environment.config_path)
        if environment.config_path
        else SettingsFile("likeness.toml", home / "likeness.toml")
    ]
    if environment.key is None:
        listed.append(SettingsFile("LIKENESS_KEY", home / "likeness.key"))
    if config.policy:
        listed.append(SettingsFile("policy", home / config.policy))
    if config.content.concepts:
        listed.append(SettingsFile("content.concepts", home / config.content.concepts))
    if config.embedding.pack.startswith(LOCAL):
        listed += _pack_files("embedding.pack", Path(config.embedding.pack.removeprefix(LOCAL)))
    if config.second_opinion.startswith(LOCAL):
        listed += _pack_files("second_opinion", Path(config.second_opinion.removeprefix(LOCAL)))
    if config.content.clip_checkpoint and config.content.clip != "off":
        listed += _checkpoint_files(home / config.content.clip_checkpoint, config)
    return tuple(listed)


def read_digests(files: tuple[SettingsFile, ...]) -> dict[SettingsFile, str]:
    """Return the digest of each file as it is now, :data:`ABSENT` for one that is lacking.

    Raises ``ConfigError`` that names the setting of a file that cannot be read.
    """
    return {file: _digest_of(file) for file in files}


def require_present(before: Mapping[SettingsFile, str], now: Mapping[SettingsFile, str]) -> None:
    """Raise ``ConfigError`` for a file that was there and is gone: its old content must not stay in force for ever."""
    for file, digest in before.items():
        if digest != ABSENT and now.get(file) == ABSENT:
            raise ConfigError(
                f"{file.setting}: the file {file.path} is gone: put it back, or change the setting and start again"
            )


def database_file(environment: Environment, config: Config) -> Path | None:
    """Return the file of an SQLite database; None for a server's."""
    if not config.database.url:
        return environment.home / "likeness.db"
    try:
        url = sa.make_url(config.database.url)
    except (sa.exc.ArgumentError, ValueError):
        return None  # opening the database says what is wrong with its URL
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def _pack_files(setting: str, folder: Path) -> list[SettingsFile]:
    from embeddings.models.local_pack import LocalFile, read_local_pack
    from embeddings.models.packs import packs

    listed = [SettingsFile(setting, folder / "pack.toml")]
    try:
        pack = read_local_pack(folder, known=packs())
    except WeightsError:
        return listed  # loading the pack says what is wrong
    sources = (pack.detector.source, pack.recognizer.source)
    return listed + [SettingsFile(setting, one.path) for one in sources if isinstance(one, LocalFile)]


def _checkpoint_files(path: Path, config: Config) -> list[SettingsFile]:
    settings = ClipSettings(config.content.clip_model, config.content.clip_pretrained, path)
    try:
        found = find_weights(settings, folder=path)
    except WeightsError:
        found = None
    paths = [one for one in (found.path, found.config) if one] if found else [path]
    return [SettingsFile("content.clip_checkpoint", one) for one in paths]


def _digest_of(file: SettingsFile) -> str:
    try:
        with file.path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            known = _LARGE_FILES.get(file.path)
            if known and known.settled and known.stamp == stamp:
                return known.digest
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return ABSENT
    except OSError as error:
        raise ConfigError(f"{file.setting}: the file {file.path} cannot be read: {error.strerror}") from None
    if status.st_size > _SMALL:
        settled = time.time() - status.st_ctime > _SETTLED_SECONDS
        _LARGE_FILES[file.path] = _Digested(digest, stamp, settled)
    return digest
