"""Transfers: whatever the sources do, nothing wrong is served, and one honest source is enough."""

import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.appliance.adapters.fetch import NotHeldError, SlowSourceError
from headrace.appliance.directory import SourceDirectory
from headrace.appliance.errors import SourceError
from headrace.appliance.gate import FillGate
from headrace.appliance.testing import StoreBed, agent_config, body_of, file_of
from headrace.appliance.transfer import Transfer, Transfers
from headrace.base.clock import ManualClock
from headrace.base.ids import ApplianceId
from headrace.base.rng import make_rng
from headrace.catalog.model import CatalogFile
from headrace.fill.model import FillSource, SourceKind
from headrace.fleet.model import AdminState
from headrace.wire.agent import DesiredState, SourcesAnswer, SourcesRequest
from headrace.wire.errors import UnreachableError

BODY = body_of(1, 10_000)
FILE = file_of(1, BODY)
FAULTS = {"missing": NotHeldError, "slow": SlowSourceError, "breaks": SourceError}


async def nobody_answers(_: SourcesRequest) -> SourcesAnswer:
    raise UnreachableError("no control plane")


class ScriptedSources:
    """Gives what each source's script says, one word for each range asked of it; the last word stays."""

    def __init__(self, scripts: dict[str, list[str]]) -> None:
        self.scripts = {url: list(words) for url, words in scripts.items()}
        self.asked: list[tuple[str, str]] = []

    async def fetch(
        self, base_url: str, file: CatalogFile, first: int, last: int, *, least_bps: int
    ) -> AsyncGenerator[bytes, None]:
        words = self.scripts[base_url]
        word = words.pop(0) if len(words) > 1 else words[0]
        if word == "slow" and not least_bps:
            word = "good"  # Nobody leaves the last hope for being slow.
        self.asked.append((base_url, word))
        right = BODY[first : last + 1]
        if word == "missing":
            raise NotHeldError(f"{base_url}: 404")
        yield (bytes(len(right)) if word == "wrong" else right)[: len(right) // 2]
        if word in FAULTS:
            raise FAULTS[word](f"{base_url}: {word}")
        yield (bytes(len(right)) if word == "wrong" else right)[len(right) // 2 :]


class Bench:
    """Transfers from scripted sources to a store on a real folder, in a time of its own."""

    def __init__(self, folder: Path, scripts: dict[str, list[str]]) -> None:
        self.clock = ManualClock()
        self.bed = StoreBed(folder / "state", [folder / "d0"], clock=self.clock)
        self.sources = ScriptedSources(scripts)
        config = agent_config(folder / "state", [folder / "d0"], extra="fill = { range_bytes = 4096 }")
        self.settings = config.fill
        self.scripts = scripts

    async def open(self) -> "Bench":
        store = await self.bed.open()
        self.transfers = Transfers(
            self.settings,
            store=store,
            fetcher=self.sources,  # type: ignore[arg-type]
            gate=FillGate(ApplianceId("a1"), self.clock),
            directory=SourceDirectory(nobody_answers, clock=self.clock, rng=make_rng(1)),
            clock=self.clock,
            rng=make_rng(1),
        )
        kinds = [FillSource(kind=SourceKind.PEER, base_url=url) for url in self.scripts]
        self.transfers.use(
            DesiredState(
                version=1,
                admin_state=AdminState.ENABLED,
                origin_url="",
                redirect_url="",
                sources=tuple(kinds),
                fill_rate_bps=0,
            )
        )
        return self

    async def bring(self, *, times: int) -> bool:
        """Try so often, with pauses in which resting sources come back; whether the file is held."""
        for _ in range(times):
            await self.transfers.bring(Transfer(file=FILE, disk_id=self.bed.store.rooms()[0].disk_id))
            served = self.bed.served(FILE)
            assert served in (None, BODY)
            if served is not None:
                return True
            self.clock.advance(self.settings.source_retry_most_s)
        return False


WORDS = st.lists(st.sampled_from(["good", "wrong", "missing", "slow", "breaks"]), min_size=1, max_size=4)


@settings(max_examples=15)
@given(others=st.lists(WORDS, max_size=3), place=st.integers(0, 3), before=WORDS)
async def test_one_source_that_comes_to_its_senses_is_enough(others: list, place: int, before: list) -> None:
    scripts = {f"http://p{no}": words for no, words in enumerate(others)}
    names = list(scripts)
    names.insert(min(place, len(names)), "http://honest")
    scripts = {name: scripts.get(name, [*before, "good"]) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        bench = await Bench(Path(folder), scripts).open()
        try:
            assert await bench.bring(times=60), bench.sources.asked
            assert bench.transfers.fetched_files == 1
            assert bench.transfers.error == ""
        finally:
            bench.bed.close()


@settings(max_examples=8)
@given(words=st.lists(st.sampled_from(["wrong", "missing"]), max_size=3))
async def test_without_an_honest_source_nothing_is_served_and_somebody_is_named(words: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = await Bench(Path(folder), {f"http://p{no}": [word] for no, word in enumerate(words)}).open()
        try:
            assert not await bench.bring(times=8)
            assert bench.transfers.fetched_files == 0
            assert bench.transfers.why_no_source()
        finally:
            bench.bed.close()


async def test_a_liar_among_honest_ones_is_found_by_asking_one_at_a_time(tmp_path: Path) -> None:
    """Its bytes came mixed with others' first, so nobody could be blamed."""
    bench = await Bench(tmp_path, {"http://liar": ["wrong", "breaks", "wrong"], "http://honest": ["good"]}).open()
    try:
        assert await bench.bring(times=10), bench.sources.asked
        last_lie = max(no for no, (url, _) in enumerate(bench.sources.asked) if url == "http://liar")
        assert {url for url, _ in bench.sources.asked[last_lie + 1 :]} == {"http://honest"}
        assert (
            bench.transfers.source_failures == 3
        )  # it broke off, the mixture was wrong, the file of its own was wrong
    finally:
        bench.bed.close()
