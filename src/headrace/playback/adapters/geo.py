"""The geo-IP database, read with maxminddb. City databases of MaxMind's form and flat ones (DB-IP, ip-location-db)."""

from pathlib import Path

import maxminddb

from headrace.playback.answers import Locator
from headrace.playback.errors import PlaybackError
from headrace.steering.approach import Location


def open_locator(database: str) -> Locator | None:
    """A look-up in `database` (an MMDB file); None for ''.

    Raises:
        PlaybackError: the file cannot be read or is no MMDB.
    """
    if not database:
        return None
    try:
        reader = maxminddb.open_database(Path(database), maxminddb.MODE_AUTO)
    except (OSError, maxminddb.InvalidDatabaseError) as error:
        raise PlaybackError(f"cannot read the geo-IP database {database}: {error}") from None

    def locate(address: str) -> Location | None:
        try:
            return _location(reader.get(address))
        except (ValueError, maxminddb.InvalidDatabaseError):
            return None

    return locate


def _location(record: object) -> Location | None:
    place = record.get("location", record) if isinstance(record, dict) else None
    if not isinstance(place, dict):
        return None
    latitude, longitude = place.get("latitude"), place.get("longitude")
    if not isinstance(latitude, int | float) or not isinstance(longitude, int | float):
        return None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return None
    return Location(latitude_deg=float(latitude), longitude_deg=float(longitude))
