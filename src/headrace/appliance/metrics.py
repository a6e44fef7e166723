"""The agent's counters as Prometheus text. Pure: everything is handed in.

Names start with `headrace_appliance_`. Counters start at 0 with the agent and survive reloads and restarts of nginx and
rotations of its log; per-second rates are those that are reported to the control plane.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from headrace.appliance.log_reader import Traffic
from headrace.appliance.ports import AgentStatus, RouteReport, ShipCounts
from headrace.fleet.model import FillState
from headrace.routes.model import SessionState
from headrace.telemetry.access_log import Outcome

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "headrace_appliance_"


def exposition(status: AgentStatus, traffic: Traffic, shipped: ShipCounts | None = None) -> bytes:
    """All metrics in Prometheus text format; without those of shipping where no log is shipped."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        _Fixed(
            [
                *_traffic(status, traffic),
                *_content(status),
                *_health(status),
                *_routes(status.routes),
                *_shipping(shipped),
            ]
        )
    )
    return generate_latest(registry)


class _Fixed(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def _traffic(status: AgentStatus, traffic: Traffic) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        f"{_PREFIX}requests", "Requests by status and by what became of them.", labels=("status", "outcome")
    )
    sent = CounterMetricFamily(f"{_PREFIX}sent_bytes", "Bytes sent, headers included.", labels=("outcome",))
    by_outcome = dict.fromkeys(Outcome, 0)
    for (code, outcome), amount in sorted(traffic.amounts.items()):
        requests.add_metric((str(code), outcome), amount.requests)
        by_outcome[outcome] += amount.sent_bytes
    for outcome, sent_bytes in by_outcome.items():
        sent.add_metric((outcome,), sent_bytes)
    yield from (requests, sent)
    load = status.report.load
    yield _gauge("sent_bits_per_second", "Bits a second sent to clients now.", load.tx_bps)
    yield _gauge("requests_per_second", "Requests a second now.", load.requests_per_s)
    yield _gauge("connections", "Connections of clients now.", load.connections)
    yield _gauge("sessions", "Different CMCD sessions, else clients, of the last 30 seconds.", load.sessions)
    yield _gauge("nginx_cpu_ratio", "Part of the machine's CPU time that nginx uses.", load.cpu_ratio)
    yield _gauge("disk_busy_ratio", "Part of the time in which the busiest disk had work.", load.disk_busy_ratio)
    yield _counter("log_flawed_lines", "Lines of the access log that were not understood.", traffic.flawed_lines)
    yield _counter("log_skipped_bytes", "Bytes of the access log that there was no time for.", traffic.skipped_bytes)


def _content(status: AgentStatus) -> Iterator[Metric]:
    yield _gauge("holdings_files", "Verified files that are served.", status.holdings_files)
    yield _gauge("holdings_bytes", "Bytes of these.", status.holdings_bytes)
    yield _gauge("plan_files", "Files that shall be held.", status.plan_files)
    yield _gauge("plan_bytes", "Bytes of these.", status.plan_bytes)
    fill = status.report.fill
    state = GaugeMetricFamily(f"{_PREFIX}fill_state", "1 for what the fill is doing.", labels=("state",))
    for each in FillState:
        state.add_metric((each,), float(fill.state is each))
    yield state
    yield _gauge("fill_pending_files", "Files still to be fetched.", fill.pending_files)
    yield _gauge("fill_pending_bytes", "Bytes of these.", fill.pending_bytes)
    yield _gauge("fill_bits_per_second", "Bits a second fetched now.", fill.rate_bps)
    yield _counter("filled_files", "Files fetched and verified.", status.filled_files)
    yield _counter("filled_bytes", "Bytes fetched, also those thrown away.", status.filled_bytes)
    yield _counter("source_failures", "Failures of fill sources.", status.source_failures)
    yield _counter("corrupt_files", "Held files found corrupt.", status.corrupt_files)
    yield _counter("verified_bytes", "Bytes of held files read and found good.", status.verified_bytes)


