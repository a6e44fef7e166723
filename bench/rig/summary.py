"""Medians, spreads and ratios of samples; pure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One figure of several samples."""

    median: float
    iqr_ratio: float
    """Distance of the quartiles over the median; 0 for fewer than three samples."""
    samples: int


def spread(values: Sequence[float]) -> Spread:
    """Median and relative interquartile range of at least one value."""
    middle = statistics.median(values)
    if len(values) < 3 or not middle:
        return Spread(median=middle, iqr_ratio=0.0, samples=len(values))
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median=middle, iqr_ratio=(high - low) / middle, samples=len(values))


def paired_ratio(ours: dict[int, float], others: dict[int, float]) -> float | None:
    """Median over rounds of ours/other, for rounds that both have; drift of the machine over minutes cancels out."""
    ratios = [ours[number] / others[number] for number in ours if others.get(number)]
    return statistics.median(ratios) if ratios else None
