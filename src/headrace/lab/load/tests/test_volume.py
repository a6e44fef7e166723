"""h2load's summary, as version 1.52 prints it."""

import pytest

from headrace.lab.errors import LoadError
from headrace.lab.load.volume import VolumeReport, parse_volume

TEXT = """starting benchmark...
finished in 2.01s, 4128.00 req/s, 4.95MB/s
requests: 8256 total, 8264 started, 8256 done, 8250 succeeded, 6 failed, 0 errored, 0 timeout
status codes: 8257 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 9.90MB (10378025) total, 1.43MB (1502774) headers (space savings 0.00%), 8.06MB (8455168) data
                     min         max         mean         sd        +/- sd
time for request:      274us     18.07ms      1.94ms      1.38ms    96.41%
time for connect:      159us       367us       248us        71us    62.50%
time to 1st byte:     1.43ms      7.70ms      4.02ms      2.44ms    62.50%
"""


def test_reads_the_summary() -> None:
    assert parse_volume(TEXT) == VolumeReport(
        seconds=2.01, requests=8250, bytes=8455168, failed=6, mean_ms=1.94, first_byte_ms=pytest.approx(4.02)
    )


@pytest.mark.parametrize("text", ["", "Could not resolve", TEXT.replace("(8455168) data", "(0) data")])
def test_no_answer_is_an_error(text: str) -> None:
    with pytest.raises(LoadError):
        parse_volume(text)
