"""From what was measured to the verdict of one check of levels 3 and 4, with effect, interval and evidence.

Pass: the whole interval below the margin. Fail: the whole interval above it. Else more pairs, until the budget ends in
inconclusive. A pair without a value counts against both verdicts, so missing data never passes and never convicts.
Which error a check is held to comes from `family`; when runs are made, and how, from `lab`.
"""

import math
from dataclasses import dataclass

from headrace.base.rng import Rng
from headrace.release.deterministic import Bracket, bracket
from headrace.release.model import (
    CheckDefinition,
    CheckResult,
    Interval,
    Order,
    Pair,
    Reason,
    Repeats,
    Scale,
    Verdict,
    effect_of,
    from_scale,
    to_scale,
)
from headrace.release.sequential import Side, anytime_p, bounds, guess, least_pairs

LEAST_PAIRS_AS_REPEATS = 3
"""Pairs from which on their runs count as repeats too; the fewer, the less the noise model is checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All that was measured for one check so far; pairs in the order of the runs, none left out."""

    pairs: tuple[Pair, ...] = ()
    repeats: Repeats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """Errors and budget of one check."""

    fail_error: float
    """Most probability of a fail when the effect is within the margin."""
    pass_error: float
    most_pairs: int


def draw_order(rng: Rng) -> Order:
    """Which build runs first in the next pair: a fair coin, on which the whole test rests."""
    return rng.choice((Order.BASELINE_FIRST, Order.CANDIDATE_FIRST))


def effects_of(definition: CheckDefinition, pairs: tuple[Pair, ...]) -> list[float]:
    """The effect of each pair on the additive scale; nan where a run gave no usable value."""
    return [effect_of(definition.metric, pair.baseline, pair.candidate) for pair in pairs]


def fail_p(definition: CheckDefinition, measured: Measured) -> float:
    """Anytime-valid p-value of "worse than the margin", from the pairs."""
    margin = to_scale(definition.metric, definition.margin.value)
    return anytime_p(effects_of(definition, measured.pairs), margin, Side.ABOVE)


def judge_check(definition: CheckDefinition, measured: Measured, allowed: Allowed) -> CheckResult:
    """Judge one check on what is there: by its repeats where they decide, else by its pairs."""
    repeats = measured.repeats or _repeats_of(definition, measured.pairs)
    counted = _bracket(definition, repeats)
    if repeats is not None and counted is not None:
        is_apart = counted.least > to_scale(definition.metric, definition.margin.value)
        if counted.holds or is_apart:
            result = _from_repeats(definition, counted, repeats, measured.pairs)
            if result.verdict is not Verdict.INCONCLUSIVE or not measured.pairs:
                return result
    if measured.pairs or counted is None:
        return _from_pairs(definition, measured.pairs, allowed)
    return _result(
        definition,
        verdict=Verdict.INCONCLUSIVE,
        reason=Reason.REPEATS_SPREAD,
        summary=f"repeats of one build differ by more than {definition.repeat_spread:.3g}; pairs must decide",
    )


def _repeats_of(definition: CheckDefinition, pairs: tuple[Pair, ...]) -> Repeats | None:
    """Runs of pairs are repeats of each build too, where its noise has a measured bound; None while they are few."""
    if definition.repeat_spread is None or len(pairs) < LEAST_PAIRS_AS_REPEATS:
        return None
    return Repeats(baseline=tuple(one.baseline for one in pairs), candidate=tuple(one.candidate for one in pairs))


def _bracket(definition: CheckDefinition, repeats: Repeats | None) -> Bracket | None:
    if repeats is None or definition.repeat_spread is None:
        return None
    metric = definition.metric
    reference = next((one for one in repeats.baseline if effect_of(metric, one, one) == 0), None)
    sides = [[effect_of(metric, reference, one) for one in side] for side in (repeats.baseline, repeats.candidate)]
    if any(math.isnan(one) for side in sides for one in side):
        return None  # a repeat that gave no count decides nothing
    return bracket(sides[0], sides[1], definition.repeat_spread)


def _from_repeats(
    definition: CheckDefinition, counted: Bracket, repeats: Repeats, pairs: tuple[Pair, ...]
) -> CheckResult:
    metric = definition.metric
    margin = to_scale(metric, definition.margin.value)
    low, high = (counted.low, counted.high) if counted.holds else (counted.least, math.inf)
    verdict, reason = _where(low, high, margin)
    if verdict is Verdict.INCONCLUSIVE:
        reason = Reason.AT_MARGIN
    held = "held here" if counted.holds else "the baseline's do; the candidate's all lie above what it allows"
    effects = [one for one in effects_of(definition, pairs) if math.isfinite(one)]
    return _result(
        definition,
        verdict=verdict,
        reason=reason,
        summary=_sentence(definition, counted.middle, low, high, verdict),
        effect=from_scale(metric, counted.middle),
        interval=_interval(definition, low, high, (0.0, 0.0)),
        pairs=len(pairs),
        evidence=(
            f"repeats of the baseline: {_listed(repeats.baseline)} {metric.unit}",
            f"repeats of the candidate: {_listed(repeats.candidate)} {metric.unit}",
            f"noise model: runs of one build differ by at most {definition.repeat_spread:.3g}; {held}",
        ),
        effects=tuple(from_scale(metric, one) for one in effects),
    )


