"""The file of a forecast: what is expected of each title in each region, as columns that are read in bulk.

Written by `headrace plan forecast`, read by the control plane. A reader keeps the last good one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headrace.base.ids import SiteId, TitleId
from headrace.demand.forecast import ForecastReason
from headrace.demand.forecast_titles import ANY_REGION, RegionForecast, TitleForecast
from headrace.wire.codec import decode, encode
from headrace.wire.columns import pack_columns, unpack_columns
from headrace.wire.errors import MalformedError
from headrace.wire.files import write_atomic

MOST_FORECAST_BYTES = 1 << 30
"""A million titles in a hundred regions take 900 MB."""
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    format: int
    made_s: float
    newcomers: Mapping[str, float]
    """By region."""
    scales: Mapping[str, float]


def write_forecast(path: Path, forecast: TitleForecast) -> None:
    """Replace the file as a whole."""
    write_atomic(path, pack_forecast(forecast))


def pack_forecast(forecast: TitleForecast) -> bytes:
    """The bytes of the file."""
    names = sorted(forecast.regions)
    head = _Head(
        format=_FORMAT,
        made_s=forecast.made_s,
        newcomers={name: forecast.regions[name].newcomer_plays for name in names},
        scales={str(name): scale for name, scale in forecast.scales.items()},
    )
    columns = {"head": encode(head), "titles": "\n".join(forecast.titles).encode()}
    for at, name in enumerate(names):
        region = forecast.regions[name]
        columns[f"{at} plays"] = region.plays.astype("<f4").tobytes()
        columns[f"{at} spread"] = region.spread.astype("<f4").tobytes()
        columns[f"{at} reason"] = region.reason.astype("u1").tobytes()
    return pack_columns(columns)


def read_forecast(body: bytes) -> TitleForecast:
    """Read what `pack_forecast` wrote.

    Raises:
        MalformedError: not a forecast, of another format, or its columns do not fit together.
    """
    columns = unpack_columns(body)
    if "head" not in columns or "titles" not in columns:
        raise MalformedError("forecast: no head or no titles")
    head = decode(_Head, bytes(columns["head"]))
    if head.format != _FORMAT:
        raise MalformedError(f"forecast: format {head.format}, this version reads {_FORMAT}: make it anew")
    if ANY_REGION not in head.newcomers:
        raise MalformedError("forecast: nothing for sites of no region")
    text = bytes(columns["titles"]).decode()
    titles = tuple(TitleId(name) for name in text.split("\n")) if text else ()
    regions = {
        name: _region(columns, at, len(titles), head.newcomers[name]) for at, name in enumerate(sorted(head.newcomers))
    }
    scales = {SiteId(name): scale for name, scale in head.scales.items()}
    return TitleForecast(made_s=head.made_s, titles=titles, regions=regions, scales=scales)


def _region(columns: Mapping[str, memoryview], at: int, count: int, newcomer: float) -> RegionForecast:
    plays = _column(columns, f"{at} plays", "<f4", count)
    spread = _column(columns, f"{at} spread", "<f4", count)
    reason = _column(columns, f"{at} reason", "u1", count)
    is_sane = bool(np.isfinite(plays).all() and np.isfinite(spread).all() and (plays >= 0).all())
    if not is_sane or (reason > max(ForecastReason)).any():
        raise MalformedError("forecast: a number is not finite, negative, or names no reason")
    return RegionForecast(
        plays=plays,
        spread=spread,
        reason=reason.astype(np.int64),
        newcomer_plays=newcomer,
    )


def _column(columns: Mapping[str, memoryview], name: str, kind: str, count: int) -> NDArray[np.float64]:
    dtype = np.dtype(kind)
    found = columns.get(name)
    if found is None or len(found) != count * dtype.itemsize:
        raise MalformedError(f"forecast: column {name!r} does not fit {count} titles")
    return np.frombuffer(found, dtype=dtype).astype(np.float64)
