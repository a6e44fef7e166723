import hashlib
import struct
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.base.ids import ApplianceId, SiteId
from headrace.catalog.fileset import FileSet
from headrace.fleet.model import AdminState, Health, Site
from headrace.steering.model import SnapshotAppliance, SteeringSnapshot
from headrace.steering.testing import make_hearing, make_title
from headrace.wire.columns import pack_columns
from headrace.wire.errors import MalformedError
from headrace.wire.snapshot import (
    MAGIC,
    NAMES,
    PackMemory,
    Section,
    SnapshotParts,
    pack_sections,
    pack_snapshot,
    read_table,
    snapshot_of,
    unpack_snapshot,
    write_table,
)


def snapshot(holdings: FileSet) -> SteeringSnapshot:
    appliance = SnapshotAppliance(
        appliance_id=ApplianceId("a1"),
        site_id=SiteId("north"),
        content_url="http://192.0.2.1",
        admin_state=AdminState.ENABLED,
        health=Health(),
        capacity_bps=10,
        tx_bps=1.5,
        holdings=holdings,
    )
    sites = (Site(site_id=SiteId("north"), prefixes=("192.0.2.0/24",)),)
    return SteeringSnapshot(
        version=3, built_at_s=1.0, origin_url="http://origin", sites=sites, appliances=(appliance,), titles=()
    )


@given(st.sets(st.integers(1, 2**32 - 1), max_size=50))
def test_a_snapshot_comes_back_as_it_was_packed(numbers: set[int]) -> None:
    value = snapshot(FileSet(numbers))
    assert unpack_snapshot(pack_snapshot(value)) == value


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_any_changed_byte_is_refused(position: int, flip: int) -> None:
    data = bytearray(pack_snapshot(snapshot(FileSet({1, 2, 3}))))
    data[position % len(data)] ^= flip
    with pytest.raises(MalformedError):
        unpack_snapshot(bytes(data))


@pytest.mark.parametrize("keep", [0, 4, 8, 20, 40, 100])
def test_a_file_cut_short_is_refused(keep: int) -> None:
    with pytest.raises(MalformedError):
        unpack_snapshot(pack_snapshot(snapshot(FileSet()))[:keep])


COLUMNS = pack_columns({"rows": b"", "sizes": b"123", "offsets": b"12345"})


@pytest.mark.parametrize("body", [zlib.compress(b"{}")[:-5], b"", b"nonsense", zlib.compress(b"[]"), COLUMNS])
@pytest.mark.parametrize("name", NAMES)
def test_sections_that_cannot_be_read_are_refused(name: str, body: bytes) -> None:
    bad = Section(name=name, digest=hashlib.sha256(body).hexdigest(), body=body)
    sections = [bad if one.name == name else one for one in pack_sections(snapshot(FileSet()))]
    if name == "titles" and not body:
        return  # no titles: a good section
    with pytest.raises(MalformedError):
        unpack_snapshot(write_table(sections))


def test_a_table_that_cannot_be_read_is_refused() -> None:
    for table in (b"", b"[]", b"[[1]]", b"{}", b"nonsense"):
        with pytest.raises(MalformedError):
            unpack_snapshot(MAGIC + hashlib.sha256(table).digest() + struct.pack("<I", len(table)) + table)


def test_large_sections_lie_beside_the_file() -> None:
    value = snapshot(FileSet({1, 2}))
    sections = pack_sections(value)
    data = write_table(sections, is_inside=lambda one: one.name in ("head", "live"))
    beside = {one.digest: bytes(one.body) for one in sections}
    assert [ref.name for ref in read_table(data) if ref.is_inside] == ["head", "live"]
    assert unpack_snapshot(data, find=beside.__getitem__) == value
    with pytest.raises(MalformedError, match="not in the file"):
        unpack_snapshot(data)
    with pytest.raises(MalformedError, match="damaged"):
        unpack_snapshot(data, find=lambda digest: beside[digest] + b"x")


def test_what_did_not_change_is_not_packed_again() -> None:
    titles = (make_title("one"), make_title("two"))
    value = replace(snapshot(FileSet({1})), titles=titles)
    memory = PackMemory()
    first = {one.name: one for one in pack_sections(value, memory)}
    busier = replace(value, version=4, appliances=(replace(value.appliances[0], tx_bps=9.0),))
    second = {one.name: one for one in pack_sections(busier, memory)}
    assert [name for name in first if first[name] is not second[name]] == ["head", "live"]
    more = replace(busier, titles=(titles[1], make_title("three"), titles[0]))
    third = pack_sections(more, memory)
    assert snapshot_of(third) == more
    assert [one.digest for one in third] == [one.digest for one in pack_sections(more)]


def test_routes_come_compiled() -> None:
    value = replace(snapshot(FileSet()), hearings=(make_hearing(["a1"], "10.0.0.0/8 3 7", "2001:db8::/32 2"),))
    read = unpack_snapshot(pack_snapshot(value))
    assert read.routes is not None
    assert read.routes.coverage(bytes([10, 0, 0, 1])) == ((8, 3, 7, 1),)
    assert read.routes.coverage(bytes([192, 0, 2, 1])) == ((24, 0, 0, 0),)
    assert read.hearings[0].appliances == ("a1",)


def test_what_did_not_change_is_not_read_again() -> None:
    parts = SnapshotParts()
    value = snapshot(FileSet({1, 2}))
    first = unpack_snapshot(pack_snapshot(value), parts)
    changed = replace(value, version=4, appliances=(replace(value.appliances[0], tx_bps=7.0),))
    second = unpack_snapshot(pack_snapshot(changed), parts)
    assert second == changed
    assert second.sites is first.sites
    assert second.titles is first.titles
    assert second.appliances[0].holdings is first.appliances[0].holdings
    moved = replace(changed, sites=(replace(value.sites[0], prefixes=("198.51.100.0/24",)),))
    assert unpack_snapshot(pack_snapshot(moved), parts) == moved
    with pytest.raises(MalformedError):
        unpack_snapshot(pack_snapshot(value)[:-1], parts)
    assert unpack_snapshot(pack_snapshot(moved), parts).sites is unpack_snapshot(pack_snapshot(moved), parts).sites
