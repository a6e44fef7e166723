"""What operators set and see: sites, states of appliances, titles, the fleet, the snapshot, metrics."""

from dataclasses import replace

from headrace.base.ids import ApplianceId, SiteId
from headrace.catalog.fileset import FileSet
from headrace.control.model import StoredSnapshot
from headrace.control.testing import A_REASON, make_set, make_site, make_title
from headrace.control.testing_api import A1, Api, healthy
from headrace.fleet.model import AdminState
from headrace.wire.codec import decode
from headrace.wire.operator import FORCE_HINT, FleetView, TitleRegistration, TitleView


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
