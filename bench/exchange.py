"""What an exchange costs with many files held: bytes, CPU of the agent, CPU of who reads it.

    .venv/bin/python bench/exchange.py [--files 100000] [--repeats 50] [--json]

Each row is the median over exchanges in which so many files came or went since the last one. Files that change lie
scattered over the plan, which packs worst. The agent's part is what `Agent` does in a turn: see what is held, make the
request, encode it; the other part is decoding it and laying the delta over the set before.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

from headrace.appliance.plan import FillPlan
from headrace.appliance.reconcile import Exchanges, Held, InForce, held_of
from headrace.appliance.testing import plan_of
from headrace.base.ids import ApplianceId, FileNo, RenditionId, Sha256, TitleId
from headrace.base.rng import make_rng
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import CatalogFile, FileSuffix
from headrace.fleet.model import ApplianceReport, DiskReport, FillReport, LoadReport, NginxReport
from headrace.wire.agent import ExchangeAnswer, ExchangeRequest
from headrace.wire.codec import decode, encode
from rig.machine import machine_facts
from rig.summary import spread

CHANGES = (0, 1, 100, 10_000)
GOAL_BYTES, GOAL_S = 2_048, 0.001
REPORT = ApplianceReport(
    disks=tuple(DiskReport(folder=f"/disk/{n}", is_ok=True, total_bytes=2**44, free_bytes=2**40) for n in range(12)),
    load=LoadReport(tx_bps=9e10, requests_per_s=5e4, connections=40_000, cpu_ratio=0.5, sessions=20_000),
    fill=FillReport(),
    nginx=NginxReport(is_running=True, version="1.31.3", config_digest="0" * 16),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One exchange."""

    request_bytes: int
    agent_s: float
    reader_s: float


class Conversation:
    """An agent's side and a peer that keeps its holdings."""

    def __init__(self, count: int) -> None:
        self._plan: FillPlan = plan_of(_file(number) for number in range(1, count + 1))
        self._names = set(self._plan.by_sha256)
        self._held: Held = held_of(self._plan, self._names)
        self._exchanges = Exchanges(ApplianceId("bench"), "boot")
        self._in_force = InForce(desired_version=1, plan_version=1, plan_digest=self._plan.digest)
        self._peer = FileSet()
        self.exchange(())
        self.exchange(())

    def exchange(self, changed: Iterable[Sha256]) -> Cost:
        """One turn after these files came or went."""
        changed = set(changed)
        self._names ^= changed
        begun_s = time.process_time()
        if changed:
            self._held = held_of(self._plan, self._names)
        body = encode(self._exchanges.request(REPORT, self._held, self._in_force))
        sent_s = time.process_time()
        request = decode(ExchangeRequest, body)
        told = request.holdings
        if told.digest != self._peer.digest():
            base = self._peer if told.base_digest == self._peer.digest() else FileSet()
            self._peer = (base | FileSet.decode(told.added)) - FileSet.decode(told.removed)
        peer_digest = self._peer.digest()
        read_s = time.process_time()
        answer = ExchangeAnswer(
            sequence=request.sequence,
            now_s=0.0,
            interval_s=2.0,
            holdings_digest=peer_digest,
            desired=None,
            plan=None,
            should_rotate_credential=False,
        )
        self._exchanges.learn(answer, self._in_force)
        return Cost(request_bytes=len(body), agent_s=sent_s - begun_s, reader_s=read_s - sent_s)

    def some(self, count: int, seed: int) -> list[Sha256]:
        """Files from all over the plan."""
        return make_rng(seed).sample(list(self._plan.by_sha256), count)


def _file(number: int) -> CatalogFile:
    return CatalogFile(
        file_no=FileNo(number),
        sha256=Sha256(f"{number:064x}"),
        size_bytes=1_000_000,
        suffix=FileSuffix.MP4,
        title_id=TitleId(f"title-{number // 20}"),
        rendition_id=RenditionId("v1"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--quick", action="store_true", help="few exchanges: to see that it works")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    repeats = 5 if arguments.quick else arguments.repeats
    talk = Conversation(arguments.files)
    found = {}
    for size in CHANGES:
        costs = [talk.exchange(talk.some(min(size, arguments.files), seed)) for seed in range(repeats)]
        names = ("request_bytes", "agent_s", "reader_s")
        found[size] = {name: spread([getattr(one, name) for one in costs]).median for name in names}
    if arguments.json:
        print(json.dumps({"files": arguments.files, "machine": machine_facts(), "by_changed_files": found}))
    else:
        print(f"{arguments.files} files held, median of {repeats} exchanges")
        for size, row in found.items():
            print(
                f"{size:7} changed: {row['request_bytes']:8.0f} B, agent {row['agent_s'] * 1e3:7.2f} ms, "
                f"reader {row['reader_s'] * 1e3:7.2f} ms"
            )
    steady = found[0]
    sys.exit(0 if steady["request_bytes"] < GOAL_BYTES and steady["agent_s"] < GOAL_S else 1)


if __name__ == "__main__":
    main()
