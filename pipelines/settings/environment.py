"""The one place that reads the process's environment: what is secret, or differs from machine to machine."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from embeddings.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Environment:
    """What the process's environment says. Secrets are kept out of ``repr``."""

    home: Path
    config_path: Path | None = None
    source: str | None = None
    database_url: str | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)
    takedown_url: str | None = field(default=None, repr=False)
    takedown_cases_url: str | None = field(default=None, repr=False)
    takedown_secrets: tuple[str, ...] = field(default=(), repr=False)
    failpoint: str | None = None
    https_proxy: str | None = field(default=None, repr=False)
    group_access: bool = False


def read_environment(
    environ: Mapping[str, str] | None = None, *, home: Path | None = None, config_path: Path | None = None
) -> Environment:
    """Read ``LIKENESS_*``; ``home`` and ``config_path`` (the command line's) win over the environment.

    ``HTTPS_PROXY`` is for model files alone: a proxy must not redirect takedowns.
    ``LIKENESS_TAKEDOWN_SECRET`` may hold several ``whsec_`` secrets separated by spaces, newest first (key rotation).
    """
    env = os.environ if environ is None else environ
    config_value = env.get("LIKENESS_CONFIG")
    return Environment(
        home=Path(os.path.realpath(home or env.get("LIKENESS_HOME") or ".likeness")),  # takes a loop of links as it is
        config_path=config_path or (Path(config_value) if config_value else None),
        source=env.get("LIKENESS_SOURCE") or None,
        database_url=env.get("LIKENESS_DATABASE_URL") or None,
        key=_decode_key(env["LIKENESS_KEY"]) if env.get("LIKENESS_KEY") else None,
        takedown_url=env.get("LIKENESS_TAKEDOWN_URL") or None,
        takedown_cases_url=env.get("LIKENESS_TAKEDOWN_CASES_URL") or None,
        takedown_secrets=tuple((env.get("LIKENESS_TAKEDOWN_SECRET") or "").split()),
        failpoint=env.get("LIKENESS_FAILPOINT") or None,
        https_proxy=env.get("HTTPS_PROXY") or env.get("https_proxy") or None,
        group_access=_decode_switch("LIKENESS_GROUP_ACCESS", env.get("LIKENESS_GROUP_ACCESS") or "0"),
    )


def keep_ray_quiet() -> None:
    """Tell Ray to send no usage statistics from this process and what it starts, unless somebody chose otherwise."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def _decode_switch(name: str, text: str) -> bool:
    if text not in ("0", "1"):
        raise ConfigError(f"{name} must be 0 or 1")
    return text == "1"


def _decode_key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise ConfigError("LIKENESS_KEY must be 32 bytes in base64, for example from `openssl rand -base64 32`")
    return key
