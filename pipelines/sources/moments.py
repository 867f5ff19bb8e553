"""Reads a point in time in the forms that exports write it in. Knows no rows and no clock.

An ambiguous value is not read: ``03/04/2026`` may be two days, and a number too small for a date is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Final

FORMS: Final = (
    *("iso", "date", "compact", "rfc2822", "native"),
    *("epoch_seconds", "epoch_milliseconds", "epoch_microseconds", "epoch_nanoseconds"),
)
"""Names of the forms, as counts show them."""
_LONGEST: Final = 100
_ISO: Final = re.compile(
    r"([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})"
    r"(?:[T\s]\s*([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,12}))?)?\s*(.*))?",
    re.IGNORECASE,
)
_ZONE: Final = re.compile(r"(?:UTC|GMT|UT)?([+-])([0-9]{2}):?([0-9]{2})?(?::?[0-9]{2})?", re.IGNORECASE)
_UTC: Final = ("", "z", "utc", "gmt", "ut", "+0", "-0")
_BRACKETS: Final = re.compile(r"\s*\[[A-Za-z0-9_+/-]{1,60}\]$")
_COMPACT: Final = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})(?:([0-9]{2})([0-9]{2})([0-9]{2}))?")
_ISO_BASIC: Final = re.compile(r"[0-9]{4}-?W[0-9]{2}-?[0-9]|[0-9]{8}T[0-9]{4,6}(?:[.,][0-9]+)?(?:Z|[+-][0-9:]{2,6})?")
_RFC_2822: Final = re.compile(r"(?:[A-Za-z]{3,9},?\s+)?[0-9]{1,2}[ -][A-Za-z]{3,9}[ -][0-9]{4}\s+[0-9]{1,2}:[0-9]{2}.*")
_NUMBER: Final = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20})?(?:[eE]\+?[0-9]{1,2})?")
_LEAST: Final = 10**8
"""Least seconds since 1970: fewer are a day before March 1973, which no upload has, so rather another number."""
_UNITS: Final = (
    (10**11, 1, "epoch_seconds"),
    (10**14, 10**3, "epoch_milliseconds"),
    (10**17, 10**6, "epoch_microseconds"),
    (10**20, 10**9, "epoch_nanoseconds"),
)
"""(limit, units per second): the unit of a number below the limit. Each range holds every year from 1973 to 5000."""
_YEARS: Final = range(1990, 2100)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def read_moment(value: object) -> tuple[datetime, str] | None:
    """Return the moment in UTC and the name of its form, or None for what is no date. Never raises.

    A time without a zone is UTC, a date its midnight. Whole and broken numbers, also as digits in a string, are time
    since 1970 in the unit that their size tells, or digits of a calendar date (``20261130``).
    """
    try:
        found = _read(value)
        return None if found is None else (found[0].astimezone(UTC), found[1])
    except (ValueError, OverflowError, TypeError, ArithmeticError):
        return None


def is_plausible(moment: datetime) -> bool:
    """Whether a platform can have meant ``moment``: a date in 1970 or 9999 stands for no date."""
    return moment.year in _YEARS


def _read(value: object) -> tuple[datetime, str] | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, datetime):
        return (value if value.utcoffset() is not None else value.replace(tzinfo=UTC)), "native"
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC), "native"
    if isinstance(value, int | float | Decimal):
        return _number(Decimal(value))
    if not isinstance(value, str):
        return None
    text = value.strip()
    if not text or len(text) > _LONGEST:
        return None
    if _NUMBER.fullmatch(text):
        return _number(Decimal(text))
    return _text(_BRACKETS.sub("", text))


def _text(text: str) -> tuple[datetime, str] | None:
    if match := _ISO.fullmatch(text):
        return _iso(match)
    if _ISO_BASIC.fullmatch(text):
        moment = datetime.fromisoformat(text.replace(",", "."))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)), "iso"
    if _RFC_2822.fullmatch(text):
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)), "rfc2822"
    return None


def _iso(match: re.Match[str]) -> tuple[datetime, str] | None:
    year, month, day = (int(part) for part in match.groups()[:3])
    if match[4] is None:
        return datetime(year, month, day, tzinfo=UTC), "date"
    zone = _zone(match[8])
    if zone is None:
        return None
    # An hour 24 is the midnight that follows, and a leap second the one before it.
    hour, minute, second = int(match[4]), int(match[5]), int(match[6] or 0)
    if hour > 24 or minute > 59 or second > 60 or (hour == 24 and (minute or second)):
        return None
    fraction = int((match[7] or "")[:6].ljust(6, "0"))
    start = datetime(year, month, day, tzinfo=zone)
    return start + timedelta(hours=hour, minutes=minute, seconds=min(second, 59), microseconds=fraction), "iso"


def _zone(text: str) -> timezone | None:
    """Read a zone; None for one that is no offset: an abbreviation such as IST stands for several."""
    word = text.strip().lower()
    if word in _UTC:
        return UTC
    match = _ZONE.fullmatch(word)
    if match is None:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3] or 0))
    return timezone(offset if match[1] == "+" else -offset)


def _number(number: Decimal) -> tuple[datetime, str] | None:
    if not number.is_finite():
        return None
    if number == number.to_integral_value() and (match := _COMPACT.fullmatch(str(int(number)))):
        return _compact(match)
    if number < _LEAST:
        return None
    for below, per_second, form in _UNITS:
        if number < below:
            microseconds = int(number * 10**6 / per_second)
            return _EPOCH + timedelta(microseconds=microseconds), form
    return None


def _compact(match: re.Match[str]) -> tuple[datetime, str] | None:
    """Read a date of eight or fourteen digits, which as time since 1970 would be a day in 1970, or from 2600 on."""
    parts = [int(part) for part in match.groups() if part is not None]
    if parts[0] not in _YEARS:
        return None
    build: Callable[..., datetime] = datetime
    return build(*parts, tzinfo=UTC), "compact"
