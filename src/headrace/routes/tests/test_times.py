import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.routes.chunks import CHUNKS, MOST_CHUNK_BYTES, cut_table
from headrace.routes.columns import count_routes
from headrace.routes.model import RouteError
from headrace.routes.times import cut_times, is_times, pack_times, read_times, time_column

TIMES = st.dictionaries(
    st.integers(0, CHUNKS - 1), st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5), max_size=30
)


def packed(times, parts):
    columns = {
        part: [time_column(times[number]) for number in sorted(times) if number % parts == part]
        for part in range(parts)
    }
    return [pack_times(parts, part, found) for part, found in columns.items() if found]


@given(TIMES, st.sampled_from([1, 2, 16, CHUNKS]))
def test_times_are_read_as_they_were_packed(times, parts):
    made = packed(times, parts)
    rows = {number: len(seconds) for number, seconds in times.items()}
    assert {number: list(seconds) for number, seconds in read_times(rows, made[::-1]).items()} == times
    assert all(map(is_times, made))
    assert sum(count_routes(made)) == sum(rows.values())


@given(st.lists(st.sampled_from([0, 0, 1, 9, 70, 1100]), min_size=CHUNKS, max_size=CHUNKS))
def test_no_chunk_has_times_in_two_parts(counts):
    times = cut_times(counts)
    for number, step in cut_table(counts).items():
        assert [one for one, wide in times.items() if step >= wide and number % wide == one] != []


@pytest.mark.parametrize("rows", [{1: 2}, {1: 3, 2: 2}, {1: 1, 2: 2}, {1: 2, 2: 2, 3: 1}, {}])
def test_times_of_other_routes_are_refused(rows):
    with pytest.raises(RouteError, match="times of"):
        read_times(rows, packed({1: [7, 8], 2: [9, 9]}, 2))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"x",
        struct.pack("<HHI", 0, 0, 1) + bytes(4),
        struct.pack("<HHI", 2, 2, 1) + bytes(4),
        struct.pack("<HHI", 2000, 0, 1) + bytes(4),
        struct.pack("<HHI", 1, 0, 0),
        struct.pack("<HHI", 1, 0, 2) + bytes(4),
        bytes(MOST_CHUNK_BYTES + 1),
    ],
)
def test_broken_bytes_are_refused(payload):
    with pytest.raises(RouteError):
        count_routes([b"HRT1" + zlib.compress(payload)])
