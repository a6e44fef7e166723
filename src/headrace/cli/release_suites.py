"""Upstreams' own tests from `release.toml`, with the paths of a candidate's builds filled in."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.base.errors import HeadraceError, UsageError
from headrace.cli.release_builds import Workshop

if TYPE_CHECKING:
    from headrace.lab.qualify.suites import Suite
    from headrace.release.config import SuiteSettings
    from headrace.upstream.candidate import Candidate, Component


def make_suites(
    workshop: Workshop,
    candidate: "Candidate",
    settings: "Mapping[str, SuiteSettings]",
    *,
    log_folder: Path,
    scratch: Path,
) -> "tuple[Suite, ...]":
    """The suites that are on. One of a component that the candidate has not is left out; one without its source stays,
    and says that it was not run.

    Args:
        scratch: for checked-out sources.

    Raises:
        UsageError: a suite names something in braces that there is not.
    """
    made = []
    for name, one in settings.items():
        component = candidate.component(one.component)
        if one.is_on and component is not None:
            made.append(_suite(workshop, candidate, name, one, component, (log_folder, scratch)))
    return tuple(made)


def _suite(
    workshop: Workshop,
    candidate: "Candidate",
    name: str,
    settings: "SuiteSettings",
    component: "Component",
    folders: tuple[Path, Path],
) -> "Suite":
    from headrace.lab.qualify.suites import Suite
    from headrace.release.model import check_id

    log_folder, scratch = folders
    words = {
        one.name: str(workshop.store.output(workshop.store.find(one.build_id), one.name))
        for one in candidate.components
    }
    words["work"] = str(scratch / "suite")
    not_run = ""
    if any("{source}" in text for text in (*settings.command, *settings.environment.values(), settings.folder)):
        words["source"], not_run = _source(workshop, component, scratch / "sources" / component.name)
    return Suite(
        check_id=check_id(name),
        about=settings.about,
        command=tuple(_filled(name, text, words) for text in settings.command),
        timeout_s=settings.timeout_s,
        log=log_folder / f"{name}.log",
        environment={key: _filled(name, text, words) for key, text in settings.environment.items()},
        folder=Path(_filled(name, settings.folder, words)).expanduser() if settings.folder else None,
        not_run=not_run,
    )


def _source(workshop: Workshop, component: "Component", folder: Path) -> tuple[str, str]:
    """The folder of the component's source, and '' or why there is none."""
    from headrace.workshop.since import source_of

    try:
        return str(source_of(workshop.folder, component, folder)), ""
    except HeadraceError as error:
        return str(folder), f"the source of {component.name} is not here: {error}"


def _filled(name: str, text: str, words: Mapping[str, str]) -> str:
    try:
        return text.format_map(words)
    except (KeyError, IndexError, ValueError):
        known = ", ".join(f"{{{word}}}" for word in ("work", "source", *words) if word not in {"work", "source"})
        raise UsageError(
            f'suites."{name}": {text[:120]!r} names what there is not; braces may hold {{work}}, {{source}} or one of '
            f"{known} (double braces stand for themselves)"
        ) from None
