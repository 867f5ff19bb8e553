"""Error rates of a face comparison and the threshold for a target, each with the bound that the data support.

FMR: share of impostor comparisons at or above a threshold; FNMR: share of mated comparisons below it (ISO/IEC 19795-1).
FPIR: chance that one face of a stranger reaches the threshold with at least one of N templates, at most
1 - (1 - FMR)^N. N counts templates: those of one subject resemble one another, which can only lower the FPIR.

Comparisons that share a person are not independent, and a million of them between a thousand persons say much less than
a million. So bounds are Clopper and Pearson's on an *effective* number of comparisons, as Korn and Graubard (Survey
Methodology 24, 1998) do for clustered samples: the number divided by the design effect, which is the variance of the
error count with all pairs that share a person counted as dependent (Fafchamps and Gubert 2007; for one score each it is
Bickel's of ISO/IEC 19795-1, annex B) over the binomial one, and reduced by (z/t)^2 where persons are few.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embeddings.types import Float32
from indexes.stored import Int64

ENOUGH_ERRORS = 30
"""A variance measured on fewer errors says little ("rule of 30", Doddington et al. 2000): the design effect of a rarer
error is taken where there are this many."""


@dataclass(frozen=True, slots=True)
class Rate:
    """An error rate, with its upper bound at the calibration's confidence (one-sided)."""

    errors: int
    comparisons: int
    rate: float
    upper: float
    effective: float
    """Independent comparisons that would say as much."""


def lower_of(rate: Rate, *, confidence: float) -> float:
    """Return the one-sided lower bound of a rate, from as many independent comparisons as its upper one."""
    return lower_bound(rate.rate * rate.effective, rate.effective, confidence=confidence)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The lowest threshold whose FMR is bounded by ``target_fmr``; None where the data cannot support one.

    ``needed``: comparisons, of persons as dependent as these, that would support one if none was a false match.
    """

    target_fmr: float
    threshold: float | None
    fmr: Rate | None
    needed: int
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class DetPoint:
    """One point of the DET curve. ``fnmr`` None: there were no mated comparisons."""

    threshold: float
    fmr: float
    fmr_upper: float
    fnmr: float | None


class Sample:
    """Comparisons of one kind, sorted from the most to the least wrong.

    ``scores`` float32 (n,); ``left`` and ``right`` int64 (n,): which persons were compared, equal for mated pairs.
    Impostor comparisons are the more wrong the higher they score, mated ones the lower.
    """

    def __init__(self, scores: Float32, left: Int64, right: Int64, *, mated: bool) -> None:
        order = np.argsort(scores if mated else -scores, kind="stable")
        self.mated = mated
        self.scores: Float32 = scores[order]
        persons, both = np.unique(np.concatenate([left[order], right[order]]), return_inverse=True)
        self.persons = len(persons)
        self._left, self._right = both[: len(order)], both[len(order) :]
        codes = np.minimum(self._left, self._right) * max(1, self.persons) + np.maximum(self._left, self._right)
        dyads, self._dyad = np.unique(codes, return_inverse=True)
        self._across = dyads // max(1, self.persons) != dyads % max(1, self.persons)
        self._of_dyad = np.bincount(self._dyad, minlength=len(dyads))
        self._of_person = self._per_person(len(order))

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def largest_share(self) -> float:
        """The largest share of the comparisons that one person takes part in."""
        return float(self._of_person.max() / len(self)) if len(self) else 0.0

    def errors(self, threshold: float) -> int:
        """False matches at or above ``threshold``, or false non-matches below it."""
        limit = np.float32(threshold)
        if self.mated:
            return int(np.searchsorted(self.scores, limit, side="left"))
        return int(np.searchsorted(-self.scores, -limit, side="right"))

    def rate(self, threshold: float, *, confidence: float) -> Rate:
        """Return the error rate at a threshold and its bound. Without comparisons it is bounded by 1."""
        errors = self.errors(threshold)
        return self._rate(errors, self.information(errors, confidence=confidence), confidence=confidence)

    def information(self, errors: int, *, confidence: float) -> float:
        """Independent comparisons that say as much as one of these, in (0, 1], about a rate with so many errors."""
        from scipy.special import ndtri, stdtrit

        if self.persons < 2:
            return 1.0 / max(1, len(self))
        few = (ndtri(confidence) / stdtrit(self.persons - 1, confidence)) ** 2
        half = len(self) // 2
        enough = min(max(errors, ENOUGH_ERRORS), max(errors, half))
        # The effect is also taken at more errors: at the very threshold that the data chose, it comes out too small.
        effect = max(self.design_effect(min(enough * times, max(enough, half))) for times in (1, 2, 4))
        return float(min(1.0, few) / max(1.0, effect))

    def design_effect(self, errors: int) -> float:
        """Variance of the number of errors over the binomial one, if the ``errors`` most wrong are the errors."""
        count = len(self)
        if not 0 < errors < count:
            return 1.0
        share = errors / count
        person = self._per_person(errors) - share * self._of_person
        dyad = np.bincount(self._dyad[:errors], minlength=len(self._of_dyad)) - share * self._of_dyad
        # Two comparisons of the same two persons share both of them and would be counted twice.
        variance = np.square(person).sum() - np.square(dyad[self._across]).sum()
        small = self.persons / (self.persons - 1) if self.persons > 1 else 1.0
        return float(small * variance / (count * share * (1 - share)))

    def _rate(self, errors: int, information: float, *, confidence: float) -> Rate:
        count = len(self)
        effective = count * information
        upper = upper_bound(errors * information, effective, confidence=confidence)
        return Rate(errors, count, errors / count if count else 0.0, upper, effective)

    def _per_person(self, first: int) -> npt.NDArray[np.int64]:
        """Count in how many of the ``first`` comparisons each person takes part."""
        left, right = self._left[:first], self._right[:first]
        return np.bincount(left, minlength=self.persons) + np.bincount(right[left != right], minlength=self.persons)


def upper_bound(errors: float, trials: float, *, confidence: float) -> float:
    """Clopper and Pearson's one-sided upper bound of a rate; with no error it is about 3/trials at 95 %."""
    from scipy.special import betaincinv

    return 1.0 if errors >= trials else float(betaincinv(errors + 1, trials - errors, confidence))


