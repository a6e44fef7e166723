from prometheus_client.parser import text_string_to_metric_families

from headrace.appliance.log_reader import Amount, Traffic
from headrace.appliance.metrics import exposition
from headrace.appliance.ports import AgentStatus, RouteReport, ShipCounts
from headrace.base.ids import ApplianceId
from headrace.fleet.model import (
    ApplianceReport,
    DiskReport,
    FillReport,
    FillState,
    LoadReport,
    NginxReport,
    ReleaseReport,
)
from headrace.routes.model import AddressFamily, Session, SessionState
from headrace.telemetry.access_log import Outcome

STATUS = AgentStatus(
    appliance_id=ApplianceId("a1"),
    report=ApplianceReport(
        disks=(
            DiskReport(folder='/disk "1"\n', is_ok=True, total_bytes=1000, free_bytes=400),
            DiskReport(folder="/disk2", is_ok=False, total_bytes=0, free_bytes=0, error="gone"),
        ),
        load=LoadReport(
            tx_bps=8e6, requests_per_s=12.5, connections=7, cpu_ratio=0.25, sessions=3, disk_busy_ratio=0.5
        ),
        fill=FillReport(state=FillState.DISK_FULL, pending_files=4, pending_bytes=900, rate_bps=1e6),
        nginx=NginxReport(is_running=True, version="1.31.3", restarts=2, config_digest="abc"),
        release=ReleaseReport(headrace="0.1.0", nginx="1.31.3", kernel="6.12"),
    ),
    routes=RouteReport(
        sessions=(
            Session(
                session_id="192.0.2.1/ipv4",
                peer_address="192.0.2.1",
                peer_as=64500,
                local_as=64512,
                family=AddressFamily.IPV4,
                state=SessionState.DOWN,
                since_s=1.8e9,
                prefixes=900,
                most_prefixes=1000,
                drops=3,
                updates=70,
            ),
        ),
        flawed_messages=1,
        sent_chunks=12,
    ),
    holdings_files=10,
    holdings_bytes=5000,
    plan_version=9,
    exchange_age_s=1.5,
    filled_bytes=12_345,
)
TRAFFIC = Traffic(
    amounts={
        (200, Outcome.HIT): Amount(requests=5, sent_bytes=500),
        (206, Outcome.HIT): Amount(requests=7, sent_bytes=700),
        (302, Outcome.MISS): Amount(requests=1, sent_bytes=3),
    },
    flawed_lines=2,
)


def samples(status: AgentStatus = STATUS) -> dict[str, float]:
    """Every sample by name and labels, as Prometheus reads them."""
    text = exposition(status, TRAFFIC).decode()
    return {
        sample.name.removeprefix("headrace_appliance_")
        + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_values() -> None:
    found = samples()
    expected = {
        "requests_total hit 200": 5,
        "requests_total hit 206": 7,
        "requests_total miss 302": 1,
        "sent_bytes_total hit": 1200,
        "sent_bytes_total miss": 3,
        "sent_bytes_total other": 0,
        "sent_bits_per_second": 8e6,
        "requests_per_second": 12.5,
        "connections": 7,
        "sessions": 3,
        "nginx_cpu_ratio": 0.25,
        "disk_busy_ratio": 0.5,
        "log_flawed_lines_total": 2,
        "holdings_files": 10,
        "holdings_bytes": 5000,
        "fill_state disk-full": 1,
        "fill_state idle": 0,
        "fill_pending_bytes": 900,
        "filled_bytes_total": 12_345,
        'disk_ok /disk "1"\n': 1,
        'disk_free_bytes /disk "1"\n': 400,
        "disk_ok /disk2": 0,
        "nginx_up": 1,
        "nginx_restarts_total": 2,
        "plan_version": 9,
        "exchange_age_seconds": 1.5,
        "build_info a1 0.1.0 6.12 1.31.3 abc": 1,
    }
    assert {name: found.get(name) for name in expected} == expected


def test_age_is_left_out_before_the_first_answer() -> None:
    found = samples(AgentStatus(appliance_id=ApplianceId("a1")))
    assert "exchange_age_seconds" not in found
    assert found["nginx_up"] == 0


def test_every_metric_is_explained() -> None:
    families = list(text_string_to_metric_families(exposition(STATUS, TRAFFIC).decode()))
    assert all(family.documentation.endswith(".") for family in families)
    assert len({family.name for family in families}) == len(families)


def test_sessions_and_their_tables() -> None:
    families = {family.name: family for family in text_string_to_metric_families(exposition(STATUS, TRAFFIC).decode())}

    def values(name: str) -> dict[tuple[str, ...], float]:
        return {tuple(each.labels.values()): each.value for each in families[f"headrace_appliance_{name}"].samples}

    assert values("bgp_session_state")["192.0.2.1/ipv4", "down"] == 1
    assert sum(values("bgp_session_state").values()) == 1
    assert values("bgp_prefixes") == {("192.0.2.1/ipv4",): 900}
    assert (values("bgp_drops"), values("bgp_updates")) == ({("192.0.2.1/ipv4",): 3}, {("192.0.2.1/ipv4",): 70})
    assert (values("route_sent_chunks"), values("bgp_flawed_messages")) == ({(): 12}, {(): 1})


def test_shipping_is_told_of_where_the_log_is_shipped():
    counts = ShipCounts(batches=3, rows=200, lost_bytes=7, waiting_bytes=40)
    text = exposition(STATUS, Traffic(), counts).decode()
    assert "headrace_appliance_shipped_requests_total 200.0" in text
    assert "headrace_appliance_ship_lost_bytes_total 7.0" in text
    assert "headrace_appliance_ship_waiting_bytes 40.0" in text
    assert "ship" not in exposition(STATUS, Traffic()).decode()
