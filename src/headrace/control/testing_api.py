"""A client of a control node's API over its real store, and what appliances send it: for tests."""

import json
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI

from headrace.base.clock import ManualClock
from headrace.base.ids import ApplianceId
from headrace.catalog.fileset import FileSet
from headrace.control.adapters.store import SqlStore
from headrace.control.testing import make_site
from headrace.fleet.model import ApplianceReport, Health, HealthReason, HealthState
from headrace.wire.agent import (
    EnrolRequest,
    ExchangeRequest,
    HoldingsReport,
)
from headrace.wire.codec import decode, encode
from headrace.wire.operator import Problem

A1 = ApplianceId("a1")
CONFIG = '[auth]\nfailures_per_minute = 5\n[urls]\norigin = "http://origin"\n'
UNKNOWN = "hro_" + "0" * 16 + "_" + "x" * 43
"""Has the form of an operator's token."""


@dataclass
class Api:
    """A client of one control node."""

    http: httpx.AsyncClient
    app: FastAPI
    store: SqlStore
    clock: ManualClock
    admin: str

    async def ask(self, method: str, path: str, body: Any = None, *, token: str | None = None, **more: Any) -> Any:
        """As the admin, unless with another token; a body that is no bytes is encoded."""
        headers = {"authorization": f"Bearer {self.admin if token is None else token}", **more.pop("headers", {})}
        content = None if body is None else body if isinstance(body, bytes) else encode(body)
        if content is not None:
            headers["content-type"] = "application/json"
        return await self.http.request(method, path, content=content, headers=headers, **more)

    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The answer's JSON; it must be a good one."""
        response = await self.ask(method, path, body, **more)
        assert response.is_success, response.text
        return response.json() if response.content else None

    async def refused(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, str]:
        """Status and code of a refusal."""
        response = await self.ask(method, path, body, **more)
        assert response.headers["content-type"] == "application/problem+json", response.text
        problem = decode(Problem, response.content)
        assert problem.status == response.status_code
        assert problem.detail
        return problem.status, problem.code

    async def token_of(self, role: str) -> str:
        """A new operator's token."""
        made = await self.ok("POST", "/v1/tokens", json.dumps({"name": f"one-{role}", "role": role}).encode())
        return str(made["token"])

    async def enrolled(self, name: str = "a1") -> str:
        """Enrol an appliance of `site-a`; its credential."""
        await self.ok("PUT", "/v1/sites/site-a", make_site())
        join = await self.ok("POST", "/v1/join-tokens", b'{"site_id": "site-a"}')
        answer = await self.ok("POST", "/v1/enrol", enrol_request(name), token=join["token"])
        assert (answer["appliance_id"], answer["site_id"]) == (name, "site-a")
        return str(answer["credential"])


def enrol_request(name: str = "a1", url: str = "http://192.0.2.10") -> EnrolRequest:
    """What an agent says at its first start."""
    return EnrolRequest(appliance_id=ApplianceId(name), content_url=url, capacity_bps=10**9)


def exchange_request(sequence: int = 1, **fields: Any) -> ExchangeRequest:
    """What an agent without files says each time."""
    empty = FileSet()
    base: dict[str, Any] = {
        "appliance_id": A1,
        "boot_id": "boot-1",
        "sequence": sequence,
        "report": ApplianceReport(),
        "holdings": HoldingsReport(digest=empty.digest(), count=0, total_bytes=0, base_digest=None),
        "desired_version": 0,
        "plan_version": 0,
        "plan_digest": "",
    }
    return ExchangeRequest(**{**base, **fields})


def healthy() -> Health:
    """Proven and well."""
    return Health(state=HealthState.HEALTHY, reason=HealthReason.ALL_CHECKS_PASS, since_s=1.0, is_turned_up=True)
