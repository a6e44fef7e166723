"""One decision for a new session from an address and a title's id: what answers, replays and simulations share.

Remembers how each class of clients is reached.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headrace.steering.approach import Approaches, Location, approaches
from headrace.steering.compile import CompiledSnapshot
from headrace.steering.library import TitleRef, Titles
from headrace.steering.load import draw_of
from headrace.steering.picks import Given
from headrace.steering.rank import Limits, Sharing, choose_new, choose_sharing
from headrace.steering.rendezvous import hash_key

MOST_PLACES = 400_000
"""Classes of clients at a place whose approach is remembered."""


@dataclass(slots=True, kw_only=True, eq=False)
class Decider:
    """Decides on one snapshot."""

    compiled: CompiledSnapshot
    limits: Limits
    levels: dict[str, int]
    """How much each appliance takes, of those that do not take all; may change between decisions."""
    _ways: dict[int, Approaches]
    _placed: dict[tuple[int, Location], Approaches]
    _class_no: Callable[[bytes], int]
    _titles: Titles
    _refs: Mapping[str, TitleRef]

    def __init__(self, compiled: CompiledSnapshot, limits: Limits, levels: dict[str, int]) -> None:
        self.compiled = compiled
        self.limits = limits
        self.levels = levels
        self._ways = {}
        self._placed = {}
        self._class_no = compiled.network.routes.class_no
        self._titles = compiled.library.titles
        self._refs = self._titles.refs

    def decide(self, address: bytes, title_id: str, location: Location | None = None) -> Given | None:
        """Pathways for a client, given by its address in network byte order; None when there is no such title."""
        compiled = self.compiled
        title = self._refs.get(title_id) or self._titles.ref(title_id)
        if title is None:
            return None
        ways = self.ways(address, location)
        given, levels = choose_new(compiled, ways, title, self.limits), self.levels
        if not levels or not any([one.name in levels for one in given.picks]):
            return given
        sharing = Sharing(levels=levels, draw=draw_of(address, hash_key(title_id)))
        return choose_sharing(compiled, ways, title, self.limits, sharing)

    def ways(self, address: bytes, location: Location | None = None) -> Approaches:
        """How to reach a client, given by its address in network byte order."""
        class_no = self._class_no(address)
        ways = self._ways.get(class_no) if location is None else self._placed.get((class_no, location))
        return ways if ways is not None else self._approach(class_no, location)

    def _approach(self, class_no: int, location: Location | None) -> Approaches:
        if len(self._ways) + len(self._placed) >= MOST_PLACES:
            self._ways.clear()
            self._placed.clear()
        ways = approaches(self.compiled, class_no, location, distance_step_km=self.limits.distance_step_km)
        if location is None:
            self._ways[class_no] = ways
        else:
            self._placed[class_no, location] = ways
        return ways
