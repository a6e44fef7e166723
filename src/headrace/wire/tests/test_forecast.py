"""The file of a forecast: written and read back, and refused when it is not what it should be."""

import numpy as np
import pytest

from headrace.base.ids import SiteId, TitleId
from headrace.demand.forecast_titles import ANY_REGION, RegionForecast, TitleForecast
from headrace.wire.columns import pack_columns, unpack_columns
from headrace.wire.errors import MalformedError
from headrace.wire.forecast import pack_forecast, read_forecast


def _forecast(count: int = 3) -> TitleForecast:
    region = RegionForecast(
        plays=np.arange(count, dtype=float),
        spread=np.ones(count),
        reason=np.arange(count) % 5,
        newcomer_plays=2.5,
    )
    return TitleForecast(
        made_s=1e9,
        titles=tuple(TitleId(f"t{number}") for number in range(count)),
        regions={ANY_REGION: region, "north": region},
        scales={SiteId("s1"): 0.5},
    )


@pytest.mark.parametrize("count", [0, 3])
def test_what_is_written_is_read_back(count: int) -> None:
    found = read_forecast(pack_forecast(_forecast(count)))
    assert found.titles == _forecast(count).titles
    assert found.scales == {"s1": 0.5}
    assert found.regions["north"].plays.tolist() == list(map(float, range(count)))
    assert found.regions[ANY_REGION].reason.tolist() == [number % 5 for number in range(count)]
    assert (found.made_s, found.regions["north"].newcomer_plays) == (1e9, 2.5)


@pytest.mark.parametrize("fault", ["cut", "reason", "nan", "column", "format", "text"])
def test_a_broken_file_is_refused_with_what_is_wrong(fault: str) -> None:
    body = pack_forecast(_forecast())
    columns = {name: bytes(column) for name, column in unpack_columns(body).items()}
    if fault == "cut":
        body = body[:-1]
    elif fault == "text":
        body = b"not a forecast at all"
    else:
        if fault == "reason":
            columns["0 reason"] = b"\xff\x00\x00"
        elif fault == "nan":
            columns["0 plays"] = np.array([np.nan, 1, 2], dtype="<f4").tobytes()
        elif fault == "column":
            del columns["1 spread"]
        else:
            columns["head"] = columns["head"].replace(b'"format":1', b'"format":9')
        body = pack_columns(columns)
    with pytest.raises(MalformedError):
        read_forecast(body)
