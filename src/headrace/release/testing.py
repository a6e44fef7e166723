"""Builders for tests of judging: noise as machines make it, pairs, definitions."""

import numpy as np

from headrace.release.model import Better, CheckDefinition, CheckId, Margin, Metric, Pair, Scale, level_of
from headrace.release.sequential import Floats

NOISES = ("normal", "heavy", "drift", "bursts", "growing")


def noise_of_slots(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Noise of consecutive runs in time; the last axis is time."""
    calm = rng.standard_normal(shape)
    if kind == "heavy":
        return rng.standard_cauchy(shape)
    if kind == "drift":
        return np.linspace(0, 30, shape[-1]) + np.cumsum(calm, axis=-1)
    if kind == "bursts":
        return calm + 8.0 * (rng.random(shape) < 0.1)
    if kind == "growing":
        return calm * np.linspace(0.1, 5, shape[-1])
    return calm


def effects_under(kind: str, rng: np.random.Generator, effect: float, draws: int, pairs: int) -> Floats:
    """Effects of pairs whose order a fair coin drew, shape (draws, pairs)."""
    slots = noise_of_slots(kind, rng, (draws, 2 * pairs))
    first, second = slots[:, 0::2], slots[:, 1::2]
    coin = rng.integers(0, 2, size=first.shape) * 2 - 1
    return effect + coin * (second - first)


def definition(
    check: str = "performance.cpu-per-gb",
    *,
    margin: float = 0.05,
    better: Better = Better.LOWER,
    scale: Scale = Scale.RATIO,
    repeat_spread: float | None = None,
) -> CheckDefinition:
    """A check with plain defaults."""
    return CheckDefinition(
        check_id=CheckId(check),
        level=level_of(CheckId(check)),
        metric=Metric(name="cpu_s_per_gb", unit="CPU s/GB", better=better, scale=scale),
        margin=Margin(value=margin, why="a test"),
        repeat_spread=repeat_spread,
    )


def pairs_of(ratio: float, spread: float, count: int, *, seed: int = 1) -> tuple[Pair, ...]:
    """Pairs around 100 whose candidate is `ratio` times the baseline."""
    rng = np.random.default_rng(seed)
    return tuple(
        Pair(
            baseline=float(100 * np.exp(spread * rng.standard_normal())),
            candidate=float(100 * ratio * np.exp(spread * rng.standard_normal())),
        )
        for _ in range(count)
    )
