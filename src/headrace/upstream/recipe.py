"""What a recipe is: how one component is configured and built, and which files come out.

A recipe is a TOML file with its fragments beside it; `parse_recipe` takes the texts, it never reads a disk. A recipe
says nothing of where: `expand` puts in the work tree, the number of jobs and the fragments.
"""

import dataclasses
import fnmatch
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from headrace.base.config import parse_config
from headrace.base.errors import ConfigError
from headrace.upstream.errors import RecipeError

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_OUTPUT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_RESERVED = {"provenance.json", "build.log", "config"}
_PLACE = re.compile(r"\{(\w+)\}")
FRAGMENTS = "{fragments}"
"""As an argument of its own it becomes one argument for each fragment."""
PLACES = frozenset({"tree", "jobs"})

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRule:
    """Which folder is source of this component."""

    needs: tuple[str, ...] = ()
    """Paths that must be there, else the folder is something else."""
    refuses: tuple[str, ...] = ()
    """Paths that must not be there: left by a build inside the source, they would change this one."""
    version_file: str = ""
    version_pattern: str = ""
    version_format: str = "{0}"
    """Filled with the groups of `version_pattern`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigureRule:
    """How a work tree is configured; done again only when what it depends on changed."""

    commands: tuple[Command, ...] = ()
    inputs: tuple[str, ...] = ()
    """Patterns of source paths (`*` also crosses folders): when one that matches changed, configure again."""
    fragments: tuple[str, ...] = ()
    """Files beside the recipe; each line must hold in `result`."""
    result: str = ""
    """The final configuration, kept with the provenance and checked against the fragments; '' when there is none."""
    may_miss: tuple[str, ...] = ()
    """Options of the fragments that some versions do not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRule:
    """How a configured tree is built."""

    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolchainRule:
    """Commands whose output tells one toolchain from another: compilers, and libraries that are linked."""

    commands: tuple[Command, ...]
    packages: str = ""
    """What to install (Debian's names) when one is missing; for the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRule:
    """How the log is read."""

    warning: str = ""
    """Pattern with groups `file`, `line` and `text`."""
    compiled: str = ""
    """Pattern with group `stem`: the path, without suffix, of a file that was compiled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _RecipeText:
    about: str
    build: BuildRule
    outputs: dict[str, str]
    toolchain: ToolchainRule
    source: SourceRule = field(default_factory=SourceRule)
    configure: ConfigureRule = field(default_factory=ConfigureRule)
    environment: dict[str, str] = field(default_factory=dict)
    log: LogRule = field(default_factory=LogRule)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way to build one component."""

    name: str
    about: str
    source: SourceRule
    environment: Mapping[str, str]
    configure: ConfigureRule
    build: BuildRule
    outputs: Mapping[str, str]
    """Name of the output -> path in the built tree."""
    toolchain: ToolchainRule
    log: LogRule
    fragments: tuple[tuple[str, str], ...]
    """(name, text) of each fragment, in the order in which they are laid over each other."""
    digest: str
    """SHA-256 of all that decides the result: the TOML's text and the fragments."""


def parse_recipe(name: str, text: str, fragments: Mapping[str, str], *, source: str) -> Recipe:
    """Read the recipe `name` from its TOML `text`.

    Args:
        fragments: text by file name of what lies beside the recipe; must hold each one that the recipe names.
        source: what to call the file in an error.

    Raises:
        RecipeError: the recipe cannot be used; the message names file, key and mend.
    """
    if not _NAME.fullmatch(name):
        raise RecipeError(f"{source}: recipe name {name[:80]!r}: use 1-63 lower-case letters, digits, inner hyphens")
    try:
        parsed = parse_config(_RecipeText, text, source=source)
    except ConfigError as error:
        raise RecipeError(str(error)) from None
    _check(parsed, source)
    missing = [wanted for wanted in parsed.configure.fragments if wanted not in fragments]
    if missing:
        raise RecipeError(f"{source}: configure.fragments: there is no file {missing[0]!r} beside the recipe")
    chosen = tuple((wanted, fragments[wanted]) for wanted in parsed.configure.fragments)
    return Recipe(
        name=name,
        about=parsed.about,
        source=parsed.source,
        environment=parsed.environment,
        configure=parsed.configure,
        build=parsed.build,
        outputs=parsed.outputs,
        toolchain=parsed.toolchain,
        log=parsed.log,
        fragments=chosen,
        digest=_digest(text, chosen),
    )


