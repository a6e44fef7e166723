"""The plots of a dossier as inline SVG: where the effect lies, against its margin. Text in, text out."""

from dataclasses import dataclass
from html import escape

from headrace.release.model import CheckDefinition, CheckResult, Interval

WIDTH, HEIGHT = 640, 76
_LEFT, _RIGHT, _MIDDLE = 12, 12, 32
_LABEL_ROOM = 100
_POINT_ROWS = 5
"""Points of pairs are spread over so many heights, so that equal ones are seen."""


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float

    def x(self, value: float) -> float:
        span = self.high - self.low
        place = _LEFT + (value - self.low) / span * (WIDTH - _LEFT - _RIGHT)
        return round(min(max(place, 0.0), WIDTH), 1)


def interval_plot(result: CheckResult, definition: CheckDefinition) -> str:
    """Zero, the margin, the interval, the best guess and a dot for each pair; '' without an interval."""
    interval = result.interval
    if interval is None or result.effect is None:
        return ""
    axis = _axis(result, interval, definition.margin.value)
    low = axis.low if interval.low is None else interval.low
    high = axis.high if interval.high is None else interval.high
    margin = axis.x(definition.margin.value)
    dots = "".join(_dot(axis.x(effect), number) for number, effect in enumerate(result.effects))
    said = escape(f"{result.check_id}: {result.summary}")
    foot = HEIGHT - 20
    zero, shade = axis.x(0), max(0.0, WIDTH - margin)
    labels = _labels(axis, definition.margin.value)
    return (
        f'<svg class="plot {result.verdict}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">'
        f'<rect class="worse" x="{margin}" y="6" width="{shade}" height="{foot - 6}"/>'
        f'<line class="zero" x1="{zero}" x2="{zero}" y1="6" y2="{foot}"/>'
        f'<line class="margin" x1="{margin}" x2="{margin}" y1="6" y2="{foot}"/>{dots}'
        f'<line class="interval" x1="{axis.x(low)}" x2="{axis.x(high)}" y1="{_MIDDLE}" y2="{_MIDDLE}"/>'
        f'<circle class="guess" cx="{axis.x(result.effect)}" cy="{_MIDDLE}" r="5"/>{labels}</svg>'
    )


def _dot(x: float, number: int) -> str:
    return f'<circle class="dot" cx="{x}" cy="{_MIDDLE - 12 + 6 * (number % _POINT_ROWS)}" r="2.4"/>'


def interval_key() -> str:
    """What the marks of the plots mean, once for all."""
    return (
        '<p class="key">Left is better, right is worse. The bar is where the effect lies, however often one looked; '
        "the large dot the best guess, each small dot one pair of runs, the shaded part what is worse than the margin. "
        "A check passes when its bar is all left of the shade, and fails when it is all within.</p>"
    )


def _axis(result: CheckResult, interval: Interval, margin: float) -> _Axis:
    values = [0.0, margin, result.effect or 0.0, *result.effects]
    values += [end for end in (interval.low, interval.high) if end is not None]
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 1.0
    return _Axis(low - room, high + room)


def _labels(axis: _Axis, margin: float) -> str:
    labels = [(axis.x(margin), "margin")]
    # Zero goes without words where they would run into the margin's, which a phone shows larger.
    if abs(axis.x(margin) - axis.x(0)) > _LABEL_ROOM:
        labels.append((axis.x(0), "no change"))
    return "".join(
        f'<text x="{min(max(x, 60), WIDTH - 50)}" y="{HEIGHT - 5}" text-anchor="middle">{text}</text>'
        for x, text in labels
    )
