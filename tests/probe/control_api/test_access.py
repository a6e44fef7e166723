"""Who may call what: every route and its caller, failures, sessions of browsers, tokens that end."""

from dataclasses import asdict
from pathlib import Path

import pytest

from headrace.control.access import ROUTES, Access
from headrace.control.adapters.store import open_store
from headrace.control.api.guard import COOKIE
from headrace.control.api.openapi import describe
from headrace.control.bootstrap import take_tokens
from headrace.control.errors import ControlError
from headrace.control.secret_text import SecretKind, new_secret
from headrace.control.testing import make_site
from headrace.control.testing_api import UNKNOWN, Api, exchange_request


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