def with_fragments(recipe: Recipe, extra: Iterable[tuple[str, str]]) -> Recipe:
    """The recipe with more fragments (name, text) laid over its own, for a variant such as a debugging kernel.

    Raises:
        RecipeError: the recipe has no place for fragments.
    """
    added = tuple(extra)
    if not added:
        return recipe
    if not any(FRAGMENTS in command for command in recipe.configure.commands):
        raise RecipeError(f"recipe {recipe.name} takes no fragments: no command of it has {FRAGMENTS}")
    return dataclasses.replace(recipe, fragments=(*recipe.fragments, *added), digest=_digest(recipe.digest, added))


def expand(command: Command, *, places: Mapping[str, str], fragments: Iterable[str]) -> Command:
    """The command with `{tree}` and `{jobs}` put in, and `{fragments}` as one argument for each path."""
    expanded: list[str] = []
    for word in command:
        expanded += fragments if word == FRAGMENTS else [fill(word, places)]
    return tuple(expanded)


def fill(text: str, places: Mapping[str, str]) -> str:
    """The text with `{name}` replaced where `places` has the name; all else, as a shell's braces, stays."""
    return _PLACE.sub(lambda match: places.get(match[1], match[0]), text)


def source_version(recipe: Recipe, text: str) -> str:
    """The version that the source says it is, from the text of its version file; '' when it does not say."""
    if not recipe.source.version_pattern:
        return ""
    match = re.search(recipe.source.version_pattern, text, re.MULTILINE)
    return recipe.source.version_format.format(*match.groups()).strip() if match else ""


def needs_configure(recipe: Recipe, changed: Iterable[str]) -> bool:
    """Whether one of these source paths decides how the tree is configured."""
    return any(fnmatch.fnmatchcase(path, pattern) for path in changed for pattern in recipe.configure.inputs)


def options_not_taken(recipe: Recipe, result: str) -> tuple[str, ...]:
    """Lines of the fragments that do not hold in the final configuration, without those that may be missing.

    The last line about an option is the one that counts. `# NAME is not set` holds when the option does not occur.
    """
    wanted: dict[str, str] = {}
    for _, text in recipe.fragments:
        wanted |= {_option(line): line.strip() for line in text.splitlines() if _option(line)}
    has = {_option(line): line.strip() for line in result.splitlines() if _option(line)}
    return tuple(
        line
        for option, line in wanted.items()
        if has.get(option, f"# {option} is not set") != line and option not in recipe.configure.may_miss
    )


def _option(line: str) -> str:
    match = re.match(r"(?:# )?(CONFIG_\w+)(?:=| is not set)", line.strip())
    return match[1] if match else ""


def _digest(text: str, fragments: Iterable[tuple[str, str]]) -> str:
    digest = hashlib.sha256()
    for part in (text, *(part for pair in fragments for part in pair)):
        body = part.encode()
        digest.update(b"%d\n" % len(body) + body)
    return digest.hexdigest()


def _check(parsed: _RecipeText, source: str) -> None:
    _check_commands(parsed, source)
    if not parsed.outputs:
        raise RecipeError(f"{source}: outputs: a recipe that builds nothing; name at least one file")
    for name, path in parsed.outputs.items():
        if not _OUTPUT.fullmatch(name) or name in _RESERVED:
            raise RecipeError(f"{source}: outputs: {name!r} is no file name that can be used")
        _check_inside(path, f"{source}: outputs.{name}")
    for path in (*parsed.source.needs, *parsed.source.refuses, parsed.source.version_file, parsed.configure.result):
        if path:
            _check_inside(path, source)
    for key in ("warning", "compiled"):
        _check_pattern(getattr(parsed.log, key), f"{source}: log.{key}")
    _check_pattern(parsed.source.version_pattern, f"{source}: source.version_pattern")


def _check_commands(parsed: _RecipeText, source: str) -> None:
    rules = {
        "build.commands": parsed.build.commands,
        "configure.commands": parsed.configure.commands,
        "toolchain.commands": parsed.toolchain.commands,
    }
    for key, commands in rules.items():
        if any(not command or not command[0] for command in commands):
            raise RecipeError(f"{source}: {key}: an empty command")
    for key in ("build.commands", "toolchain.commands"):
        if not rules[key]:
            raise RecipeError(f"{source}: {key}: a recipe that builds nothing; give at least one command")


def _check_inside(path: str, what: str) -> None:
    if path.startswith("/") or ".." in path.split("/"):
        raise RecipeError(f"{what}: {path!r} must be a path inside the tree")


def _check_pattern(pattern: str, what: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise RecipeError(f"{what}: not a regular expression: {error}") from None
