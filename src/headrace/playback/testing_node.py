"""A steering service with a snapshot, asked without a network: for tests."""

from collections.abc import Callable
from pathlib import Path

from headrace.base.clock import ManualClock
from headrace.playback.adapters.tally import TallyFolder
from headrace.playback.answer import Answer
from headrace.playback.answers import Answers
from headrace.playback.bodies import Bodies
from headrace.playback.counters import Counters
from headrace.playback.service import PlaybackService
from headrace.playback.testing import Reply, headers_of, make_config, read_reply
from headrace.steering.approach import Location
from headrace.steering.compile import compile_snapshot
from headrace.steering.model import SteeringSnapshot
from headrace.steering.testing import make_appliance, make_site, make_snapshot, make_title, numbers_of

TITLES = [make_title("film"), make_title("other")]
HELD = numbers_of(TITLES)
SITES = [make_site("near", "192.0.2.0/24"), make_site("wide", "0.0.0.0/0", "::/0")]
FLEET = [make_appliance("a", "near", HELD), make_appliance("b", "near", HELD), make_appliance("c", "wide", HELD)]
SNAPSHOT = make_snapshot(SITES, FLEET, TITLES, version=3)
SHA = TITLES[0].files[0].sha256
FILE = f"/f/{SHA[:2]}/{SHA}.mp4"
MASTER = "/v1/titles/film/master.m3u8"


class Node:
    """A service with a snapshot, asked without a network."""

    def __init__(self, tmp: Path, extra: str = "", token: str = "") -> None:
        self.config = make_config(extra)
        self.clock = ManualClock(SNAPSHOT.built_at_s + 4)
        self.counters = Counters()
        self.bodies = Bodies(self.config.answers.most_kept_bytes)
        self.ledger = self.config.new_ledger()
        self.service = PlaybackService(self.config, self.clock, self.counters, TallyFolder(tmp), token)

    def install(
        self, snapshot: SteeringSnapshot = SNAPSHOT, *, locate: Callable[[str], Location | None] | None = None
    ) -> "Node":
        """Answer from this one, as a worker that has just loaded it."""
        last = self.service.answers
        compiled = compile_snapshot(snapshot, last.compiled if last else None)
        self.ledger.report(compiled.appliances, loads_at_s=compiled.loads_at_s, now_s=self.clock.now_s())
        self.service.install(Answers(compiled, self.config, locate, self.bodies, self.ledger, last))
        return self

    def forget(self) -> None:
        """Lose what is finished."""
        assert self.service.answers is not None
        compiled = self.service.answers.compiled
        self.service.install(Answers(compiled, self.config, None, self.bodies, self.ledger))

    def answer(
        self,
        path: str,
        query: str = "",
        *,
        client: str = "192.0.2.1",
        method: str = "GET",
        scheme: str = "http",
        header_lines: tuple[tuple[str, str], ...] = (("host", "steer.example:8500"),),
    ) -> Answer:
        """One request, decided."""
        peer = self.service.meet(client, scheme)
        return self.service.answer(peer, method.encode(), _target(path, query), headers_of(header_lines))

    def ask(
        self,
        path: str,
        query: str = "",
        *,
        client: str = "192.0.2.1",
        method: str = "GET",
        scheme: str = "http",
        header_lines: tuple[tuple[str, str], ...] = (("host", "steer.example:8500"),),
    ) -> Reply:
        """One request and its answer, as it is sent."""
        peer, headers = self.service.meet(client, scheme), headers_of(header_lines)
        return read_reply(self.service.respond(peer, method.encode(), _target(path, query), headers, False))


def _target(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path


def order_of(playlist: bytes) -> list[str]:
    """Pathways of a master playlist, best first."""
    lines = [line for line in playlist.decode().splitlines() if line.startswith("#EXT-X-STREAM-INF")]
    return list(dict.fromkeys(line.partition('PATHWAY-ID="')[2].partition('"')[0] for line in lines))
