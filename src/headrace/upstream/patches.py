"""Reads and marks patch files: what `git format-patch` wrote, plus our lines that say why a patch is local.

    Headrace-Reason: agreement | development | generalise
    Headrace-Sent: URL | none
    Headrace-Since: YYYY-MM-DD

The lines are mail headers (then git leaves them out of the commit, and noting where a patch was sent does not change
the candidate), or trailers of the message. A patch is checked as strictly as an application would: counts of hunks,
names, encoding. Never decides whether it applies. The bytes come from `workshop.adapters.records`.
"""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import date
from email import policy
from email.message import Message
from email.parser import HeaderParser
from email.utils import parsedate_to_datetime

from headrace.upstream.errors import PatchError
from headrace.upstream.model import Hunk, Patch, Reason

MAX_PATCH_BYTES = 16 * 1024 * 1024
"""A larger one is no small local diff but a mistake."""

_OURS = re.compile(r"^(Headrace-(?:Reason|Sent|Since)):[ \t]*(.*?)[ \t]*$", re.IGNORECASE)
_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_EXTENDED = (
    "old mode ",
    "new mode ",
    "new file mode ",
    "deleted file mode ",
    "copy from ",
    "copy to ",
    "rename from ",
    "rename to ",
    "similarity index ",
    "dissimilarity index ",
    "index ",
)
_MARKERS = ("+<<<<<<< ", "+>>>>>>> ")


def parse_patch(file_name: str, body: bytes) -> Patch:
    """Read one patch file.

    Raises:
        PatchError: not one whole patch of `git format-patch`, or without its reason; names file and line.
    """
    text = _text(file_name, body)
    headers, message, lines, diff_at = _parts(file_name, text)
    ours = _our_lines(file_name, headers, message)
    date_ = _date(file_name, headers)
    diff = _Diff(file_name=file_name, lines=lines, at=diff_at)
    diff.read()
    return Patch(
        file_name=file_name,
        sha256=hashlib.sha256(body).hexdigest(),
        subject=clean_subject(str(headers["Subject"])),
        author=" ".join(str(headers["From"]).split()),
        reason=_reason(file_name, ours.get("headrace-reason", "")),
        sent=_sent(file_name, ours.get("headrace-sent", "none")),
        since=_since(file_name, ours["headrace-since"]) if "headrace-since" in ours else date_,
        paths=tuple(sorted(diff.paths)),
        hunks=tuple(diff.hunks),
        added_lines=diff.added,
        removed_lines=diff.removed,
    )


def mark_patch(file_name: str, body: bytes, *, reason: Reason, sent: str | None, since: date) -> bytes:
    """The patch file with our lines as mail headers, in place of those it had.

    Raises:
        PatchError: not one whole patch, or `sent` is no URL.
    """
    _sent(file_name, sent or "none")
    lines = _text(file_name, body).split("\n")
    end = next((number for number, line in enumerate(lines) if not line.strip()), len(lines))
    diff = next((number for number, line in enumerate(lines) if line.startswith("diff --git ")), len(lines))
    before = [line for line in lines[:end] if not _OURS.match(line)]
    between = [line for line in lines[end:diff] if not _OURS.match(line)]
    ours = [f"Headrace-Reason: {reason}", f"Headrace-Sent: {sent or 'none'}", f"Headrace-Since: {since.isoformat()}"]
    marked = "\n".join([*before, *ours, *between, *lines[diff:]]).encode("utf-8", "surrogateescape")
    parse_patch(file_name, marked)
    return marked


def clean_subject(text: str) -> str:
    """A subject as git keeps it: on one line, without `[PATCH n/m]` (other brackets stay)."""
    return re.sub(r"^(?:\s*\[[^\]]*PATCH[^\]]*\])+", "", " ".join(text.split())).strip()


def _text(file_name: str, body: bytes) -> str:
    if len(body) > MAX_PATCH_BYTES:
        raise PatchError(f"{file_name}: {len(body)} bytes; a patch has at most {MAX_PATCH_BYTES}")
    if b"\0" in body:
        raise PatchError(f"{file_name}: line {body[: body.index(0)].count(10) + 1}: a zero byte; this is no patch file")
    if not body.endswith(b"\n"):
        raise PatchError(f"{file_name}: line {body.count(10) + 1}: the file ends within a line; it is cut short")
    return body.decode("utf-8", "surrogateescape")


