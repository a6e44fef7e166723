"""Exchanges that are lost, repeated or late: what the control plane knows of an appliance converges to what it is."""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.base.clock import SystemClock
from headrace.base.ids import ApplianceId
from headrace.catalog.fileset import FileSet
from headrace.control.adapters.store import SqlStore, open_store
from headrace.control.api.app import make_app
from headrace.control.api.parts import Parts, make_parts
from headrace.control.config import read_config
from headrace.control.model import JoinRow, StoredReport, TokenKind, TokenRow
from headrace.control.secret_text import SecretKind, new_secret
from headrace.control.testing import A_REASON, make_appliance, make_set, make_site
from headrace.fleet.model import ApplianceReport, LoadReport
from headrace.wire.agent import ExchangeAnswer, ExchangeRequest, HoldingsReport
from headrace.wire.codec import decode, encode

_numbers = itertools.count(1)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    store.put_site(make_site(), event=A_REASON, now_s=1.0)
    yield make_parts(read_config("", source="test"), store, SystemClock())
    store.close()


def enrol(store: SqlStore, name: str) -> str:
    secret = new_secret(SecretKind.APPLIANCE)
    join = JoinRow(
        join_id=f"join-{name}",
        secret_sha256="",
        site_id=make_site().site_id,
        appliance_id=None,
        expires_at_s=9e9,
    )
    token = TokenRow(
        token_id=secret.secret_id,
        kind=TokenKind.APPLIANCE,
        name=name,
        appliance_id=ApplianceId(name),
        secret_sha256=secret.sha256,
        created_at_s=1.0,
        rotated_at_s=time.time(),
    )
    store.add_join_token(join, event=A_REASON, now_s=1.0)
    store.enrol(join.join_id, make_appliance(name), token, event=A_REASON, now_s=1.0)
    return secret.text


async def test_numbers_out_of_range_are_refused(parts: Parts) -> None:
    store = parts.store
    assert isinstance(store, SqlStore)
    headers = {"authorization": f"Bearer {enrol(store, 'a1')}", "content-type": "application/json"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(make_app(parts)), base_url="http://control") as http:
        for version in (-1, 2**31, 10**30):
            for query in (f"version={version}", f"version=1&base={version}"):
                answer = await http.get(f"/v1/agent/plan?{query}", headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
            message = json.loads(Agent("a1", "", http).message())
            for name in ("plan_version", "desired_version"):
                answer = await http.post("/v1/agent/exchange", json={**message, name: version}, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


@dataclass
class Agent:
    """An agent as the protocol describes it, over a network that a test breaks."""

    name: str
    secret: str
    http: httpx.AsyncClient
    held: set[int] = field(default_factory=set)
    boot: int = 1
    sequence: int = 0
    acknowledged: FileSet | None = None
    sent: list[bytes] = field(default_factory=list)

    def message(self) -> bytes:
        self.sequence += 1
        now, base = FileSet(self.held), self.acknowledged
        holdings = HoldingsReport(
            digest=now.digest(),
            count=len(now),
            total_bytes=len(now) * 10,
            base_digest=None if base is None else base.digest(),
            added=(now if base is None else now - base).encode(),
            removed="" if base is None else (base - now).encode(),
        )
        request = ExchangeRequest(
            appliance_id=ApplianceId(self.name),
            boot_id=f"boot-{self.boot}",
            sequence=self.sequence,
            report=ApplianceReport(load=LoadReport(sessions=self.sequence, connections=self.boot)),
            holdings=holdings,
            desired_version=0,
            plan_version=0,
            plan_digest="",
        )
        self.sent.append(encode(request))
        return self.sent[-1]

    async def deliver(self, body: bytes) -> ExchangeAnswer:
        headers = {"authorization": f"Bearer {self.secret}"}
        response = await self.http.post("/v1/agent/exchange", content=body, headers=headers)
        assert response.status_code == 200, response.text
        return decode(ExchangeAnswer, response.content)

    async def exchange(self) -> None:
        now = FileSet(self.held)
        answer = await self.deliver(self.message())
        assert answer.sequence == self.sequence
        self.acknowledged = now if answer.holdings_digest == now.digest() else None

    def restart(self) -> None:
        self.boot += 1
        self.sequence = 0
        self.acknowledged = None


STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 40)),
    st.tuples(st.just("drop"), st.integers(1, 40)),
    st.tuples(st.sampled_from(["exchange", "request-lost", "answer-lost", "restart"]), st.just(0)),
    st.tuples(st.just("late"), st.integers(0, 30)),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, max_size=25))
