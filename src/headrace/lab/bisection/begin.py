"""Begins a search: a record with a name that says what is searched, so that the same command finds it again."""

import hashlib
import platform
import secrets
from pathlib import Path

from headrace.base.clock import Clock
from headrace.base.errors import UsageError
from headrace.lab.bisection.model import Bisection, Grounds
from headrace.lab.bisection.record import load, save
from headrace.upstream.recipe import Recipe


def run_name(check_id: str, bad: str, good: str, *, more: str = "") -> str:
    """Name of the run, a folder's name.

    Args:
        more: what else tells one search from another: a repository, a component.
    """
    parts = [bad, good, check_id] + ([hashlib.sha256(more.encode()).hexdigest()[:8]] if more else [])
    return "bisect-" + "-".join(parts)


def go_on(folder: Path, recipe: Recipe) -> Bisection | None:
    """The search that was begun in `folder`; None when there is none.

    Raises:
        LabError: its record is damaged.
        UsageError: the recipe is another one now.
    """
    found = load(folder)
    if found is not None and found.recipe_digest != recipe.digest:
        raise UsageError(
            f"the recipe {recipe.name} has changed since {folder.name} was begun: its answers are of other builds; "
            "begin anew with --anew"
        )
    return found


def begin(
    folder: Path, grounds: Grounds, recipe: Recipe, check_id: str, *, names: tuple[str, str], clock: Clock
) -> Bisection:
    """A new search, on disk.

    Args:
        names: what the bad and the good end are called.

    Raises:
        LabError: the folder cannot be written.
    """
    made = Bisection(
        name=folder.name,
        check_id=check_id,
        candidate=names[0],
        baseline=names[1],
        grounds=grounds,
        recipe=recipe.name,
        recipe_digest=recipe.digest,
        seed=secrets.randbits(32),
        started_s=clock.now_s(),
        environment=_environment(),
    )
    save(folder, made)
    return made


def _environment() -> tuple[tuple[str, str], ...]:
    system = platform.uname()
    return (("machine", system.machine), ("kernel of the host", f"{system.system} {system.release}"))
