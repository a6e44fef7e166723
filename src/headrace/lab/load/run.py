"""Run the client of the lab where the client is, and give its report."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable

from headrace.lab.adapters.process_trees import kill_tree
from headrace.lab.assembly import Lab
from headrace.lab.errors import LoadError
from headrace.lab.load.model import ALL_PLAYERS, Behaviour, LoadPlan, LoadReport
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError

PLAYERS = "headrace.lab.load.client"
HTTP2 = "headrace.lab.load.http2_client"
BAD_REQUESTS = "headrace.lab.load.bad_requests"
_EXTRA_S = 20.0
_SWEEP_S = 600.0


def plan_for(
    lab: Lab,
    *,
    seconds: float,
    players: dict[Behaviour, int] | None = None,
    is_tls: bool = False,
    is_sweeping: bool = False,
    seed: int = 1,
) -> LoadPlan:
    """A plan that asks the machine of this lab for all of its content."""
    return LoadPlan(
        address=lab.machine.address,
        port=lab.machine.tls_port if is_tls else lab.machine.port,
        is_tls=is_tls,
        files=lab.setup.content,
        seconds=seconds,
        players=dict(ALL_PLAYERS) if players is None else players,
        is_sweeping=is_sweeping,
        seed=seed,
    )


async def run_load(
    lab: Lab,
    plan: LoadPlan,
    *,
    on_progress: Callable[[LoadReport], None] | None = None,
    program: str = PLAYERS,
) -> LoadReport:
    """Run the plan from the client's place; what the machine does wrong is in the report.

    Args:
        on_progress: called about each second with what was counted so far.
        program: what does it, one of PLAYERS, HTTP2, BAD_REQUESTS.

    Raises:
        LoadError: the client itself failed, or did not end in time.
    """
    argv = lab.at_client([sys.executable, "-m", program])
    client = await asyncio.create_subprocess_exec(
        *argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=1 << 22, start_new_session=True
    )
    timeout_s = plan.seconds + plan.stall_s + _EXTRA_S + _SWEEP_S * plan.is_sweeping
    try:
        return await asyncio.wait_for(_follow(client, plan, on_progress), timeout_s)
    except TimeoutError:
        raise LoadError(f"the client did not end in {timeout_s:g} s") from None
    finally:
        if client.returncode is None:
            kill_tree(client.pid)
        await client.wait()


async def _follow(
    client: asyncio.subprocess.Process, plan: LoadPlan, on_progress: Callable[[LoadReport], None] | None
) -> LoadReport:
    assert client.stdin is not None
    assert client.stdout is not None
    assert client.stderr is not None
    client.stdin.write(encode(plan))
    client.stdin.close()
    report: LoadReport | None = None
    while line := await client.stdout.readline():
        try:
            report = decode(LoadReport, line)
        except MalformedError:
            raise LoadError(f"the client said {line[:200]!r}") from None
        if on_progress:
            on_progress(report)
    said = (await client.stderr.read()).decode(errors="replace").strip()
    if await client.wait() or report is None:
        raise LoadError(f"the client failed: {said[-400:] or 'it said nothing'}")
    return report
