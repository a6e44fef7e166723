"""Reports."""

from headrace.lab.load.model import LoadReport, percentiles


def test_percentiles() -> None:
    assert percentiles([], {"p50": 0.5}) == {}
    assert percentiles([float(n) for n in range(100, 0, -1)], {"p50": 0.5, "p99": 0.99, "max": 1.0}) == {
        "p50": 51.0,
        "p99": 100.0,
        "max": 100.0,
    }


def test_right_means_asked_and_nothing_wrong() -> None:
    assert not LoadReport().is_right
    assert LoadReport(requests=1).is_right
    for fault in ({"wrong": 1}, {"stalled": 1}, {"failed": 1}):
        assert not LoadReport(requests=1, **fault).is_right
    assert LoadReport(requests=1, bytes=1000, seconds=2.0).throughput_bps == 4000
