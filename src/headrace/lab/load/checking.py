"""Is an answer right? Compares status, headers and every byte with the content that is known. Pure."""

import re
from dataclasses import dataclass, field

from headrace.lab.content import KnownFile

Range = tuple[int, int]
"""Half open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request and the answer that is right for it."""

    file: KnownFile
    ranges: tuple[Range, ...] = ()
    """None: the whole file. Several: a multipart answer."""
    range_text: str = ""
    """How the Range header is written, where not first-last: `bytes=-100` for the last hundred."""
    headers: dict[str, str] = field(default_factory=dict)
    """Conditions."""
    status: int = 200
    """What the server must answer; see `expect`."""

    @property
    def asked(self) -> str:
        """What is special of this request, for messages."""
        words = [f"{name}: {value}" for name, value in self.all_headers.items()]
        return ", ".join(words) or "the whole file"

    @property
    def all_headers(self) -> dict[str, str]:
        """Conditions and the range."""
        parts = ",".join(f"{first}-{end - 1}" for first, end in self.ranges)
        return self.headers | ({"Range": self.range_text or f"bytes={parts}"} if parts else {})

    @property
    def body(self) -> memoryview | None:
        """The body of the right answer; None for a multipart one, empty where there is none to check."""
        whole = memoryview(self.file.body)
        if self.status == 206:
            return whole[slice(*self.ranges[0])] if len(self.ranges) == 1 else None
        return whole if self.status == 200 else whole[:0]


def whole(file: KnownFile) -> Ask:
    """All of it."""
    return Ask(file=file)


def part(file: KnownFile, first: int, end: int) -> Ask:
    """One range within the file."""
    return Ask(file=file, ranges=((first, end),), status=206)


def open_ranges(file: KnownFile) -> list[Ask]:
    """Ranges without a first or a last place (RFC 9110, section 14.1.2), within the file and beyond it."""
    size = file.size_bytes
    lengths = sorted({1, min(100, size), size, size + 1})
    tails = [(f"bytes=-{length}", max(0, size - length)) for length in lengths]
    rests = [(f"bytes={first}-", first) for first in sorted({size - 1, size // 2})]
    return [Ask(file=file, ranges=((first, size),), range_text=text, status=206) for text, first in tails + rests]


def conditions(file: KnownFile) -> list[Ask]:
    """Requests whose answer depends on a condition (RFC 9110, sections 13 and 14)."""
    own, other = f'"{file.sha256}"', '"another"'
    middle = ((file.size_bytes // 3, file.size_bytes // 3 + 1),)
    return [
        Ask(file=file, headers={"If-None-Match": own}, status=304),
        Ask(file=file, headers={"If-None-Match": other}, status=200),
        Ask(file=file, headers={"If-Match": other}, status=412),
        Ask(file=file, headers={"If-Match": own}, ranges=middle, status=206),
        Ask(file=file, headers={"If-Range": own}, ranges=middle, status=206),
        Ask(file=file, headers={"If-Range": other}, ranges=middle, status=200),
        Ask(file=file, ranges=((file.size_bytes, file.size_bytes + 10),), status=416),
    ]


def head_fault(ask: Ask, status: int, headers: dict[str, str]) -> str:
    """What is wrong with status and headers; '' when nothing is. Names of headers are in lower case."""
    if status != ask.status:
        return f"status {status}, not {ask.status}"
    body = ask.body
    if status in {200, 206} and body is not None and headers.get("content-length") != str(len(body)):
        return f"Content-Length {headers.get('content-length')}, not {len(body)}"
    if status == 206 and len(ask.ranges) == 1:
        first, end = ask.ranges[0]
        right = f"bytes {first}-{end - 1}/{ask.file.size_bytes}"
        if headers.get("content-range") != right:
            return f"Content-Range {headers.get('content-range')}, not {right}"
    if status in {200, 206} and headers.get("etag") != f'"{ask.file.sha256}"':
        return f"ETag {headers.get('etag')}, not the file's"
    return ""


def bytes_fault(got: bytes, expected: memoryview, at: int) -> str:
    """The first byte of `got` that differs from `expected` from place `at` on; '' when none does."""
    right = expected[at : at + len(got)]
    if got == right:
        return ""
    if len(got) > len(right):
        return f"{at + len(got) - len(expected)} bytes too many"
    place = next(index for index, (a, b) in enumerate(zip(got, right, strict=True)) if a != b)
    return f"byte {at + place} of {len(expected)} is {got[place]:#04x}, not {right[place]:#04x}"


def multipart_fault(ask: Ask, content_type: str, body: bytes) -> str:
    """What is wrong with a multipart/byteranges body; '' when nothing is."""
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    if not content_type.startswith("multipart/byteranges") or not boundary:
        return f"Content-Type {content_type!r}, not multipart/byteranges"
    at = 0
    for first, end in ask.ranges:
        mark = f"--{boundary[1]}\r\n".encode()
        start = body.find(mark, at)
        head_end = body.find(b"\r\n\r\n", start)
        if start < 0 or head_end < 0:
            return f"no part for bytes {first}-{end - 1}"
        head = body[start:head_end].decode("latin-1").lower()
        if f"content-range: bytes {first}-{end - 1}/{ask.file.size_bytes}" not in head:
            return f"a part's Content-Range is not bytes {first}-{end - 1}: {head[-80:]!r}"
        at = head_end + 4 + end - first
        fault = bytes_fault(body[head_end + 4 : at], memoryview(ask.file.body)[first:end], 0)
        if fault:
            return f"in the part {first}-{end - 1}: {fault}"
    return "" if f"--{boundary[1]}--".encode() in body[at:] else "the multipart body does not end"
