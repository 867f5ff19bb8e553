"""What becomes of an exception that nobody foresaw: the status of the one item whose bytes raise it (I9).

Work on many things that raises is repeated on halves of them, down to single things. Whatever a thing raises alone is
its own fault, if the same work still does what it should for a control that is known to be good; if not, models or
machine are out of order, and the exception is raised as it came. So one upload costs itself and never its batch, and a
broken accelerator never turns a night's uploads into faults of theirs. Knows neither images nor models.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from embeddings.errors import ItemError, LikenessError, UnscannableError, VectorError

SCANNER_ERROR: Final = "scanner_error"
"""The work on an item's bytes raised something unforeseen."""
SCANNER_MEMORY: Final = "scanner_memory"
"""The work on an item's bytes asked for more memory than there is."""
SCANNER_KILLED: Final = "scanner_killed"
"""The work ended its process, also when the item was tried again alone in a process."""
SCANNER_TIMEOUT: Final = "scanner_timeout"
"""The work took longer than an item may take."""
DECODER_CRASH: Final = "decoder_crash"
"""Decoding ended its process (:mod:`embeddings.sandbox`), also a second one, while another did known good work."""
DECODER_TIMEOUT: Final = "decoder_timeout"
"""Decoding took longer than an item may take."""
DECODER_FORBIDDEN: Final = "decoder_forbidden"
"""Decoding asked the system for what it has no business with: a file, a program, a connection."""
SCANNER_REASONS: Final = (
    *(SCANNER_ERROR, SCANNER_MEMORY, SCANNER_KILLED, SCANNER_TIMEOUT),
    *(DECODER_CRASH, DECODER_TIMEOUT, DECODER_FORBIDDEN),
)
"""Reasons that say more of the scanner than of the item: another version of it may well read the item."""

_LOG = logging.getLogger(__name__)
_MESSAGE: Final = "an item is %s: the work on its bytes raised %s"

T = TypeVar("T")
R = TypeVar("R")


def scanner_fault(error: Exception) -> UnscannableError:
    """Return the item's status for an exception that nobody foresaw. Logs the exception's type and nothing else
    (I8)."""
    reason = SCANNER_MEMORY if isinstance(error, MemoryError) else SCANNER_ERROR
    kind = type(error).__name__
    _LOG.warning(_MESSAGE, f"{UnscannableError.family}:{reason}", kind)
    return UnscannableError(reason, kind)


def is_unforeseen(error: Exception) -> bool:
    """Whether ``error`` may be the fault of an item's bytes although no :class:`ItemError` says so.

    Errors raised on purpose are excluded, except :class:`VectorError`: pixels can make a network answer NaN.
    """
    return isinstance(error, VectorError) or not isinstance(error, LikenessError)


def bisected(
    things: Sequence[T],
    work: Callable[[Sequence[T]], R],
    *,
    faulty: Callable[[T, UnscannableError], R],
    control: Callable[[], object],
) -> list[R]:
    """Return the results of ``work`` on all ``things`` or, after an exception, on ever smaller parts of them, in order.

    A thing on which ``work`` raises even alone gives ``faulty(thing, its status)``.

    ``control`` does the same work on a thing known to be good. If it raises, the fault is not the thing's, and the
    first exception is raised again.
    """
    try:
        return [work(things)]
    except Exception as error:
        if not things or not is_unforeseen(error):
            raise
        if len(things) == 1:
            _require_control(control, error)
            return [faulty(things[0], scanner_fault(error))]
    half = len(things) // 2
    first = bisected(things[:half], work, faulty=faulty, control=control)
    return first + bisected(things[half:], work, faulty=faulty, control=control)


def _require_control(control: Callable[[], object], error: Exception) -> None:
    try:
        control()
    except Exception:  # noqa: BLE001 - whatever the control raises, the caller sees the work's exception
        raise error from None


def guarded(work: Callable[[], R], *, but: tuple[type[Exception], ...] = ()) -> R:
    """Call ``work`` on one item's bytes, and raise unforeseen errors as the item's :class:`UnscannableError`.

    ``but``: exceptions that ``work`` raises for other reasons, such as a database that is gone; raised as they are.
    """
    try:
        return work()
    except ItemError:
        raise
    except Exception as error:
        if isinstance(error, but) or not is_unforeseen(error):
            raise
        raise scanner_fault(error) from error
