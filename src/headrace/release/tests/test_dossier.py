"""The dossier says what was found and what was not tested, and its page is whole, escaped and self-contained."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from pydantic import TypeAdapter

from headrace.release.calibrate import calibrate
from headrace.release.config import parse_release_config
from headrace.release.dossier import Dossier, UpstreamCommit, make_dossier, with_commits, with_run
from headrace.release.dossier_html import render_dossier
from headrace.release.family import judge_family, not_run
from headrace.release.model import CheckId, CheckResult, Fault, FaultKind, Level, Reason, Verdict
from headrace.release.states import CandidateLife, level_ended
from headrace.release.testing import definition, pairs_of, sample_candidate
from headrace.release.verdicts import Measured

FAMILY = [definition("performance.cpu-per-gb", margin=0.1), definition("performance.throughput", margin=0.1)]
CONFIG = parse_release_config()
FAULT = Fault(
    kind=FaultKind.OOPS, title="BUG: <b>null</b>", trace=("tcp_ack",), fingerprint="0123456789abcdef", line_no=4
)


def lower(level: Level, verdict: Verdict = Verdict.PASS, faults: tuple[Fault, ...] = ()) -> CheckResult:
    reason = Reason.ALL_AS_EXPECTED if verdict is Verdict.PASS else Reason.CONSOLE_FAULT
    name = CheckId(f"{level.name.lower()}.all")
    return CheckResult(check_id=name, level=level, verdict=verdict, reason=reason, summary="said so", faults=faults)


def sample(ratio: float = 1.0, *, impairment: Verdict = Verdict.PASS) -> Dossier:
    measured = {one.check_id: Measured(pairs=pairs_of(ratio, 0.02, 30)) for one in FAMILY}
    results = [
        lower(Level.BUILD),
        lower(Level.FUNCTION),
        lower(Level.IMPAIRMENT, impairment, (FAULT, FAULT) if impairment is Verdict.FAIL else ()),
        lower(Level.SOAK),
        *judge_family(FAMILY, measured, CONFIG),
    ]
    life = level_ended(CandidateLife(candidate_id="c-1"), Level.BUILD, Verdict.PASS, now_s=1e9, why="built")
    candidates = (sample_candidate("c-1", linux="7.3~rc7"), sample_candidate("c-0", linux="7.2.13"))
    return make_dossier(*candidates, life, results, FAMILY, now_s=1_795_400_000.0)


class Balanced(HTMLParser):
    """Fails on a tag that is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        """Closed by itself."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    ("dossier", "verdict", "said"),
    [
        (sample(), Verdict.PASS, "every check of every level passed"),
        (sample(1.3), Verdict.FAIL, "a check failed"),
        (sample(1.1), Verdict.INCONCLUSIVE, "not decided"),
        (sample(impairment=Verdict.FAIL), Verdict.FAIL, "a check failed"),
    ],
)
def test_the_verdict_follows_from_the_levels(dossier: Dossier, verdict: Verdict, said: str) -> None:
    assert dossier.verdict is verdict
    page = render_dossier(dossier)
    assert said in page
    assert page.count('<svg class="plot') == 2
    checker = Balanced()
    checker.feed(page)
    assert checker.open == []


def test_the_page_is_self_contained_and_escaped() -> None:
    commit = UpstreamCommit(upstream="linux", commit_id="a" * 40, subject="x <script>alert(1)</script>")
    page = render_dossier(with_commits(sample(impairment=Verdict.FAIL), [commit] * 3, most=2))
    assert "<script" not in page
    assert "&lt;b&gt;null" in page
    assert not re.search(r"""src=|href=(?!"#)|url\(|@import|https?://""", page)
    assert "1 older ones are not listed" in page
    assert 'seen in <a href="#impairment.all">' in page


def test_what_was_not_tested_is_worked_out() -> None:
    whole = sample()
    assert "real hardware" in [one.what for one in whole.untested]
    assert not [one for one in whole.untested if one.what.startswith("level")]
    results = [lower(Level.BUILD), not_run(FAMILY[0], "no emulator here")]
    args = (whole.candidate, None, whole.life, results, FAMILY)
    part = make_dossier(*args, now_s=0.0, expected=[CheckId("function.all"), CheckId("build.all")])
    listed = {one.what: one.why for one in part.untested}
    assert listed["performance.cpu-per-gb"] == "no emulator here"
    assert "not reached" in listed["performance.throughput"]
    assert "not reached" in listed["function.all"]
    assert "build.all" not in listed
    assert "level 3, soak" in listed
    assert part.verdict is Verdict.INCONCLUSIVE
    assert "without a baseline" in render_dossier(part)


def test_an_empty_dossier_passes_nothing() -> None:
    whole = sample()
    empty = make_dossier(whole.candidate, None, CandidateLife(candidate_id="c-1"), [], [], now_s=0.0)
    assert empty.verdict is Verdict.INCONCLUSIVE
    assert "Nothing was run" in render_dossier(empty)


def test_json_there_and_back() -> None:
    runs = [{one.check_id: Measured(pairs=pairs_of(1.0, 0.02, 30)) for one in FAMILY}]
    dossier = replace(sample(1.1), calibration=calibrate(FAMILY, runs, CONFIG, draws=50), machine=(("cores", "2"),))
    early = judge_family(FAMILY, {FAMILY[0].check_id: Measured(pairs=pairs_of(1.0, 0.02, 3))}, CONFIG)
    dossier = replace(dossier, results=(*dossier.results, *early))
    adapter = TypeAdapter(Dossier)
    assert adapter.validate_json(adapter.dump_json(dossier)) == dossier
    assert "What these checks can tell here" in render_dossier(dossier)


def test_what_whoever_ran_it_knows() -> None:
    told = ["performance.cpu-per-gb: no h2load here", "impairment.network.wifi: no road"]
    part = make_dossier(sample().candidate, None, sample().life, [lower(Level.BUILD)], FAMILY, now_s=0.0)
    dossier = with_run(part, not_tested=told, spent_s={0: 61.0}, machine=[("cores", "2")])
    listed = {one.what: one.why for one in dossier.untested}
    assert listed["performance.cpu-per-gb"] == "no h2load here", "its own words, and only once"
    assert listed["impairment.network.wifi"] == "no road"
    assert len(listed) == len(dossier.untested)
    page = render_dossier(dossier)
    assert "1 of 1 passed, 1m 01s" in page
    assert "<dt>cores</dt><dd>2</dd>" in page


def test_commits_that_are_left_out_or_unknown() -> None:
    commits = [
        UpstreamCommit(upstream="linux", commit_id="a" * 40, subject="tcp: x", author="Ann", at_s=1e9),
        UpstreamCommit(upstream="linux", commit_id="b" * 40, subject="docs: y", harmless="only-docs"),
    ]
    page = render_dossier(with_commits(sample(), commits, left_out=20_000, unknown=["nginx: built from a <folder>"]))
    assert "20002 commits" in page
    assert "Of the 2 listed 1 may change" in page
    assert "20000 older ones" in page
    assert "nginx: built from a &lt;folder&gt;" in page
    assert "linux, Ann, 2001-09-09" in page
