"""What is known of the network when logs are counted: published files, which site an appliance is of, kinds of sites.

Kept in the folder of totals, so that counting goes on while the control plane is away, and so that files of titles that
were withdrawn stay known: requests for them are late, not hostile.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow
import pyarrow.parquet

from headrace.base.ids import ApplianceId, SiteId
from headrace.catalog.model import Title
from headrace.demand.queries import FILES
from headrace.fleet.model import SiteKind
from headrace.metering.count import Surroundings
from headrace.metering.errors import TotalsError
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError
from headrace.wire.files import write_atomic

_FILES, _SITES, _KINDS = "files.parquet", "sites.json", "kinds.json"
_TYPES = {"string": pyarrow.string(), "int64": pyarrow.int64()}
_SCHEMA = pyarrow.schema([(name, _TYPES[kind]) for name, kind in FILES])
_Sites = dict[ApplianceId, SiteId]
_Kinds = dict[SiteId, SiteKind]


def keep_surroundings(
    folder: Path, titles: Iterable[Title], sites: _Sites, kinds: _Kinds | None = None
) -> Surroundings:
    """Learn what is there now, beside what was there before.

    Raises:
        TotalsError: what was kept before cannot be read.
    """
    before = _read(folder)
    files = {row["file"]: row for row in pyarrow.parquet.read_table(before.files).to_pylist()} if before else {}
    for title in titles:
        for file in title.files:
            # A file has one row, or each request for it would count once for each of them.
            files[file.sha256] = {
                "file": file.sha256,
                "size_bytes": file.size_bytes,
                "title": title.title_id,
                "rendition": file.rendition_id,
            }
    known = {**(before.sites if before else {}), **sites}
    known_kinds = {**(before.kinds if before else {}), **(kinds or {})}
    table = pyarrow.Table.from_pylist([files[name] for name in sorted(files)], schema=_SCHEMA)
    target = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, target, compression="zstd")
    write_atomic(folder / _FILES, target.getvalue().to_pybytes())
    write_atomic(folder / _KINDS, encode(known_kinds, _Kinds))
    write_atomic(folder / _SITES, encode(known, _Sites))
    return Surroundings(files=folder / _FILES, sites=known, kinds=known_kinds)


def last_surroundings(folder: Path) -> Surroundings:
    """What was known last.

    Raises:
        TotalsError: nothing was, or it cannot be read.
    """
    found = _read(folder)
    if found is None:
        raise TotalsError(f"{folder}: files and sites were never learnt; count once while the control plane answers")
    return found


def last_kinds(folder: Path) -> Mapping[SiteId, SiteKind]:
    """How each site that was ever known reaches its clients; nothing for a folder that never learnt it.

    Raises:
        TotalsError: it cannot be read.
    """
    if not (folder / _KINDS).exists():
        return {}
    try:
        return decode(_Kinds, (folder / _KINDS).read_bytes())
    except (OSError, MalformedError) as error:
        raise TotalsError(f"{folder}: kinds of sites cannot be read ({error}); delete {_KINDS}") from error


def _read(folder: Path) -> Surroundings | None:
    if not (folder / _SITES).exists():
        return None
    try:
        sites = decode(_Sites, (folder / _SITES).read_bytes())
        pyarrow.parquet.read_metadata(folder / _FILES)
    except (OSError, MalformedError, pyarrow.ArrowException) as error:
        raise TotalsError(f"{folder}: what was known of files and sites cannot be read ({error}); delete it") from error
    return Surroundings(files=folder / _FILES, sites=sites, kinds=last_kinds(folder))
