"""What the guest said becomes ticks per request; what it did not say becomes the reason."""

import pytest

from headrace.lab.errors import MachineError
from headrace.lab.ticks import METRICS, SHAPES, read_ticks

SAID = """headrace ticks ticks.1k 30100000
headrace ticks ticks.1k 30000000
[    2.51] some line of the kernel
headrace ticks ticks.100k 60000000
headrace ticks ticks.4m 200000000
"""


def test_the_smaller_of_two_passes_counts() -> None:
    assert read_ticks(SAID) == {"ticks.1k": 60_000.0, "ticks.100k": 120_000.0, "ticks.4m": 4_000_000.0}
    assert read_ticks(SAID).keys() == METRICS


@pytest.mark.parametrize(
    ("console", "why"),
    [
        ("", "it said nothing"),
        ("[ 1.0] Kernel panic - not syncing: no\nheadrace ticks ticks.1k 1\nmore\n", "Kernel panic - not syncing: no"),
        (SAID.rpartition("headrace")[0] + "headrace: /lab/ticks-client ticks.4m ended with 3\n", "ended with 3"),
    ],
)
def test_a_run_that_did_not_end_says_why(console: str, why: str) -> None:
    with pytest.raises(MachineError, match=why):
        read_ticks(console, SHAPES)
