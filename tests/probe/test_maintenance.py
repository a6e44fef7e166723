"""Maintenance windows and the rules of leaving, through the API on a real store."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.base.clock import ManualClock
from headrace.base.ids import ApplianceId
from headrace.catalog.fileset import FileSet
from headrace.control.adapters.store import SqlStore, open_store
from headrace.control.api.app import make_app
from headrace.control.api.parts import make_parts
from headrace.control.bootstrap import take_tokens
from headrace.control.config import read_config
from headrace.control.loops.testing import enrol
from headrace.control.secret_text import SecretKind, new_secret
from headrace.control.testing import A_REASON, make_set, make_site, make_title
from headrace.fleet.maintenance import WindowState
from headrace.fleet.model import Health, HealthReason, HealthState

UP = Health(state=HealthState.HEALTHY, reason=HealthReason.ALL_CHECKS_PASS, since_s=1.0, is_turned_up=True)
HOUR = 3600.0


@dataclass
class Api:
    """A client of one control node, and its store."""

    http: httpx.AsyncClient
    store: SqlStore
    clock: ManualClock
    admin: str

    async def ask(self, method: str, path: str, **body: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.admin}", "content-type": "application/json"}
        return await self.http.request(method, path, content=json.dumps(body) if body else None, headers=headers)

    async def ok(self, method: str, path: str, **body: Any) -> Any:
        response = await self.ask(method, path, **body)
        assert response.is_success, response.text
        return response.json()

    async def refused(self, method: str, path: str, **body: Any) -> tuple[int, str, str]:
        response = await self.ask(method, path, **body)
        problem = response.json()
        assert response.headers["content-type"] == "application/problem+json", response.text
        return response.status_code, problem["code"], problem["detail"]

    def add(self, name: str, site: str, numbers: FileSet) -> None:
        enrol(self.store, name, "http://192.0.2.10", site=site)
        self.store.save_health(ApplianceId(name), UP, expected_version=0, now_s=1.0)
        held = make_set(tuple(numbers))
        self.store.save_holdings(ApplianceId(name), held, expected_digest=FileSet().digest())

    def plan(self, **fields: Any) -> dict[str, Any]:
        now_s = self.clock.now_s()
        base = {"starts_s": now_s + 3 * HOUR, "ends_s": now_s + 6 * HOUR, "reason": "new disk"}
        return {**base, **fields}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    clock = ManualClock()
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    secret = new_secret(SecretKind.OPERATOR)
    (tmp_path / "admin.token").write_text(secret.text)
    take_tokens(store, tmp_path / "admin.token", tmp_path / "missing", now_s=clock.now_s())
    app = make_app(make_parts(read_config("", source="test"), store, clock))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://control") as http:
        made = Api(http, store, clock, secret.text)
        files = fleet_of(made)
        assert files
        yield made
    store.close()


def fleet_of(api: Api) -> FileSet:
    """Two sites of one region with all files, one elsewhere with all, one that alone hears its clients."""
    title = api.store.register_title(make_title(), expected_version=0, event=A_REASON, now_s=1.0)
    files = FileSet(title.file_nos)  # type: ignore[union-attr]
    for name, region, prefixes in (("ams", "nl", ()), ("rtm", "nl", ()), ("par", "", ("203.0.113.0/24",))):
        api.store.put_site(make_site(name, region=region, prefixes=prefixes), event=A_REASON, now_s=1.0)
    for name in ("ams-1", "ams-2", "ams-3", "ams-4"):
        api.add(name, "ams", files if name == "ams-1" else FileSet())
    for name in ("rtm-1", "rtm-2"):
        api.add(name, "rtm", files)
    api.add("par-1", "par", files)
    return files


async def test_the_last_holder_of_a_region_leaves_only_when_somebody_says_so(api: Api) -> None:
    await api.ok("PATCH", "/v1/appliances/ams-1", admin_state="draining", reason="disk")
    await api.ok("PATCH", "/v1/appliances/rtm-1", admin_state="draining", reason="disk")
    status, code, detail = await api.refused("PATCH", "/v1/appliances/par-1", admin_state="draining")
    assert (status, code) == (409, "last-in-region")
    assert "2 files (film) are on no other serving appliance of the sites that hear the clients of par" in detail
    await api.ok("PATCH", "/v1/appliances/rtm-1", admin_state="enabled", reason="back")
    await api.ok("PATCH", "/v1/appliances/rtm-2", admin_state="draining", reason="disk")
    status, code, detail = await api.refused("PATCH", "/v1/appliances/rtm-1", admin_state="disabled")
    assert (status, code) == (409, "last-of-site")
    forced = {"admin_state": "disabled", "is_forced": True}
    assert (await api.refused("PATCH", "/v1/appliances/rtm-1", **forced))[1] == "invalid"  # says not why
    await api.ok("PATCH", "/v1/appliances/rtm-1", **forced, reason="on fire")
    last = (await api.ok("GET", "/v1/events?limit=1&newest=true"))[-1]
    assert (last["actor"].startswith("operator:"), last["reason"]) == (True, "on fire")
    assert "forced past: last-of-site" in last["detail"]


async def test_a_named_region_counts_before_prefixes(api: Api) -> None:
    await api.ok("PATCH", "/v1/appliances/rtm-1", admin_state="draining", reason="disk")
    await api.ok("PATCH", "/v1/appliances/ams-1", admin_state="draining", reason="disk")
    api.store.put_site(make_site("rtm", region="south", prefixes=()), event=A_REASON, now_s=1.0)
    api.store.put_site(make_site("par", region="south", prefixes=()), event=A_REASON, now_s=1.0)
    await api.ok("PATCH", "/v1/appliances/par-1", admin_state="draining", reason="rtm-2 stands in")


async def test_not_more_of_a_site_than_its_budget(api: Api) -> None:
    for name in ("ams-2", "ams-3"):
        await api.ok("PATCH", f"/v1/appliances/{name}", admin_state="disabled", reason="disk")
    status, code, detail = await api.refused("PATCH", "/v1/appliances/ams-4", admin_state="draining")
    assert (status, code) == (409, "site-over-budget")
    assert detail.startswith("3 of 4 of site ams would be away, at most 2 may; to do it all the same, use --force")


async def test_a_window_is_planned_shown_and_cancelled(api: Api) -> None:
    made = await api.ok("POST", "/v1/maintenance", **api.plan(appliance_id="ams-2", zone="Europe/Amsterdam"))
    assert (made["window_id"], made["state"], made["drain_ahead_s"]) == ("w1", "planned", 2 * HOUR)
    assert await api.ok("GET", "/v1/maintenance") == [made]
    view = await api.ok("GET", "/v1/appliances/ams-2")
    assert (view["window"]["window_id"], view["appliance"]["admin_state"]) == ("w1", "enabled")
    for wanted, words in (
        (api.plan(appliance_id="ams-2"), "is in maintenance window w1"),
        (api.plan(site_id="ams", is_forced=True), "is in maintenance window w1"),
        (api.plan(appliance_id="ams-3", ends_s=1.0), "in the past"),
        (api.plan(appliance_id="ams-3", ends_s=1e300), "at most 30d"),
        (api.plan(appliance_id="ams-3", zone="Nowhere"), "is not a time zone"),
        (api.plan(appliance_id="ams-3", reason=""), "reason"),
        (api.plan(), "name one appliance"),
    ):
        status, code, detail = await api.refused("POST", "/v1/maintenance", **wanted)
        assert (status, code) == (422, "invalid")
        assert words in detail
    endless = {"appliance_id": "ams-3", "reason": "new disk"}
    assert (await api.refused("POST", "/v1/maintenance", **endless))[0] == 422
    assert (await api.refused("POST", "/v1/maintenance", **api.plan(appliance_id="none")))[0] == 404
    ended = await api.ok("DELETE", "/v1/maintenance/w1?reason=later")
    assert ended["state"] == "cancelled"
    assert (await api.refused("DELETE", "/v1/maintenance/w1"))[1] == "has-ended"
    assert await api.ok("GET", "/v1/maintenance") == []
    assert [one["window_id"] for one in await api.ok("GET", "/v1/maintenance?past=true")] == ["w1"]
    told = [(one["kind"], one["reason"]) for one in await api.ok("GET", "/v1/events?limit=1000")][-2:]
    assert told == [("maintenance.planned", "new disk"), ("maintenance.cancelled", "later")]


async def test_windows_that_would_overlap_in_time_keep_to_the_budget_of_the_site(api: Api) -> None:
    for name in ("ams-2", "ams-3"):
        await api.ok("POST", "/v1/maintenance", **api.plan(appliance_id=name))
    status, code, detail = await api.refused("POST", "/v1/maintenance", **api.plan(appliance_id="ams-4"))
    assert (status, code) == (409, "site-over-budget")
    assert "3 of 4 of site ams would be away" in detail
    later = api.clock.now_s() + 20 * HOUR
    await api.ok("POST", "/v1/maintenance", **api.plan(appliance_id="ams-4", starts_s=later, ends_s=later + HOUR))
    whole = api.plan(site_id="rtm")
    assert (await api.refused("POST", "/v1/maintenance", **whole))[1] == "site-over-budget"
    made = await api.ok("POST", "/v1/maintenance", **whole, is_forced=True)
    last = (await api.ok("GET", "/v1/events?limit=1&newest=true"))[-1]
    assert (last["subject"], "forced past: site-over-budget" in last["detail"]) == (
        f"maintenance/{made['window_id']}",
        True,
    )


async def test_what_a_window_holds_cannot_be_enabled_past_it(api: Api) -> None:
    await api.ok("POST", "/v1/maintenance", **api.plan(appliance_id="ams-2"))
    stored = api.store.windows()[0]
    held = replace(stored.window, state=WindowState.OPEN, members=(ApplianceId("ams-2"),))
    api.store.save_window(held, expected_version=stored.version, event=A_REASON, now_s=1.0)
    view = await api.ok("GET", "/v1/appliances/ams-2")
    assert (view["appliance"]["admin_state"], view["own_state"]) == ("disabled", "enabled")
    assert (await api.refused("PATCH", "/v1/appliances/ams-2", admin_state="enabled"))[1] == "in-maintenance"
    fleet = await api.ok("GET", "/v1/fleet")
    assert {one["appliance"]["appliance_id"]: one["appliance"]["admin_state"] for one in fleet["appliances"]}[
        "ams-2"
    ] == "disabled"
    assert (await api.ok("DELETE", "/v1/maintenance/w1"))["state"] == "returning"
