"""Writes the report that an upstream maintainer wants, as a mail in plain text.

What regressed, by how much, since which commit, how sure that is, a script that shows it without Headrace, the
environment, the trace.

Text out of values; sends nothing, reads nothing. The values come from a bisection.
"""

import re
import textwrap
from dataclasses import dataclass

from headrace.upstream.model import CommitId

WRAP = 72
"""Columns of running text, as mailing lists ask for; scripts, traces and tables are never wrapped."""
TRACE_LINES_MOST = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A metric on the good and the bad end; the change is relative to the good one."""

    metric: str
    """For example `CPU seconds per GB`."""
    unit: str
    good: float
    bad: float
    change_ratio: float
    """0.2: the bad end has 20 % more."""
    low_ratio: float
    high_ratio: float
    confidence_ratio: float
    """Of the interval from `low_ratio` to `high_ratio`: 0.95."""
    pairs: int
    """Independent paired runs it rests on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Culprit:
    """The commit that a bisection named."""

    commit: CommitId
    subject: str
    author: str
    """As `Name <address>`."""
    probability: float
    """Posterior probability that it is this one, among the commits searched."""
    searched: int
    """Commits between the good and the bad end."""
    failed: int
    """How often it failed when asked again, of `asked`."""
    asked: int
    reverted_passed: int | None = None
    """How often head without it passed, of `asked`; None where it does not revert."""
    doubt: str = ""
    """Why it may be the wrong one (it only touches comments, ...); '' where nothing speaks against it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressionReport:
    """All that goes into the mail."""

    upstream: str
    """As its maintainers call it: `linux`, `nginx`."""
    summary: str
    """One line: `TCP: memory of closed connections is not freed`."""
    what: str
    """What goes wrong, as a user of the software sees it; paragraphs are divided by empty lines."""
    good: CommitId
    bad: CommitId
    culprit: Culprit | None
    effect: Effect | None
    """None for what is no matter of degree: a crash, wrong bytes."""
    local_patches: tuple[str, ...]
    """Subjects of our own patches that were applied on both ends."""
    seen_without_patches: bool
    """Whether plain upstream shows it too."""
    script: str
    """A shell script that shows it on plain upstream with common tools."""
    environment: tuple[tuple[str, str], ...]
    """Name and value: machine, compiler, configuration, kernel."""
    trace: tuple[str, ...] = ()
    """Lines of the console."""
    to: tuple[str, ...] = ()
    """Addresses of maintainers and lists; nothing is sent to them by us."""
    tags: tuple[str, ...] = ()
    """Lines for an upstream's own tools, such as `#regzbot introduced: ...`."""


def write_report(report: RegressionReport, *, sender: str) -> str:
    """The mail as text: headers, an empty line, the body. What is not known is said, not left out."""
    to = ", ".join(_one_line(address) for address in report.to) or "(its maintainers; see the project's own list)"
    cc = f"Cc: {_one_line(report.culprit.author)}\n" if report.culprit else ""
    head = f"From: {_one_line(sender)}\nTo: {to}\n{cc}Subject: [REGRESSION] {_one_line(report.summary)}\n"
    sections = [
        _wrapped(report.what),
        _section("How much", _how_much(report.effect)),
        _section("Since", _since(report)),
        _section("How sure", _how_sure(report)),
        _section("To reproduce", _verbatim(report.script) if report.script.strip() else "No script yet."),
        _section("Environment", _environment(report)),
        _section("Console", _trace(report.trace)) if report.trace else "",
        "\n".join(_one_line(tag) for tag in report.tags),
    ]
    return head + "\n" + "\n\n".join(section for section in sections if section) + "\n"


def _how_much(effect: Effect | None) -> str:
    if effect is None:
        return "It either happens or not; see below how often it was tried."
    return _wrapped(
        f"{effect.metric}: {_number(effect.good)} {effect.unit} before, {_number(effect.bad)} {effect.unit} after: "
        f"{effect.change_ratio:+.1%} ({effect.confidence_ratio:.0%} interval {effect.low_ratio:+.1%} to "
        f"{effect.high_ratio:+.1%}, {effect.pairs} paired runs, interleaved)."
    )


def _since(report: RegressionReport) -> str:
    ends = f"good: {report.good}\nbad:  {report.bad}"
    if report.culprit is None:
        return f"The commit is not known. Ends of the range:\n\n{ends}"
    one = report.culprit
    return f'{one.commit}\n("{_one_line(one.subject)}")\n\nfound by bisection of {one.searched} commits:\n\n{ends}'


def _how_sure(report: RegressionReport) -> str:
    lines: list[str] = []
    if report.culprit is not None:
        one = report.culprit
        lines.append(f"Probability that it is this commit: {_percent(one.probability)}.")
        lines.append(f"The commit itself failed {one.failed} of {one.asked} times.")
        if one.reverted_passed is None:
            lines.append("It does not revert on the bad end, so that was not tried.")
        else:
            lines.append(f"The bad end with it reverted passed {one.reverted_passed} of {one.asked} times.")
        if one.doubt:
            lines.append(f"What speaks against it: {_one_line(one.doubt)}.")
    if report.seen_without_patches:
        lines.append("Plain upstream, without local changes, shows it too.")
    elif report.local_patches:
        lines.append(f"Seen only with {len(report.local_patches)} local patches applied, on good and bad ends alike:")
    if not report.seen_without_patches:
        lines += [f"  {_one_line(subject)}" for subject in report.local_patches]
    return "\n".join(lines) or "It was seen once and not tried again."


def _environment(report: RegressionReport) -> str:
    width = max((len(name) for name, _ in report.environment), default=0)
    return (
        "\n".join(f"{_one_line(name):<{width}}  {_one_line(value)}" for name, value in report.environment)
        or "Not noted."
    )


def _trace(lines: tuple[str, ...]) -> str:
    kept = lines[:TRACE_LINES_MOST]
    more = len(lines) - len(kept)
    return "\n".join([*(_shown(line) for line in kept), *([f"({more} more lines)"] if more else [])])


def _section(title: str, text: str) -> str:
    return f"{title}\n{'-' * len(title)}\n{text}"


def _wrapped(text: str) -> str:
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(textwrap.fill(" ".join(_shown(one).split()), WRAP, break_long_words=False) for one in paragraphs)


def _verbatim(text: str) -> str:
    return _shown(text.strip("\n"))


def _percent(ratio: float) -> str:
    """Never rounded up to certainty."""
    return "over 99.9 %" if ratio > 0.999 else f"{ratio * 100:.1f} %"


def _number(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def _one_line(text: str) -> str:
    """Foreign words on one line: a line feed in a subject must not begin a header."""
    return " ".join(_shown(text).split())


def _shown(text: str) -> str:
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
