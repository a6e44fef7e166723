"""From samples to tables: medians, spreads, ratios to the limit and to ours, and whether the goals are met. Pure."""

from dataclasses import dataclass
from typing import Any

from rig.summary import Spread, paired_ratio, spread

OURS = "Headrace"
LIMITS = {"clear": "bare sendfile loop", "TLS 1.3": "bare OpenSSL loop"}
GOALS = {"4 MiB range, clear": 1.0, "100 KB range, clear": 0.80, "1 KB file, clear": 0.66}
"""Least ratio of ours to the limit."""
LARGE_BYTES = 50_000
"""From this size of answer on, a rate is told in GB rather than in requests."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Requests per second of server CPU, by round."""

    by_round: dict[int, float]

    def ratio_to(self, other: "Rates") -> float | None:
        """Median over rounds that both have."""
        return paired_ratio(self.by_round, other.by_round)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One server in one case."""

    server: str
    kind: str
    rates: Rates
    per_cpu_s: Spread
    """Of the rates."""
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    of_limit: float | None
    """Median over rounds of its rate over the limit's."""
    ours_over_it: float | None
    client_cores: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One case."""

    case: str
    answer_bytes: int
    rows: tuple[Row, ...]

    def amount(self, requests: float) -> str:
        """Requests, or the GB (10^9 bytes of body) that they are."""
        if self.answer_bytes >= LARGE_BYTES:
            return f"{requests * self.answer_bytes / 1e9:.2f} GB"
        return f"{requests / 1000:.1f}k req"


def tables_of(results: dict[str, Any]) -> list[Table]:
    """All tables of a results file, rows in falling order."""
    kinds = {server["name"]: server["kind"] for server in results["servers"]}
    return [_table(case, kinds, results["samples"]) for case in results["cases"]]


def _table(case: dict[str, Any], kinds: dict[str, str], samples: list[dict[str, Any]]) -> Table:
    kept: dict[str, list[dict[str, Any]]] = {}
    for sample in samples:
        if sample["case"] == case["name"] and sample["is_kept"]:
            kept.setdefault(sample["server"], []).append(sample)
    rates = {name: Rates({one["round"]: _rate(one) for one in ones}) for name, ones in kept.items()}
    limits = [rates[name] for kind, name in LIMITS.items() if case["name"].endswith(kind) and name in rates]
    rows = [
        Row(
            server=name,
            kind=kinds[name],
            rates=rates[name],
            per_cpu_s=spread(list(rates[name].by_round.values())),
            requests_per_s=spread([one["requests"] / one["seconds"] for one in ones]).median,
            p50_ms=spread([one["p50_ms"] for one in ones]).median,
            p99_ms=spread([one["p99_ms"] for one in ones]).median,
            of_limit=rates[name].ratio_to(limits[0]) if limits else None,
            ours_over_it=rates[OURS].ratio_to(rates[name]) if OURS in rates else None,
            client_cores=spread([one["client_cores"] for one in ones]).median,
        )
        for name, ones in kept.items()
    ]
    rows.sort(key=lambda row: (row.kind != "limit", -row.per_cpu_s.median))
    return Table(case=case["name"], answer_bytes=case["answer_bytes"], rows=tuple(rows))


def _rate(sample: dict[str, Any]) -> float:
    return float(sample["requests"] / sample["server_cpu_s"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One goal and what came out for one of our rows."""

    server: str
    goal: str
    is_met: bool
    said: str


def verdicts_of(tables: list[Table]) -> list[Verdict]:
    """Every goal, for each of our rows. What was not measured is not met."""
    found = []
    for table in tables:
        ours = [row for row in table.rows if row.kind == "ours"]
        if OURS not in {row.server for row in ours}:
            found.append(Verdict(server=OURS, goal=table.case, is_met=False, said="not measured"))
        for row in ours:
            found += [*_against_limit(table.case, row), _against_peers(table, row)]
    return found


def _against_limit(case: str, ours: Row) -> list[Verdict]:
    if case not in GOALS:
        return []
    least, ratio = GOALS[case], ours.of_limit
    said = "limit not measured" if ratio is None else f"{ratio:.2f} of the bare loop"
    return [Verdict(server=ours.server, goal=f"{case}: at least {least:.2f}", is_met=(ratio or 0) >= least, said=said)]


def _against_peers(table: Table, ours: Row) -> Verdict:
    peers = {row.server: ours.rates.ratio_to(row.rates) for row in table.rows if row.kind == "peer"}
    known = {name: ratio for name, ratio in peers.items() if ratio is not None}
    nearest = min(known, key=lambda name: known[name], default=None)
    said = f"{known[nearest]:.2f} times {nearest}, the nearest" if nearest else "no peer measured"
    is_ahead = nearest is not None and known[nearest] > 1
    return Verdict(server=ours.server, goal=f"{table.case}: ahead of every peer", is_met=is_ahead, said=said)


HEADINGS = ("server", "per CPU second", "spread", "of limit", "ours is", "per second", "p50 / p99 ms", "samples")


def cells(table: Table, row: Row) -> tuple[str, ...]:
    """One row as text, for the terminal and the page alike."""
    return (
        row.server,
        table.amount(row.per_cpu_s.median),
        f"±{row.per_cpu_s.iqr_ratio * 50:.1f} %",
        "" if row.of_limit is None else f"{row.of_limit:.2f}",
        "" if row.ours_over_it is None else f"{row.ours_over_it:.2f}x",
        table.amount(row.requests_per_s),
        f"{row.p50_ms:.2f} / {row.p99_ms:.2f}",
        str(row.per_cpu_s.samples),
    )


def as_markdown(results: dict[str, Any], source: str) -> str:
    """The section of docs/performance.md, from one results file (named `source`)."""
    machine, plan = results["machine"], results["plan"]
    lines = [
        f"Measured {results['date']} on {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, Linux {machine['kernel']}; {plan['rounds']} interleaved rounds of {plan['seconds']} s, "
        f"{plan['connections']} connections. Raw samples: `bench/results/{source}`.",
        "",
        "| goal | server | met | measured |",
        "| --- | --- | --- | --- |",
    ]
    tables = tables_of(results)
    lines += [
        f"| {one.goal} | {one.server} | {'yes' if one.is_met else 'no'} | {one.said} |" for one in verdicts_of(tables)
    ]
    for table in tables:
        lines += ["", f"### {table.case}", "", "| " + " | ".join(HEADINGS) + " |", "| --- " * len(HEADINGS) + "|"]
        for row in table.rows:
            words = [f"**{word}**" if row.server == OURS else word for word in cells(table, row)]
            lines.append("| " + " | ".join(words) + " |")
    lines += ["", "### Versions", "", "| server | version | |", "| --- | --- | --- |"]
    lines += [
        f"| {one['name']} | {one['version'] or 'this repository'} | {one['note']} |" for one in results["servers"]
    ]
    if results["missing"]:
        lines += ["", "Not on this machine: " + "; ".join(results["missing"]) + "."]
    return "\n".join(lines)
