"""Draws a dossier as one HTML file: no scripts, no other files, readable on a phone and printed, in light and dark.

Text in, text out. Everything that came from outside (subjects, console lines, versions) is escaped.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from importlib import resources

from headrace.base.units import show_duration
from headrace.release.dossier import Dossier, LevelSummary, UpstreamCommit
from headrace.release.dossier_plots import interval_key, interval_plot
from headrace.release.model import CheckDefinition, CheckResult, Fault, Verdict
from headrace.release.verdicts import show_effect
from headrace.upstream.candidate import Candidate, Component

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
        f"<p>{_HEADLINE[verdict]}; {escape(against)}, {_when(dossier.made_at_s)}.</p>{why}</header>"
    )


def _levels(levels: Sequence[LevelSummary]) -> str:
    cells = []
    for one in levels:
        state = one.verdict.value if one.verdict else "none"
        count = f"{one.passed} of {one.checks} passed" if one.verdict else "not run"
        name = one.level.name.lower()
        cells.append(f'<li class="{state}"><b>{one.level.value} {name}</b><span>{state if one.verdict else ""}</span>'
                     f"<small>{count}</small></li>")  # fmt: skip
    return f'<ol class="levels">{"".join(cells)}</ol>'


def _checks(dossier: Dossier) -> str:
    definitions = {one.check_id: one for one in dossier.definitions}
    rows = [_check(result, definitions.get(result.check_id)) for result in dossier.results]
    key = interval_key() if any(result.interval for result in dossier.results) else ""
    return f"<section><h2>Checks</h2>{key}{''.join(rows)}</section>" if rows else ""


def _check(result: CheckResult, definition: CheckDefinition | None) -> str:
    lines = list(result.evidence)
    if definition is not None:
        lines.append(f"margin {show_effect(definition, definition.margin.value)}: {definition.margin.why}")
    if result.interval is not None and result.interval.high_error > 0:
        low, high = result.interval.low_error, result.interval.high_error
        lines.append(
            f"the interval's lower end errs with probability {low:.2g}, its upper with {high:.2g}, at any look"
        )
    if result.pairs:
        missing = f", {result.missing} of them without a value" if result.missing else ""
        lines.append(f"{result.pairs} pairs of runs{missing}")
    if result.ended_s > result.started_s:
        lines.append(f"took {show_duration(result.ended_s - result.started_s)}")
    lines += [f"console: {fault.title} ({fault.fingerprint})" for fault in result.faults]
    evidence = "".join(f"<li>{escape(line)}</li>" for line in lines)
    plot = interval_plot(result, definition) if definition is not None else ""
    is_open = " open" if result.verdict is Verdict.FAIL else ""
    return (
        f'<article id="{escape(result.check_id)}"><h3>{_badge(result.verdict)} {escape(result.check_id)}</h3>'
        f"<p>{escape(result.summary)} <small>({result.reason.value})</small></p>{plot}"
        + (f"<details{is_open}><summary>evidence</summary><ul>{evidence}</ul></details>" if evidence else "")
        + "</article>"
    )


def _faults(dossier: Dossier) -> str:
    if not dossier.faults:
        said = "No fault was seen on any console." if dossier.results else "Nothing was run."
        return f"<section><h2>Console faults</h2><p>{said}</p></section>"
    seen = [fault.fingerprint for result in dossier.results for fault in result.faults]
    rows = [_fault(fault, seen.count(fault.fingerprint)) for fault in dossier.faults]
    return f"<section><h2>Console faults</h2>{''.join(rows)}</section>"


def _fault(fault: Fault, times: int) -> str:
    trace = "\n".join(escape(frame) for frame in fault.trace)
    return (
        f"<article><h3>{escape(fault.kind.value)} <code>{fault.fingerprint}</code> "
        f"<small>seen {times} {'time' if times == 1 else 'times'}</small></h3>"
        f"<p>{escape(fault.title)}</p>" + (f"<pre>{trace}</pre>" if trace else "") + "</article>"
    )


def _untested(dossier: Dossier) -> str:
    rows = "".join(f"<li><b>{escape(one.what)}</b>: {escape(one.why)}</li>" for one in dossier.untested)
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
    listed = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts)
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
    listed = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return f"<h4>{escape(component.name)}{same}</h4><dl>{listed}</dl>"


def _commits(dossier: Dossier) -> str:
    if not dossier.commits:
        return "<section><h2>Upstream commits since the baseline</h2><p>None are known.</p></section>"
    rows = "".join(_commit(one) for one in dossier.commits)
    total = len(dossier.commits) + dossier.commits_left_out
    more = f"<p>{dossier.commits_left_out} more are not listed.</p>" if dossier.commits_left_out else ""
    return (
        f"<section><h2>Upstream commits since the baseline</h2><details><summary>{total} commits</summary>"
        f"<ul class=commits>{rows}</ul>{more}</details></section>"
    )


def _commit(one: UpstreamCommit) -> str:
    harmless = f" <small>{escape(one.harmless)}</small>" if one.harmless else ""
    return f"<li><code>{escape(one.commit_id[:12])}</code> {escape(one.subject)}{harmless}</li>"


def _calibration(dossier: Dossier) -> str:
    calibration = dossier.calibration
    if calibration is None:
        return ""
    definitions = {one.check_id: one for one in dossier.definitions}
    rows = []
    for one in calibration.checks:
        definition = definitions.get(one.check_id)
        if definition is None:
            continue
        found = "" if one.smallest_effect is None else show_effect(definition, one.smallest_effect)
        spread = "" if one.spread is None else show_effect(definition, one.spread).lstrip("+")
        passes = "" if one.passes is None else f"{100 * one.passes.ratio:.0f} %"
        rows.append(_row((escape(one.check_id), str(one.pairs), spread, passes, found or "none")))
    alarms = calibration.measured_alarms
    return (
        "<section><h2>What this machine can tell</h2>"
        f"<p>The baseline against itself: {alarms.hits} false alarms in {alarms.runs} qualifications "
        f"(95 % interval of the rate: {100 * alarms.low:.1f} to {100 * alarms.high:.1f} %).</p>"
        "<div class=wide><table><thead>"
        + _row(("check", "pairs", "spread", "passes", "found with 90 %"), "th")
        + f"</thead><tbody>{''.join(rows)}</tbody></table></div></section>"
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


def _row(cells: Iterable[str], tag: str = "td") -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"


def _badge(verdict: Verdict) -> str:
    return f'<span class="badge {verdict.value}">{verdict.value}</span>'


def _when(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
