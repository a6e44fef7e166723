"""How an appliance enters, proves itself from then on, and gets its plan."""

import re
from typing import Any

from headrace.base.ids import ApplianceId
from headrace.control.testing import A_REASON, make_set, make_site, make_title
from headrace.control.testing_api import A1, Api, enrol_request, exchange_request
from headrace.wire.agent import (
    ExchangeAnswer,
    PlanUpdate,
)
from headrace.wire.codec import decode, encode


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
