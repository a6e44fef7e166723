"""What a search came to, in words, for programs and for upstream."""

from dataclasses import replace

import pytest

from headrace.lab.bisection.model import Bisection, Grounds, Kind, SearchedCommit
from headrace.lab.bisection.result import lines_of, make_report, summarize
from headrace.release.answers import Reading, Way, Yardstick
from headrace.release.bisect import Conclusion, Ending, Outcome, start_search
from headrace.release.config import parse_release_config
from headrace.release.model import CheckDefinition
from headrace.release.testing import definition
from headrace.upstream.model import CommitId
from headrace.upstream.recipe import Recipe, parse_recipe
from headrace.upstream.report import write_report
from headrace.wire.codec import decode, encode

GOOD, FIRST, CULPRIT, PATCH = (CommitId(digit * 40) for digit in "0123")
CHECK = "performance.cpu-per-gb"
RECIPE: Recipe = parse_recipe(
    "nginx",
    'about = "a"\n[build]\ncommands = [["make", "-j{jobs}"]]\n[outputs]\nnginx = "objs/nginx"\n'
    '[environment]\nCFLAGS = "-O2 -fmap={tree}=."\n[toolchain]\ncommands = [["cc"]]\npackages = "gcc make"\n',
    {},
    source="nginx.toml",
)


def commit(name: CommitId, parent: CommitId, subject: str, kind: Kind = Kind.UPSTREAM) -> SearchedCommit:
    return SearchedCommit(commit=name, parents=(parent,), subject=subject, author="Up <u@p>", kind=kind)


GROUNDS = Grounds(
    component="nginx",
    upstream="nginx",
    url="https://example.org/nginx",
    good=GOOD,
    bad=PATCH,
    upstream_good=GOOD,
    upstream_bad=CULPRIT,
    commits=(
        replace(commit(FIRST, GOOD, "docs"), doubt="it changes only documentation"),
        commit(CULPRIT, FIRST, "a slower copy"),
        commit(PATCH, CULPRIT, "ours", Kind.PATCH),
    ),
    top=PATCH,
    chain=(PATCH,),
)


def record(ending: Ending, *commits: CommitId, passes: int = 3) -> Bisection:
    """A search that has ended so."""
    settings = parse_release_config().bisection
    searched = [one.for_search(implausible_weight=0.02, is_stored=False) for one in GROUNDS.commits]
    ended = Conclusion(
        ending=ending, commit_ids=commits, confidence=0.9999, fails=3, reverted_passes=passes, steps=9, cost_s=90.0,
        why="it was proven",
    )  # fmt: skip
    return Bisection(
        name="bisect-x",
        check_id=CHECK,
        candidate="c-1",
        baseline="c-0",
        grounds=GROUNDS,
        recipe="nginx",
        recipe_digest="",
        seed=1,
        started_s=0.0,
        ends=tuple(Reading(outcome=Outcome.PASS, good=10.0, value=12.0 + step / 10) for step in range(3)),
        yardstick=Yardstick(
            way=Way.PAIRS, readings=1, false_pass_ratio=0.01, false_fail_ratio=0.01, limit=0.09, effect=0.18, error=0.01
        ),
        state=start_search(searched, good=GOOD, bad=PATCH, settings=settings),
        conclusion=ended,
        fails_without_patches=True,
        spent_s=100.0,
    )


def test_a_record_survives_the_disk() -> None:
    whole = record(Ending.CULPRIT, CULPRIT)
    assert decode(Bisection, encode(whole)) == whole


@pytest.mark.parametrize(
    ("ending", "commits", "said"),
    [
        (Ending.CULPRIT, (CULPRIT,), f'fails since commit {CULPRIT} "a slower copy"'),
        (Ending.CULPRIT, (PATCH,), f'fails since our patch {PATCH} "ours"'),
        (Ending.RANGE, (FIRST, CULPRIT), "in one of these commits"),
        (Ending.BAD_END_PASSES, (), "the bad end passes now"),
        (Ending.BUDGET_ENDED, (CULPRIT,), "the budget ended"),
    ],
)
def test_the_first_line_is_the_answer(ending: Ending, commits: tuple[CommitId, ...], said: str) -> None:
    lines = lines_of(record(ending, *commits))
    assert said in lines[0]
    assert "3 commits searched" in lines[-1]


def test_doubt_stands_beside_the_name() -> None:
    assert any("only documentation" in line for line in lines_of(record(Ending.CULPRIT, FIRST)))
    assert "99.9%" in " ".join(lines_of(record(Ending.CULPRIT, CULPRIT))), "never rounded up to certainty"


def test_programs_get_it_whole() -> None:
    found = summarize(record(Ending.CULPRIT, CULPRIT))
    assert (found["ending"], found["fails"], found["reverted_passes"], found["searched"]) == ("culprit", 3, 3, 3)
    assert found["likeliest"]


def check() -> CheckDefinition:
    return definition(CHECK, margin=0.1)


def test_upstream_hears_of_its_own_commits_only() -> None:
    assert make_report(record(Ending.CULPRIT, PATCH), RECIPE, check()) is None
    assert make_report(record(Ending.BUDGET_ENDED, CULPRIT), RECIPE, check()) is None
    report = make_report(record(Ending.CULPRIT, CULPRIT), RECIPE, check())
    assert report is not None
    mail = write_report(report, sender="Ann <ann@example.org>")
    for said in ("10 CPU s/GB before, 12.1 CPU s/GB after", "+19.7%", "3 of 3", "Plain upstream", "a slower copy"):
        assert said in mail
    assert "no revert" not in mail
    missing = replace(record(Ending.CULPRIT_NOT_REVERTED, CULPRIT, passes=0), fails_without_patches=False)
    other = make_report(missing, RECIPE, check())
    assert other is not None
    assert "does not revert" in write_report(other, sender="Ann <ann@example.org>")


def test_a_range_is_reported_without_a_name() -> None:
    report = make_report(record(Ending.RANGE, CULPRIT, FIRST), RECIPE, None)
    assert report is not None
    assert (report.culprit, report.effect) == (None, None)
    assert "The commit is not known" in write_report(report, sender="Ann <ann@example.org>")
