"""From a router to the snapshot that steering reads: real BIRD, speaker and control plane."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.appliance.bgp.testing_routers import BIRD, BIRD6, Appliance, Bird, bird_route, own_network, peer
from headrace.control.testing_speakers import running_control

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]
A, B, C, A6 = "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8:1::/48"
FRESH_S = 5.0
"""A change is in the snapshot within this time."""


@pytest.fixture(autouse=True)
def network():
    with own_network():
        yield


async def test_what_a_router_announces_is_in_the_snapshot_within_seconds(tmp_path: Path, caplog):
    caplog.set_level(logging.INFO, logger="headrace")
    appliance, bird = Appliance(tmp_path, peer(BIRD), peer(BIRD6)), Bird(tmp_path)
    bird.v4, bird.v6 = [bird_route(A), bird_route(B)], [bird_route(A6)]
    with running_control(tmp_path / "net") as control:
        token = control.enrol("a1", "s1").headers["authorization"].removeprefix("Bearer ")

        async def until(what: Callable[[], bool], within_s: float) -> float:
            return await asyncio.to_thread(control.until, what, within_s)

        def counted() -> list[int]:
            return [row["counted"] for row in control.get("sessions")["rows"]]

        def tag() -> str:
            return control.http.get("/v1/snapshot").headers.get("etag", "")

        async with appliance.agent(url=control.url, token=token):
            async with bird.running():
                await until(lambda: counted() == [2, 1], 40)
                await until(lambda: tag() != "", 10)
                for routes in ([bird_route(A, med=9)], [bird_route(A, path=(65010,), med=9), bird_route(C)]):
                    before, wanted = await asyncio.to_thread(tag), len(routes)
                    await bird.change(v4=routes)
                    took_s = await until(lambda old=before: tag() != old, 20)
                    took_s += await until(lambda wanted=wanted: counted()[0] == wanted, 10)
                    assert took_s < FRESH_S
                rows = {row["prefix"]: row for row in control.get("prefixes")["rows"]}
                assert rows.keys() == {A, C, A6}
                assert (rows[A]["as_path"], rows[A]["med"], rows[A]["origin_as"]) == ("64500 65010", 9, 65010)
            said = [record.getMessage() for record in caplog.records]
            assert sum(text.startswith("route_table_sent ") for text in said) >= 3
            assert not [text for text in said if "route_table_sent_whole" in text], "lists go as differences"
            await until(lambda: [row["standing"] for row in control.get("sessions")["rows"]] == ["withdrawn"] * 2, 20)
