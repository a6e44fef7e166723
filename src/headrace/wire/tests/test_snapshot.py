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
from headrace.wire.errors import MalformedError
from headrace.wire.snapshot import MAGIC, SnapshotParts, pack_snapshot, unpack_snapshot


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


@pytest.mark.parametrize("section", [zlib.compress(b"{}")[:-5], b"", b"nonsense", zlib.compress(b"[]")])
@pytest.mark.parametrize("count", [0, 1, 5, 6])
def test_sections_that_cannot_be_read_are_refused(section: bytes, count: int) -> None:
    rest = (struct.pack(">I", len(section)) + section) * count
    with pytest.raises(MalformedError):
        unpack_snapshot(MAGIC + hashlib.sha256(rest).digest() + rest)


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
