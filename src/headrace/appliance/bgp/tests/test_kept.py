"""Tables on disk: what was written is read, what is broken is passed over, what is not named is forgotten."""

from pathlib import Path

import pytest

from headrace.appliance.bgp.kept import KeptTables
from headrace.routes.model import AddressFamily, Attributes, RouteOrigin, parse_prefix
from headrace.routes.table import PackedTable, Table

ONE, TWO = "192.0.2.1/ipv4", "192.0.2.2/ipv4"


def packed(*numbers: int) -> PackedTable:
    table = Table(AddressFamily.IPV4)
    said = Attributes(as_path=(1,), origin=RouteOrigin.IGP, next_hop="192.0.2.1")
    table.announce([parse_prefix(f"10.{number}.0.0/16") for number in numbers], said, now_s=5)
    list(table.pack())
    return table.packed()


def read(folder: Path) -> dict[str, int]:
    found = {}
    for kept, chunks in KeptTables(folder).read():
        table = Table(AddressFamily.IPV4)
        table.load(chunks)
        found[kept.session_id] = len(table)
    return found


def test_tables_are_written_when_they_changed_and_read_again(tmp_path: Path):
    kept = KeptTables(tmp_path)
    first = packed(1, 2)
    assert kept.write({ONE: first, TWO: PackedTable()}, now_s=7) > 0
    assert kept.write({ONE: first, TWO: PackedTable()}, now_s=8) == 0
    assert read(tmp_path) == {ONE: 2, TWO: 0}
    assert {head.saved_s for head, _ in KeptTables(tmp_path).read()} == {7}
    assert kept.write({ONE: packed(1, 2, 3)}, now_s=9) > 0
    assert read(tmp_path) == {ONE: 3}


@pytest.mark.parametrize("size", [0, 5, 40, -1])
def test_a_broken_file_is_passed_over(tmp_path: Path, size: int, caplog):
    KeptTables(tmp_path).write({ONE: packed(1), TWO: packed(1, 2, 3)}, now_s=7)
    for path in tmp_path.glob("*.table"):
        if ONE.encode() in path.read_bytes():
            path.write_bytes(path.read_bytes()[:size])
    assert read(tmp_path) == {TWO: 3}
    assert "bgp_kept_table_broken" in caplog.text