def _from_pairs(definition: CheckDefinition, pairs: tuple[Pair, ...], allowed: Allowed) -> CheckResult:
    effects = effects_of(definition, pairs)
    known = [one for one in effects if math.isfinite(one)]
    missing = len(effects) - len(known)
    if not known:
        reason = Reason.NO_DATA if not pairs or len(pairs) < allowed.most_pairs else Reason.MISSING_DATA
        summary = "no run gave a value" if pairs else "nothing was measured"
        return _result(
            definition, verdict=Verdict.INCONCLUSIVE, reason=reason, summary=summary, pairs=len(pairs), missing=missing
        )
    margin = to_scale(definition.metric, definition.margin.value)
    low, high = bounds(effects, low_error=allowed.fail_error, high_error=allowed.pass_error)
    verdict, reason = _where(low, high, margin)
    if verdict is Verdict.INCONCLUSIVE and len(pairs) >= allowed.most_pairs:
        starved = len(known) < least_pairs(allowed.pass_error) or missing > len(known)
        reason = Reason.MISSING_DATA if starved else Reason.BUDGET_ENDED
    middle = guess(effects)
    return _result(
        definition,
        verdict=verdict,
        reason=reason,
        summary=_sentence(definition, middle, low, high, verdict),
        effect=from_scale(definition.metric, middle),
        interval=_interval(definition, low, high, (allowed.fail_error, allowed.pass_error)),
        pairs=len(pairs),
        missing=missing,
        evidence=_evidence(effects, margin, allowed),
        effects=tuple(from_scale(definition.metric, one) for one in known),
    )


def _where(low: float, high: float, margin: float) -> tuple[Verdict, Reason]:
    # Fail first: both can hold only when the effect moved during the run, and that is no pass.
    if low > margin:
        return Verdict.FAIL, Reason.BEYOND_MARGIN
    if high < margin:
        return Verdict.PASS, Reason.WITHIN_MARGIN
    return Verdict.INCONCLUSIVE, Reason.MORE_PAIRS_NEEDED


def _evidence(effects: list[float], margin: float, allowed: Allowed) -> tuple[str, ...]:
    worse = _odds(anytime_p(effects, margin, Side.ABOVE))
    within = _odds(anytime_p(effects, margin, Side.BELOW))
    return (
        f"evidence that it is worse than the margin: {worse} to 1, fails from {_odds(allowed.fail_error)}",
        f"evidence that it is within the margin: {within} to 1, passes from {_odds(allowed.pass_error)}",
    )


def _interval(definition: CheckDefinition, low: float, high: float, errors: tuple[float, float]) -> Interval:
    ends = [from_scale(definition.metric, end) if math.isfinite(end) else None for end in (low, high)]
    return Interval(low=ends[0], high=ends[1], low_error=errors[0], high_error=errors[1])


def _result(definition: CheckDefinition, **fields: object) -> CheckResult:
    return CheckResult(
        check_id=definition.check_id,
        level=definition.level,
        margin=definition.margin.value,
        **fields,  # type: ignore[arg-type]
    )


def _sentence(definition: CheckDefinition, middle: float, low: float, high: float, verdict: Verdict) -> str:
    metric = definition.metric
    best, least, most = (_number(definition, from_scale(metric, one)) for one in (middle, low, high))
    unit = " %" if metric.scale is Scale.RATIO else f" {metric.unit}"
    relation = {Verdict.PASS: "within", Verdict.FAIL: "beyond", Verdict.INCONCLUSIVE: "not told from"}[verdict]
    margin = _number(definition, definition.margin.value)
    return f"{metric.name} {best}{unit} ({least} to {most}), {relation} the margin of {margin}{unit}"


def show_effect(definition: CheckDefinition, effect: float) -> str:
    """An effect as people read it: '+5.0 %' worse, '-1.2 %' better; in the metric's unit where that is the scale."""
    unit = " %" if definition.metric.scale is Scale.RATIO else f" {definition.metric.unit}"
    return _number(definition, effect) + unit


def _number(definition: CheckDefinition, effect: float) -> str:
    if not math.isfinite(effect):
        return "unknown" if math.isnan(effect) else ("+" if effect > 0 else "-") + "∞"
    return f"{100 * effect:+.2f}" if definition.metric.scale is Scale.RATIO else f"{effect:+.3g}"


def _odds(error: float) -> str:
    odds = 1 / error
    return f"{float(f'{odds:.2g}'):,.0f}" if odds >= 10 else f"{odds:.1f}"


def _listed(values: tuple[float | None, ...]) -> str:
    return ", ".join("none" if value is None else f"{value:,.6g}" for value in values)
