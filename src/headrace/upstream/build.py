"""What a build is: what decides it (its key), what came out of it, and where that came from.

The key is a digest of the patched source tree, the recipe with its configuration fragments, and the toolchain. Patches
are in it through the tree: reworded or reordered ones that give the same files are the same build. Nothing here runs
anything.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from headrace.upstream.model import CommitId
from headrace.upstream.recipe import LogRule, Recipe
from headrace.upstream.tree import TreeId

BuildKey = NewType("BuildKey", str)
"""64 lower-case hexadecimal digits."""
BuildId = NewType("BuildId", str)
"""'b-' and the first 12 digits of the key: what people type."""

_MACHINE_FAULT = re.compile(
    r"No space left on device|Disk quota exceeded|Cannot allocate memory|virtual memory exhausted"
    r"|Killed signal terminated|Too many open files|Resource temporarily unavailable"
    r"|Error 127\b|ended with 127:"  # a program is not installed
)
MOST_WARNINGS = 5_000
MOST_SOURCES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a source tree came from, as far as who asked for the build knows."""

    upstream: str = ""
    """Name of the upstream; '' for a folder or tarball by itself."""
    commit: CommitId | None = None
    """Upstream's commit below the patches."""
    version: str = ""
    """The version that the source says it is."""
    patches: tuple[str, ...] = ()
    """Ids of the local patches on top, in order."""
    name: str = ""
    """File name of the tarball or folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """What compiles and what is linked, as the tools say it."""

    text: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildInputs:
    """All that decides the result of a build."""

    recipe: str
    recipe_digest: str
    tree: TreeId
    toolchain_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One file that came out."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerWarning:
    """One warning of the compiler."""

    file: str
    line_no: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """How a build came to be."""

    key: BuildKey
    inputs: BuildInputs
    source: Source
    toolchain: str
    """The text behind the toolchain's digest."""
    fragments: tuple[str, ...]
    config_sha256: str = ""
    """Of the final configuration, kept as `config` beside the outputs; '' when the component has none."""
    log_sha256: str = ""
    started_at_s: float
    took_s: float
    is_incremental: bool
    """Built on what an earlier build left, not from nothing."""
    has_ccache: bool = False


class BuildVerdict(StrEnum):
    """How a build ended."""

    BUILT = "built"
    UNBUILDABLE = "unbuildable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One build, as the store keeps it."""

    build_id: BuildId
    verdict: BuildVerdict
    provenance: Provenance
    sources: tuple[Source, ...]
    """Everybody who asked for this tree, the latest last; `provenance.source` is the first."""
    outputs: tuple[Output, ...] = ()
    output_sha256: str = ""
    same_as: BuildId | None = None
    """An earlier build with the same outputs: what was proven of that one holds for this one."""
    warnings: tuple[CompilerWarning, ...] = ()
    failure: str = ""
    """Last lines of the log of an unbuildable one."""


def build_key(inputs: BuildInputs) -> BuildKey:
    """The key of the store."""
    parts = ("headrace build 1", inputs.recipe, inputs.recipe_digest, inputs.tree, inputs.toolchain_digest)
    return BuildKey(hashlib.sha256("\n".join(parts).encode()).hexdigest())


def build_id(key: BuildKey) -> BuildId:
    """What people type for a key."""
    return BuildId(f"b-{key[:12]}")


def output_digest(outputs: Iterable[Output]) -> str:
    """One SHA-256 for all outputs: equal exactly when every file has the same name and the same bytes."""
    lines = sorted(f"{output.sha256}  {output.name}\n" for output in outputs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def with_source(sources: tuple[Source, ...], source: Source) -> tuple[Source, ...]:
    """The sources with this one as the latest; the oldest are forgotten past `MOST_SOURCES`."""
    return (*(known for known in sources if known != source), source)[-MOST_SOURCES:]


def inputs_of(recipe: Recipe, tree: TreeId, toolchain: Toolchain) -> BuildInputs:
    """What decides a build of this tree."""
    return BuildInputs(recipe=recipe.name, recipe_digest=recipe.digest, tree=tree, toolchain_digest=toolchain.digest)


def is_machine_fault(last_lines: Iterable[str]) -> bool:
    """Whether a build failed because of this machine: no verdict on the source, so nothing to remember."""
    return any(_MACHINE_FAULT.search(line) for line in last_lines)


def read_warnings(rule: LogRule, lines: Iterable[str]) -> tuple[CompilerWarning, ...]:
    """The compiler's warnings in a log, each once."""
    if not rule.warning:
        return ()
    pattern = re.compile(rule.warning)
    found = (pattern.search(line) for line in lines if "warning" in line)
    warnings = {
        CompilerWarning(file=match["file"].removeprefix("./"), line_no=int(match["line"]), text=match["text"])
        for match in found
        if match
    }
    return tuple(sorted(warnings, key=lambda one: (one.file, one.line_no, one.text))[:MOST_WARNINGS])


def read_compiled(rule: LogRule, lines: Iterable[str]) -> frozenset[str]:
    """Paths, without suffix, of the files that a log says were compiled."""
    if not rule.compiled:
        return frozenset()
    pattern = re.compile(rule.compiled)
    return frozenset(match["stem"] for line in lines if (match := pattern.search(line)))


def carry_warnings(
    before: Iterable[CompilerWarning], fresh: Iterable[CompilerWarning], compiled: frozenset[str]
) -> tuple[CompilerWarning, ...]:
    """All warnings of a tree after an incremental build, which itself only warns about what it compiled.

    A warning from before stays unless its file was compiled now. One in a header stays until a whole build: which of
    the files that include it warned is not known, and a warning too many is looked at while one too few is not.
    """
    kept = {one for one in before if one.file.rpartition(".")[0] not in compiled} | set(fresh)
    return tuple(sorted(kept, key=lambda one: (one.file, one.line_no, one.text))[:MOST_WARNINGS])
