"""What a site takes in outside its fill window, because it was asked for and is expected to be asked for again. Pure.

Admission and eviction use the same value as the nightly plan (`choose`), brought up to date with each batch of logs:
a file takes the place of those of least value. To hold what has the highest rate at each instant is the most that any
policy without knowledge of the future can do when fills cost nothing (Panigrahy et al., "A new upper bound on cache
hit probability for non-anticipative caching policies", 2022); fills by day do cost, so they are rationed: bytes taken
in by day stay below a share of all fill, and the least gain that is worth one is set so that the ration lasts.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from headrace.placement.choose import Bools, Floats, Ints

REMEMBERED_DAYS = 7


@dataclass(slots=True)
class Ration:
    """How much may still be taken in by day, and what gain is worth it."""

    day_share: float = 0.3
    """Bytes by day, of all fill, at most."""
    left_bytes: float = 0.0
    least_gain: float = 0.0
    """Expected plays more than what makes room."""
    _days: deque[tuple[float, list[tuple[float, float]]]] = field(
        default_factory=lambda: deque([(0.0, [])], maxlen=REMEMBERED_DAYS)
    )

    def filled_at_night(self, filled_bytes: float) -> None:
        """Night fill earns the ration of the day."""
        earned = filled_bytes * self.day_share / (1.0 - self.day_share)
        self.left_bytes += earned
        total, offers = self._days[-1]
        self._days[-1] = (total + earned, offers)

    def may_admit(self, gain: float, size_bytes: float, *, price: float) -> bool:
        """Whether a file is worth its fill now; what is offered is remembered, also when refused."""
        self._days[-1][1].append((gain, size_bytes))
        return gain > max(self.least_gain, price) and size_bytes <= self.left_bytes

    def day_ends(self) -> None:
        """Set the least gain by the last days: so much was earned, and these were the offers."""
        earned = sum(day[0] for day in self._days)
        offers = np.array([offer for day in self._days for offer in day[1]]).reshape(-1, 2)
        if len(offers):
            offers = offers[np.argsort(-offers[:, 0], kind="stable")]
            last = int(np.searchsorted(np.cumsum(offers[:, 1]), earned))
            self.least_gain = max(0.0, float(offers[last, 0])) if last < len(offers) else 0.0
        self._days.append((0.0, []))


def victims(plays: Floats, size_bytes: Floats, held: Bools, *, need_bytes: float) -> Ints:
    """Held files of least value whose sizes sum to `need_bytes` or more; all of them if that is too little."""
    if need_bytes <= 0:
        return np.zeros(0, dtype=np.int64)
    among = np.flatnonzero(held)
    few = among
    if len(among) > 64:
        few = among[np.argpartition(plays[among], 63)[:64]]
        if size_bytes[few].sum() < need_bytes:
            few = among
    order = few[np.argsort(plays[few], kind="stable")]
    return order[: int(np.searchsorted(np.cumsum(size_bytes[order]), need_bytes)) + 1]
