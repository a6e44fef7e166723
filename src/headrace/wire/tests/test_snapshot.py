import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.base.ids import ApplianceId, SiteId
from headrace.catalog.fileset import FileSet
from headrace.fleet.model import AdminState, Health, Site
from headrace.steering.model import SnapshotAppliance, SteeringSnapshot
from headrace.wire.errors import MalformedError
from headrace.wire.snapshot import MAGIC, pack_snapshot, unpack_snapshot


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


def test_a_body_that_does_not_end_is_refused() -> None:
    packed = zlib.compress(b"{}")[:-5]
    with pytest.raises(MalformedError):
        unpack_snapshot(MAGIC + hashlib.sha256(packed).digest() + packed)