def _health(status: AgentStatus) -> Iterator[Metric]:
    ok = GaugeMetricFamily(f"{_PREFIX}disk_ok", "1 when the disk works.", labels=("folder",))
    total = GaugeMetricFamily(f"{_PREFIX}disk_total_bytes", "Size of the disk.", labels=("folder",))
    free = GaugeMetricFamily(f"{_PREFIX}disk_free_bytes", "Free bytes of the disk.", labels=("folder",))
    for disk in status.report.disks:
        ok.add_metric((disk.folder,), float(disk.is_ok))
        total.add_metric((disk.folder,), disk.total_bytes)
        free.add_metric((disk.folder,), disk.free_bytes)
    yield from (ok, total, free)
    nginx, release = status.report.nginx, status.report.release
    yield _gauge("nginx_up", "1 when nginx serves.", float(nginx.is_running))
    yield _counter("nginx_restarts", "Deaths of nginx since the agent started.", nginx.restarts)
    yield _gauge("nginx_has_error", "1 when nginx or its wanted configuration has an error.", float(bool(nginx.error)))
    about = InfoMetricFamily(f"{_PREFIX}build", "What runs here.")
    about.add_metric(
        (),
        {
            "appliance": status.appliance_id,
            "headrace": release.headrace,
            "nginx": nginx.version,
            "nginx_config": nginx.config_digest,
            "kernel": release.kernel,
        },
    )
    yield about
    yield _gauge("desired_version", "Version of the desired state in force.", status.desired_version)
    yield _gauge("plan_version", "Version of the fill plan in force.", status.plan_version)
    yield _counter("exchange_failures", "Exchanges with the control plane that failed.", status.exchange_failures)
    yield _gauge("exchange_bytes", "Size of the last request to the control plane.", status.exchange_bytes)
    if status.exchange_age_s is not None:
        yield _gauge("exchange_age_seconds", "Since the control plane's last answer.", status.exchange_age_s)


def _routes(routes: RouteReport) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        f"{_PREFIX}bgp_session_state", "1 for what the session is doing.", labels=("session", "state")
    )
    since = GaugeMetricFamily(
        f"{_PREFIX}bgp_session_since_seconds", "When that began, UTC epoch seconds.", labels=("session",)
    )
    prefixes = GaugeMetricFamily(f"{_PREFIX}bgp_prefixes", "Prefixes in the session's table.", labels=("session",))
    limits = GaugeMetricFamily(f"{_PREFIX}bgp_most_prefixes", "Its limit; 0 for none.", labels=("session",))
    updates = CounterMetricFamily(
        f"{_PREFIX}bgp_updates", "Announcements and withdrawals since the speaker started.", labels=("session",)
    )
    drops = CounterMetricFamily(
        f"{_PREFIX}bgp_drops", "Times that it was lost since the speaker started.", labels=("session",)
    )
    for session in routes.sessions:
        labels = (session.session_id,)
        for each in SessionState:
            state.add_metric((*labels, each), float(session.state is each))
        since.add_metric(labels, session.since_s)
        prefixes.add_metric(labels, session.prefixes)
        limits.add_metric(labels, session.most_prefixes)
        updates.add_metric(labels, session.updates)
        drops.add_metric(labels, session.drops)
    yield from (state, since, prefixes, limits, updates, drops)
    yield _counter("bgp_flawed_messages", "Messages of the speaker that were not understood.", routes.flawed_messages)
    yield _counter("bgp_speaker_restarts", "Deaths of the speaker since the agent started.", routes.speaker_restarts)
    yield _counter("route_report_failures", "Reports of routes that failed.", routes.report_failures)
    yield _counter("route_sent_bytes", "Bytes of reports of routes.", routes.sent_bytes)
    yield _counter("route_sent_chunks", "Chunks of tables that were sent.", routes.sent_chunks)


def _shipping(shipped: ShipCounts | None) -> Iterator[Metric]:
    if shipped is None:
        return
    yield _counter("shipped_batches", "Batches of the access log that were shipped.", shipped.batches)
    yield _counter("shipped_requests", "Requests in them.", shipped.rows)
    yield _counter("ship_failures", "Attempts to ship that failed.", shipped.failures)
    yield _counter(
        "ship_flawed_lines", "Lines that could not be shipped, because they are no records.", shipped.flawed_lines
    )
    yield _counter("ship_lost_bytes", "Bytes of logs that were deleted before they were shipped.", shipped.lost_bytes)
    yield _gauge("ship_waiting_bytes", "Bytes of logs that are not shipped yet.", shipped.waiting_bytes)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(_PREFIX + name, text, value=value)
