"""The control plane's API over its real store: who may call what, what is refused and how, what a change leaves."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from headrace.base.clock import ManualClock
from headrace.base.ids import ApplianceId, SiteId
from headrace.catalog.fileset import FileSet
from headrace.control.access import ROUTES, Access
from headrace.control.adapters.store import SqlStore, open_store
from headrace.control.api.app import make_app
from headrace.control.api.guard import COOKIE
from headrace.control.api.openapi import describe
from headrace.control.api.parts import make_parts
from headrace.control.bootstrap import take_tokens
from headrace.control.config import read_config
from headrace.control.errors import ControlError
from headrace.control.model import StoredSnapshot
from headrace.control.secret_text import SecretKind, new_secret
from headrace.control.testing import A_REASON, make_set, make_site, make_title
from headrace.fleet.model import AdminState, ApplianceReport, Health, HealthReason, HealthState
from headrace.wire.agent import (
    EnrolRequest,
    ExchangeAnswer,
    ExchangeRequest,
    HoldingsReport,
    PlanUpdate,
)
from headrace.wire.codec import decode, encode
from headrace.wire.operator import FORCE_HINT, FleetView, Problem, TitleRegistration, TitleView

A1 = ApplianceId("a1")
CONFIG = '[auth]\nfailures_per_minute = 5\n[urls]\norigin = "http://origin"\n'


@dataclass
class Api:
    """A client of one control node."""

    http: httpx.AsyncClient
    app: FastAPI
    store: SqlStore
    clock: ManualClock
    admin: str

    async def ask(self, method: str, path: str, body: Any = None, *, token: str | None = None, **more: Any) -> Any:
        headers = {"authorization": f"Bearer {self.admin if token is None else token}", **more.pop("headers", {})}
        content = None if body is None else body if isinstance(body, bytes) else encode(body)
        if content is not None:
            headers["content-type"] = "application/json"
        return await self.http.request(method, path, content=content, headers=headers, **more)

    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        response = await self.ask(method, path, body, **more)
        assert response.is_success, response.text
        return response.json() if response.content else None

    async def refused(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, str]:
        response = await self.ask(method, path, body, **more)
        assert response.headers["content-type"] == "application/problem+json", response.text
        problem = decode(Problem, response.content)
        assert problem.status == response.status_code
        assert problem.detail
        return problem.status, problem.code

    async def token_of(self, role: str) -> str:
        made = await self.ok("POST", "/v1/tokens", json.dumps({"name": f"one-{role}", "role": role}).encode())
        return str(made["token"])

    async def enrolled(self, name: str = "a1") -> str:
        await self.ok("PUT", "/v1/sites/site-a", make_site())
        join = await self.ok("POST", "/v1/join-tokens", b'{"site_id": "site-a"}')
        answer = await self.ok("POST", "/v1/enrol", enrol_request(name), token=join["token"])
        assert (answer["appliance_id"], answer["site_id"]) == (name, "site-a")
        return str(answer["credential"])


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store, made once."""
    file = tmp_path_factory.mktemp("store") / "empty.db"
    open_store(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def config() -> str:
    """More settings, by parametrize."""
    return ""


@pytest.fixture
async def api(tmp_path: Path, migrated: Path, config: str) -> AsyncIterator[Api]:
    clock = ManualClock()
    shutil.copy(migrated, tmp_path / "store.db")
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    secret = new_secret(SecretKind.OPERATOR)
    (tmp_path / "admin.token").write_text(secret.text + "\n")
    take_tokens(store, tmp_path / "admin.token", tmp_path / "missing", now_s=clock.now_s())
    app = make_app(make_parts(read_config(CONFIG + config, source="test"), store, clock))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://control") as http:
        yield Api(http, app, store, clock, secret.text)
    store.close()


def enrol_request(name: str = "a1", url: str = "http://192.0.2.10") -> EnrolRequest:
    return EnrolRequest(appliance_id=ApplianceId(name), content_url=url, capacity_bps=10**9)


def exchange_request(sequence: int = 1, **fields: Any) -> ExchangeRequest:
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
    return Health(state=HealthState.HEALTHY, reason=HealthReason.ALL_CHECKS_PASS, since_s=1.0, is_turned_up=True)


UNKNOWN = "hro_" + "0" * 16 + "_" + "x" * 43


def spoil(folder: Path) -> None:
    for file in folder.glob("store.db*"):
        file.write_bytes(b"this is no database" * 100)


class TestGuard:
    def test_the_table_names_every_route_and_no_other(self, api: Api) -> None:
        described = {
            (method.upper(), path) for path, operations in describe(api.app)["paths"].items() for method in operations
        }
        assert described == set(ROUTES)

    async def test_every_route_wants_its_caller(self, api: Api) -> None:
        credential = await api.enrolled()
        join = await api.ok("POST", "/v1/join-tokens", b'{"site_id": "site-a"}')
        holders = {
            Access.JOIN: join["token"],
            Access.APPLIANCE: credential,
            Access.READ: await api.token_of("read"),
            Access.OPERATE: await api.token_of("operate"),
        }
        order = [Access.READ, Access.OPERATE, Access.ADMIN]
        for (method, template), needed in ROUTES.items():
            if needed is Access.PUBLIC:
                continue
            path = template.replace("{", "").replace("}", "")
            api.clock.advance(61)
            assert await api.refused(method, path, b"{}", token="") == (401, "unauthorized")
            assert await api.refused(method, path, b"{}", token=UNKNOWN) == (401, "unauthorized")
            for access, token in holders.items():
                both = access in order and needed in order
                if access is not needed and not (both and order.index(access) > order.index(needed)):
                    assert await api.refused(method, path, b"{}", token=token) == (403, "forbidden")

    async def test_too_many_failures_have_to_wait_but_right_tokens_pass(self, api: Api) -> None:
        for _ in range(5):
            assert (await api.refused("GET", "/v1/fleet", token="x"))[0] == 401
        response = await api.ask("GET", "/v1/fleet", token="x")
        assert (response.status_code, response.headers["retry-after"]) == (429, "60")
        assert (await api.ask("GET", "/v1/fleet")).status_code == 200
        api.clock.advance(61)
        assert (await api.refused("GET", "/v1/fleet", token="x"))[0] == 401

    async def test_a_revoked_token_ends_at_once(self, api: Api) -> None:
        token = await api.token_of("read")
        row = next(one for one in await api.ok("GET", "/v1/tokens") if one["role"] == "read")
        await api.ok("GET", "/v1/fleet", token=token)
        await api.ok("DELETE", f"/v1/tokens/{row['token_id']}")
        assert await api.refused("GET", "/v1/fleet", token=token) == (401, "unauthorized")

    async def test_the_last_admin_stays(self, api: Api) -> None:
        (own,) = await api.ok("GET", "/v1/tokens")
        assert await api.refused("DELETE", f"/v1/tokens/{own['token_id']}") == (409, "last-admin")
        await api.token_of("admin")
        await api.ok("DELETE", f"/v1/tokens/{own['token_id']}")
        assert (await api.refused("GET", "/v1/tokens"))[0] == 401

    async def test_logs_hold_no_secret(self, api: Api, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("DEBUG")
        credential = await api.enrolled()
        await api.ask("POST", "/v1/agent/exchange", exchange_request(), token=credential)
        await api.ask("GET", "/v1/fleet", token="hro_wrong")
        assert "actor=operator:first-admin" in caplog.text
        for secret in (api.admin, credential, "hro_", "hrj_", "hra_"):
            assert secret not in caplog.text


class TestSessions:
    async def test_a_cookie_signs_a_browser_in_and_out(self, api: Api) -> None:
        token = await api.token_of("operate")
        response = await api.http.post("/v1/session", json={"token": token})
        assert response.json() == {"role": "operate", "name": "one-operate"}
        cookie = response.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert token not in cookie
        assert (await api.http.get("/v1/session")).json()["role"] == "operate"
        site = asdict(make_site())
        foreign = await api.http.put("/v1/sites/site-a", json=site, headers={"sec-fetch-site": "cross-site"})
        assert (foreign.status_code, foreign.json()["code"]) == (403, "forbidden")
        assert (await api.http.put("/v1/sites/site-a", json=site)).status_code == 403
        own = {"sec-fetch-site": "same-origin"}
        assert (await api.http.put("/v1/sites/site-a", json=site, headers=own)).status_code == 200
        kept = f"{COOKIE}={api.http.cookies[COOKIE]}"
        assert (await api.http.delete("/v1/session", headers=own)).status_code == 204
        assert COOKIE not in api.http.cookies
        assert (await api.http.get("/v1/fleet", headers={"cookie": kept})).status_code == 401

    async def test_sessions_expire_and_end_with_their_token(self, api: Api) -> None:
        token = await api.token_of("read")
        for end in ("time", "token"):
            await api.http.post("/v1/session", json={"token": token})
            assert (await api.http.get("/v1/fleet")).status_code == 200
            if end == "time":
                api.clock.advance(43_201)
            else:
                row = next(one for one in await api.ok("GET", "/v1/tokens") if one["role"] == "read")
                await api.ok("DELETE", f"/v1/tokens/{row['token_id']}")
            assert (await api.http.get("/v1/fleet")).status_code == 401

    async def test_only_operators_open_sessions(self, api: Api) -> None:
        credential = await api.enrolled()
        for text in (credential, "nonsense"):
            assert (await api.http.post("/v1/session", json={"token": text})).status_code == 401
        assert COOKIE not in api.http.cookies


class TestProblems:
    async def test_every_kind_of_error_is_a_problem_document(self, api: Api) -> None:
        assert await api.refused("GET", "/nowhere") == (404, "not-found")
        assert await api.refused("POST", "/v1/fleet") == (405, "method-not-allowed")
        assert await api.refused("PUT", "/v1/sites/x", b"{") == (422, "invalid")
        assert await api.refused("PUT", "/v1/sites/x", b'{"site_id": 5}') == (422, "invalid")
        assert await api.refused("PUT", "/v1/sites/other", make_site()) == (422, "invalid")
        assert await api.refused("GET", "/v1/events?limit=x") == (422, "invalid")
        assert await api.refused("GET", "/v1/sites/none") == (404, "not-found")

    async def test_large_bodies_are_refused_early(self, api: Api) -> None:
        big = b'{"name": "' + b"x" * 70_000 + b'", "role": "read"}'
        assert await api.refused("POST", "/v1/tokens", big) == (413, "too-large")
        lying = {"content-length": str(10**12)}
        assert await api.refused("POST", "/v1/tokens", b"{}", headers=lying) == (413, "too-large")

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 10_000

        headers = {"authorization": f"Bearer {api.admin}", "content-type": "application/json"}
        response = await api.http.post("/v1/tokens", content=endless(), headers=headers)
        assert (response.status_code, response.json()["code"]) == (413, "too-large")

    async def test_odd_texts_and_numbers_never_get_into_the_store(self, api: Api) -> None:
        assert await api.refused("DELETE", "/v1/sites/%00") == (422, "invalid")
        for bad in (b'"\\ud800"', b'"a\\u0000b"'):
            body = encode(make_site(name="NAME")).replace(b'"NAME"', bad)
            status = (await api.ask("PUT", "/v1/sites/site-a", body)).status_code
            assert status in (200, 422)
        title = encode(TitleRegistration(title=make_title(), expected_version=0))
        for bad in (b"NaN", b"1e999"):
            spoiled = title.replace(b'"duration_s":60.0', b'"duration_s":' + bad)
            assert await api.refused("PUT", "/v1/titles/film", spoiled) == (422, "invalid")
        await api.ok("GET", "/v1/titles")
        await api.ok("GET", "/v1/fleet")

    @pytest.mark.parametrize("config", ["[limits]\nrequest_timeout_s = 0.2\n"])
    async def test_a_body_that_never_comes_is_given_up(self, api: Api) -> None:
        async def stuck() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.sleep(60)

        headers = {"authorization": f"Bearer {api.admin}", "content-type": "application/json"}
        response = await api.http.post("/v1/tokens", content=stuck(), headers=headers)
        assert (response.status_code, response.json()["code"]) == (503, "timed-out")

    async def test_a_store_that_is_away_is_503_without_details(self, api: Api, tmp_path: Path) -> None:
        api.store.close()
        spoil(tmp_path)
        response = await api.ask("GET", "/v1/fleet")
        assert (response.status_code, response.json()["code"]) == (503, "store-unavailable")
        assert "sqlite" not in response.text.lower()
        assert (await api.http.get("/healthz")).status_code == 503

    async def test_a_fault_of_ours_is_500_without_traceback(self, api: Api) -> None:
        async def broken() -> None:
            raise RuntimeError("secret inner detail")

        api.app.add_route("/broken", broken)  # type: ignore[arg-type]
        response = await api.ask("GET", "/broken")
        assert (response.status_code, response.json()["code"]) == (500, "internal")
        assert "inner" not in response.text

    async def test_every_answer_has_security_headers(self, api: Api) -> None:
        for path in ("/v1/fleet", "/nowhere", "/healthz", "/docs"):
            headers = (await api.ask("GET", path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["referrer-policy"] == "no-referrer"


class TestDocs:
    async def test_the_document_is_complete(self, api: Api) -> None:
        document = (await api.http.get("/openapi.json")).json()
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                is_public = ROUTES[method.upper(), path] is Access.PUBLIC
                assert ("security" in operation) is not is_public
                assert "application/problem+json" in operation["responses"]["422"]["content"]
                assert operation["description"]
        text = json.dumps(document)
        names = set(document["components"]["schemas"])
        used = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
        assert used <= names
        assert {"ExchangeAnswer", "Problem", "FleetView", "TitleRegistration"} <= used

    async def test_the_page_loads_nothing_from_elsewhere(self, api: Api) -> None:
        page = (await api.http.get("/docs")).text
        assert "//" not in page.replace("<!doctype", "")
        for name in ("docs.js", "vendor/swagger-ui-bundle.js"):
            assert "SwaggerUIBundle" in (await api.http.get(f"/docs/{name}")).text


class TestEnrolment:
    async def test_a_join_token_works_once(self, api: Api) -> None:
        await api.ok("PUT", "/v1/sites/site-a", make_site())
        join = (await api.ok("POST", "/v1/join-tokens", b'{"site_id": "site-a"}'))["token"]
        first = await api.ok("POST", "/v1/enrol", enrol_request(), token=join)
        again = await api.ok("POST", "/v1/enrol", enrol_request(), token=join)
        assert (
            await api.ask("POST", "/v1/agent/exchange", exchange_request(), token=first["credential"])
        ).status_code == 401
        await api.ok("POST", "/v1/agent/exchange", exchange_request(), token=again["credential"])
        assert await api.refused("POST", "/v1/enrol", enrol_request(), token=join) == (403, "token-spent")
        assert await api.refused("POST", "/v1/enrol", enrol_request("a2"), token=join) == (403, "token-spent")

    async def test_a_known_id_needs_a_bound_token(self, api: Api) -> None:
        old = await api.enrolled()
        await api.ok("POST", "/v1/agent/exchange", exchange_request(), token=old)
        free = (await api.ok("POST", "/v1/join-tokens", b'{"site_id": "site-a"}'))["token"]
        assert await api.refused("POST", "/v1/enrol", enrol_request(), token=free) == (409, "already-enrolled")
        bound = (await api.ok("POST", "/v1/join-tokens", b'{"site_id": "site-a", "appliance_id": "a1"}'))["token"]
        assert await api.refused("POST", "/v1/enrol", enrol_request("a2"), token=bound) == (403, "token-spent")
        await api.ok("POST", "/v1/enrol", enrol_request(url="http://192.0.2.77"), token=bound)
        assert (await api.ok("GET", "/v1/appliances/a1"))["appliance"]["content_url"] == "http://192.0.2.77"
        assert (await api.refused("POST", "/v1/agent/exchange", exchange_request(2), token=old))[0] == 401

    async def test_expired_and_bad_requests(self, api: Api) -> None:
        await api.ok("PUT", "/v1/sites/site-a", make_site())
        join = (await api.ok("POST", "/v1/join-tokens", b'{"site_id": "site-a", "lifetime_s": 60}'))["token"]
        bad = enrol_request(url="http://192.0.2.10/path")
        assert await api.refused("POST", "/v1/enrol", bad, token=join) == (422, "invalid")
        api.clock.advance(61)
        assert await api.refused("POST", "/v1/enrol", enrol_request(), token=join) == (403, "token-expired")
        assert await api.refused("POST", "/v1/join-tokens", b'{"site_id": "none"}') == (404, "not-found")

    async def test_rotation_keeps_the_old_one_until_the_new_one_is_used(self, api: Api) -> None:
        old = await api.enrolled()
        lost = (await api.ok("POST", "/v1/agent/credential", token=old))["credential"]
        new = (await api.ok("POST", "/v1/agent/credential", token=old))["credential"]
        await api.ok("POST", "/v1/agent/exchange", exchange_request(1), token=old)
        assert (await api.refused("POST", "/v1/agent/exchange", exchange_request(2), token=lost))[0] == 401
        await api.ok("POST", "/v1/agent/exchange", exchange_request(2), token=new)
        await api.ok("POST", "/v1/agent/exchange", exchange_request(3), token=new)
        assert (await api.refused("POST", "/v1/agent/exchange", exchange_request(4), token=old))[0] == 401
        assert "credential.rotated" in [one["kind"] for one in await api.ok("GET", "/v1/events")]

    async def test_an_old_credential_is_asked_to_rotate(self, api: Api) -> None:
        credential = await api.enrolled()
        young = await api.ok("POST", "/v1/agent/exchange", exchange_request(1), token=credential)
        api.clock.advance(31 * 86_400)
        old = await api.ok("POST", "/v1/agent/exchange", exchange_request(2), token=credential)
        assert (young["should_rotate_credential"], old["should_rotate_credential"]) == (False, True)

    async def test_revocation(self, api: Api) -> None:
        credential = await api.enrolled()
        await api.ok("DELETE", "/v1/appliances/a1/credential")
        assert (await api.refused("POST", "/v1/agent/exchange", exchange_request(), token=credential))[0] == 401
        assert await api.refused("DELETE", "/v1/appliances/a1/credential") == (404, "not-found")
        second = await api.enrolled("a2")
        await api.ok("DELETE", "/v1/appliances/a2")
        other = exchange_request(appliance_id=ApplianceId("a2"))
        assert (await api.refused("POST", "/v1/agent/exchange", other, token=second))[0] == 401

    async def test_an_appliance_cannot_speak_for_another(self, api: Api) -> None:
        credential = await api.enrolled()
        await api.enrolled("a2")
        forged = exchange_request(appliance_id=ApplianceId("a2"))
        assert await api.refused("POST", "/v1/agent/exchange", forged, token=credential) == (403, "forbidden")
        last = (await api.ok("GET", "/v1/events"))[-1]
        assert (last["kind"], last["actor"]) == ("appliance.impersonation-refused", "appliance:a1")
        assert (await api.ok("GET", "/v1/appliances/a2"))["last_report_s"] is None

    async def test_a_report_that_cannot_be_kept_is_refused(self, api: Api) -> None:
        credential = await api.enrolled()
        body = encode(exchange_request())
        for bad in (b"NaN", b"Infinity", b"-Infinity", b"1e999"):
            spoiled = body.replace(b'"tx_bps":0.0', b'"tx_bps":' + bad)
            assert spoiled != body
            assert await api.refused("POST", "/v1/agent/exchange", spoiled, token=credential) == (422, "invalid")
        assert len((await api.ok("GET", "/v1/fleet"))["appliances"]) == 1
        for field in (b'"boot_id":"boot 1"', b'"sequence":0'):
            name = field.split(b":")[0]
            spoiled = re.sub(name + rb":[^,]+", field, body)
            assert await api.refused("POST", "/v1/agent/exchange", spoiled, token=credential) == (422, "invalid")


class TestPlan:
    async def test_a_plan_comes_page_by_page_and_as_a_delta(self, api: Api) -> None:
        credential = await api.enrolled()
        title = make_title(renditions=1_500)
        api.store.register_title(title, expected_version=0, event=A_REASON, now_s=1.0)
        whole = make_set(range(1, 3_001))
        api.store.save_plan(A1, whole, expected_version=0, event=None, now_s=1.0)

        async def fetch(**fields: Any) -> tuple[ExchangeAnswer, set[int], set[int], int]:
            raw = await api.ask("POST", "/v1/agent/exchange", exchange_request(**fields), token=credential)
            answer = decode(ExchangeAnswer, raw.content)
            added, removed, pages, update = set(), set(), 0, answer.plan
            while update is not None:
                pages += 1
                added |= {file.file_no for file in update.added}
                removed |= set(update.removed)
                if update.more_after is None:
                    break
                params = {"version": update.version, "after": update.more_after}
                if update.base_version is not None:
                    params["base"] = update.base_version
                page = await api.ask("GET", "/v1/agent/plan", token=credential, params=params)
                update = decode(PlanUpdate, page.content)
            return answer, added, removed, pages

        answer, added, removed, pages = await fetch(sequence=1)
        assert answer.plan is not None
        assert (answer.plan.version, answer.plan.digest, answer.plan.count) == (1, whole.head.digest, 3_000)
        assert (added, removed, pages) == (set(range(1, 3_001)), set(), 2)
        same = await fetch(sequence=2, plan_version=1, plan_digest=whole.head.digest)
        assert same[0].plan is None
        smaller = make_set(range(2, 3_000))
        api.store.save_plan(A1, smaller, expected_version=1, event=None, now_s=1.0)
        answer, added, removed, _ = await fetch(sequence=3, plan_version=1, plan_digest=whole.head.digest)
        assert answer.plan is not None
        assert (answer.plan.base_version, added, removed) == (1, set(), {1, 3_000})
        answer, added, _, _ = await fetch(sequence=4, plan_version=1, plan_digest="another")
        assert answer.plan is not None
        assert (answer.plan.base_version, len(added)) == (None, 2_998)
        assert await api.refused("GET", "/v1/agent/plan?version=9", token=credential) == (404, "not-found")


class TestOperators:
    async def test_sites(self, api: Api) -> None:
        site = make_site(name="Delft", is_last_resort=True)
        await api.ok("PUT", "/v1/sites/site-a", site)
        assert (await api.ok("GET", "/v1/sites"))[0]["name"] == "Delft"
        assert (await api.ok("GET", "/v1/sites/site-a"))["is_last_resort"]
        bad = replace(site, prefixes=("192.0.2.1/24",))
        assert await api.refused("PUT", "/v1/sites/site-a", bad) == (422, "invalid")
        await api.enrolled()
        assert await api.refused("DELETE", "/v1/sites/site-a") == (409, "in-use")

    async def test_admin_moves_keep_to_the_failure_budget(self, api: Api) -> None:
        for name in ("a1", "a2"):
            await api.enrolled(name)
            api.store.save_health(ApplianceId(name), healthy(), expected_version=0, event=None, now_s=1.0)
        title = api.store.register_title(make_title(), expected_version=0, event=A_REASON, now_s=1.0)
        held = make_set(title.file_nos)  # type: ignore[union-attr,arg-type]
        api.store.save_holdings(A1, held, expected_digest=FileSet().digest())
        drain = b'{"admin_state": "draining", "reason": "new disk"}'
        assert await api.refused("PATCH", "/v1/appliances/a1", drain) == (409, "last-copies")
        api.store.save_holdings(ApplianceId("a2"), held, expected_digest=FileSet().digest())
        view = await api.ok("PATCH", "/v1/appliances/a1", drain)
        assert view["appliance"]["admin_state"] == "draining"
        again = await api.ok("PATCH", "/v1/appliances/a1", drain)
        assert again == view
        last = (await api.ok("GET", "/v1/events?limit=1&newest=true"))[-1]
        assert (last["kind"], last["reason"]) == ("appliance.admin-changed", "new disk")
        assert "enabled -> draining" in last["detail"]
        disable = b'{"admin_state": "disabled"}'
        refused = await api.ask("PATCH", "/v1/appliances/a2", disable)
        assert refused.status_code == 409
        assert refused.json()["detail"] == "no other appliance serves clients" + FORCE_HINT
        kept = await api.ask("DELETE", "/v1/appliances/a2")
        assert (kept.status_code, kept.json()["detail"].endswith("; disable it first")) == (409, True)
        forced = b'{"admin_state": "disabled", "is_forced": true, "reason": "on fire"}'
        await api.ok("PATCH", "/v1/appliances/a2", forced)
        assert "forced past" in (await api.ok("GET", "/v1/events?limit=1&newest=true"))[-1]["detail"]
        assert await api.refused("PATCH", "/v1/appliances/a2", drain) == (409, "illegal-move")

    async def test_other_settings(self, api: Api) -> None:
        await api.enrolled()
        await api.ok("PUT", "/v1/sites/site-b", make_site("site-b"))
        moved = await api.ok("PATCH", "/v1/appliances/a1", b'{"site_id": "site-b", "capacity_bps": 5}')
        assert (moved["appliance"]["site_id"], moved["appliance"]["capacity_bps"]) == ("site-b", 5)
        assert await api.refused("PATCH", "/v1/appliances/a1", b'{"site_id": "none"}') == (404, "not-found")
        assert await api.refused("PATCH", "/v1/appliances/a1", b'{"content_url": "x"}') == (422, "invalid")
        assert await api.refused("PATCH", "/v1/appliances/none", b"{}") == (404, "not-found")

    async def test_titles(self, api: Api) -> None:
        await api.enrolled()
        title = make_title(renditions=2)
        registration = TitleRegistration(title=title, expected_version=0)
        view = decode(TitleView, (await api.ask("PUT", "/v1/titles/film", registration)).content)
        assert (view.version, view.size_bytes, view.holders) == (1, 4_002, 0)
        assert await api.refused("PUT", "/v1/titles/film", registration) == (409, "conflict")
        api.store.save_holdings(A1, make_set((1, 2, 3, 4, 9)), expected_digest=FileSet().digest())
        assert (await api.ok("GET", "/v1/titles/film"))["holders"] == 1
        holdings = await api.ok("GET", "/v1/appliances/a1/holdings")
        assert (holdings["titles"], FileSet.decode(holdings["files"])) == (["film"], FileSet((1, 2, 3, 4, 9)))
        broken = replace(title, files=title.files[:1])
        bad = TitleRegistration(title=broken, expected_version=1)
        assert await api.refused("PUT", "/v1/titles/film", bad) == (422, "invalid")
        await api.ok("PUT", "/v1/titles/other", TitleRegistration(title=make_title("other"), expected_version=0))
        page = await api.ask("GET", "/v1/titles?limit=1")
        assert [one["title"]["title_id"] for one in page.json()] == ["film"]
        more = page.headers["link"].split(">")[0].removeprefix("<")
        assert [one["title"]["title_id"] for one in (await api.ok("GET", more))] == ["other"]
        found = await api.ask("GET", "/v1/titles?q=%20FI%20lm&limit=1&newest=true")
        assert [one["title"]["title_id"] for one in found.json()] == ["film"]
        await api.ok("PUT", "/v1/titles/film-2", TitleRegistration(title=make_title("film-2"), expected_version=0))
        found = await api.ask("GET", "/v1/titles?q=%20FI%20lm&limit=1&newest=true")
        more = found.headers["link"].split(">")[0].removeprefix("<")
        pages = [found.json(), await api.ok("GET", more)]
        assert sorted(one["title"]["title_id"] for page in pages for one in page) == ["film", "film-2"]
        assert await api.refused("GET", f"/v1/titles?q={'x' * 201}") == (422, "invalid")
        await api.ok("DELETE", "/v1/titles/film")
        assert await api.refused("GET", "/v1/titles/film") == (404, "not-found")
        assert await api.refused("DELETE", "/v1/titles/film") == (404, "not-found")

    async def test_the_fleet_is_as_fresh_as_the_last_change(self, api: Api) -> None:
        await api.enrolled()
        before = decode(FleetView, (await api.ask("GET", "/v1/fleet")).content)
        await api.ok("PATCH", "/v1/appliances/a1", b'{"admin_state": "disabled"}')
        after = decode(FleetView, (await api.ask("GET", "/v1/fleet")).content)
        states = [view.appliances[0].appliance.admin_state for view in (before, after)]
        assert states == [AdminState.ENABLED, AdminState.DISABLED]
        assert after.sites[0].site_id == SiteId("site-a")

    async def test_the_snapshot_has_an_entity_tag(self, api: Api) -> None:
        assert await api.refused("GET", "/v1/snapshot") == (404, "not-found")
        digest = "a" * 64
        new = StoredSnapshot(version=1, etag='"e1"', packed=b"\x00packed", parts={digest: b"\x01part"})
        api.store.save_snapshot(new, expected_version=0)
        assert (await api.ask("GET", f"/v1/snapshot/parts/{digest}")).content == b"\x01part"
        assert await api.refused("GET", f"/v1/snapshot/parts/{'b' * 64}") == (404, "not-found")
        assert (await api.refused("GET", "/v1/snapshot/parts/nonsense"))[0] == 422
        response = await api.ask("GET", "/v1/snapshot")
        assert (response.content, response.headers["etag"]) == (b"\x00packed", '"e1"')
        same = await api.ask("GET", "/v1/snapshot", headers={"if-none-match": '"e0", "e1"'})
        assert (same.status_code, same.content) == (304, b"")

    async def test_metrics_and_health(self, api: Api) -> None:
        assert (await api.http.get("/healthz")).text == "ok\n"
        await api.ok("GET", "/v1/sites")
        text = (await api.ask("GET", "/metrics")).text
        assert 'headrace_control_requests_total{method="GET",route="/v1/sites",status="200"} 1' in text


def test_a_token_file_that_holds_no_token_is_named(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    (tmp_path / "admin.token").write_text("nonsense")
    with pytest.raises(ControlError, match=r"admin\.token"):
        take_tokens(store, tmp_path / "admin.token", None, now_s=1.0)
    secret = new_secret(SecretKind.OPERATOR)
    (tmp_path / "admin.token").write_text(secret.text)
    for _ in range(2):
        take_tokens(store, tmp_path / "admin.token", None, now_s=1.0)
    assert [one.token_id for one in store.tokens()] == [secret.secret_id]
    store.close()
