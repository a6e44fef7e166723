"""Sources of single files, as the control plane names them: who holds the file, and who of the site goes out for it.

Asked for a few hundred files at a time, in the order in which they will be fetched. While nobody answers, the ranked
sources of the whole appliance do (wire/agent.py, DesiredState).
"""

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from headrace.base.clock import Clock
from headrace.base.ids import Sha256
from headrace.base.logs import event
from headrace.base.rng import Rng, jittered
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import CatalogFile
from headrace.fill.model import FillSource
from headrace.wire.agent import SourcesAnswer, SourcesRequest
from headrace.wire.errors import WireError

_log = logging.getLogger(__name__)
FILES_AT_ONCE = 500
_FIRST_PAUSE_S, _MOST_PAUSE_S = 1.0, 30.0
"""Between two questions: short while answers say something new, for that is how peers' files are found."""
_MOST_KNOWN = 10_000

Ask = Callable[[SourcesRequest], Awaitable[SourcesAnswer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was answered for one file."""

    sources: tuple[FillSource, ...]
    place: int
    until_s: float


class SourceDirectory:
    """Remembers answers for as long as they hold."""

    def __init__(self, ask: Ask, *, clock: Clock, rng: Rng) -> None:
        self._ask, self._clock, self._rng = ask, clock, rng
        self._told: dict[Sha256, Told] = {}
        self._next_s = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self.is_silent = False
        """Nobody answered the last question."""

    def told(self, name: Sha256) -> Told | None:
        """The last answer for a file; None: there is none, or it is old and nobody answers any more."""
        return None if self.is_silent and not self.is_fresh(name) else self._told.get(name)

    def is_fresh(self, name: Sha256) -> bool:
        """Whether it need not be asked about a file now."""
        found = self._told.get(name)
        return found is not None and self._clock.monotonic_s() < found.until_s

    def is_due(self) -> bool:
        """Whether it is time to ask again."""
        return self._clock.monotonic_s() >= self._next_s

    def hurry(self) -> None:
        """Something changed: ask soon."""
        self._next_s, self._pause_s = 0.0, _FIRST_PAUSE_S

    async def refresh(self, files: Iterable[CatalogFile]) -> None:
        """Ask for these files."""
        wanted = {int(file.file_no): file.sha256 for file in files}
        try:
            answer = await self._ask(SourcesRequest(files=FileSet(wanted).encode()))
        except WireError as error:
            self._pause_s, self.is_silent = _MOST_PAUSE_S, True
            event(_log, "sources_not_told", level=logging.DEBUG, error=error)
        else:
            self.is_silent = False
            is_news = self._take(answer, wanted)
            self._pause_s = _FIRST_PAUSE_S if is_news else min(_MOST_PAUSE_S, self._pause_s * 2)
        self._next_s = self._clock.monotonic_s() + jittered(self._rng, self._pause_s, 0.3)

    def _take(self, answer: SourcesAnswer, wanted: dict[int, Sha256]) -> bool:
        until_s = self._clock.monotonic_s() + min(600.0, max(1.0, answer.valid_s))
        if len(self._told) >= _MOST_KNOWN:
            self._told = {name: one for name, one in self._told.items() if one.until_s > self._clock.monotonic_s()}
        is_news = False
        for one in answer.files:
            name = wanted.get(one.file_no)
            if name is None:
                continue
            sources = tuple(answer.sources[at] for at in one.sources if 0 <= at < len(answer.sources))
            before = self._told.get(name)
            urls = {source.base_url for source in sources}
            is_news |= before is None or urls != {source.base_url for source in before.sources}
            self._told[name] = Told(sources=sources, place=max(0, one.place), until_s=until_s)
        return is_news
