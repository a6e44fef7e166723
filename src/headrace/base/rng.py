"""The only maker of chance that is not a secret. Secrets come from the `secrets` module."""

import random

Rng = random.Random


def make_rng(seed: int | str) -> Rng:
    """Make a generator; the same seed gives the same sequence."""
    return random.Random(seed)  # noqa: S311  jitter and spread, never a secret


def jittered(rng: Rng, interval_s: float, ratio: float = 0.2) -> float:
    """Spread an interval by ±`ratio` so that a fleet does not act in step."""
    return interval_s * rng.uniform(1 - ratio, 1 + ratio)


def backoff_s(rng: Rng, attempt: int, *, first_s: float = 0.5, most_s: float = 30.0) -> float:
    """Exponential back-off with full jitter: attempt 0, 1, 2, ... (AWS architecture blog, "full jitter")."""
    ceiling = min(most_s, first_s * 2 ** min(attempt, 30))
    return rng.uniform(ceiling / 2, ceiling)
