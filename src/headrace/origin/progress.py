"""How far a publish is and how long it will still take. Pure."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One report to the person or program that waits."""

    stage: str
    """check, encode, store, register."""
    rendition: str
    """'' where the stage is not about one."""
    ratio: float
    """Of the whole job, 0 to 1."""
    left_s: float | None
    """None until enough is done to tell."""


MIN_RATIO = 0.01
"""Below this much of new work an estimate would jump about."""


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Costs of all steps and how much of each is done; steps of an earlier run count as done at once."""

    costs: dict[str, float]
    started_s: float
    """Monotonic seconds."""
    done: dict[str, float] = field(default_factory=dict)
    kept_ratio: float = 0.0

    def keep(self, step: str) -> None:
        """The step was finished by an earlier run."""
        self.done[step] = 1.0
        self.kept_ratio = self.ratio()

    def advance(self, step: str, ratio: float) -> None:
        """The step is done to `ratio`; never goes back."""
        self.done[step] = max(self.done.get(step, 0.0), min(1.0, max(0.0, ratio)))

    def ratio(self) -> float:
        """Done work over all work."""
        total = sum(self.costs.values())
        return sum(cost * self.done.get(step, 0.0) for step, cost in self.costs.items()) / total if total else 1.0

    def left_s(self, now_s: float) -> float | None:
        """Seconds to go at the pace of this run."""
        ratio = self.ratio()
        fresh = ratio - self.kept_ratio
        if fresh < MIN_RATIO:
            return None
        return max(0.0, (now_s - self.started_s) * (1 - ratio) / fresh)
