"""Finds recipes: those in `recipes/` of the release folder, then the ones that Headrace ships. A user's own wins."""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from headrace.upstream.errors import RecipeError
from headrace.upstream.recipe import Recipe, parse_recipe, with_fragments

SHIPPED = files("headrace.upstream").joinpath("recipes")


def find_recipe(name: str, own: Path, *, fragments: tuple[Path, ...] = ()) -> Recipe:
    """The recipe `name`, with further fragments laid over its own.

    Args:
        own: folder of the user's recipes; need not exist.

    Raises:
        RecipeError: there is none, or it cannot be used.
    """
    for folder in (own, SHIPPED):
        path = folder.joinpath(f"{name}.toml")
        if path.is_file():
            recipe = parse_recipe(name, _text(path), _Beside(folder), source=str(path))
            return with_fragments(recipe, ((path.name, _text(path)) for path in fragments))
    raise RecipeError(f"no recipe {name[:80]!r}: there are {', '.join(recipe_names(own))}; your own go to {own}")


def recipe_names(own: Path) -> tuple[str, ...]:
    """Names of all recipes."""
    folders = [folder for folder in (own, SHIPPED) if folder.is_dir()]
    found = {entry.name for folder in folders for entry in folder.iterdir() if entry.name.endswith(".toml")}
    return tuple(sorted(name.removesuffix(".toml") for name in found))


class _Beside(Mapping[str, str]):
    """The files beside a recipe, read when asked for."""

    def __init__(self, folder: Traversable) -> None:
        self._folder = folder

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and "/" not in name and self._folder.joinpath(name).is_file()

    def __getitem__(self, name: str) -> str:
        return _text(self._folder.joinpath(name))

    def __iter__(self) -> Iterator[str]:
        return (entry.name for entry in self._folder.iterdir())

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _text(path: Traversable) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read {path}: {error}") from None