def _parts(file_name: str, text: str) -> tuple[Message, list[str], list[str], int]:
    """Mail headers, lines of the message, all lines, and the index of the first line of the diff."""
    lines = text.split("\n")
    first = 1 if re.match(r"From [0-9a-f]{40} ", lines[0]) else 0
    if not re.match(r"[A-Za-z][A-Za-z0-9-]*:", lines[first] if first < len(lines) else ""):
        raise PatchError(f"{file_name}: line {first + 1}: no mail header; write the file with `git format-patch`")
    end = next((number for number, line in enumerate(lines) if not line.strip()), len(lines))
    if any(line.endswith("\r") for line in lines[:end]):
        raise PatchError(f"{file_name}: line 1: lines end in CR LF; save the file as `git format-patch` wrote it")
    headers = HeaderParser(policy=policy.default).parsestr(
        "\n".join(lines[first:end]).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    )
    for name in ("From", "Date", "Subject"):
        if not str(headers.get(name, "")).strip():
            raise PatchError(f"{file_name}: line {first + 1}: no {name}: header; write it with `git format-patch`")
    if not re.search(r"\S+@\S+", str(headers["From"])):
        raise PatchError(f"{file_name}: line {first + 1}: the From: header holds no mail address")
    encoding = str(headers.get("Content-Transfer-Encoding", "8bit")).lower()
    if encoding not in ("7bit", "8bit", "binary"):
        raise PatchError(f"{file_name}: line {first + 1}: {encoding} mail; save it as `git format-patch` wrote it")
    diff = next((number for number, line in enumerate(lines) if line.startswith("diff --git ")), None)
    if diff is None:
        raise PatchError(f"{file_name}: line {len(lines)}: ends without a diff (a cover letter is no patch)")
    return headers, lines[end:diff], lines, diff


