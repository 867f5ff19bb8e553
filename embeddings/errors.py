"""Every error this project raises on purpose.

::

    LikenessError
    ├── ItemError                 one item's own fault: becomes a row with a status, never ends a run
    │   ├── UnscannableError      the bytes were had and cannot be scanned   -> ``unscannable:<reason>``
    │   └── FetchError            the bytes could not be had                 -> ``fetch_failed:<reason>``
    ├── ConfigError               a setting, a policy file or a key is missing or wrong
    ├── NotReadyError             registry, index or store is empty, stale or unusable (I7)
    │   ├── CorruptionError       stored bytes are not what was written: digest, seal or count differs
    │   ├── ModelMismatchError    vectors of another model or dimension met (I4)
    │   └── EndingError           more opt-outs end at once than can be meant (I12)
    ├── VectorError               NaN, zero or unnormalised vectors at a boundary (I4)
    ├── WeightsError              model files missing, altered, or under a licence not accepted
    ├── EnrolmentError            references that cannot become templates
    ├── InputError                a value that a caller gave is empty, too long or out of range; also a ``ValueError``
    ├── CalibrationError          labelled photographs that cannot give the thresholds asked for
    ├── DeniedError               who asks may not, or could not show who they are
    └── StateError                an operation that the present state does not allow
        └── LimitError            more of something than the settings allow in a day

Reasons are short fixed words (``truncated``, ``too_large``): they are stored, counted and shown. No error carries a
name, a vector, a crop or an uploaded string (I8, I9).
"""

from __future__ import annotations


class LikenessError(Exception):
    """Base of every error raised on purpose."""


class ItemError(LikenessError):
    """A fault of one item. ``reason`` is a fixed lower-case word; ``status`` is what the ledger stores."""

    family = "unscannable"

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason

    @property
    def status(self) -> str:
        """The ledger's status, for example ``unscannable:truncated``."""
        return f"{self.family}:{self.reason}"


class UnscannableError(ItemError):
    """The bytes were had and cannot be scanned: wrong format, truncated, too large, ..."""

    family = "unscannable"


class FetchError(ItemError):
    """The bytes could not be had: missing, refused, timed out, outside the source, ..."""

    family = "fetch_failed"


class ConfigError(LikenessError):
    """A setting, a policy file or a key is missing or wrong. Says which one and what would be right."""


class NotReadyError(LikenessError):
    """Registry, index or store cannot answer. Never to be read as "no match" (I7)."""


class CorruptionError(NotReadyError):
    """Stored bytes are not what was written: a digest, a seal, a count or a schema differs."""


class ModelMismatchError(NotReadyError):
    """Vectors of another model or dimension than the index holds (I4)."""


class EndingError(NotReadyError):
    """More of the registry ends at once than the settings allow. Says how many, and what to do (I12)."""


class VectorError(LikenessError):
    """A vector that is NaN, infinite, zero or not of unit length reached a boundary (I4)."""


class WeightsError(LikenessError):
    """Model files are missing, altered, or under a licence that was not accepted."""


class EnrolmentError(LikenessError):
    """A reference photograph cannot become a template. ``reason`` is a fixed word.

    ``positions``: of the photographs at fault among those given, from 1 on. Whoever gave them knows their names, which
    no error carries.
    """

    def __init__(self, reason: str, detail: str = "", *, positions: tuple[int, ...] = ()) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.positions = positions


class InputError(LikenessError, ValueError):
    """A value that a caller gave cannot be used. Says which one and what would be right, without repeating it."""


class CalibrationError(LikenessError):
    """Labelled photographs cannot give what was asked of them. Says what is missing, in counts."""


class DeniedError(LikenessError):
    """Who asks may not, or could not show who they are."""


class StateError(LikenessError):
    """The present state does not allow this: for example accepting a request that was rejected."""


class LimitError(StateError):
    """More was asked for in a day than the settings allow. Says which limit, and when there is room again."""
