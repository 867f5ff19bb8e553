"""Reads the takedown service's list of open cases within bounds, because the answer may be wrong or hostile.

The form is that of the development receiver's ``GET /cases``: JSON whose ``cases`` each have ``key``, ``action`` and
``open``. An unreadable list is never an empty one (I7).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import httpcore

from embeddings.errors import NotReadyError, UnscannableError
from embeddings.strict_json import parse_strictly
from pipelines.exchange.allowance import OversizeError
from pipelines.exchange.client import header, is_encoded
from pipelines.exchange.limits import HeadLimits
from pipelines.exchange.urls import service_url
from pipelines.settings.config import TakedownConfig
from pipelines.takedown.client import service_client
from pipelines.takedown.outbox import EFFECTS

_HEADERS: Final = [
    (b"User-Agent", b"likeness"),
    (b"Accept", b"application/json"),
    (b"Accept-Encoding", b"identity"),
]


def fetch_open_keys(
    url: str, *, config: TakedownConfig, head: HeadLimits, clock: Callable[[], float] = time.monotonic
) -> set[str]:
    """Return the keys of the cases that are open at the service.

    Raises :class:`ConfigError` for an address that is neither https nor on this machine, and :class:`NotReadyError`
    when the service does not give a valid list within the settings' time and size.
    """
    target = service_url(url, setting="LIKENESS_TAKEDOWN_CASES_URL")
    client = service_client(target, head=head, clock=clock)
    try:
        with (
            client.allowance.within(config.timeout_seconds),
            client.exchange("GET", target, _HEADERS) as response,
        ):
            _require_json(response)
            body = client.body(response, max_bytes=config.max_cases_bytes)
    except OversizeError:
        raise NotReadyError(
            f"the takedown service's list of cases is larger than takedown.max_cases_bytes ({config.max_cases_bytes}): "
            "let it name key, action and open alone, or raise the setting"
        ) from None
    except httpcore.TimeoutException:
        raise NotReadyError("the takedown service did not give its list of cases in time") from None
    except (httpcore.NetworkError, httpcore.ProtocolError):
        raise NotReadyError("the takedown service did not give its list of cases: the connection failed") from None
    finally:
        client.close()
    return open_keys(body, max_parts=config.max_cases_parts)


def open_keys(body: bytes, *, max_parts: int) -> set[str]:
    """Return the keys of the open cases in an answer. Raises :class:`NotReadyError` for an answer of another form."""
    try:
        answer = parse_strictly(body.decode(), max_parts=max_parts)
    except UnscannableError as error:
        hint = f" (takedown.max_cases_parts is {max_parts})" if error.reason == "too_complex" else ""
        raise NotReadyError(f"the takedown service's list of cases is not readable: {error.reason}{hint}") from None
    except UnicodeDecodeError:
        raise NotReadyError("the takedown service's list of cases is not readable: not UTF-8") from None
    cases = answer.get("cases") if isinstance(answer, dict) else None
    if not isinstance(cases, list):
        raise NotReadyError("the takedown service's list of cases is not readable: it has no list of cases")
    return {key for case in cases if (key := _open_key(case)) is not None}


def _open_key(case: object) -> str | None:
    """The key of a case that is open and has an effect."""
    known = isinstance(case, dict) and isinstance(case.get("key"), str) and isinstance(case.get("action"), str)
    if not known or not isinstance(case, dict) or not isinstance(case.get("open"), bool):
        raise NotReadyError("the takedown service's list of cases is not readable: a case lacks key, action or open")
    return str(case["key"]) if case["open"] and case["action"] in EFFECTS else None


def _require_json(response: httpcore.Response) -> None:
    """Raise :class:`NotReadyError` unless the answer is uncompressed JSON."""
    if response.status != 200:
        raise NotReadyError(f"the takedown service answered {response.status} instead of its list of cases")
    if is_encoded(response):
        raise NotReadyError("the takedown service sent its list of cases compressed, which was not asked for")
    kinds = [value.partition(b";")[0].strip().lower() for value in header(response, b"content-type")]
    if len(kinds) != 1 or not (kinds[0] == b"application/json" or kinds[0].endswith(b"+json")):
        raise NotReadyError("the takedown service's list of cases is not application/json")
