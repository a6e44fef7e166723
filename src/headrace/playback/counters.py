"""What a worker counts, and all workers' counts as Prometheus text.

Each worker counts in its own memory and leaves its counts in a file, so that the one that is asked for /metrics can add
up all of them, those of workers that have ended too. Time per answer is measured for one answer in `SAMPLE_EVERY`.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from headrace.steering.compile import CompiledSnapshot, order_fault
from headrace.steering.model import Exclusion

SAMPLE_EVERY = 16
BUCKETS_S = (2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 2e-2, 0.1)


@dataclass(slots=True, kw_only=True)
class Counters:
    """Counts of one worker, or the sum of several."""

    answers: dict[str, int] = field(default_factory=dict)
    """By "kind status reason"."""
    tiers: dict[str, int] = field(default_factory=dict)
    """New sessions by kind of the site that they begin on."""
    pulls: dict[str, int] = field(default_factory=dict)
    """By result."""
    loads: dict[str, int] = field(default_factory=dict)
    """Of the file on disk, by result."""
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    seconds: float = 0.0
    """Sum of measured times."""
    contact_at_s: float = 0.0
    """UTC epoch seconds of the last good answer of the control plane; 0 for none since the start."""

    def took(self, duration_s: float) -> None:
        self.buckets[bisect_left(BUCKETS_S, duration_s)] += 1
        self.seconds += duration_s

    def pulled(self, result: str) -> None:
        self.pulls[result] = self.pulls.get(result, 0) + 1

    def loaded(self, result: str) -> None:
        self.loads[result] = self.loads.get(result, 0) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CountersRecord:
    """Counters as they lie in a worker's file."""

    answers: dict[str, int]
    pulls: dict[str, int]
    loads: dict[str, int]
    buckets: tuple[int, ...]
    seconds: float
    contact_at_s: float
    tiers: dict[str, int] = field(default_factory=dict)


def to_record(counters: Counters) -> CountersRecord:
    """Freeze counters for the file."""
    return CountersRecord(
        answers=dict(counters.answers),
        tiers=dict(counters.tiers),
        pulls=dict(counters.pulls),
        loads=dict(counters.loads),
        buckets=tuple(counters.buckets),
        seconds=counters.seconds,
        contact_at_s=counters.contact_at_s,
    )


def add_up(records: Iterable[CountersRecord]) -> Counters:
    """The sum over workers."""
    total = Counters()
    for record in records:
        pairs = (
            (total.answers, record.answers),
            (total.tiers, record.tiers),
            (total.pulls, record.pulls),
            (total.loads, record.loads),
        )
        for mine, theirs in pairs:
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count
        for number, count in enumerate(record.buckets[: len(total.buckets)]):
            total.buckets[number] += count
        total.seconds += record.seconds
        total.contact_at_s = max(total.contact_at_s, record.contact_at_s)
    return total


def exposition(total: Counters, compiled: CompiledSnapshot | None, *, kept_bytes: int, now_s: float) -> bytes:
    """Prometheus text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        _Fixed(
            [
                *_count_metrics(total),
                *_contact_metrics(total, now_s),
                *_snapshot_metrics(compiled, kept_bytes=kept_bytes, now_s=now_s),
            ]
        )
    )
    return generate_latest(registry)


class _Fixed(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def _count_metrics(total: Counters) -> Iterator[Metric]:
    answers = CounterMetricFamily(
        "headrace_steering_answers", "Answers by kind, status and reason.", labels=("kind", "status", "reason")
    )
    for label, count in sorted(total.answers.items()):
        answers.add_metric(label.split(), count)
    yield answers
    tiers = CounterMetricFamily(
        "headrace_steering_sessions", "New sessions by kind of the site that they begin on.", labels=("tier",)
    )
    for name, count in sorted(total.tiers.items()):
        tiers.add_metric((name,), count)
    yield tiers
    pulls = CounterMetricFamily("headrace_steering_pulls", "Polls of the control plane by result.", labels=("result",))
    for name, count in sorted(total.pulls.items()):
        pulls.add_metric((name,), count)
    yield pulls
    loads = CounterMetricFamily(
        "headrace_steering_loads", "Loads of the snapshot on disk by result.", labels=("result",)
    )
    for name, count in sorted(total.loads.items()):
        loads.add_metric((name,), count)
    yield loads
    seconds = HistogramMetricFamily(
        "headrace_steering_answer_seconds", f"Time to decide an answer; one answer in {SAMPLE_EVERY} is measured."
    )
    running, rows = 0, []
    for limit, count in zip((*map(str, BUCKETS_S), "+Inf"), total.buckets, strict=True):
        running += count
        rows.append((limit, float(running)))
    seconds.add_metric((), rows, total.seconds)
    yield seconds


def _contact_metrics(total: Counters, now_s: float) -> Iterator[Metric]:
    if total.contact_at_s:
        name, text = "headrace_steering_contact_age_seconds", "Time since the control plane last answered well."
        yield GaugeMetricFamily(name, text, value=max(0.0, now_s - total.contact_at_s))


def _snapshot_metrics(compiled: CompiledSnapshot | None, *, kept_bytes: int, now_s: float) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "headrace_steering_has_snapshot", "1 when there is a snapshot.", value=float(bool(compiled))
    )
    if compiled is None:
        return
    yield from _able_metrics(compiled)
    for name, text, value in (
        ("version", "Version of the snapshot in use.", compiled.version),
        ("age_seconds", "Time since the snapshot in use was built.", max(0.0, now_s - compiled.built_at_s)),
        ("loads_age_seconds", "Time since loads in it were read.", max(0.0, now_s - compiled.loads_at_s)),
        ("prefix_ranges", "Ranges of addresses with one set of routes.", _ranges(compiled)),
        ("client_classes", "Classes of clients ranked alike, in each part.", compiled.network.routes.classes),
        ("appliances", "Appliances in the snapshot.", len(compiled.appliances)),
        ("titles", "Titles in the snapshot.", len(compiled.library.titles)),
        ("bad_prefixes", "Prefixes of sites that are no CIDR networks.", len(compiled.network.bad_prefixes)),
    ):
        yield GaugeMetricFamily(f"headrace_steering_snapshot_{name}", text, value=float(value))
    yield GaugeMetricFamily(
        "headrace_steering_kept_bytes", "Memory for finished answers in this worker.", value=float(kept_bytes)
    )


def _ranges(compiled: CompiledSnapshot) -> int:
    return compiled.network.routes.ranges


def _able_metrics(compiled: CompiledSnapshot) -> Iterator[Metric]:
    """Why appliances get nobody at all, whoever asks."""
    counts: dict[str, int] = {"able": 0, **{one: 0 for one in Exclusion}}
    for appliance in compiled.appliances.values():
        counts[order_fault(appliance) or "able"] += 1
    family = GaugeMetricFamily(
        "headrace_steering_appliances", "Appliances by the reason why they get no clients, or able.", labels=("reason",)
    )
    for reason, count in counts.items():
        family.add_metric((reason,), count)
    yield family
