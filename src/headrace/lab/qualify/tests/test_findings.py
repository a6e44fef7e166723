"""What a load reports becomes problems in words, and an expectation that could not be run never passes."""

from pathlib import Path

import pytest

from headrace.base.clock import SystemClock
from headrace.lab.load.model import LoadReport, Wrong
from headrace.lab.ports import MachineKind, MachineSpec
from headrace.lab.profiles import read_profiles
from headrace.lab.qualify.expectations import expectations, meet
from headrace.lab.qualify.findings import Finding, expect, of_load, problems_of
from headrace.lab.qualify.stand import Stand, Subject
from headrace.release.model import Fault, FaultKind, Level, Reason, Verdict

FAULT = Fault(kind=FaultKind.PANIC, title="Kernel panic", trace=(), fingerprint="f", line_no=1)


def make_stand(kind: MachineKind = MachineKind.PROCESS, *networks: str) -> Stand:
    subject = Subject(name="x", machine=MachineSpec(kind=kind, kernel=Path("/nowhere")))
    known = read_profiles()
    profiles = {name: known[name] for name in networks}
    return Stand(baseline=subject, candidate=subject, folder=Path("/nowhere"), clock=SystemClock(), profiles=profiles)


def test_what_was_wrong_comes_first_and_nothing_answered_is_wrong_too() -> None:
    right = LoadReport(requests=10, bytes=1000, seconds=1.0, aborted=3)
    assert problems_of(right) == ()
    assert of_load(right, "more").evidence == ("10 answers right, 1000 B in 1.0 s, 3 broken off by the client", "more")
    assert problems_of(LoadReport()) == ("not one request was answered",)
    wrong = Wrong(what="byte 7 is 0x41", path="/f/a.mp4", asked="Range: bytes=7-9", behaviour="sweep")
    report = LoadReport(requests=1, wrong=2, stalled=1, failed=3, failures={"ConnectionResetError": 3}, wrongs=(wrong,))
    assert problems_of(report) == (
        "2 wrong answers",
        "1 transfers stalled",
        "3 connections failed (ConnectionResetError)",
        "/f/a.mp4 (Range: bytes=7-9): byte 7 is 0x41",
    )


@pytest.mark.parametrize(
    ("finding", "verdict", "reason", "summary"),
    [
        (Finding(), Verdict.PASS, Reason.ALL_AS_EXPECTED, "about"),
        (Finding(problems=("bad",)), Verdict.FAIL, Reason.EXPECTATION_BROKEN, "bad"),
        (Finding(problems=("bad",), faults=(FAULT,)), Verdict.FAIL, Reason.CONSOLE_FAULT, "console: Kernel panic"),
        (Finding(not_run="no tun"), Verdict.INCONCLUSIVE, Reason.NOT_RUN, "no tun"),
    ],
)
async def test_a_finding_becomes_a_result(finding: Finding, verdict: Verdict, reason: Reason, summary: str) -> None:
    async def look(stand: Stand) -> Finding:
        return finding

    result = await meet(expect("impairment.mine", "about", look), make_stand())
    assert (result.verdict, result.reason, result.summary) == (verdict, reason, summary)


def test_kernels_have_checks_of_their_own_and_networks_are_for_all() -> None:
    plain = {one.check_id for one in expectations(make_stand())}
    kernel = {one.check_id for one in expectations(make_stand(MachineKind.UML, "cable", "lossy"))}
    assert kernel - plain == {
        "function.bytes-kernel-tls",
        "function.bytes-reread",
        "impairment.console",
        "impairment.memory",
        "impairment.network.cable",
        "impairment.network.lossy",
    }
    levels = [one.level for one in expectations(make_stand(MachineKind.UML, "cable"))]
    assert levels == sorted(levels)
    assert set(levels) == {Level.BUILD, Level.FUNCTION, Level.IMPAIRMENT}
