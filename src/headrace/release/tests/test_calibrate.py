"""Calibration: the rates and the power that a known noise must give."""

import numpy as np
import pytest

from headrace.release.calibrate import calibrate, measured_spread, rate, split_qualifications
from headrace.release.calibration_table import MARK_BEGIN, MARK_END, calibration_markdown, put_between_marks
from headrace.release.config import parse_release_config
from headrace.release.errors import CheckError
from headrace.release.family import judge_family
from headrace.release.model import CheckId, Pair, Repeats, Verdict
from headrace.release.testing import definition, pairs_of
from headrace.release.verdicts import Measured

CONFIG = parse_release_config()
CPU = definition("performance.cpu-per-gb", margin=0.10)
FIRST = definition("performance.first-byte", margin=0.15)
TICKS = definition("performance.ticks", margin=0.01, repeat_spread=0.002)


def runs_of(spread: float, count: int = 3, pairs: int = 20) -> list:
    return [
        {
            CPU.check_id: Measured(pairs=pairs_of(1.0, spread, pairs, seed=number)),
            TICKS.check_id: Measured(repeats=Repeats(baseline=(1000.0, 1001.0), candidate=(1000.0, 1000.5))),
        }
        for number in range(count)
    ]


def test_a_baseline_against_itself() -> None:
    found = calibrate([CPU, FIRST, TICKS], runs_of(0.03), CONFIG, draws=200)
    cpu, first, ticks = found.checks
    assert cpu.pairs == 60
    assert 0.025 < cpu.spread < 0.06
    assert cpu.bias.low < 0 < cpu.bias.high
    assert cpu.false_alarms.hits == 0
    assert cpu.passes.ratio > 0.9
    assert 6 <= cpu.pairs_to_pass <= 16
    assert 0.10 < cpu.smallest_effect < 0.20
    assert (first.pairs, first.smallest_effect, first.passes) == (0, None, None)
    assert 0.01 < ticks.smallest_effect < 0.02
    assert ticks.spread == pytest.approx(0.001, rel=0.01)
    assert (found.measured_alarms.hits, found.measured_alarms.runs) == (0, 3)
    assert (found.drawn_alarms.hits, found.drawn_alarms.runs) == (0, 200)


def test_more_noise_needs_a_larger_effect() -> None:
    assert _cpu(0.01) < _cpu(0.08)


def _cpu(spread: float) -> float:
    runs = [{CPU.check_id: one[CPU.check_id]} for one in runs_of(spread, pairs=100)]
    return calibrate([CPU], runs, CONFIG, draws=150).checks[0].smallest_effect


def test_a_biased_bench_is_shown() -> None:
    runs = [{CPU.check_id: Measured(pairs=pairs_of(1.04, 0.01, 30))}]
    assert calibrate([CPU], runs, CONFIG, draws=50).checks[0].bias.low > 0.01


def test_the_effect_found_is_found_in_truth() -> None:
    effect = _cpu(0.03)
    found = 0
    for seed in range(40):
        pairs = pairs_of(1 + effect, 0.03, 40, seed=100 + seed)
        judged = judge_family([CPU], {CPU.check_id: Measured(pairs=pairs)}, CONFIG)
        found += judged[0].verdict is Verdict.FAIL
    assert found >= 40 * 0.9 - 4 * np.sqrt(40 * 0.9 * 0.1)


def test_a_few_runs_suffice_for_a_first_figure() -> None:
    few = calibrate([CPU], [], CONFIG, rest={CPU.check_id: Measured(pairs=pairs_of(1.0, 0.03, 4, seed=7))}, draws=100)
    many = calibrate([CPU], [], CONFIG, rest={CPU.check_id: Measured(pairs=pairs_of(1.0, 0.03, 60))}, draws=100)
    assert few.checks[0].pairs == 4
    assert many.checks[0].smallest_effect / 2 < few.checks[0].smallest_effect < 2 * many.checks[0].smallest_effect
    assert few.measured_alarms.runs == 0, "what was no qualification is none"


