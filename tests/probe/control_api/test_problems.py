"""What is refused and how: problem documents, bounds of requests, a store that is away, and what is documented."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headrace.control.access import ROUTES, Access
from headrace.control.testing import make_site, make_title
from headrace.control.testing_api import Api
from headrace.wire.codec import encode
from headrace.wire.operator import TitleRegistration


def spoil(folder: Path) -> None:
    for file in folder.glob("store.db*"):
        file.write_bytes(b"this is no database" * 100)


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
