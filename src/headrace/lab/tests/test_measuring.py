"""What changed over a run."""

from headrace.lab.measuring import changes


def test_growing_ones_are_differences_levels_are_last() -> None:
    before = {"tcp.out_segs": 5.0, "tcp.curr_estab": 9.0, "mem.slab_bytes": 100.0, "cpu.seconds": 1.5, "gone": 1.0}
    after = {"tcp.out_segs": 8.0, "tcp.curr_estab": 2.0, "mem.slab_bytes": 90.0, "cpu.seconds": 2.0, "new": 1.0}
    assert changes(before, after) == {
        "tcp.out_segs": 3.0,
        "tcp.curr_estab": 2.0,
        "mem.slab_bytes": 90.0,
        "cpu.seconds": 0.5,
    }
