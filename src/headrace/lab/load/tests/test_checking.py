"""What is right, and that every kind of fault is seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.lab.content import KnownFile
from headrace.lab.load.checking import Ask, bytes_fault, conditions, head_fault, multipart_fault, part, whole

FILE = KnownFile(size_bytes=10_000, seed="checking")


def right_head(ask: Ask) -> dict[str, str]:
    first, end = ask.ranges[0] if ask.ranges else (0, 10_000)
    return {
        "content-length": str(end - first),
        "content-range": f"bytes {first}-{end - 1}/10000",
        "etag": f'"{FILE.sha256}"',
    }


@pytest.mark.parametrize("ask", [whole(FILE), part(FILE, 4095, 4097)])
def test_a_right_head_has_no_fault(ask: Ask) -> None:
    assert head_fault(ask, ask.status, right_head(ask)) == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"content-length": "3"}, "Content-Length 3, not 2"),
        ({"content-range": "bytes 4096-4097/10000"}, "Content-Range"),
        ({"etag": '"x"'}, "ETag"),
    ],
)
def test_a_wrong_head_is_named(change: dict[str, str], said: str) -> None:
    ask = part(FILE, 4095, 4097)
    assert said in head_fault(ask, 206, right_head(ask) | change)
    assert "status 200, not 206" in head_fault(ask, 200, right_head(ask))


@given(st.integers(0, 9_999), st.data())
def test_one_wrong_byte_is_found_at_its_place(first: int, data: st.DataObject) -> None:
    expected = memoryview(FILE.body)[first:]
    at = data.draw(st.integers(0, len(expected) - 1))
    got = bytearray(expected)
    assert bytes_fault(bytes(got), expected, 0) == ""
    got[at] ^= 0x20
    assert bytes_fault(bytes(got), expected, 0).startswith(f"byte {at} of {len(expected)} is ")


def test_bytes_beyond_the_end_are_a_fault() -> None:
    assert bytes_fault(b"x", memoryview(FILE.body)[:5], 5) == "1 bytes too many"


def multipart(ask: Ask, *, spoil: int = -1) -> bytes:
    body = b""
    for index, (first, end) in enumerate(ask.ranges):
        data = bytearray(FILE.body[first:end])
        if index == spoil:
            data[-1] ^= 1
        body += f"\r\n--B\r\nContent-Type: video/mp4\r\nContent-Range: bytes {first}-{end - 1}/10000\r\n\r\n".encode()
        body += data
    return body + b"\r\n--B--\r\n"


def test_multipart() -> None:
    ask = Ask(file=FILE, ranges=((0, 5), (4090, 4100)), status=206)
    kind = "multipart/byteranges; boundary=B"
    assert multipart_fault(ask, kind, multipart(ask)) == ""
    assert "in the part 4090-4099: byte 9 of 10" in multipart_fault(ask, kind, multipart(ask, spoil=1))
    assert "does not end" in multipart_fault(ask, kind, multipart(ask)[:-8])
    assert "no part for bytes 4090-4099" in multipart_fault(ask, kind, multipart(ask)[:100])
    assert "Content-Type" in multipart_fault(ask, "video/mp4", b"")


def test_conditions_cover_each_answer() -> None:
    assert sorted({ask.status for ask in conditions(FILE)}) == [200, 206, 304, 412, 416]
    for ask in conditions(KnownFile(size_bytes=1, seed="one")):
        assert ask.asked
