"""Which commits can hardly have caused anything: only comments, only docs, only other architectures, only what is not
built.

Judged from the text of a commit's diff, file by file. A flag lowers a commit's prior weight in the search and stands
beside a culprit's name; it never excludes one: comments move line numbers, and builds read odd files. Whatever is not
clearly harmless is plausible.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

OUR_ARCHITECTURES = frozenset({"um", "x86"})
"""User-Mode Linux is built from both."""

_ARCHITECTURE = re.compile(r"^(?:arch|tools/arch|include/asm-arch)/([^/]+)/")
_DOCS = re.compile(
    r"^(?:Documentation|docs?|man|LICENSES)/|(?:^|/)(?:README|CHANGES|CHANGELOG|MAINTAINERS|CREDITS|COPYING|LICENSE|AUTHORS"
    r"|CONTRIBUTING|SECURITY|CODE_OF_CONDUCT|\.mailmap|\.gitignore|\.gitattributes|\.editorconfig|\.get_maintainer\.ignore)"
    r"(?:\.[a-z]+)?$|\.(?:rst|md|txt|adoc|pod|[1-9]|xml|dtd|xslt)$"
)
_NOT_BUILT = re.compile(
    r"^(?:tools/testing|tools/perf|tools/power|samples|\.github|\.buildbot|contrib|misc|src/os/win32|t|tests?)/|/(?:tests?|selftests)/"
)
_C = re.compile(r"\.(?:c|h|S|cc|cpp|dts|dtsi|lds)$")
_HASH = re.compile(
    r"\.(?:sh|pl|pm|py|awk|conf|cfg|ya?ml|toml|cmake)$|(?:^|/)(?:Makefile|Kbuild|Kconfig|configure)[^/]*$"
)
_C_TOKEN = re.compile(r"""/\*.*?\*/|//(?:\\\n|[^\n])*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL)


class Harmless(StrEnum):
    """Why a commit is not plausible."""

    COMMENTS = "only-comments"
    DOCS = "only-docs"
    OTHER_ARCHITECTURE = "only-other-architectures"
    NOT_BUILT = "only-what-is-not-built"
    EMPTY = "changes-nothing"
    MIXED = "only-harmless-parts"
    """Several of the above together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One file of a diff."""

    path: str
    hunks: tuple[tuple[str, ...], ...]
    """Lines of each hunk with their first character: ' ', '-' or '+'."""
    is_binary: bool = False


def harmless_because(
    changes: Iterable[FileChange], *, architectures: frozenset[str] = OUR_ARCHITECTURES
) -> Harmless | None:
    """Why a commit can hardly have caused anything, or None when it may have."""
    reasons = {_file_harmless(change, architectures) for change in changes}
    if not reasons:
        return Harmless.EMPTY
    if None in reasons:
        return None
    return reasons.pop() if len(reasons) == 1 else Harmless.MIXED


def parse_diff(text: str) -> tuple[FileChange, ...]:
    """The files of a unified diff as git writes it (`git show --format= -M`); mode changes and renames have no hunks.

    A merge's combined diff (`diff --cc`) gives each file one hunk that says nothing of comments, so it stays plausible.
    """
    changes: list[FileChange] = []
    for part in re.split(r"^(?=diff --(?:git|cc|combined) )", text, flags=re.MULTILINE):
        head = re.match(r"diff --(git|cc|combined) (.*)", part)
        if head:
            changes.append(_one_file(head[1] == "git", head[2], part.splitlines()[1:]))
    return tuple(changes)


def _one_file(is_plain: bool, names: str, lines: Sequence[str]) -> FileChange:
    path = names if not is_plain else names.rsplit(" b/", 1)[-1].strip('"')
    hunks: list[list[str]] = []
    is_binary = False
    for line in lines:
        if line.startswith("+++ ") and not hunks and line != "+++ /dev/null":
            path = line[4:].split("\t")[0].strip('"').removeprefix("b/")
        elif line.startswith(("Binary files ", "GIT binary patch")):
            is_binary = True
        elif line.startswith("@@"):
            hunks.append([])
        elif hunks and line[:1] in {" ", "-", "+", ""}:
            hunks[-1].append(line or " ")
    if not is_plain:
        hunks = [["+merged by hand"]] if hunks else []
    return FileChange(path=path, hunks=tuple(tuple(hunk) for hunk in hunks), is_binary=is_binary)


def _file_harmless(change: FileChange, architectures: frozenset[str]) -> Harmless | None:
    architecture = _ARCHITECTURE.match(change.path)
    if architecture and architecture[1] not in architectures:
        return Harmless.OTHER_ARCHITECTURE
    # Text files beside an architecture's sources feed its build (x86-opcode-map.txt).
    if _DOCS.search(change.path) and not change.path.startswith("arch/"):
        return Harmless.DOCS
    if _NOT_BUILT.search(change.path):
        return Harmless.NOT_BUILT
    if change.is_binary or not change.hunks:
        return None
    if _C.search(change.path):
        same = all(_same_c(hunk) for hunk in change.hunks)
    elif _HASH.search(change.path):
        same = all(_same_script(hunk) for hunk in change.hunks)
    else:
        same = False
    return Harmless.COMMENTS if same else None


def _sides(hunk: Sequence[str]) -> tuple[list[str], list[str]]:
    before = [line[1:] for line in hunk if line[0] in " -"]
    after = [line[1:] for line in hunk if line[0] in " +"]
    return before, after


def _same_c(hunk: Sequence[str]) -> bool:
    """Whether both sides of a hunk are the same C without comments and spacing."""
    before, after = _sides(hunk)
    if _bare_c(before) == _bare_c(after):
        return True
    # A hunk may lie wholly inside a comment whose borders it does not show: then every line of it looks like ` * text`.
    return all(re.match(r"\s*\*(?:\s|/|$)|\s*/\*", line[1:]) for line in hunk)


def _bare_c(lines: Sequence[str]) -> list[str]:
    text = "\n".join(lines)
    opening, closing = text.find("/*"), text.find("*/")
    if closing >= 0 and (opening < 0 or closing < opening):
        text = text[closing + 2 :]  # the hunk begins inside a comment
    text = _C_TOKEN.sub(lambda token: " " if token[0].startswith("/") else token[0], text)
    if "/*" in re.sub(r'"(?:\\.|[^"\\\n])*"', "", text):
        text = text[: text.rindex("/*")]  # it ends inside one
    return [" ".join(line.split()) for line in text.split("\n") if line.strip()]


def _same_script(hunk: Sequence[str]) -> bool:
    """Likewise for languages with `#` comments; spacing counts, quotes that span lines make it plausible."""
    before, after = _sides(hunk)
    return [one for line in before if (one := _bare_script(line))] == [
        one for line in after if (one := _bare_script(line))
    ]


def _bare_script(line: str) -> str:
    # A `#!` line is code. Inside quotes, `$#` and `${#` no comment begins; only `#` after a space or at the start does.
    if line.startswith("#!"):
        return line
    quote = ""
    for position, character in enumerate(line):
        if quote:
            quote = "" if character == quote and line[position - 1] != "\\" else quote
        elif character in "\"'`":
            quote = character
        elif character == "#" and (position == 0 or line[position - 1].isspace()):
            return line[:position].rstrip()
    return line.rstrip()
