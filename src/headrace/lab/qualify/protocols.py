"""Level 1 beyond plain answers: HTTP/2, broken requests and limits, and the upstreams' own tests."""

from functools import partial

from headrace.lab.assembly import Lab
from headrace.lab.errors import LabError
from headrace.lab.load.run import BAD_REQUESTS, HTTP2, plan_for, run_load
from headrace.lab.qualify.findings import Expectation, Finding, expect, observe, of_load
from headrace.lab.qualify.stand import Stand
from headrace.lab.qualify.suites import Suite, run_suite


def protocol_expectations() -> tuple[Expectation, ...]:
    """What every machine must answer right."""
    return (
        expect(
            "function.http2",
            "HTTP/2: every byte right over many streams, small windows, resets and priorities",
            partial(_client, program=HTTP2),
        ),
        expect(
            "function.bad-requests",
            "broken requests and limits: refused as HTTP says, and served on",
            partial(_client, program=BAD_REQUESTS),
        ),
    )


def suite_expectations(stand: Stand) -> tuple[Expectation, ...]:
    """The upstreams' own tests, as `release.toml` names them."""
    return tuple(expect(suite.check_id, suite.about, partial(_suite, suite=suite)) for suite in stand.suites)


async def _client(stand: Stand, *, program: str) -> Finding:
    async def do(lab: Lab) -> Finding:
        plan = plan_for(lab, seconds=0.0, players={}, is_tls=program == HTTP2, is_sweeping=True)
        return of_load(await run_load(lab, plan, program=program))

    return await observe(stand, do)


async def _suite(stand: Stand, *, suite: Suite) -> Finding:
    if suite.not_run:
        return Finding(not_run=suite.not_run)
    try:
        ran = await run_suite(suite, stand.folder / "suite")
    except LabError as error:
        return Finding(not_run=str(error))
    return Finding(problems=(ran.problem,) if ran.problem else (), evidence=ran.last)
