"""What is let through, what is asked for, and how long answers hold: in a time of its own."""

from headrace.appliance.directory import SourceDirectory
from headrace.appliance.gate import FillGate
from headrace.appliance.testing import body_of, file_of
from headrace.base.clock import ManualClock
from headrace.base.ids import ApplianceId
from headrace.base.rng import make_rng
from headrace.catalog.fileset import FileSet
from headrace.fill.escalation import Reach
from headrace.fill.model import Escalation, FillRules, FillSource, SourceKind
from headrace.wire.agent import FileSources, SourcesAnswer, SourcesRequest
from headrace.wire.errors import UnreachableError

FILES = [file_of(number, body_of(number, 10)) for number in range(1, 5)]
PEERS = (ApplianceId("a1"), ApplianceId("a2"))
WAITS = Escalation(near_s=10, network_s=20, origin_s=40)


def a_gate(**rules: object) -> tuple[FillGate, ManualClock]:
    clock = ManualClock()
    gate = FillGate(PEERS[0], clock)
    gate.use(FillRules(**rules))  # type: ignore[arg-type]
    return gate, clock


def test_a_window_in_a_zone_that_is_not_known_here_stays_shut_and_says_so() -> None:
    gate, _ = a_gate(hours="02:00-14:00", zone="Middle/Earth")
    assert "Middle/Earth" in gate.why_shut()
    gate.use(FillRules())
    assert gate.why_shut() == ""


def test_sets_that_cannot_be_read_are_empty_and_urgent_files_come_first() -> None:
    gate, _ = a_gate(urgent="nonsense", first=FileSet([2, 3]).encode())
    assert [gate.priority(file) for file in FILES] == [2, 1, 1, 2]
    orders = gate.orders
    gate.use(FillRules(urgent=FileSet([3]).encode(), first=FileSet([2, 3]).encode()))
    assert [gate.priority(file) for file in FILES] == [2, 1, 0, 2]
    assert gate.orders == orders + 1
    gate.use(gate.rules)
    assert gate.orders == orders + 1, "the same rules change no order"


def test_waits_begin_anew_while_peers_give_and_what_was_let_go_stays_so() -> None:
    gate, clock = a_gate(members=PEERS, escalation=WAITS)
    old, young = FILES[0], FILES[1]
    gate.wait_for_peers([old.sha256])
    clock.advance(15)
    gate.wait_for_peers([old.sha256, young.sha256])
    clock.advance(6)
    assert (gate.reach(old, 1), gate.reach(young, 1)) == (Reach.NETWORK, Reach.PEERS)
    gate.peer_gave()
    clock.advance(9)
    assert (gate.reach(old, 1), gate.reach(young, 1)) == (Reach.NETWORK, Reach.PEERS)
    gate.wait_for_peers([young.sha256])
    clock.advance(10)
    assert gate.reach(young, 1) is Reach.NEAR
    gate.forget(old.sha256)
    assert gate.reach(old, 1) is Reach.PEERS
    assert gate.reach(old, 0) is Reach.ORIGIN, "a master does not wait"


class Desk:
    """Answers for single files, or does not."""

    def __init__(self) -> None:
        self.asked: list[FileSet] = []
        self.is_away = False
        self.url = "http://p1"

    async def ask(self, request: SourcesRequest) -> SourcesAnswer:
        if self.is_away:
            raise UnreachableError("away")
        self.asked.append(FileSet.decode(request.files))
        source = FillSource(kind=SourceKind.PEER, base_url=self.url)
        # The second place does not exist, and nobody asked for file 99.
        files = tuple(FileSources(file_no=number, sources=(0, 7), place=3) for number in [*self.asked[-1], 99])
        return SourcesAnswer(sources=(source,), files=files, valid_s=30.0)


async def test_answers_hold_for_their_time_and_longer_while_somebody_answers() -> None:
    clock, desk = ManualClock(), Desk()
    directory = SourceDirectory(desk.ask, clock=clock, rng=make_rng(1))
    await directory.refresh(FILES[:2])
    told = directory.told(FILES[0].sha256)
    assert told is not None
    assert ([one.base_url for one in told.sources], told.place) == (["http://p1"], 3)
    assert directory.told(FILES[2].sha256) is None
    clock.advance(31)
    assert not directory.is_fresh(FILES[0].sha256)
    assert directory.told(FILES[0].sha256) is told, "better than none while the next answer comes"
    desk.is_away = True
    await directory.refresh(FILES[:1])
    assert directory.is_silent
    assert directory.told(FILES[0].sha256) is None


async def test_questions_become_rare_while_answers_say_nothing_new() -> None:
    clock, desk = ManualClock(), Desk()
    directory = SourceDirectory(desk.ask, clock=clock, rng=make_rng(1))
    asked_at: list[float] = []
    while len(asked_at) < 9:
        if directory.is_due():
            asked_at.append(clock.monotonic_s())
            await directory.refresh(FILES)
        clock.advance(0.1)
    pauses = [after - before for before, after in zip(asked_at, asked_at[1:], strict=False)]
    assert pauses[0] < 2
    assert 20 < pauses[-1] < 40
    desk.url = "http://p2"
    while not directory.is_due():
        clock.advance(0.1)
    await directory.refresh(FILES)
    clock.advance(1.5)
    assert directory.is_due(), "news: somebody holds them now"
