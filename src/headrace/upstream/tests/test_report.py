"""The mail says what is known and what is not, is a mail, and holds no line that a foreign word began."""

from dataclasses import replace
from email import message_from_string, policy

from headrace.upstream.report import WRAP, Culprit, Effect, RegressionReport, write_report
from headrace.upstream.testing import commit_named

CULPRIT = Culprit(
    commit=commit_named("bad one"),
    subject="tcp: keep what was freed",
    author="Ann <ann@example.org>",
    probability=0.9999,
    searched=32,
    failed=3,
    asked=3,
    reverted_passed=3,
)
EFFECT = Effect(
    metric="CPU time per GB",
    unit="s",
    good=0.1234,
    bad=0.148,
    change_ratio=0.2,
    low_ratio=0.17,
    high_ratio=0.23,
    confidence_ratio=0.95,
    pairs=12,
)
REPORT = RegressionReport(
    upstream="linux",
    summary="TCP: 20 % more CPU time per byte",
    what="Serving a file costs more. " * 8 + "\n\nIt is seen at once.",
    good=commit_named("good"),
    bad=commit_named("bad"),
    culprit=CULPRIT,
    effect=EFFECT,
    local_patches=("local: one",),
    seen_without_patches=True,
    script="#!/bin/sh\nset -eu\n" + "echo " + "x" * 100 + "\n",
    environment=(("machine", "2 CPUs"), ("compiler", "gcc 12.2")),
    trace=("[ 1.0] BUG: kernel NULL pointer", "[ 1.1] Call Trace:"),
    to=("netdev@example.org",),
    tags=("#regzbot introduced: " + commit_named("bad one"),),
)


def test_it_is_a_mail_with_all_that_is_asked_for() -> None:
    text = write_report(REPORT, sender="Me <me@example.org>")
    mail = message_from_string(text, policy=policy.default)
    assert mail["Subject"] == "[REGRESSION] TCP: 20 % more CPU time per byte"
    assert (mail["To"], mail["Cc"], mail["From"]) == (
        "netdev@example.org",
        "Ann <ann@example.org>",
        "Me <me@example.org>",
    )
    body = text.split("\n\n", 1)[1]
    for words in (
        "+20.0%",
        "+17.0% to +23.0%",
        "12 paired runs",
        CULPRIT.commit,
        REPORT.good,
        "over 99.9 %",
        "failed 3 of 3",
        "reverted passed 3 of 3",
        "Plain upstream",
        REPORT.script.strip(),
        "gcc 12.2",
        *REPORT.trace,
        *REPORT.tags,
    ):
        assert words in body
    assert "local: one" not in body
    assert all(len(line) <= WRAP for line in body.split("How much")[0].split("\n"))
    assert "headrace" not in text.lower()


def test_what_is_not_known_is_said() -> None:
    text = write_report(
        replace(
            REPORT, culprit=None, effect=None, script="", environment=(), trace=(), to=(), seen_without_patches=False
        ),
        sender="Me <me@example.org>",
    )
    for words in ("The commit is not known", "either happens or not", "No script yet", "Not noted", "local: one"):
        assert words in text
    assert "Console" not in text


def test_doubt_and_a_commit_that_does_not_revert_are_said() -> None:
    doubtful = replace(CULPRIT, reverted_passed=None, doubt="it touches only comments", probability=0.87)
    text = write_report(replace(REPORT, culprit=doubtful), sender="me@example.org")
    assert "does not revert" in text
    assert "only comments" in text
    assert "87.0 %" in text


def test_a_foreign_line_feed_begins_no_header() -> None:
    evil = replace(CULPRIT, author="A <a@example.org>\nBcc: all@example.org", subject="x\x1b[31m")
    text = write_report(replace(REPORT, summary="a\nBcc: b@example.org", culprit=evil), sender="m\nBcc: c@example.org")
    assert message_from_string(text, policy=policy.default)["Bcc"] is None
    assert "\x1b" not in text


def test_a_long_trace_is_cut_and_says_so() -> None:
    text = write_report(replace(REPORT, trace=tuple(f"line {n}" for n in range(500))), sender="me@example.org")
    assert "(380 more lines)" in text
