"""What is compared, and where: two builds that may be started on machines of the lab, as often as needed."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from headrace.base.clock import Clock
from headrace.lab.assembly import Lab, LabSetup, check_possible, open_lab
from headrace.lab.content import KnownFile, standard_content
from headrace.lab.errors import NotPossibleHereError
from headrace.lab.ports import MachineSpec
from headrace.lab.profiles import LAN, Direction, Profile
from headrace.lab.qualify.suites import Suite

_ANY_NETWORK = Profile(down=Direction(delay_s=0.01))


class Side(StrEnum):
    """Which of the two builds."""

    BASELINE = "baseline"
    CANDIDATE = "candidate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One of the two builds."""

    name: str
    """The candidate's id, or the path of a program."""
    machine: MachineSpec
    image: Path | None = None
    """Its kernel as a bzImage, in which ticks are counted; None: it has none."""
    digest: str = ""
    """Of its outputs; equal ones are one build."""
    new_warnings: tuple[str, ...] | None = None
    """The compiler's, in files that our patches touch; None: it was not built here, so nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Everything that a check needs."""

    baseline: Subject
    candidate: Subject
    folder: Path
    """For machines; what lies in it is lost."""
    clock: Clock
    content: tuple[KnownFile, ...] = field(default_factory=standard_content)
    profiles: dict[str, Profile] = field(default_factory=dict)
    """Networks of level 2; those that impair need a kernel for the road."""
    suites: tuple[Suite, ...] = ()
    """Upstreams' own tests, level 1."""
    time_scale: float = 1.0
    """Shortens or lengthens every load: 1 for a real verdict, less for a short form."""

    def subject(self, side: Side) -> Subject:
        """One of the two."""
        return self.baseline if side is Side.BASELINE else self.candidate

    def seconds(self, usual_s: float) -> float:
        """How long a load lasts that usually lasts `usual_s`."""
        return max(0.5, usual_s * self.time_scale)

    def why_no_road(self) -> str:
        """Why networks that impair cannot be made here; '' where they can."""
        try:
            check_possible(LabSetup(machine=self.candidate.machine, profile=_ANY_NETWORK))
        except NotPossibleHereError as error:
            return str(error)
        return ""

    @contextlib.asynccontextmanager
    async def lab(self, side: Side, profile: Profile = LAN, machine: MachineSpec | None = None) -> AsyncIterator[Lab]:
        """A machine with one of the builds, behind a network, for the time of the block. Raises LabError.

        Args:
            machine: the build's own machine in another shape.
        """
        setup = LabSetup(machine=machine or self.subject(side).machine, profile=profile, content=self.content)
        async with open_lab(setup, self.folder / side, self.clock) as lab:
            yield lab
