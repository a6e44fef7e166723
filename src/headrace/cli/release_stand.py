"""What the commands of `release` that run in the lab share: settings, machines made of builds, networks, one run at a
time."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.base.errors import UsageError
from headrace.cli.release_builds import Workshop

if TYPE_CHECKING:
    from headrace.lab.profiles import Profile
    from headrace.lab.qualify.record import Qualification
    from headrace.lab.qualify.stand import Stand, Subject
    from headrace.release.config import ReleaseConfig
    from headrace.upstream.candidate import Candidate

LEVELS = ("build", "function", "impairment", "soak", "performance")


def release_config(workshop: Workshop) -> "ReleaseConfig":
    """The settings of `release.toml` in the release folder, over the defaults."""
    from headrace.release.config import load_release_config, parse_release_config

    settings = workshop.folder / "release.toml"
    return load_release_config(settings) if settings.exists() else parse_release_config()


def runs_folder(workshop: Workshop) -> Path:
    """Where qualifications and calibrations are kept."""
    return workshop.folder / "runs"


def qualifications(workshop: Workshop, candidate: str) -> "list[tuple[Qualification, Path]]":
    """Every qualification of a candidate with its folder, the oldest first. Raises LabError: a record is damaged."""
    from headrace.lab.qualify.record import FILE_NAME, load

    folders = [path.parent for path in runs_folder(workshop).glob(f"{candidate}-*/{FILE_NAME}")]
    found = [(record, folder) for folder in folders if (record := load(folder)) is not None]
    return sorted(found, key=lambda pair: pair[0].started_s)


@contextmanager
def alone(run: Path) -> Iterator[Path]:
    """Work alone on a run; gives the folder for its machines, empty, and gone afterwards.

    Raises:
        BusyError: another command works on it.
    """
    from headrace.workshop.adapters.locks import try_lock
    from headrace.workshop.errors import BusyError

    with try_lock(run.with_name(f".{run.name}.lock")) as is_ours:
        if not is_ours:
            raise BusyError(f"another command works on {run}; wait for it, or end it: nothing is lost")
        machines = run.with_name(f".{run.name}.machines")
        shutil.rmtree(machines, ignore_errors=True)  # of a command that was killed
        try:
            yield machines
        finally:
            shutil.rmtree(machines, ignore_errors=True)


def make_stand(
    workshop: Workshop,
    candidate: "Candidate",
    baseline: "Candidate",
    machines: Path,
    *,
    components: Sequence[str] = (),
    networks: str = "",
    profiles: Path | None = None,
) -> "tuple[Stand, tuple[str, ...]]":
    """Two builds on machines of the lab; and the networks that are not tried, with the reason.

    Args:
        components: use only these of the baseline's; all for none.
        networks: names by commas, `all`, `none`; '' for all that this machine can make.
        profiles: a file with networks of the user's own.

    Raises:
        UsageError: the two cannot be compared, or there is no such component or network.
    """
    from headrace.lab.ports import MachineKind
    from headrace.lab.qualify.stand import Stand

    subject = _subject(workshop, candidate, baseline, components)
    other = subject if candidate is baseline else _subject(workshop, baseline, None, components)
    if subject.machine.kind is not other.machine.kind:
        raise UsageError("only one of the two has a kernel: compare candidates that both have one, or both none")
    may_be_road = subject.machine.kind is MachineKind.UML
    chosen, left_out = choose_networks(networks, subject.machine.kernel if may_be_road else None, profiles)
    stand = Stand(candidate=subject, baseline=other, folder=machines, clock=workshop.clock, profiles=chosen)
    return stand, left_out


def choose_networks(
    text: str, kernel: Path | None, own: Path | None = None
) -> "tuple[dict[str, Profile], tuple[str, ...]]":
    """Networks of level 2 by name, and a line for each that is left out.

    Raises:
        UsageError: there is no such network.
        NotPossibleHereError: one was asked for by name, and this machine has no road.
    """
    from headrace.lab.errors import NotPossibleHereError
    from headrace.lab.machines.road import find_road_kernel
    from headrace.lab.profiles import choose_profile, read_profiles

    known = {name: profile for name, profile in read_profiles(own).items() if not profile.is_plain}
    if text == "none":
        return {}, tuple(f"impairment.network.{name}: switched off by --networks none" for name in known)
    names = list(known) if text in {"", "all"} else [name.strip() for name in text.split(",") if name.strip()]
    chosen = {name: choose_profile(name, known) for name in names}
    try:
        find_road_kernel(None, kernel)
    except NotPossibleHereError as error:
        if text:
            raise
        return {}, tuple(f"impairment.network.{name}: {error}" for name in known)
    left_out = tuple(f"impairment.network.{name}: not in --networks" for name in known if name not in chosen)
    return chosen, left_out


def _subject(workshop: Workshop, one: "Candidate", other: "Candidate | None", components: Sequence[str]) -> "Subject":
    """How a candidate runs: its nginx on its kernel, or on this machine's when it has none.

    A kernel for User-Mode Linux is the quicker machine; an image beside it is for counting ticks.
    """
    from headrace.lab.ports import MachineKind, MachineSpec
    from headrace.lab.qualify.stand import Subject

    one = _only(one, components)
    paths = {
        component.name: workshop.store.output(workshop.store.find(component.build_id), component.name)
        for component in one.components
    }
    if "nginx" not in paths:
        raise UsageError(
            f"{one.candidate_id} has no nginx: make the candidate with one (--nginx), the lab serves with it"
        )
    kernel, image = paths.get("linux"), paths.get("linux-image")
    kind = MachineKind.UML if kernel else MachineKind.QEMU if image else MachineKind.PROCESS
    return Subject(
        name=one.candidate_id,
        digest="-".join(component.output_sha256 for component in one.components),
        machine=MachineSpec(kind=kind, nginx=paths["nginx"], kernel=kernel or image),
        image=image,
        new_warnings=_new_warnings(workshop, one, other) if other else None,
    )


def _only(candidate: "Candidate", names: Sequence[str]) -> "Candidate":
    for name in names:
        if candidate.component(name) is None:
            has = ", ".join(one.name for one in candidate.components)
            raise UsageError(f"{candidate.candidate_id} has no component {name!r}: it has {has}")
    kept = tuple(one for one in candidate.components if not names or one.name in names)
    return replace(candidate, components=kept)


def _new_warnings(workshop: Workshop, one: "Candidate", other: "Candidate") -> tuple[str, ...]:
    """The compiler's warnings that the baseline's builds do not have, by file and text: lines move."""

    def warnings(candidate: "Candidate") -> set[tuple[str, str]]:
        builds = [workshop.store.find(component.build_id) for component in candidate.components]
        return {(warning.file, warning.text) for build in builds for warning in build.warnings}

    return tuple(f"{file}: {text}" for file, text in sorted(warnings(one) - warnings(other)))
