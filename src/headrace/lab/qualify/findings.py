"""What must hold, and what one run showed: problems in words, evidence, faults on the console and in nginx's log.

Asks the machine of a lab for its log; judges nothing. `expectations.meet` makes a result of it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from headrace.base.units import show_bytes
from headrace.lab.assembly import Lab
from headrace.lab.errors import LoadError, MachineError
from headrace.lab.load.model import LoadReport
from headrace.lab.ports import MachineKind, MachineSpec, MachineState
from headrace.lab.profiles import LAN, Profile
from headrace.lab.qualify.stand import Side, Stand
from headrace.release.console import distinct, find_faults
from headrace.release.model import CheckId, Fault, Level, check_id, level_of

MOST_SHOWN = 5
_LAST_WORDS_S = 0.5
"""A kernel's last lines may still be on their way when its process has ended."""
_LOG = ("sh", "-c", "tail -c 60000 /run/nginx/error.log")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one run showed."""

    problems: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    not_run: str = ""
    """Why it could not be run here; '' when it was. Then nothing else counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Something that must hold."""

    check_id: CheckId
    about: str
    look: Callable[[Stand], Awaitable[Finding]]

    @property
    def level(self) -> Level:
        return level_of(self.check_id)


def expect(name: str, about: str, look: Callable[[Stand], Awaitable[Finding]]) -> Expectation:
    """One by the name of its check."""
    return Expectation(check_id=check_id(name), about=about, look=look)


async def observe(
    stand: Stand,
    do: Callable[[Lab], Awaitable[Finding]],
    *,
    side: Side = Side.CANDIDATE,
    profile: Profile = LAN,
    machine: MachineSpec | None = None,
) -> Finding:
    """What `do` finds on a fresh machine, with the faults that its console and nginx's log tell of.

    A machine that hangs, ends or does not answer is a finding. Where it does not even start, that is MachineError.

    Raises:
        LabError: the lab could not do it.
    """
    async with stand.lab(side, profile, machine) as lab:
        try:
            finding = await do(lab)
        except MachineError as error:
            finding = Finding(problems=(str(error),))
        except LoadError as error:
            if lab.machine.condition().state is MachineState.RUNNING:
                raise
            finding = Finding(problems=(str(error),))
        return await _with_last_words(stand, lab, finding)


def of_load(report: LoadReport, *more: str) -> Finding:
    """What a load found; `more` is further evidence."""
    return Finding(problems=problems_of(report), evidence=(*evidence_of(report), *more))


def problems_of(report: LoadReport) -> tuple[str, ...]:
    """What was wrong with the answers of a load, in words."""
    shown = [f"{wrong.path[-24:]} ({wrong.asked}): {wrong.what}" for wrong in report.wrongs[:MOST_SHOWN]]
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


async def _with_last_words(stand: Stand, lab: Lab, finding: Finding) -> Finding:
    lines: list[str] = []
    problems: tuple[str, ...] = ()
    if lab.setup.machine.kind is not MachineKind.PROCESS:  # there the log is the console
        try:
            lines = (await lab.machine.run(_LOG, timeout_s=10.0)).output.splitlines()
        except MachineError as error:
            problems = (str(error),)
    if lab.machine.condition().state is MachineState.ENDED:  # whether a silent one hangs, its answer told
        await stand.clock.sleep(_LAST_WORDS_S)
        problems = (f"the machine ended: {lab.machine.condition().reason}",)
    faults = distinct([*find_faults(lab.machine.console()), *find_faults(lines)])
    new = [problem for problem in problems if problem not in finding.problems]
    return replace(finding, problems=(*new, *finding.problems), faults=faults)
