"""Byte hit ratio and fill of stores filled by forecast, beside reactive policies and Belady's bound, on the same trace.

    bench/placement.py [--shape launches --shape drift] [--seed 11] [--csv trace.csv] [--json FILE]

Without --csv: seeded synthetic traces (`headrace.sim.vod_trace`), with a table of how near the calibrated one is to its
targets. A CSV has a line a play: time (epoch seconds or ISO 8601), user, title, bytes (optional); a header is skipped.
The first `--warm` days are the past in which all policies and our forecast warm up; only the rest counts. Peers take in
whatever is missed, at once, by day and by night. Needs the dev extra (`libcachesim`).
"""

import argparse
import csv
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import libcachesim
import numpy as np

from headrace.sim.placement_replay import Replay, ReplaySettings
from headrace.sim.vod_trace import DAY_S, TARGETS, Trace, TraceShape, TraceSize, make_trace, measure

RATIOS = (0.05, 0.10, 0.20, 0.40)
PEERS = ("FIFO", "LRU", "ARC", "Sieve", "S3FIFO", "WTinyLFU", "Belady")
UNIT_BYTES = 2**20
NEVER = 2**62
LINES = {
    "ahead": "ahead of the best of them",
    "night_fill": "filled in the window, of bytes asked",
    "day_fill": "filled outside",
    "night_share": "share of fill in the window",
    "day_inbound": "misses and fill outside the window",
}
Result = dict[str, Any]


def read_csv(path: Path) -> Trace:
    """A trace from a file; titles without bytes are of one size, and of the largest that was asked for otherwise."""
    times, users, titles, sizes = [], [], [], []
    with path.open(newline="", encoding="utf-8") as file:
        for line, row in enumerate(csv.reader(file), start=1):
            if line == 1 and not _is_time(row[0]):
                continue
            if len(row) < 3 or not _is_time(row[0]):
                raise SystemExit(f"{path}:{line}: write time,user,title[,bytes]")
            times.append(_time(row[0]))
            users.append(row[1])
            titles.append(row[2])
            sizes.append(float(row[3]) if len(row) > 3 and row[3] else 1e9)
    order = np.argsort(times, kind="stable")
    title_names, title = np.unique(np.array(titles)[order], return_inverse=True)
    _, user = np.unique(np.array(users)[order], return_inverse=True)
    asked = np.maximum(1.0, np.array(sizes)[order])
    size_bytes = np.ones(len(title_names))
    np.maximum.at(size_bytes, title, asked)
    time_s = np.array(times)[order]
    nobody = np.full(len(title_names), np.nan)
    return Trace(
        name=path.stem,
        time_s=time_s - time_s[0] // DAY_S * DAY_S,
        user=user,
        title=title,
        asked_bytes=asked,
        size_bytes=size_bytes,
        announced_s=nobody,
        group=np.full(len(title_names), -1),
    )


def _is_time(text: str) -> bool:
    try:
        _time(text)
    except ValueError:
        return False
    return True


