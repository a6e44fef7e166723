"""Levels 0 to 2: what must simply hold of a candidate. Each expectation is one run on a fresh machine.

What a machine does wrong becomes a problem in words; faults on its console count whatever the load saw.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from headrace.base.tasks import Tasks
from headrace.base.units import show_bytes
from headrace.lab.assembly import Lab
from headrace.lab.errors import MachineError
from headrace.lab.load.model import Behaviour, LoadReport
from headrace.lab.load.run import plan_for, run_load
from headrace.lab.load.volume import Protocol, run_volume
from headrace.lab.ports import MachineState
from headrace.lab.profiles import LAN, Profile
from headrace.lab.qualify.stand import Side, Stand
from headrace.release.console import distinct, find_faults
from headrace.release.model import CheckId, CheckResult, Fault, Level, Reason, Verdict, check_id, level_of

_MOST_SHOWN = 5
_RELOAD_EVERY_S = 0.8
_RELOAD = """
for f in $(grep -l '^nginx: master' /proc/[0-9]*/cmdline 2>/dev/null); do
  p=${f#/proc/}; kill -HUP ${p%/*} && told=1
done
[ -n "$told" ]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one run showed."""

    problems: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Something that must hold."""

    check_id: CheckId
    about: str
    look: Callable[[Stand], Awaitable[Finding]]

    @property
    def level(self) -> Level:
        return level_of(self.check_id)


def expectations(stand: Stand) -> tuple[Expectation, ...]:
    """Those of this stand, in the order in which they are run: the earliest level first."""
    loads = (
        ("function.serves", "starts, and answers", {Behaviour.SHORT: 1}, 1.0),
        ("function.http", "pipelined, multi-range and conditional requests", _HTTP, 3.0),
        ("impairment.aborts", "goes on while clients break off and read slowly", _ABORTS, 5.0),
        ("impairment.storm", "goes on in a storm of connections", {Behaviour.SHORT: 48}, 4.0),
    )
    made = [
        Expectation(check_id=check_id("build.warnings"), about="no new warnings in patched files", look=_warnings),
        Expectation(check_id=check_id("function.bytes"), about="every byte right, clear", look=_sweep),
        Expectation(
            check_id=check_id("function.bytes-tls"), about="every byte right, TLS", look=partial(_sweep, is_tls=True)
        ),
        Expectation(check_id=check_id("function.http2"), about="HTTP/2 over TLS answers", look=_http2),
        Expectation(check_id=check_id("impairment.reload"), about="reloads under load", look=_reload),
    ]
    made += [
        Expectation(check_id=check_id(name), about=about, look=partial(_load, players=players, seconds=seconds))
        for name, about, players, seconds in loads
    ]
    made += [
        Expectation(
            check_id=check_id(f"impairment.network.{name}"),
            about=f"bytes right and progress on the network {name}",
            look=partial(_load, players=_ON_NETWORKS, seconds=6.0, profile=profile),
        )
        for name, profile in stand.profiles.items()
    ]
    return tuple(sorted(made, key=lambda one: (one.level, _ORDER.get(one.check_id, len(_ORDER)))))


async def meet(expectation: Expectation, stand: Stand) -> CheckResult:
    """Look, and say whether it holds. A machine that does not start or dies is a finding like any other.

    Raises:
        LabError: the lab itself could not do it; that says nothing about the candidate.
    """
    started_s = stand.clock.now_s()
    try:
        finding = await expectation.look(stand)
    except MachineError as error:
        finding = Finding(problems=(str(error),))
    problems = [f"console: {fault.title}" for fault in finding.faults] + list(finding.problems)
    return CheckResult(
        check_id=expectation.check_id,
        level=expectation.level,
        verdict=Verdict.FAIL if problems else Verdict.PASS,
        reason=Reason.CONSOLE_FAULT
        if finding.faults
        else Reason.EXPECTATION_BROKEN
        if problems
        else Reason.ALL_AS_EXPECTED,
        summary=problems[0] if problems else expectation.about,
        evidence=(*problems[: 2 * _MOST_SHOWN], *finding.evidence),
        faults=finding.faults,
        started_s=started_s,
        ended_s=stand.clock.now_s(),
    )


def problems_of(report: LoadReport) -> tuple[str, ...]:
    """What was wrong with the answers of a load, in words."""
    shown = [f"{wrong.path[-24:]} ({wrong.asked}): {wrong.what}" for wrong in report.wrongs[:_MOST_SHOWN]]
    counted = (
        (report.wrong, "wrong answers"),
        (report.stalled, "transfers stalled"),
        (report.failed, f"connections failed ({', '.join(report.failures)[:200]})"),
    )
    problems = [f"{count} {what}" for count, what in counted if count] + shown
    return tuple(problems) if problems or report.requests else ("not one request was answered",)


def evidence_of(report: LoadReport) -> tuple[str, ...]:
    """What a load did, in one line."""
    aborted = f", {report.aborted} broken off by the client" if report.aborted else ""
    return (f"{report.requests} answers right, {show_bytes(report.bytes)} in {report.seconds:.1f} s{aborted}",)


_HTTP = {Behaviour.PIPELINE: 2, Behaviour.MULTI: 2, Behaviour.CONDITIONAL: 2, Behaviour.BORDERS: 2}
_ABORTS = {Behaviour.ABORT: 6, Behaviour.SLOW: 2, Behaviour.SEGMENTS: 2}
_ON_NETWORKS = {Behaviour.SEGMENTS: 2, Behaviour.SHORT: 1, Behaviour.ABORT: 1}
_ORDER = {
    name: number
    for number, name in enumerate(("function.serves", "function.bytes", "function.bytes-tls", "function.http"))
}
"""The quickest that shows most goes first."""


async def _warnings(stand: Stand) -> Finding:
    found = stand.candidate.new_warnings
    if found is None:
        return Finding(evidence=("given as a program: its build was not seen",))
    return Finding(problems=found[:_MOST_SHOWN], evidence=(f"{len(found)} warnings in patched files",))


async def _load(stand: Stand, *, players: dict[Behaviour, int], seconds: float, profile: Profile = LAN) -> Finding:
    async with stand.lab(Side.CANDIDATE, profile) as lab:
        report = await run_load(lab, plan_for(lab, seconds=stand.seconds(seconds), players=players))
        return _finding(lab, report)


async def _sweep(stand: Stand, *, is_tls: bool = False) -> Finding:
    async with stand.lab(Side.CANDIDATE) as lab:
        report = await run_load(lab, plan_for(lab, seconds=0.5, players={}, is_tls=is_tls, is_sweeping=True))
        return _finding(lab, report)


async def _http2(stand: Stand) -> Finding:
    async with stand.lab(Side.CANDIDATE) as lab:
        paths = tuple(file.path for file in lab.setup.content)
        report = await run_volume(
            lab, paths, seconds=stand.seconds(2.0), connections=4, protocol=Protocol.HTTP2_TLS, byte_range="bytes=0-0"
        )
        problems = (f"{report.failed} of {report.requests + report.failed} requests failed",) if report.failed else ()
        faults = _faults(lab)
        return Finding(problems=problems, evidence=(f"{report.requests} answers over HTTP/2",), faults=faults)


async def _reload(stand: Stand) -> Finding:
    """New configurations are loaded while clients come and read; no answer may break.

    Only clients that bring a connection for each request: an idle one may be closed at any time (RFC 9112, 9.5).
    """
    async with stand.lab(Side.CANDIDATE) as lab, Tasks() as tasks:
        plan = plan_for(lab, seconds=stand.seconds(4.0), players={Behaviour.SHORT: 4, Behaviour.SLOW: 2})
        load = tasks.spawn("load", run_load(lab, plan))
        reloads = 0
        while not load.done():
            await reload_nginx(lab)
            reloads += 1
            await asyncio.wait([load], timeout=_RELOAD_EVERY_S)
        finding = _finding(lab, await load)
        return replace(finding, evidence=(*finding.evidence, f"{reloads} reloads"))


async def reload_nginx(lab: Lab) -> None:
    """Have nginx read its configuration anew.

    Raises:
        MachineError: there is no master to tell.
    """
    ran = await lab.machine.run(["sh", "-c", _RELOAD])
    if ran.exit_code:
        raise MachineError(f"nginx could not be told to reload: {ran.output.strip()[:200] or 'it does not run'}")


def _finding(lab: Lab, report: LoadReport) -> Finding:
    condition = lab.machine.condition()
    ended = () if condition.state is MachineState.RUNNING else (f"the machine {condition.state}: {condition.reason}",)
    return Finding(problems=(*ended, *problems_of(report)), evidence=evidence_of(report), faults=_faults(lab))


def _faults(lab: Lab) -> tuple[Fault, ...]:
    return distinct(find_faults(lab.machine.console()))
