"""Content whose every byte is known."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from headrace.lab.content import LARGE_PAGE_BYTES, PAGE_BYTES, KnownFile, border_ranges, standard_content


def test_names_are_hashes_of_bodies() -> None:
    file = KnownFile(size_bytes=5000, seed="x")
    assert len(file.body) == 5000
    assert file.sha256 == hashlib.sha256(file.body).hexdigest()
    assert file.path == f"/f/{file.sha256[:2]}/{file.sha256}.mp4"


def test_standard_content_has_both_sides_of_borders_and_no_double() -> None:
    files = standard_content()
    sizes = {file.size_bytes for file in files}
    for border in (PAGE_BYTES, LARGE_PAGE_BYTES):
        assert {border - 1, border, border + 1} <= sizes
    assert len({file.sha256 for file in files}) == len(files)


@given(st.integers(1, 5 * LARGE_PAGE_BYTES))
def test_border_ranges_lie_within_and_hold_the_whole(size: int) -> None:
    ranges = border_ranges(size)
    assert (0, size) in ranges
    assert all(0 <= first < end <= size for first, end in ranges)
    assert len(ranges) < 80
