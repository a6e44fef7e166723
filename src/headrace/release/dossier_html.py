"""Draws a dossier as one HTML file: no scripts, no other files, readable on a phone and printed, in light and dark.

Text in, text out. Everything that came from outside (subjects, console lines, versions) is escaped.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from importlib import resources

from headrace.base.units import show_duration
from headrace.release.calibration_table import HEADINGS, calibration_rows, say_rate
from headrace.release.dossier import Dossier, LevelSummary, UpstreamCommit
from headrace.release.dossier_plots import interval_key, interval_plot
from headrace.release.model import CheckDefinition, CheckResult, Fault, Level, Verdict
from headrace.release.verdicts import show_effect
from headrace.upstream.candidate import Candidate, Component

_FEW_COMMITS = 30
_HEADLINE = {
    Verdict.PASS: "qualified: every check of every level passed",
    Verdict.FAIL: "not qualified: a check failed",
    Verdict.INCONCLUSIVE: "not qualified: something was not decided, which does not pass",
}


def render_dossier(dossier: Dossier) -> str:
    """The dossier as a whole HTML document."""
    style = resources.files("headrace.release").joinpath("dossier.css").read_text(encoding="utf-8")
    name = escape(dossier.candidate.candidate_id)
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{name}: {dossier.verdict.value}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>",
        _header(dossier),
        _levels(dossier.levels),
        _checks(dossier),
        _faults(dossier),
        _untested(dossier),
        _provenance(dossier),
        _commits(dossier),
        _calibration(dossier),
        _record(dossier),
        "</main>\n</body>\n</html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _header(dossier: Dossier) -> str:
    verdict = dossier.verdict
    against = f"against baseline {dossier.baseline.candidate_id}" if dossier.baseline else "without a baseline"
    # What decided comes first: the first check that did not pass, in its own words.
    deciding = next((one for one in dossier.results if one.verdict is verdict and verdict is not Verdict.PASS), None)
    why = f"<p class=why><b>{escape(deciding.check_id)}</b>: {escape(deciding.summary)}</p>" if deciding else ""
    return (
        f"<header><h1>{escape(dossier.candidate.candidate_id)} {_badge(verdict)}</h1>"
        f"<p>{_headline(dossier)}; {escape(against)}, {_when(dossier.made_at_s)}.</p>{_compared(dossier)}{why}</header>"
    )


def _headline(dossier: Dossier) -> str:
    left = [one.level.name.lower() for one in dossier.levels if one.verdict is None]
    is_clean = all(one.verdict is Verdict.PASS for one in dossier.results)
    if left and is_clean:
        return f"not qualified yet: not run: {', '.join(left)}"
    return _HEADLINE[dossier.verdict]


def _compared(dossier: Dossier) -> str:
    """What changed between the two, in a line."""
    said = []
    for one in dossier.candidate.components:
        before = dossier.baseline.component(one.name) if dossier.baseline else None
        if before is None:
            said.append(f"{one.name} {one.version}")
        elif before.output_sha256 == one.output_sha256:
            said.append(f"{one.name} {one.version}, the same build")
        else:
            same = "" if before.version == one.version else f"{before.version} \N{RIGHTWARDS ARROW} "
            said.append(f"{one.name} {same}{one.version}")
    return f"<p class=compared>{escape('; '.join(said))}</p>"


def _levels(levels: Sequence[LevelSummary]) -> str:
    cells = []
    for one in levels:
        state = one.verdict.value if one.verdict else "none"
        count = f"{one.passed} of {one.checks} passed" if one.verdict else "not run"
        count += f", {show_duration(one.took_s)}" if one.took_s else ""
        name = one.level.name.lower()
        cells.append(f'<li class="{state}"><b>{one.level.value} {name}</b><span>{state if one.verdict else ""}</span>'
                     f"<small>{count}</small></li>")  # fmt: skip
    return f'<ol class="levels">{"".join(cells)}</ol>'


def _checks(dossier: Dossier) -> str:
    definitions = {one.check_id: one for one in dossier.definitions}
    key = interval_key() if any(result.interval for result in dossier.results) else ""
    parts = []
    for level in Level:
        of_level = [result for result in dossier.results if result.level is level]
        # What did not pass is why somebody reads on.
        of_level.sort(key=lambda one: one.verdict is Verdict.PASS)
        rows = "".join(_check(result, definitions.get(result.check_id)) for result in of_level)
        parts.append(f"<h3>{level.value} {level.name.lower()}</h3>{rows}" if rows else "")
    return f"<section><h2>Checks</h2>{key}{''.join(parts)}</section>" if dossier.results else ""


def _check(result: CheckResult, definition: CheckDefinition | None) -> str:
    """A card; one line to unfold for what passed and has nothing to draw."""
    evidence = "".join(f"<li>{escape(line)}</li>" for line in _evidence(result, definition))
    plot = interval_plot(result, definition) if definition is not None else ""
    name, said = escape(result.check_id), escape(result.summary)
    if result.verdict is Verdict.PASS and not plot:
        return (
            f'<details class=row id="{name}"><summary>{_badge(result.verdict)} <b>{name}</b> <span>{said}</span>'
            f"</summary><ul>{evidence}</ul></details>"
        )
    is_open = " open" if result.verdict is Verdict.FAIL else ""
    return (
        f'<article id="{name}"><h4>{_badge(result.verdict)} {name}</h4>'
        f"<p>{said} <small>({result.reason.value})</small></p>{plot}"
        + (f"<details{is_open}><summary>evidence</summary><ul>{evidence}</ul></details>" if evidence else "")
        + "</article>"
    )


def _evidence(result: CheckResult, definition: CheckDefinition | None) -> list[str]:
    lines = list(result.evidence)
    if definition is not None:
        lines.append(f"margin {show_effect(definition, definition.margin.value)}: {definition.margin.why}")
    if result.interval is not None and result.interval.high_error > 0:
        low, high = result.interval.low_error, result.interval.high_error
        lines.append(
            f"the interval's lower end errs with probability {low:.2g}, its upper with {high:.2g}, at any look"
        )
    if result.interval is not None and result.pairs:
        missing = f", {result.missing} of them without a value" if result.missing else ""
        lines.append(f"{result.pairs} pairs of runs{missing}")
    if result.ended_s > result.started_s:
        lines.append(f"took {show_duration(result.ended_s - result.started_s)}")
    faults = [f"console: {fault.title}" for fault in result.faults]
    return lines + [line for line in faults if line not in lines]


def _faults(dossier: Dossier) -> str:
    if not dossier.faults:
        said = "No fault was seen on any console." if dossier.results else "Nothing was run."
        return f"<section><h2>Console faults</h2><p>{said}</p></section>"
    rows = [
        _fault(fault, [one.check_id for one in dossier.results if fault.fingerprint in _prints(one)])
        for fault in dossier.faults
    ]
    return f"<section><h2>Console faults</h2>{''.join(rows)}</section>"


def _prints(result: CheckResult) -> set[str]:
    return {fault.fingerprint for fault in result.faults}


def _fault(fault: Fault, checks: Sequence[str]) -> str:
    trace = "\n".join(escape(frame) for frame in fault.trace)
    where = ", ".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in checks)
    return (
        f"<article><h4>{escape(fault.kind.value)} <code>{fault.fingerprint}</code></h4>"
        f"<p>{escape(fault.title)}</p><p><small>seen in {where}, line {fault.line_no} of the console</small></p>"
        + (f"<pre>{trace}</pre>" if trace else "<p><small>without a trace</small></p>")
        + "</article>"
    )


def _untested(dossier: Dossier) -> str:
    by_reason: dict[str, list[str]] = {}
    for one in dossier.untested:
        by_reason.setdefault(one.why, []).append(one.what)
    rows = "".join(f"<li><b>{escape(', '.join(names))}</b>: {escape(why)}</li>" for why, names in by_reason.items())
    return f"<section><h2>Not tested</h2><ul>{rows}</ul></section>"


def _provenance(dossier: Dossier) -> str:
    parts = [_candidate("Candidate", dossier.candidate, dossier.baseline)]
    if dossier.baseline:
        parts.append(_candidate("Baseline", dossier.baseline, None))
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in dossier.machine)
    machine = f"<h3>Machine</h3><dl>{facts}</dl>" if facts else ""
    return f"<section><h2>Provenance</h2>{''.join(parts)}{machine}</section>"


def _candidate(title: str, candidate: Candidate, baseline: Candidate | None) -> str:
    rows = []
    for component in candidate.components:
        before = baseline.component(component.name) if baseline else None
        is_same = before is not None and before.output_sha256 == component.output_sha256
        rows.append(_component(component, is_same=is_same))
    facts = [("made", _when(candidate.made_at_s)), ("headrace", candidate.headrace_version)]
    if candidate.nginx_template_sha256:
        facts.append(("nginx template", candidate.nginx_template_sha256))
    listed = "".join(f"<dt>{name}</dt><dd>{_value(value)}</dd>" for name, value in facts)
    name = escape(candidate.candidate_id)
    return f"<h3>{title} <code>{name}</code></h3><dl>{listed}</dl>{''.join(rows)}"


def _component(component: Component, *, is_same: bool) -> str:
    same = " <small>same output as the baseline's</small>" if is_same else ""
    facts = (
        ("version", component.version),
        ("upstream", component.upstream),
        ("commit", component.commit or "no repository"),
        ("patches", ", ".join(component.patches) or "none"),
        ("config", component.config_sha256),
        ("toolchain", component.toolchain),
        ("output", component.output_sha256),
    )
    listed = "".join(f"<dt>{name}</dt><dd>{_value(value)}</dd>" for name, value in facts if value)
    return f"<h4>{escape(component.name)}{same}</h4><dl>{listed}</dl>"


def _commits(dossier: Dossier) -> str:
    total = len(dossier.commits) + dossier.commits_left_out
    unknown = "".join(f"<p>Not known for {escape(line)}</p>" for line in dossier.commits_unknown)
    head = f"<section><h2>Upstream commits since the baseline</h2>{unknown}"
    if not total:
        return head + ("" if unknown else "<p>None.</p>") + "</section>"
    plausible = sum(not one.harmless for one in dossier.commits)
    rows = "".join(_commit(one) for one in dossier.commits)
    more = f"<p>{dossier.commits_left_out} older ones are not listed.</p>" if dossier.commits_left_out else ""
    return (
        f"{head}<p>{total} commits, newest first, merges left out. Of the {len(dossier.commits)} listed {plausible} "
        "may change how it runs; the others touch only what their note says.</p>"
        f"<details{' open' if total <= _FEW_COMMITS else ''}><summary>list</summary>"
        f"<ul class=commits>{rows}</ul>{more}</details></section>"
    )


def _commit(one: UpstreamCommit) -> str:
    note = f" <em>{escape(one.harmless)}</em>" if one.harmless else ""
    day = datetime.fromtimestamp(one.at_s, UTC).strftime("%Y-%m-%d") if one.at_s else ""
    who = ", ".join(part for part in (one.upstream, one.author, day) if part)
    return (
        f'<li class="{"harmless" if one.harmless else "plausible"}"><code>{escape(one.commit_id[:12])}</code> '
        f"{escape(one.subject)}{note} <small>{escape(who)}</small></li>"
    )


def _calibration(dossier: Dossier) -> str:
    calibration = dossier.calibration
    if calibration is None:
        return ""
    rows = "".join(_row(escape(cell) for cell in row) for row in calibration_rows(calibration, dossier.definitions))
    return (
        "<section><h2>What these checks can tell here</h2>"
        "<p>The baseline against itself on this machine. False alarms: "
        f"{say_rate(calibration.measured_alarms, 'qualifications that were run')}; "
        f"{say_rate(calibration.drawn_alarms, 'drawn from their runs')}. The last column is the smallest worsening "
        "that fails with 90 % probability within the budget of pairs.</p>"
        f"<div class=wide><table><thead>{_row(HEADINGS, 'th')}</thead><tbody>{rows}</tbody></table></div></section>"
    )


def _record(dossier: Dossier) -> str:
    rows = "".join(
        _row((_when(move.at_s), escape(move.event.value), escape(move.state.value), escape(move.why)))
        for move in dossier.life.moves
    )
    if not rows:
        return ""
    head = _row(("when", "event", "state", "why"), "th")
    table = f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"
    return f"<section><h2>Record</h2><div class=wide>{table}</div></section>"


def _value(text: str) -> str:
    """Digests by their first digits; dossier.json has them whole. Commits are asked for by all of theirs."""
    if re.fullmatch(r"[0-9a-f]{64}", text):
        return f"<code>{text[:16]}\N{HORIZONTAL ELLIPSIS}</code>"
    if "\n" not in text.strip():
        return escape(text)
    # What programs say of themselves, each after its command (`$ cc --version`): the first line has the version.
    said = re.findall(r"^\$ .*\n(.+)", text, re.MULTILINE) or text.strip().splitlines()
    return f"<details><summary>{escape('; '.join(said))}</summary><pre>{escape(text)}</pre></details>"


def _row(cells: Iterable[str], tag: str = "td") -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"


def _badge(verdict: Verdict) -> str:
    return f'<span class="badge {verdict.value}">{verdict.value}</span>'


def _when(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