def _our_lines(file_name: str, headers: Message, message: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in message:
        match = _OURS.match(line)
        if match:
            found[match[1].lower()] = match[2]
    for name in ("headrace-reason", "headrace-sent", "headrace-since"):
        if headers.get(name) is not None:
            found[name] = str(headers[name]).strip()
    if "headrace-reason" not in found:
        raise PatchError(
            f"{file_name}: line 1: no Headrace-Reason header says why this is local: "
            "agreement, development or generalise (`headrace upstream patches NAME add FILE --reason ...` writes it)"
        )
    return found


def _reason(file_name: str, text: str) -> Reason:
    try:
        return Reason(text.lower())
    except ValueError:
        raise PatchError(
            f"{file_name}: Headrace-Reason is {text[:40]!r}: use agreement, development or generalise"
        ) from None


def _sent(file_name: str, text: str) -> str | None:
    if text.lower() in ("none", ""):
        return None
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*:[!-~]+", text, re.IGNORECASE):
        raise PatchError(f"{file_name}: Headrace-Sent is {text[:80]!r}: use a URL or none")
    return text


def _since(file_name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise PatchError(f"{file_name}: Headrace-Since is {text[:40]!r}: use YYYY-MM-DD") from None


def _date(file_name: str, headers: Message) -> date:
    try:
        return parsedate_to_datetime(str(headers["Date"])).date()
    except ValueError:
        raise PatchError(f"{file_name}: the Date header {str(headers['Date'])[:60]!r} is no date") from None


@dataclass(slots=True, kw_only=True)
class _Diff:
    """Walks the diff part line by line; `at` is the index of the next line."""

    file_name: str
    lines: list[str]
    at: int
    paths: set[str] = field(default_factory=set)
    hunks: list[Hunk] = field(default_factory=list)
    added: int = 0
    removed: int = 0

    def read(self) -> None:
        while self.at < len(self.lines) and self.lines[self.at].startswith("diff --git "):
            self._read_file()
        self._read_end()

    def _read_file(self) -> None:
        begun = self.at
        names: set[str] = set()
        self.at += 1
        while (line := self._line()).startswith(_EXTENDED):
            if line.startswith(("rename from ", "rename to ", "copy to ")):
                names.add(self._checked(_unquoted(line.split(" ", 2)[2])))
            self.at += 1
        if line.startswith("GIT binary patch"):
            self._skip_binary()
        elif line.startswith("Binary files "):
            raise self._error("a binary change without its content; use `git format-patch --binary`")
        elif line.startswith("--- "):
            names |= self._read_text_change()
        if not names:
            names = self._names_of_first_line(begun)
        self.paths |= names

    def _read_text_change(self) -> set[str]:
        old = self._side("--- ", "a/")
        new = self._side("+++ ", "b/")
        path = new or old
        if path is None:
            raise self._error("neither side of the change has a name")
        number = 0
        while match := _HUNK.match(self._line()):
            number += 1
            self.hunks.append(
                Hunk(
                    path=path,
                    number=number,
                    old_start=int(match[1]),
                    new_start=int(match[3]),
                    new_lines=int(match[4] or 1),
                    line_no=self.at + 1,
                    header=self._line()[:120],
                )
            )
            self._read_hunk(int(match[2] or 1), int(match[4] or 1))
        if number == 0:
            raise self._error("a change of a file without a hunk (@@)")
        return {name for name in (old, new) if name is not None}

    def _side(self, mark: str, prefix: str) -> str | None:
        line = self._line()
        name = _unquoted(line[len(mark) :].split("\t")[0].rstrip("\r"))
        if not line.startswith(mark):
            raise self._error(f"a line that starts with {mark!r} belongs here")
        if name != "/dev/null" and not name.startswith(prefix):
            raise self._error(f"file names begin with {prefix!r}; write the patch without --no-prefix")
        path = None if name == "/dev/null" else self._checked(name[len(prefix) :])
        self.at += 1
        return path

    def _read_hunk(self, old: int, new: int) -> None:
        header_at = self.at
        self.at += 1
        while old > 0 or new > 0 or self._line().startswith("\\"):
            if self.at >= len(self.lines) - 1:  # the last one is what follows the last line feed: nothing
                self.at = header_at
                raise self._error(f"this hunk lacks {max(old, new)} lines; the file is cut short")
            line = self._line()
            kind = line[:1] or " "
            if kind not in " +-\\" or (kind in " +" and new == 0) or (kind in " -" and old == 0):
                raise self._error(f"does not fit the counts of the hunk at line {header_at + 1}")
            if line.startswith(_MARKERS):
                raise self._error("adds a conflict marker; the conflict was not resolved")
            self.added += kind == "+"
            self.removed += kind == "-"
            old -= kind in " -"
            new -= kind in " +"
            self.at += 1

    def _skip_binary(self) -> None:
        self.at += 1
        while re.match(r"(?:literal|delta) \d+$", self._line()):
            while self._line().strip():
                self.at += 1
            self.at += 1

    def _read_end(self) -> None:
        """Nothing but blank lines and git's signature may follow."""
        for number in range(self.at, len(self.lines)):
            line = self.lines[number].rstrip("\r")
            if line == "-- ":
                self._refuse_second(number)
                return
            if line.strip():
                self.at = number
                raise self._error(f"{line[:40]!r} is no part of a patch")

    def _refuse_second(self, after: int) -> None:
        for number in range(after, len(self.lines)):
            if re.match(r"From [0-9a-f]{40} |diff --git ", self.lines[number]):
                self.at = number
                raise self._error("a second patch begins; keep one patch a file")

    def _names_of_first_line(self, begun: int) -> set[str]:
        """For changes of mode, empty and binary files: both sides have one name."""
        rest = self.lines[begun][len("diff --git ") :].rstrip("\r")
        match = re.fullmatch(r'("?)a/(.+)\1 "?b/\2\1', rest)
        if not match:
            self.at = begun
            raise self._error("cannot read the name of the file")
        return {self._checked(_unquoted(f"{match[1]}{match[2]}{match[1]}"))}

    def _checked(self, name: str) -> str:
        if name.startswith("/") or ".." in name.split("/") or ".git" in name.lower().split("/") or not name:
            raise self._error(f"the file name {name[:80]!r} leads out of the source tree")
        if not name.isprintable():
            raise self._error(f"the file name {name[:80]!r} is not printable UTF-8")
        return name

    def _line(self) -> str:
        return self.lines[self.at] if self.at < len(self.lines) else ""

    def _error(self, what: str) -> PatchError:
        return PatchError(f"{self.file_name}: line {self.at + 1}: {what}")


def _unquoted(name: str) -> str:
    """git's C-style quotes around names with unusual bytes, taken off."""
    if not (len(name) >= 2 and name.startswith('"') and name.endswith('"')):
        return name
    plain = {"n": b"\n", "t": b"\t", "r": b"\r", "a": b"\a", "b": b"\b", "f": b"\f", "v": b"\v"}
    parts: list[bytes] = []
    for match in re.finditer(r"\\([0-7]{3})|\\(.)|([^\\]+)", name[1:-1]):
        octal, letter, text = match.groups()
        if octal:
            parts.append(bytes([int(octal, 8) & 255]))
        else:
            parts.append(plain.get(letter, letter.encode()) if letter else text.encode("utf-8", "surrogateescape"))
    return b"".join(parts).decode("utf-8", "surrogateescape")