def lower_bound(errors: float, trials: float, *, confidence: float) -> float:
    """Clopper and Pearson's one-sided lower bound of a rate."""
    from scipy.special import betaincinv

    return 0.0 if errors <= 0 else float(betaincinv(errors, trials - errors + 1, 1 - confidence))


def threshold_for(impostors: Sample, *, target_fmr: float, confidence: float) -> OperatingPoint:
    """Return the lowest threshold at which the FMR is at most ``target_fmr`` with ``confidence``, above 0.5 and below
    1.

    The threshold lies just above an order statistic, for which Clopper and Pearson's bound holds although the data
    chose it (Wilks 1941). It is refused where even no false match at all would not bound the FMR so low, and where one
    person takes part in more than half of the comparisons, whose dependence then cannot be measured.
    """
    information = impostors.information(0, confidence=confidence)
    while True:
        allowed = _most_errors(len(impostors), information, target=target_fmr, confidence=confidence)
        if allowed is None:
            break
        measured = impostors.information(allowed, confidence=confidence)
        if measured >= information:
            break
        information = measured
    needed = math.ceil(least_comparisons(target_fmr, confidence=confidence) / information)
    if impostors.largest_share > 0.5:
        return OperatingPoint(target_fmr, None, None, needed, "one person takes part in more than half of them")
    if allowed is None:
        return OperatingPoint(target_fmr, None, None, needed, "too few comparisons of different people")
    threshold = float(np.nextafter(impostors.scores[allowed], np.float32(2)))
    rate = impostors._rate(impostors.errors(threshold), information, confidence=confidence)
    return OperatingPoint(target_fmr, threshold, rate, needed)


def _most_errors(count: int, information: float, *, target: float, confidence: float) -> int | None:
    """Return how many of ``count`` comparisons may be errors with the rate bounded by ``target``; None: not even
    without any."""

    def bounded(errors: int) -> bool:
        return upper_bound(errors * information, count * information, confidence=confidence) <= target

    if count < 1 or not bounded(0):
        return None
    low, high = 0, count - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if bounded(middle) else (low, middle - 1)
    return low


def det_points(mated: Sample, impostors: Sample, *, most: int, confidence: float) -> list[DetPoint]:
    """At most ``most`` points of the DET curve by ascending threshold, denser towards few errors of either kind."""
    thresholds: set[float] = set()
    for sample in (mated, impostors):
        if len(sample):
            ranks = np.unique(np.geomspace(1, len(sample), max(1, most // 2)).astype(np.int64)) - 1
            scores = sample.scores[ranks]
            # Just above an impostor: it does not match any more. At a mated score: it still does.
            thresholds |= set((scores if sample.mated else np.nextafter(scores, np.float32(2))).tolist())
    points = []
    for threshold in sorted(thresholds):
        fmr = impostors.rate(threshold, confidence=confidence)
        fnmr = mated.errors(threshold) / len(mated) if len(mated) else None
        points.append(DetPoint(threshold, fmr.rate, fmr.upper, fnmr))
    return points


def least_comparisons(target_fmr: float, *, confidence: float) -> float:
    """Return how many independent comparisons bound the FMR by ``target_fmr`` if none is a false match."""
    return math.log1p(-confidence) / math.log1p(-target_fmr)


def fpir(fmr: float, *, templates: int) -> float:
    """Return the FPIR of N templates: 1 - (1 - FMR)^N."""
    return 1.0 if fmr >= 1 else -math.expm1(templates * math.log1p(-fmr))


def fmr_for_fpir(target: float, *, templates: int) -> float:
    """Return the FMR at which N templates give the FPIR ``target``."""
    return -math.expm1(math.log1p(-target) / templates)


def most_templates(fmr: float, *, target_fpir: float) -> int:
    """Return the largest N whose FPIR is within the target; 0 where one template is too many already."""
    if fmr <= 0:
        raise ValueError("an FMR of zero is not something that data can show: give its bound")
    # The quotient of a target made by fmr_for_fpir may lie a rounding below the number it was made for.
    return 0 if fmr >= 1 else math.floor(math.log1p(-target_fpir) / math.log1p(-fmr) * (1 + 1e-12))
