"""Draws the measures of an upstream over its syncs as one SVG: lag, queue, conflicts, time to candidate.

Text in, text out. Four panels under each other share the axis of time, so that what happened together is seen together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.sax.saxutils import escape

from headrace.upstream.measures import DAY_S
from headrace.upstream.model import Stage, UpstreamRecord

WIDTH, PANEL, TOP, LEFT, RIGHT, FOOT = 760, 120, 56, 64, 20, 36
"""Pixels: the picture, one panel with its gap, and the margins."""
GAP = 34
"""Between two panels, for the title of the lower one."""

_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#333}.t{font-weight:600}.a{fill:#777;font-size:11px}"
    ".g{stroke:#e4e4e4}.l{fill:none;stroke-width:2}.s{fill:#888}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Panel:
    title: str
    colour: str
    points: tuple[tuple[float, float], ...]
    """Epoch seconds and value, in order."""
    is_bars: bool = False


def draw_upstream(record: UpstreamRecord) -> str:
    """The picture as SVG text; with a sentence instead of lines while there was no sync."""
    panels = _panels(record)
    moments = [at_s for panel in panels for at_s, _ in panel.points]
    height = TOP + len(panels) * PANEL + FOOT
    name = f"{record.upstream.name} ({record.upstream.branch})"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'role="img"><title>{escape(name)}: lag, queue and conflicts over its syncs</title><style>{_STYLE}</style>',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text class="t" x="{LEFT}" y="24" style="font-size:15px">{escape(name)}</text>',
    ]
    if not moments:
        parts.append(f'<text x="{LEFT}" y="{TOP + 20}">No sync yet.</text></svg>')
        return "\n".join(parts) + "\n"
    first_s, last_s = min(moments), max(moments)
    for number, panel in enumerate(panels):
        parts += _draw_panel(panel, TOP + number * PANEL, first_s, last_s)
    parts += _time_axis(height - FOOT + 8, first_s, last_s)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panels(record: UpstreamRecord) -> tuple[_Panel, ...]:
    history = record.history
    waits = [
        (one.at_s, max(0.0, one.at_s - one.landed.median_s)) for one in record.reached if one.stage is Stage.CANDIDATE
    ]
    unit, unit_s = _time_unit(max((wait_s for _, wait_s in waits), default=0.0))
    return (
        _Panel(
            title="lag before the sync, commits",
            colour="#2563eb",
            points=tuple((one.at_s, float(one.lag_commits)) for one in history if one.lag_commits is not None),
        ),
        _Panel(
            title="queue, lines", colour="#7c3aed", points=tuple((one.at_s, float(one.queue_lines)) for one in history)
        ),
        _Panel(
            title="patches in conflict",
            colour="#dc2626",
            points=tuple((one.at_s, float(len(one.conflicts))) for one in history),
            is_bars=True,
        ),
        _Panel(
            title=f"upstream commit to candidate, {unit} (median of the new commits)",
            colour="#059669",
            points=tuple((at_s, wait_s / unit_s) for at_s, wait_s in waits),
        ),
    )


def _draw_panel(panel: _Panel, top: float, first_s: float, last_s: float) -> list[str]:
    base = top + PANEL - GAP
    most = _round_up(max((value for _, value in panel.points), default=0.0))
    parts = [f'<text class="t" x="{LEFT}" y="{top - 8:.0f}" fill="{panel.colour}">{escape(panel.title)}</text>']
    for value in (0.0, most / 2, most) if most > 1 else (0.0, most):
        y = base - (base - top) * value / most
        parts.append(f'<line class="g" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="a" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    places = [(_x(at_s, first_s, last_s), base - (base - top) * value / most, value) for at_s, value in panel.points]
    if panel.is_bars:
        return parts + [
            f'<rect x="{x - 2:.1f}" y="{y:.1f}" width="4" height="{base - y:.1f}" fill="{panel.colour}"/>'
            for x, y, value in places
            if value
        ]
    path = " ".join(f"{'L' if number else 'M'}{x:.1f} {y:.1f}" for number, (x, y, _) in enumerate(places))
    if path:
        parts.append(f'<path class="l" d="{path}" stroke="{panel.colour}"/>')
    return parts + [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{panel.colour}"/>' for x, y, _ in places]


def _time_axis(y: float, first_s: float, last_s: float) -> list[str]:
    count = 5 if last_s > first_s else 1
    moments = [first_s + (last_s - first_s) * number / max(1, count - 1) for number in range(count)]
    form = "%Y-%m-%d" if last_s - first_s > 4 * DAY_S else "%m-%d %H:%M:%S"
    return [
        f'<text class="a" x="{_x(at_s, first_s, last_s):.1f}" y="{y:.0f}" text-anchor="{anchor}">'
        f"{datetime.fromtimestamp(at_s, UTC).strftime(form)}</text>"
        for at_s, anchor in zip(moments, _anchors(count), strict=True)
    ]


def _anchors(count: int) -> Sequence[str]:
    return ["middle"] if count == 1 else ["start", *["middle"] * (count - 2), "end"]


def _time_unit(longest_s: float) -> tuple[str, float]:
    return next(
        ((name, size) for name, size in (("days", DAY_S), ("hours", 3600.0)) if longest_s > 2 * size), ("minutes", 60.0)
    )


def _x(at_s: float, first_s: float, last_s: float) -> float:
    span = WIDTH - RIGHT - LEFT
    return LEFT + span * ((at_s - first_s) / (last_s - first_s) if last_s > first_s else 0.5)


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 5, 10 times a power of ten, so that half of it is a fair number; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 5, 10) if step * power >= value * 0.9999)