def test_whatever_is_lost_repeated_or_late_the_end_is_the_truth(parts: Parts, steps: list[tuple[str, int]]) -> None:
    asyncio.run(play(parts, steps))


async def play(parts: Parts, steps: list[tuple[str, int]]) -> None:
    store: Any = parts.store
    name = f"a{next(_numbers)}"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(make_app(parts)), base_url="http://control") as http:
        agent = Agent(name, await asyncio.to_thread(enrol, store, name), http)
        for step, number in steps:
            await take(agent, step, number)
        for _ in range(2):
            await agent.exchange()
    row, kept = store.appliance(ApplianceId(name)), store.holdings(ApplianceId(name))
    assert kept.files == FileSet(agent.held)
    assert (row.holdings.digest, row.holdings.count) == (FileSet(agent.held).digest(), len(agent.held))
    assert row.holdings.total_bytes == len(agent.held) * 10
    load = row.report.report.load
    assert (load.sessions, load.connections) == (agent.sequence, agent.boot)
    assert agent.acknowledged == FileSet(agent.held)


async def take(agent: Agent, step: str, number: int) -> None:
    if step == "add":
        agent.held.add(number)
    elif step == "drop":
        agent.held.discard(number)
    elif step == "exchange":
        await agent.exchange()
    elif step == "request-lost":
        agent.message()
    elif step == "answer-lost":
        await agent.deliver(agent.message())
    elif step == "restart":
        agent.restart()
    elif agent.sent:
        await agent.deliver(agent.sent[number % len(agent.sent)])


async def test_messages_at_once_leave_the_newest(parts: Parts) -> None:
    store: Any = parts.store
    secret = await asyncio.to_thread(enrol, store, "a1")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(make_app(parts)), base_url="http://control") as http:
        agent = Agent("a1", secret, http)
        bodies = []
        for number in range(1, 9):
            agent.held.add(number)
            bodies.append(agent.message())
        answers = await asyncio.gather(*(agent.deliver(body) for body in reversed(bodies)), return_exceptions=True)
        assert sum(isinstance(one, ExchangeAnswer) for one in answers) >= 1
        await agent.exchange()
        await agent.exchange()
    assert store.appliance(ApplianceId("a1")).report.sequence == agent.sequence
    assert store.holdings(ApplianceId("a1")).files == FileSet(range(1, 9))


async def test_a_hundred_thousand_files_cost_nothing_when_nothing_changed(parts: Parts) -> None:
    store: Any = parts.store
    secret = await asyncio.to_thread(enrol, store, "a1")
    big = make_set(range(1, 200_000, 2), total_bytes=10**14)
    store.save_holdings(ApplianceId("a1"), big, expected_digest=FileSet().digest())
    store.save_plan(ApplianceId("a1"), big, expected_version=0, event=None, now_s=1.0)
    steady = HoldingsReport(digest=big.head.digest, count=100_000, total_bytes=10**14, base_digest=big.head.digest)
    took_s = []
    async with httpx.AsyncClient(transport=httpx.ASGITransport(make_app(parts)), base_url="http://control") as http:
        agent = Agent("a1", secret, http)
        for sequence in range(1, 41):
            request = ExchangeRequest(
                appliance_id=ApplianceId("a1"),
                boot_id="boot-1",
                sequence=sequence,
                report=ApplianceReport(),
                holdings=steady,
                desired_version=0,
                plan_version=1,
                plan_digest=big.head.digest,
            )
            body = encode(request)
            assert len(body) < 1_500
            started_s = time.process_time()
            answer = await agent.deliver(body)
            took_s.append(time.process_time() - started_s)
            assert (answer.plan, answer.holdings_digest) == (None, big.head.digest)
    assert sorted(took_s)[len(took_s) // 2] < 0.03, took_s
    assert store.appliance(ApplianceId("a1")).report != StoredReport()