def _time(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def peer_rows(trace: Trace, warm_days: int) -> dict[str, list[float]]:
    """Byte hit ratio of each peer at each size."""
    size = np.maximum(1, trace.size_bytes / UNIT_BYTES).astype(np.int64)
    catalog = int(size[np.unique(trace.title)].sum())
    following = _next_use(trace)
    counts = trace.time_s >= warm_days * DAY_S
    asked = trace.asked_bytes[counts].sum()
    rows: dict[str, list[float]] = {}
    for name in PEERS:
        rows[name] = []
        for ratio in RATIOS:
            cache = getattr(libcachesim, name)(cache_size=int(ratio * catalog))
            request = libcachesim.Request()
            hits = np.zeros(len(trace), dtype=np.bool_)
            for at, number in enumerate(trace.title.tolist()):
                request.obj_id, request.obj_size = number, int(size[number])
                request.clock_time, request.next_access_vtime = int(trace.time_s[at]), following[at]
                hits[at] = cache.get(request)
            rows[name].append(float(trace.asked_bytes[counts & hits].sum() / asked))
    return rows


def _next_use(trace: Trace) -> list[int]:
    following, last = [NEVER] * len(trace), {}
    for at in range(len(trace) - 1, -1, -1):
        number = int(trace.title[at])
        following[at] = last.get(number, NEVER)
        last[number] = at
    return following


def judge(trace: Trace, settings: ReplaySettings) -> Result:
    """Ours beside the peers."""
    ours = Replay(trace, RATIOS, settings).run()
    peers = peer_rows(trace, settings.warm_days)
    best = [max(row[at] for name, row in peers.items() if name != "Belady") for at in range(len(RATIOS))]
    rows = []
    for at, served in enumerate(ours):
        asked = max(1.0, served.asked_bytes)
        rows.append(
            {
                "room": RATIOS[at],
                "hit": served.hit_ratio,
                "best_peer": best[at],
                "ahead": served.hit_ratio - best[at],
                "night_fill": served.night_fill_bytes / asked,
                "day_fill": served.day_fill_bytes / asked,
                "night_share": served.night_ratio,
                "day_inbound": (served.day_miss_bytes + served.day_fill_bytes) / asked,
            }
        )
    return {"trace": trace.name, "plays": len(trace), "ours": rows, "peers": peers}


def show(result: Result) -> None:
    """A table for people."""
    rooms = "".join(f"{ratio:9.0%}" for ratio in RATIOS)
    print(f"\n{result['trace']}: {result['plays']} plays; byte hit ratio by share of the catalogue\n  {'':10}{rooms}")
    for name, row in result["peers"].items():
        print(f"  {name:10}" + "".join(f"{value:9.4f}" for value in row) + "   (fill: all misses)")
    print(f"  {'ours':10}" + "".join(f"{row['hit']:9.4f}" for row in result["ours"]))
    for key, text in LINES.items():
        print(f"  {'':10}" + "".join(f"{row[key]:9.4f}" for row in result["ours"]) + f"   {text}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", action="append", choices=list(TraceShape))
    parser.add_argument("--seed", action="append", type=int)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--titles", type=int, default=8_000)
    parser.add_argument("--days", type=int, default=119)
    parser.add_argument("--plays-a-day", type=int, default=400)
    parser.add_argument("--warm", type=int, default=49, help="days that do not count")
    parser.add_argument("--price", type=float, default=0.0, help="plays that a change must gain")
    parser.add_argument("--quick", action="store_true", help="a small trace: to see that it works")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if asked.quick:
        asked.shape, asked.titles, asked.days, asked.plays_a_day = [TraceShape.LAUNCHES], 1_500, 63, 120
    settings = replace(ReplaySettings(), warm_days=asked.warm, fill_price=asked.price)
    size = TraceSize(titles=asked.titles, days=asked.days, plays_a_day=asked.plays_a_day)
    results = []
    if asked.csv:
        traces = [read_csv(asked.csv)]
    else:
        shapes = [TraceShape(name) for name in asked.shape or list(TraceShape)]
        traces = (make_trace(shape, seed, size) for shape in shapes for seed in asked.seed or [11])
    for trace in traces:
        if trace.name.startswith(TraceShape.LAUNCHES):
            print(f"calibration of {trace.name} (measured, target)")
            for name, value in measure(trace).items():
                print(f"  {name:45}{value:8.3f}{TARGETS[name]:8.3f}")
        past = min(asked.warm, int(trace.time_s[-1] / DAY_S / 2))
        result = judge(trace, replace(settings, warm_days=past))
        show(result)
        sys.stdout.flush()
        results.append(result)
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    ahead = all(row["ahead"] > 0 and row["night_share"] >= 0.7 for one in results for row in one["ours"])
    return 0 if ahead else 1


if __name__ == "__main__":
    sys.exit(main())
