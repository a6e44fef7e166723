"""Draws what players were served as one SVG: a bar an hour, a colour for each class. Rows in, text out."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from xml.sax.saxutils import escape

from headrace.base.units import show_bytes
from headrace.steering.misses import MissClass
from headrace.steering.used import HOUR_S, HourRow

WIDTH, HEIGHT, TOP, LEFT, RIGHT, FOOT = 760, 300, 56, 84, 20, 36
"""Pixels: the picture and its margins."""
MOST_HOURS = 24 * 31
"""The last ones are drawn."""

COLOURS: Mapping[MissClass, str] = {
    MissClass.NONE: "#94a3b8",
    MissClass.CHOICE: "#2563eb",
    MissClass.CONTENT: "#7c3aed",
    MissClass.HEALTH: "#dc2626",
    MissClass.LOAD: "#d97706",
    MissClass.ROUTE: "#059669",
    MissClass.OTHER: "#475569",
}
"""In the order of the bar, from below."""
_STYLE = "text{font:12px system-ui,sans-serif;fill:#333}.a{fill:#777;font-size:11px}.g{stroke:#e4e4e4}"


def draw_used(hours: Sequence[HourRow]) -> str:
    """The picture as SVG text; with a sentence instead of bars where nothing was joined."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'role="img"><title>Served bytes by hour, and why not by the best appliances</title><style>{_STYLE}</style>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    )
    if not hours:
        return f'{head}<text x="{LEFT}" y="{TOP}">Nothing was served in a session of the log.</text></svg>\n'
    last = max(one.hour_s for one in hours) // HOUR_S
    first = max(min(one.hour_s for one in hours) // HOUR_S, last - MOST_HOURS + 1)
    sizes = {(one.hour_s // HOUR_S, one.reason): one.bytes for one in hours if one.hour_s >= first * HOUR_S}
    totals = [sum(sizes.get((hour, reason), 0) for reason in COLOURS) for hour in range(first, last + 1)]
    parts = [head, *_legend({reason for _, reason in sizes}), *_scale(max(totals))]
    for hour in range(first, last + 1):
        parts += _bar(hour - first, last - first + 1, [(one, sizes.get((hour, one), 0)) for one in COLOURS], totals)
    return "\n".join([*parts, *_times(first, last), "</svg>"]) + "\n"


def _legend(there: set[MissClass]) -> list[str]:
    parts = []
    for number, reason in enumerate(one for one in COLOURS if one in there):
        x = LEFT + 90 * number
        name = "no miss" if reason is MissClass.NONE else str(reason)
        parts.append(f'<rect x="{x}" y="18" width="12" height="12" fill="{COLOURS[reason]}"/>')
        parts.append(f'<text x="{x + 18}" y="28">{escape(name)}</text>')
    return parts


def _scale(most: int) -> list[str]:
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = HEIGHT - FOOT - (HEIGHT - FOOT - TOP) * share
        parts.append(f'<line class="g" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        label = show_bytes(round(most * share))
        parts.append(f'<text class="a" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    return parts


def _bar(number: int, count: int, sizes: Sequence[tuple[MissClass, int]], totals: Sequence[int]) -> list[str]:
    step = (WIDTH - LEFT - RIGHT) / count
    x, width, y = LEFT + step * number, min(step * 0.8, 60.0), float(HEIGHT - FOOT)
    parts = []
    for reason, size in sizes:
        if size:
            height = (HEIGHT - FOOT - TOP) * size / max(totals)
            y -= height
            said = f"{reason}: {show_bytes(size)}"
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{COLOURS[reason]}">'
                f"<title>{escape(said)}</title></rect>"
            )
    return parts


def _times(first: int, last: int) -> list[str]:
    shown = sorted({first, (first + last) // 2, last})
    step = (WIDTH - LEFT - RIGHT) / (last - first + 1)
    return [
        f'<text class="a" x="{LEFT + step * (hour - first):.1f}" y="{HEIGHT - FOOT + 18}" '
        f'text-anchor="{"end" if hour == last != first else "start"}">'
        f"{datetime.fromtimestamp(hour * HOUR_S, UTC).strftime('%m-%d %H:%M')}</text>"
        for hour in shown
    ]
