"""Days on real parts: what was watched decides what is held. Draws how much of each evening came from the own site.

    .venv/bin/python bench/days.py [--titles 30] [--sessions 200] [--days 4] [--room 0.4] [--seed 1] [--write-docs]

The demo's processes (control, origin, five appliances at three sites, steering) on this machine, with real files on
small disks: root. Two sites have room for a part of the catalogue; the first evening meets what is newest, each later
one what the evenings before foretold. Exit code 1 where the last evening keeps no more at home than the first.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from headrace.base.rng import make_rng
from headrace.base.units import show_bytes
from headrace.cli.demo.network import free_port_base
from headrace.cli.demo.testing_day import DayLayout, DayNetwork, Seen

RESULT = Path(__file__).parent / "results" / "days.json"
PICTURE = Path(__file__).parent.parent / "docs" / "days.svg"
WIDTH, HEIGHT, LEFT, FOOT, TOP = 640, 300, 56, 66, 48
COLOURS = {"own site": "#2a7d4f", "exchange": "#d9a441", "other": "#9a9a9a"}
_STYLE = "text{font:12px system-ui,sans-serif;fill:#333}.t{font-weight:600;font-size:14px}.a{fill:#666;font-size:11px}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--titles", type=int, default=30)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--days", type=int, default=4)
    parser.add_argument("--room", type=float, default=0.4, help="of the catalogue, at each of the two small sites")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write-docs", action="store_true", help=f"draw {PICTURE.name}")
    options = parser.parse_args()
    began_s = time.monotonic()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - began_s:6.0f} s  {what}", file=sys.stderr)

    days: list[Seen] = []
    with tempfile.TemporaryDirectory(prefix="headrace-days-") as folder:
        layout = DayLayout(folder=Path(folder), port=free_port_base(21_000))
        net = DayNetwork(layout, titles=options.titles, room_ratio=options.room, rng=make_rng(options.seed))
        try:
            tell(f"bringing up, and publishing {options.titles} titles")
            net.bring_up()
            for number in range(1, options.days + 1):
                tell(f"day {number}")
                days.append(net.live(options.sessions))
        finally:
            net.stop()
    heads = ("own site", "exchange", "filled by night", "from outside the site", "by day")
    print(f"{'day':>4} " + " ".join(f"{head:>{max(9, len(head))}}" for head in heads))
    for number, day in enumerate(days, start=1):
        total = sum(day.served.values())
        night, origin = sum(day.night_filled.values()), day.night_filled.get("origin", 0)
        outside = origin + sum(size for name, size in day.night_filled.items() if name.startswith("exchange"))
        by_day = show_bytes(sum(day.day_filled.values())) if number > 1 else "-"
        shares = f"{day.own_ratio:>9.1%} {day.served.get('exchange', 0) / total:>9.1%}"
        print(f"{number:>4} {shares} {show_bytes(night):>15} {show_bytes(outside):>21} {by_day:>9}")
    found = {"settings": vars(options), "load": os.getloadavg()[0], "days": [asdict(day) for day in days]}
    RESULT.write_text(json.dumps(found) + "\n")
    if options.write_docs:
        PICTURE.write_text(draw(days, room=options.room))
    return 0 if days[-1].own_ratio > days[0].own_ratio else 1


def draw(days: list[Seen], *, room: float) -> str:
    """Shares of each evening's bytes as stacked bars, and below them what the night before had filled."""
    step = (WIDTH - LEFT - 24) / len(days)
    full = HEIGHT - TOP - FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f"<title>Share of each evening's bytes that came from the client's own site</title><style>{_STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text class="t" x="{LEFT}" y="20">Where the bytes of each evening came from</text>',
        f'<text class="a" x="{LEFT}" y="36">each of the two sites has room for {room:.0%} of the catalogue</text>',
    ]
    for share in (0.0, 0.5, 1.0):
        y = TOP + full * (1 - share)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 24}" y1="{y:.0f}" y2="{y:.0f}" stroke="#e4e4e4"/>')
        parts.append(f'<text class="a" x="{LEFT - 8}" y="{y + 4:.0f}" text-anchor="end">{share:.0%}</text>')
    for number, day in enumerate(days):
        x, y, total = LEFT + number * step + step * 0.2, TOP + full, max(1, sum(day.served.values()))
        for name, colour in COLOURS.items():
            height = full * day.served.get(name, 0) / total
            y -= height
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{step * 0.6:.1f}" height="{height:.1f}" fill="{colour}"/>'
            )
        middle = x + step * 0.3
        top = TOP + full * (1 - day.own_ratio)
        parts += [
            f'<text x="{middle:.1f}" y="{top + 16:.1f}" text-anchor="middle" style="fill:#fff">'
            f"{day.own_ratio:.0%}</text>",
            f'<text x="{middle:.1f}" y="{TOP + full + 16}" text-anchor="middle">day {number + 1}</text>',
            f'<text class="a" x="{middle:.1f}" y="{TOP + full + 32}" text-anchor="middle">'
            f"night before: {show_bytes(sum(day.night_filled.values()))}</text>",
        ]
    for number, (name, colour) in enumerate(COLOURS.items()):
        x = LEFT + number * 120
        parts.append(f'<rect x="{x}" y="{HEIGHT - 20}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="{HEIGHT - 10}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
