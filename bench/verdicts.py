"""Measures the deciding itself, on simulated noise: false alarms under peeking, pairs needed, searches for a commit.

    .venv/bin/python bench/verdicts.py [--quick] [--json] [--write-docs]

No machine is measured: the noise is made here (normal, heavy-tailed, drifting, in bursts), with fixed seeds, so figures
repeat to the digit. Ours beside what would be used otherwise: a t-test looked at after each pair, a t-test whose looks
are paid for by Bonferroni, the anytime-valid t-test for normal noise (Lai 1976), and a search as `git bisect` makes it.
Exit codes: 0 every goal met, 1 a goal missed.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from headrace.release.bisect import start_search
from headrace.release.config import parse_release_config
from headrace.release.history import Commit, History
from headrace.release.sequential import Floats, Side, log_evidence
from headrace.release.testing import NOISES, effects_under, merged_history, play

ROOT = Path(__file__).resolve().parent.parent
MARK_BEGIN, MARK_END = "<!-- figures of bench/verdicts.py -->", "<!-- end of figures -->"
ERROR, PAIRS = 0.05, 40
FIRST_LOOK = 4
T_MIXTURE = 1.0
"""Width of the prior over standardised effects in the t-mixture."""
RATES = ((0.0001, 0.0001), (0.05, 0.02), (0.2, 0.05), (0.4, 0.1))
"""False pass and false fail of one run of a check."""


def ours(effects: Floats) -> Floats:
    return np.maximum.accumulate(log_evidence(effects, 0.0, Side.ABOVE), axis=-1) >= -math.log(ERROR)


def t_statistics(effects: Floats) -> tuple[Floats, Floats]:
    counts = np.arange(1, effects.shape[-1] + 1, dtype=float)
    means = np.cumsum(effects, axis=-1) / counts
    squares = np.cumsum(effects**2, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.maximum(squares - counts * means**2, 1e-300) / (counts - 1)
        return np.nan_to_num(means / np.sqrt(variance / counts)), counts


def t_peeking(effects: Floats) -> Floats:
    return _t_looked_at(effects, ERROR)


def t_bonferroni(effects: Floats) -> Floats:
    return _t_looked_at(effects, ERROR / (effects.shape[-1] - FIRST_LOOK + 1))


def _t_looked_at(effects: Floats, error: float) -> Floats:
    t, counts = t_statistics(effects)
    with np.errstate(invalid="ignore"):
        said = t > student.ppf(1 - error, np.maximum(counts - 1, 1))
    said[..., : FIRST_LOOK - 1] = False
    return np.maximum.accumulate(said, axis=-1)


def t_mixture(effects: Floats) -> Floats:
    """Two-sided right-Haar t-mixture, asked one-sidedly at half its error: valid for independent normal noise."""
    t, n = t_statistics(effects)
    shrink = 1 / (1 + n * T_MIXTURE**2)
    nu = np.maximum(n - 1, 1)
    log_e = 0.5 * np.log(shrink) + 0.5 * n * (np.log1p(t**2 / nu) - np.log1p(shrink * t**2 / nu))
    said = (log_e >= -math.log(2 * ERROR)) & (t > 0)
    said[..., :1] = False
    return np.maximum.accumulate(said, axis=-1)


TESTS: dict[str, Callable[[Floats], Floats]] = {
    "signs (ours)": ours,
    "t-test after each pair": t_peeking,
    "t-test, looks by Bonferroni": t_bonferroni,
    "t-mixture (Lai)": t_mixture,
}


def false_alarms(draws: int) -> list[dict[str, object]]:
    rows = []
    for noise in NOISES:
        effects = effects_under(noise, np.random.default_rng(1), 0.0, draws, PAIRS)
        rows.append({"noise": noise, **{name: float(test(effects)[:, -1].mean()) for name, test in TESTS.items()}})
    return rows


def pairs_needed(draws: int) -> list[dict[str, object]]:
    rows = []
    for noise in ("normal", "heavy", "drift", "bursts"):
        for effect in (1.0, 2.0, 4.0, 8.0):
            effects = effects_under(noise, np.random.default_rng(2), effect, draws, PAIRS)
            row: dict[str, object] = {"noise": noise, "effect": effect}
            for name, test in TESTS.items():
                said = test(effects)
                found = float(said[:, -1].mean())
                first = np.where(said[:, -1], said.argmax(axis=-1) + 1, PAIRS + 1)
                row[name] = {"found": found, "median_pairs": int(np.median(first))}
            rows.append(row)
    return rows


def plain_search(
    commits: Sequence[Commit], bad: str, culprit: str, rates: tuple[float, float], rng: np.random.Generator
) -> tuple[str, int]:
    """As `git bisect run` does: believe each answer, ask where the rest is halved best."""
    history = History(commits, bad)
    left = np.ones(len(history), dtype=bool)
    steps = 0
    while left.sum() > 1:
        inside = history.mass_within(left.astype(float))
        number = int(np.minimum(inside, left.sum() - inside).argmax())
        ancestors = history.ancestors(number)
        is_bad = bool(ancestors[history.index[culprit]])
        fails = is_bad != (rng.random() < (rates[0] if is_bad else rates[1]))
        kept = left & (ancestors if fails else ~ancestors)
        left, steps = kept, steps + 1
    return history.commits[int(left.argmax())].commit_id, steps


def searches(draws: int) -> list[dict[str, object]]:
    settings = parse_release_config().bisection
    rows = []
    for size, merges in ((32, False), (32, True), (256, True)):
        for rates in RATES:
            right = {"ours": 0, "plain": 0}
            wrong_named, steps = 0, {"ours": 0, "plain": 0}
            for seed in range(draws):
                rng = np.random.default_rng([seed, size])
                commits, bad = merged_history(rng, size) if merges else _line(size)
                culprit = commits[int(rng.integers(len(commits)))].commit_id
                state = start_search(
                    commits,
                    good="good",
                    bad=bad,
                    settings=settings,
                    false_pass_ratio=rates[0],
                    false_fail_ratio=rates[1],
                )
                end = play(state, culprit, rng)
                right["ours"] += end.commit_ids == (culprit,)
                wrong_named += end.ending.value == "culprit" and end.commit_ids != (culprit,)
                steps["ours"] += end.steps
                named, asked = plain_search(commits, bad, culprit, rates, rng)
                right["plain"] += named == culprit
                steps["plain"] += asked
            rows.append(
                {
                    "commits": size,
                    "merges": merges,
                    "false_pass": rates[0],
                    "false_fail": rates[1],
                    "ours_right": right["ours"] / draws,
                    "ours_named_wrong": wrong_named / draws,
                    "ours_steps": steps["ours"] / draws,
                    "plain_right": right["plain"] / draws,
                    "plain_steps": steps["plain"] / draws,
                }
            )
    return rows


def _line(count: int) -> tuple[list[Commit], str]:
    commits = [Commit(commit_id=f"k{n}", parents=(f"k{n - 1}" if n else "good",)) for n in range(count)]
    return commits, commits[-1].commit_id


def goals(results: dict[str, list[dict[str, object]]], draws: int, played: int) -> list[str]:
    most = ERROR + 4 * math.sqrt(ERROR * (1 - ERROR) / draws)
    most_wrong = 4 * math.sqrt(0.05 * 0.95 / played)
    missed = [
        f"false alarms under {row['noise']} noise" for row in results["false_alarms"] if row["signs (ours)"] > most
    ]
    missed += [
        f"search among {row['commits']} at {row['false_pass']}/{row['false_fail']}"
        for row in results["searches"]
        # With answers as doubtful as 40 % the budget of steps may end first; naming the wrong one is never allowed.
        if row["ours_named_wrong"] > 0.05 + most_wrong or (row["ours_right"] < 0.93 and row["false_pass"] <= 0.2)
    ]
    return missed


def as_markdown(results: dict[str, list[dict[str, object]]]) -> dict[str, str]:
    tests = list(TESTS)
    alarms = [["noise", *tests]] + [
        [str(row["noise"]), *(f"{100 * float(row[name]):.1f} %" for name in tests)] for row in results["false_alarms"]
    ]
    needed = [["noise", "effect", *tests]] + [
        [str(row["noise"]), f"{row['effect']:g}", *(_found(row[name]) for name in tests)]
        for row in results["pairs_needed"]
    ]
    found = [["commits", "false pass / fail", "right", "named wrongly", "steps", "plain: right", "plain: steps"]] + [
        [
            f"{row['commits']}{', merges' if row['merges'] else ''}",
            f"{100 * row['false_pass']:g} / {100 * row['false_fail']:g} %",
            f"{100 * row['ours_right']:.1f} %",
            f"{100 * row['ours_named_wrong']:.1f} %",
            f"{row['ours_steps']:.1f}",
            f"{100 * row['plain_right']:.1f} %",
            f"{row['plain_steps']:.1f}",
        ]
        for row in results["searches"]
    ]
    return {
        "docs/verdicts.md": f"{_table(alarms)}\n\n{_table(needed)}",
        "docs/bisection.md": _table(found),
    }


def _found(cell: dict[str, float]) -> str:
    pairs = str(cell["median_pairs"]) if cell["median_pairs"] <= PAIRS else f"over {PAIRS}"
    return f"{100 * cell['found']:.0f} %, {pairs}"


def _table(rows: list[list[str]]) -> str:
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def write_docs(sections: dict[str, str]) -> None:
    for name, section in sections.items():
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        before, rest = text.split(MARK_BEGIN, 1)
        after = rest.split(MARK_END, 1)[1]
        path.write_text(f"{before}{MARK_BEGIN}\n\n{section}\n\n{MARK_END}{after}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer draws: to see that it works")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument(
        "--write-docs", action="store_true", help="put the tables into docs/verdicts.md and docs/bisection.md"
    )
    options = parser.parse_args()
    draws, played = (300, 20) if options.quick else (4000, 300)
    results = {
        "false_alarms": false_alarms(draws),
        "pairs_needed": pairs_needed(draws // 2),
        "searches": searches(played),
    }
    sections = as_markdown(results)
    print(json.dumps(results, indent=1) if options.json else "\n\n".join(sections.values()))
    if options.write_docs:
        write_docs(sections)
    missed = goals(results, draws, played)
    for goal in missed:
        print(f"goal missed: {goal}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