def test_slow_drift_is_no_noise_of_a_pair() -> None:
    steady = [Pair(baseline=100.0 * 1.002**at, candidate=100.0 * 1.002 ** (at + 1)) for at in range(0, 400, 2)]
    found = calibrate([CPU], [], CONFIG, rest={CPU.check_id: Measured(pairs=tuple(steady))}, draws=50).checks[0]
    assert found.spread < 0.02


def test_a_series_is_cut_where_qualifications_would_have_ended() -> None:
    measured = {
        CPU.check_id: Measured(pairs=pairs_of(1.0, 0.01, 20)),
        TICKS.check_id: Measured(repeats=Repeats(baseline=(1000.0, 1000.0), candidate=(1000.0, 1000.0))),
    }
    found = split_qualifications([CPU, TICKS], measured, CONFIG)
    lengths = [len(one[CPU.check_id].pairs) for one in found]
    assert lengths == [6, 6, 6], "six pairs decide, and the last two decide nothing"
    pairs = [pair for one in found for pair in one[CPU.check_id].pairs]
    assert tuple(pairs) == measured[CPU.check_id].pairs[:18]
    alarm = {CPU.check_id: Measured(pairs=pairs_of(1.5, 0.001, 11))}
    assert len(split_qualifications([CPU], alarm, CONFIG)) == 1, "an alarm counts, whenever it comes"
    assert split_qualifications([CPU], {CPU.check_id: Measured()}, CONFIG) == []


def test_runs_of_pairs_are_repeats_of_what_repeats() -> None:
    pairs = tuple(Pair(baseline=1000.0, candidate=1001.0 + at % 2) for at in range(4))
    found = calibrate([TICKS], [], CONFIG, rest={TICKS.check_id: Measured(pairs=pairs)}).checks[0]
    assert found.spread == pytest.approx(0.002, abs=1e-4), "over both sides, which are one build"


def test_the_table_on_a_page() -> None:
    found = calibrate([CPU, FIRST, TICKS], runs_of(0.03), CONFIG, draws=50)
    table = calibration_markdown(found, [CPU, FIRST, TICKS], [("cores", "2"), ("CPU", "a|b")])
    assert "| performance.first-byte | +15.00 % | 0 | not measured |  |  |" in table
    assert "allowed 0.20 %: holds" in table
    assert "0 of 3 qualifications that were run (95 % interval: 0.0 to 70.8 %)" in table
    page = f"before\n{MARK_BEGIN}\nstale words\n{MARK_END}\nafter\n"
    once = put_between_marks(page, table, name="page.md")
    assert "stale" not in once
    assert put_between_marks(once, table, name="page.md") == once
    with pytest.raises(CheckError, match=r"page\.md has no place"):
        put_between_marks("nothing", table, name="page.md")


def test_rates_have_exact_intervals() -> None:
    none_of_20 = rate(0, 20)
    assert (none_of_20.low, none_of_20.ratio) == (0.0, 0.0)
    assert none_of_20.high == pytest.approx(0.1684, abs=1e-3)  # 1 - 0.025 ** (1 / 20)
    assert (rate(0, 0).low, rate(0, 0).high) == (0.0, 1.0)


def test_spread_of_repeats_is_the_wider_side() -> None:
    assert measured_spread(TICKS, Repeats(baseline=(100.0, 101.0), candidate=(100.0, 103.0))) == pytest.approx(
        0.02956, abs=1e-4
    )
    assert measured_spread(TICKS, Repeats(baseline=(100.0,), candidate=(None, 103.0))) is None


def test_nothing_measured_and_strange_checks() -> None:
    empty = calibrate([CPU], [], CONFIG)
    assert empty.checks[0].pairs == 0
    assert (empty.drawn_alarms.runs, empty.measured_alarms.runs) == (0, 0)
    gaps = [{CPU.check_id: Measured(pairs=(Pair(baseline=None, candidate=1.0),) * 30)}]
    assert calibrate([CPU], gaps, CONFIG).checks[0].smallest_effect is None
    with pytest.raises(CheckError):
        calibrate([CPU], [{CheckId("performance.odd"): Measured()}], CONFIG)
