"""Levels 0 to 2: what must simply hold of a candidate. Each expectation is one run on a fresh machine.

What a machine does wrong becomes a problem in words; faults on its console count whatever the load saw. What only a
kernel can get wrong stands in `kernels`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from headrace.base.tasks import Tasks
from headrace.lab.assembly import Lab
from headrace.lab.errors import MachineError, NotPossibleHereError
from headrace.lab.load.model import Behaviour
from headrace.lab.load.run import plan_for, run_load
from headrace.lab.profiles import Profile
from headrace.lab.qualify.findings import MOST_SHOWN, Expectation, Finding, expect, observe, of_load
from headrace.lab.qualify.kernels import kernel_expectations
from headrace.lab.qualify.protocols import protocol_expectations, suite_expectations
from headrace.lab.qualify.stand import Stand
from headrace.release.model import CheckResult, Reason, Verdict

_RELOAD_EVERY_S = 0.8
_RELOAD = """
for f in $(grep -l '^nginx: master' /proc/[0-9]*/cmdline 2>/dev/null); do
  p=${f#/proc/}; kill -HUP ${p%/*} && told=1
done
[ -n "$told" ]
"""
_HTTP = {Behaviour.PIPELINE: 2, Behaviour.MULTI: 2, Behaviour.CONDITIONAL: 2, Behaviour.BORDERS: 2}
_ABORTS = {Behaviour.ABORT: 3, Behaviour.RESET: 6, Behaviour.SLOW: 2, Behaviour.SEGMENTS: 2}
_DRAINS = {Behaviour.DRAIN: 3}
_STORM = {Behaviour.SHORT: 48}
_ON_NETWORKS = {Behaviour.SEGMENTS: 2, Behaviour.SHORT: 2, Behaviour.ABORT: 1, Behaviour.RESET: 1}
_NETWORK_S = 4.0
_NETWORK_STALL_S = 30.0
"""A lost wake-up waits for ever; a narrow network with losses, on a busy machine, more than ten seconds at times."""
_ORDER = {
    name: number
    for number, name in enumerate(("function.serves", "function.bytes", "function.bytes-tls", "function.http"))
}
"""The quickest that shows most goes first."""


def expectations(stand: Stand) -> tuple[Expectation, ...]:
    """Those of this stand, in the order in which they are run: the earliest level first."""
    made = [
        expect("build.warnings", "no new warnings in patched files", _warnings),
        expect("function.serves", "starts, and answers", _load({Behaviour.SHORT: 1}, 1.0)),
        expect("function.bytes", "every byte right, clear", _sweep),
        expect("function.bytes-tls", "every byte right, TLS", partial(_sweep, is_tls=True)),
        expect("function.http", "pipelined, multi-range and conditional requests", _load(_HTTP, 3.0)),
        expect(
            "function.ends", "transfers of every length come to their end, however they are read", _load(_DRAINS, 4.0)
        ),
        *protocol_expectations(),
        *suite_expectations(stand),
        expect("impairment.reload", "reloads under load", _reload),
        expect("impairment.aborts", "goes on while clients break off, reset and read slowly", _load(_ABORTS, 5.0)),
        expect("impairment.storm", "goes on in a storm of connections", _load(_STORM, 4.0)),
    ]
    made += kernel_expectations(stand)
    made += [
        expect(
            f"impairment.network.{name}",
            f"bytes right and progress on the network {name}",
            partial(_network, profile=profile),
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
    verdict, reason, summary = Verdict.PASS, Reason.ALL_AS_EXPECTED, expectation.about
    if finding.not_run:
        verdict, reason, summary = Verdict.INCONCLUSIVE, Reason.NOT_RUN, finding.not_run
    elif problems:
        reason = Reason.CONSOLE_FAULT if finding.faults else Reason.EXPECTATION_BROKEN
        verdict, summary = Verdict.FAIL, problems[0]
    return CheckResult(
        check_id=expectation.check_id,
        level=expectation.level,
        verdict=verdict,
        reason=reason,
        summary=summary,
        evidence=(*problems[: 2 * MOST_SHOWN], *finding.evidence),
        faults=finding.faults,
        started_s=started_s,
        ended_s=stand.clock.now_s(),
    )


async def reload_nginx(lab: Lab) -> None:
    """Have nginx read its configuration anew.

    Raises:
        MachineError: there is no master to tell.
    """
    ran = await lab.machine.run(["sh", "-c", _RELOAD])
    if ran.exit_code:
        raise MachineError(f"nginx could not be told to reload: {ran.output.strip()[:200] or 'it does not run'}")


async def _warnings(stand: Stand) -> Finding:
    found = stand.candidate.new_warnings
    if found is None:
        return Finding(evidence=("given as a program: its build was not seen",))
    return Finding(problems=found[:MOST_SHOWN], evidence=(f"{len(found)} warnings in patched files",))


def _load(players: dict[Behaviour, int], seconds: float) -> Callable[[Stand], Awaitable[Finding]]:
    async def look(stand: Stand) -> Finding:
        async def do(lab: Lab) -> Finding:
            return of_load(await run_load(lab, plan_for(lab, seconds=stand.seconds(seconds), players=players)))

        return await observe(stand, do)

    return look


async def _network(stand: Stand, *, profile: Profile) -> Finding:
    async def do(lab: Lab) -> Finding:
        plan = plan_for(lab, seconds=stand.seconds(_NETWORK_S), players=_ON_NETWORKS)
        return of_load(await run_load(lab, replace(plan, stall_s=_NETWORK_STALL_S)))

    try:
        return await observe(stand, do, profile=profile)
    except NotPossibleHereError as error:
        return Finding(not_run=str(error))


async def _sweep(stand: Stand, *, is_tls: bool = False) -> Finding:
    async def do(lab: Lab) -> Finding:
        return of_load(await run_load(lab, plan_for(lab, seconds=0.5, players={}, is_tls=is_tls, is_sweeping=True)))

    return await observe(stand, do)


async def _reload(stand: Stand) -> Finding:
    """New configurations are loaded while clients come and read; no answer may break.

    Only clients that bring a connection for each request: an idle one may be closed at any time (RFC 9112, 9.5).
    """

    async def do(lab: Lab) -> Finding:
        async with Tasks() as tasks:
            plan = plan_for(lab, seconds=stand.seconds(4.0), players={Behaviour.SHORT: 4, Behaviour.SLOW: 2})
            load = tasks.spawn("load", run_load(lab, plan))
            reloads = 0
            while not load.done():
                await reload_nginx(lab)
                reloads += 1
                await asyncio.wait([load], timeout=_RELOAD_EVERY_S)
            return of_load(await load, f"{reloads} reloads")

    return await observe(stand, do)
