"""What the control plane's rules allow this appliance to fetch now: window, volume, orders, its place in line.

Bookkeeping without disk or socket. It goes on alone: the rules are local hours, not instants, so a window opens without
anybody saying so. Time is that of the control plane's last answer, carried on by the monotonic clock: an appliance's
own wall clock that is wrong or jumps moves no window (before the first answer it is all there is).
"""

from collections.abc import Iterable

from headrace.base.clock import Clock
from headrace.base.errors import HeadraceError
from headrace.base.ids import ApplianceId, Sha256
from headrace.base.instants import show_instant
from headrace.base.units import show_bytes
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import CatalogError, CatalogFile
from headrace.fill.escalation import Reach, may_reach, place_in_line
from headrace.fill.model import FillRules
from headrace.fill.windows import FillHours, Window, next_window, read_hours

_MARKS_PAUSE_S = 1.0


class FillGate:
    """The rules in force, and what was counted under them."""

    def __init__(self, own: ApplianceId, clock: Clock) -> None:
        self._own, self._clock = own, clock
        self.rules = FillRules()
        self._hours: FillHours | None = None
        self._flaw = ""
        self._urgent, self._first, self.keep, self.doubt = FileSet(), FileSet(), FileSet(), FileSet()
        self._ahead_s: float | None = None
        self._window: Window | None = None
        self._looked_s = 0.0
        self._places: dict[Sha256, int] = {}
        self._waiting: dict[Sha256, float] = {}
        self._next_forget_s = 0.0
        self.orders = 0
        """Grows when other files come first."""
        self.opened_s = 0.0
        """When the window opened that is counted in; 0 before the first."""
        self.window_bytes = 0
        self.inbound_bytes = 0
        """In that window, urgent files apart; `inbound` from outside of the site."""

    def use(self, rules: FillRules) -> None:
        """Keep to these from now on. A window that cannot be read is shut: somebody was promised it."""
        if rules.members != self.rules.members:
            self._places.clear()
        self.orders += (rules.urgent, rules.first) != (self.rules.urgent, self.rules.first)
        self.rules, self._window, self._flaw, self._hours = rules, None, "", None
        self._urgent, self._first = _files(rules.urgent), _files(rules.first)
        self.keep, self.doubt = _files(rules.keep), _files(rules.doubt)
        try:
            self._hours = read_hours(rules.hours) if rules.hours else None
            if self._hours is not None:
                next_window(self._hours, rules.zone, self.now_s())
        except HeadraceError as error:
            self._flaw = str(error)

    def heard(self, now_s: float) -> None:
        """The control plane's clock shows this."""
        self._ahead_s = now_s - self._clock.monotonic_s()

    def now_s(self) -> float:
        """UTC epoch seconds, as the control plane counts them if it was heard since the start."""
        return self._clock.now_s() if self._ahead_s is None else self._ahead_s + self._clock.monotonic_s()

    def window(self) -> Window | None:
        """The window that is open now, else the next one; None without any."""
        if self._hours is None or self._flaw:
            return None
        now_s = self.now_s()
        window = self._window
        if window is None or not self._looked_s <= now_s < window.closes_s:
            # Looked up anew also when the time was set back: an earlier window may be open then.
            self._looked_s = now_s
            window = self._window = next_window(self._hours, self.rules.zone, now_s)
        return window

    def why_shut(self) -> str:
        """Why files that are not urgent wait now; '' when they need not."""
        if self._flaw:
            return self._flaw
        window, now_s = self.window(), self.now_s()
        if window is None:
            return ""
        if not window.is_open(now_s):
            return f"the fill window opens {show_instant(window.opens_s, self.rules.zone)}"
        if window.opens_s != self.opened_s:
            self.opened_s, self.window_bytes, self.inbound_bytes = window.opens_s, 0, 0
        if self.is_full():
            return f"{show_bytes(self.rules.volume_bytes)} are fetched, the most in one window"
        return ""

    def is_full(self) -> bool:
        """All that one window may bring is fetched."""
        return 0 < self.rules.volume_bytes <= self.window_bytes

    def is_urgent(self, file: CatalogFile) -> bool:
        """It passes the window."""
        return file.file_no in self._urgent

    def has_urgent(self) -> bool:
        """Some file passes the window."""
        return bool(self._urgent)

    def priority(self, file: CatalogFile) -> int:
        """Its place in the order of fetching: 0 for urgent files, 1 for those that come first in the window, else 2."""
        if file.file_no in self._urgent:
            return 0
        return 1 if file.file_no in self._first else 2

    def counts(self) -> tuple[float, int, int]:
        """When the window opened that is counted in, and what was counted: all, and from outside."""
        return self.opened_s, self.window_bytes, self.inbound_bytes

    def go_on_from(self, counts: tuple[float, int, int]) -> None:
        """Count on from what the agent before this one had counted."""
        self.opened_s, self.window_bytes, self.inbound_bytes = counts

    def count(self, size_bytes: int, *, is_inbound: bool) -> None:
        """These bytes came, of files that are not urgent."""
        self.window_bytes += size_bytes
        self.inbound_bytes += size_bytes if is_inbound else 0

    def reach(self, file: CatalogFile, place: int | None = None) -> Reach:
        """How far it may go for a file now; `place` in line as the control plane told it, else as all plan the file."""
        rules = self.rules
        if not rules.members:
            return Reach.ORIGIN
        if place is None:
            place = self._places.get(file.sha256)
            if place is None:
                place = self._places[file.sha256] = place_in_line(self._own, rules.members, file.sha256)
        since_s = self._waiting.get(file.sha256)
        waited_s = 0.0 if since_s is None else self._clock.monotonic_s() - since_s
        return may_reach(place, rules.masters, waited_s, rules.escalation)

    def wait_for_peers(self, names: Iterable[Sha256]) -> None:
        """Nothing else is to do: from now on it is waited for peers that bring these."""
        now_s = self._clock.monotonic_s()
        for name in names:
            self._waiting.setdefault(name, now_s)

    def peer_gave(self) -> None:
        """Peers bring files: whoever has not waited long enough yet waits anew; what was let go further stays so."""
        now_s = self._clock.monotonic_s()
        if not self._waiting or now_s < self._next_forget_s:
            return
        self._next_forget_s = now_s + _MARKS_PAUSE_S
        least_s = min(self.rules.escalation.near_s, self.rules.escalation.network_s, self.rules.escalation.origin_s)
        self._waiting = {name: since_s for name, since_s in self._waiting.items() if now_s - since_s >= least_s}

    def forget(self, name: Sha256) -> None:
        """The file is here."""
        self._waiting.pop(name, None)
        self._places.pop(name, None)


def _files(text: str) -> FileSet:
    try:
        return FileSet.decode(text)
    except CatalogError:
        return FileSet()
