"""Locations from a real MMDB file, written here byte by byte after MaxMind's description of the format."""

import ipaddress
import struct
from pathlib import Path

import pytest

from headrace.playback.adapters.geo import open_locator
from headrace.playback.errors import PlaybackError
from headrace.steering.approach import Location

MARK = b"\xab\xcd\xefMaxMind.com"


def encoded(value: object) -> bytes:
    """A value of the data section: maps, texts, doubles, whole numbers, lists."""
    if isinstance(value, dict):
        return bytes([7 << 5 | len(value)]) + b"".join(encoded(key) + encoded(one) for key, one in value.items())
    if isinstance(value, list):
        return bytes([len(value), 11 - 7]) + b"".join(map(encoded, value))
    if isinstance(value, str):
        return bytes([2 << 5 | len(value)]) + value.encode()
    if isinstance(value, float):
        return bytes([3 << 5 | 8]) + struct.pack(">d", value)
    assert isinstance(value, bytes)  # A whole number, encoded by `whole`.
    return value


UINT16, UINT32, UINT64 = (bytes([5 << 5 | 2]), ">H"), (bytes([6 << 5 | 4]), ">I"), (bytes([8, 9 - 7]), ">Q")


def whole(value: int, form: tuple[bytes, str]) -> bytes:
    return form[0] + struct.pack(form[1], value)


def write_database(path: Path, network: str, record: dict[str, object]) -> None:
    """An IPv4 database that knows one network."""
    known = ipaddress.IPv4Network(network)
    bits = f"{int(known.network_address):032b}"[: known.prefixlen]
    nodes, nothing = b"", len(bits)
    for number, bit in enumerate(bits):
        onward = number + 1 if number + 1 < len(bits) else len(bits) + 16
        pair = (onward, nothing) if bit == "0" else (nothing, onward)
        nodes += b"".join(one.to_bytes(3, "big") for one in pair)
    metadata = {
        "node_count": whole(len(bits), UINT32),
        "record_size": whole(24, UINT16),
        "ip_version": whole(4, UINT16),
        "database_type": "Test-City",
        "languages": ["en"],
        "binary_format_major_version": whole(2, UINT16),
        "binary_format_minor_version": whole(0, UINT16),
        "build_epoch": whole(1_800_000_000, UINT64),
        "description": {},
    }
    path.write_bytes(nodes + bytes(16) + encoded(record) + MARK + encoded(metadata))


@pytest.mark.parametrize(
    ("record", "location"),
    [
        ({"location": {"latitude": 48.9, "longitude": 2.4}}, Location(latitude_deg=48.9, longitude_deg=2.4)),
        ({"latitude": 35.7, "longitude": 139.7}, Location(latitude_deg=35.7, longitude_deg=139.7)),
        ({"country": {"iso_code": "FR"}}, None),
        ({"location": {"latitude": 48.9}}, None),
        ({"location": {"latitude": 480.9, "longitude": 2.4}}, None),
        ({"location": "here"}, None),
    ],
)
def test_locations(tmp_path: Path, record: dict[str, object], location: Location | None) -> None:
    write_database(tmp_path / "city.mmdb", "192.0.2.0/24", record)
    locate = open_locator(str(tmp_path / "city.mmdb"))
    assert locate is not None
    assert locate("192.0.2.77") == location
    assert locate("198.51.100.1") is None
    assert locate("2001:db8::1") is None
    assert locate("nonsense") is None


def test_none_configured_and_not_usable(tmp_path: Path) -> None:
    assert open_locator("") is None
    with pytest.raises(PlaybackError, match="cannot read"):
        open_locator(str(tmp_path / "missing.mmdb"))
    (tmp_path / "bad.mmdb").write_bytes(b"not a database" * 100)
    with pytest.raises(PlaybackError, match="cannot read"):
        open_locator(str(tmp_path / "bad.mmdb"))
