"""How requests become demand, as queries that are written once (Ibis) and run on any engine. Nothing here runs one.

`judged` says of each request whether it counts and if not, why; `tally` is the one pass over all requests, and all
else is made of the tally, which is smaller by what a session asks of a file in an hour. What is not trusted is
collapsed there to one row an appliance and reason, so that nobody can make the tally large with it.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from operator import or_

import ibis
from ibis.expr.types import IntegerColumn, IntegerValue, Table

from headrace.telemetry.batch import COLUMNS

HOUR_MS = 3_600_000
_MOST_DURATION_MS = 7 * 24 * HOUR_MS
_MOST = 2**50
"""Of bytes and milliseconds."""
_MOST_SUMMED = 2**40
_MOST_KBPS = 10_000_000
_MOST_DELAY_MS = 600_000
MOST_SMALL_BYTES = 65_536
"""Of the body of an answer that is no file, such as a redirect."""

FILES = (("file", "string"), ("size_bytes", "int64"), ("title", "string"), ("rendition", "string"))
"""Columns of the table of files: all that were ever published and may still be asked for."""
APPLIANCES = (("appliance", "string"), ("site", "string"))
HOMES = (("client", "string"), ("home", "string"))
"""Networks of clients and the site that should serve each; of a network that is not there, the site that served."""
KINDS = (("served_by", "string"), ("kind", "string"))
"""Sites and how they reach their clients (fleet.model.SiteKind)."""
MOST_CLIENT = 50
"""Characters: a network is never longer."""

REQUESTS = COLUMNS


class Reason(StrEnum):
    """Why a request does not count as demand."""

    ANSWER = "answer"
    """Answered with an error: nothing was to be had, so nothing is set aside."""
    IMPLAUSIBLE = "implausible"
    """A value is missing, negative or beyond all measure, or a range ends before it begins."""
    UNKNOWN_FILE = "unknown-file"
    """No such file was published."""
    BEYOND_FILE = "beyond-file"
    """A range that begins after the end of the file."""
    TOO_LONG = "too-long"
    """More bytes than the file has."""
    AHEAD = "ahead"
    """Later than the batch that says so: the appliance's clock is wrong."""
    LATE = "late"
    """Older than what is still counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which instants count, UTC epoch milliseconds."""

    first_ms: int
    end_ms: int


def clients(requests: Table, *, most: int) -> Table:
    """The networks that asked, each once, at most so many."""
    return requests.filter(requests.client.length().between(1, MOST_CLIENT)).select("client").distinct().limit(most)


def at_home(judged: Table, homes: Table) -> Table:
    """What was judged, with the `home` of each client; '' where none is known."""
    return judged.left_join(homes, judged.client == homes.client).select(judged, home=homes.home.fill_null(""))


def judged(requests: Table, files: Table, span: Span) -> Table:
    """All columns of `requests`, with `hour`, `reason` ('' for what counts), bytes `asked`, `served` and `through`.

    Bytes asked are those of the range, within the file. Of a range without end that was broken off it is what was
    taken, because many players ask to the end of the file and leave when they have enough. What went through was
    streamed from the origin.
    """
    known = requests.left_join(files, "file").select(*(requests[name] for name, _ in REQUESTS), files.size_bytes)
    time_ms, duration_ms = _sane(known.time_ms), _sane(known.duration_ms)
    size, first, last, body = known.size_bytes, _sane(known.first_byte), _sane(known.last_byte), _sane(known.body_bytes)
    is_given = known.status.isin([200, 206])
    in_range = ibis.least(last.fill_null(size - 1), size - 1) - first + 1
    wanted = ibis.cases(
        (known.status == 304, 0),
        (first.isnull(), body),
        (last.isnull(), ibis.ifelse(is_given, body, in_range)),
        # A range that is refused for what it was made of is answered with the whole file.
        else_=ibis.greatest(in_range, ibis.ifelse(known.status == 200, body, 0)),
    )
    # Several ranges are sent with a few lines between them.
    most = ibis.cases(
        (first.isnull(), size + 65_536), ((known.status == 206), in_range), (is_given, size), else_=MOST_SMALL_BYTES
    )
    needed = (time_ms, duration_ms, known.status, body, known.file, known.is_proxied)
    is_implausible = reduce(or_, (column.isnull() for column in needed)) | reduce(
        or_, (column.fill_null(0) < 0 for column in (time_ms, duration_ms, body, first, last))
    )
    return known.mutate(
        reason=ibis.cases(
            (is_implausible | (duration_ms > _MOST_DURATION_MS), Reason.IMPLAUSIBLE.value),
            ((last < first).fill_null(False), Reason.IMPLAUSIBLE.value),
            (~known.status.isin([200, 206, 302, 304]), Reason.ANSWER.value),
            (time_ms >= span.end_ms, Reason.AHEAD.value),
            (time_ms < span.first_ms, Reason.LATE.value),
            (size.isnull(), Reason.UNKNOWN_FILE.value),
            (first.fill_null(0) >= size, Reason.BEYOND_FILE.value),
            (body > most, Reason.TOO_LONG.value),
            else_="",
        ),
        hour=(time_ms // HOUR_MS).cast("int64"),
        begun_ms=time_ms - duration_ms,
        asked=wanted,
        served=ibis.ifelse(is_given & ~known.is_proxied, body, 0),
        through=ibis.ifelse(is_given & known.is_proxied, body, 0),
        sent=body,
    )


def tally(requests: Table) -> Table:
    """Of what was judged and is `at_home`: one row an appliance, home, file, hour and session.

    Of what does not count, one an appliance and reason.
    """
    counts = requests.reason == ""
    begun_ms = requests.begun_ms
    kbps = requests.throughput_kbps
    is_sane = kbps.between(1, _MOST_KBPS)
    delay_ms = requests.start_delay_ms
    return requests.group_by(
        "appliance",
        "reason",
        home=ibis.ifelse(counts, requests.home, ""),
        file=ibis.ifelse(counts, requests.file, ""),
        hour=ibis.ifelse(counts, requests.hour, 0),
        session=counts.ifelse(requests.session, ibis.null("int64")),
    ).aggregate(
        requests=requests.count(),
        body_bytes=_sum(ibis.ifelse(requests.sent.between(0, _MOST_SUMMED), requests.sent, 0)),
        bytes_asked=_sum(requests.asked),
        bytes_served=_sum(requests.served),
        bytes_through=_sum(requests.through),
        begun_ms=begun_ms.min(),
        startup_ms=begun_ms.min(where=requests.is_startup),
        steady_ms=begun_ms.min(where=~requests.is_startup),
        said_delay_ms=delay_ms.min(where=delay_ms.between(0, _MOST_DELAY_MS)),
        starved=_sum(requests.is_starved.cast("int64")),
        kbps_sum=_sum(ibis.ifelse(is_sane, kbps, 0)),
        kbps_count=_sum(ibis.ifelse(is_sane, 1, 0)),
    )


def demand(tallied: Table, appliances: Table, files: Table) -> Table:
    """Bytes and requests by file, site and hour.

    The site is the one that should have served: a site that holds little would else be taken for one that is asked for
    little, and would be given less still. What another site served it for is asked, not served.
    """
    counted = _counted(tallied, appliances, files)
    is_known = counted.home != ""
    return sum_demand(
        counted.mutate(
            site=ibis.ifelse(is_known, counted.home, counted.site),
            bytes_served=ibis.ifelse(is_known & (counted.home != counted.site), 0, counted.bytes_served),
        )
    )


def sum_demand(rows: Table) -> Table:
    """Demand of several counts as that of one."""
    return rows.group_by("hour", "site", "file", "title", "rendition", "size_bytes").aggregate(
        bytes_asked=_sum(rows.bytes_asked), bytes_served=_sum(rows.bytes_served), requests=_sum(rows.requests)
    )


def offload(tallied: Table, appliances: Table) -> Table:
    """Bytes that clients were given, by hour, their home ('' where none is known) and the site that served them.

    `bytes_through` were streamed from the origin by that site, and are not in `bytes_served`.
    """
    given = tallied.filter((tallied.reason == "") & (tallied.bytes_served + tallied.bytes_through > 0))
    known = given.inner_join(appliances, "appliance")
    return sum_offload(known.mutate(served_by=known.site))


def sum_offload(rows: Table) -> Table:
    """Offload of several counts as that of one."""
    return rows.group_by("hour", "home", "served_by").aggregate(
        bytes_served=_sum(rows.bytes_served), bytes_through=_sum(rows.bytes_through)
    )


def offload_by_tier(rows: Table, kinds: Table, *, by: tuple[str, ...]) -> Table:
    """Offload by some of its columns and the tier that served (demand.offload.Tier), with the bytes fetched through.

    What a site whose kind nobody knows served for others is of the tier `unknown`.
    """
    known = rows.left_join(kinds, rows.served_by == kinds.served_by).select(rows, kind=kinds.kind.fill_null("unknown"))
    known = known.mutate(
        tier=ibis.cases((known.home == "", "no-home"), (known.home == known.served_by, "own"), else_=known.kind)
    )
    return known.group_by(*by, "tier").aggregate(
        bytes_served=_sum(known.bytes_served), bytes_through=_sum(known.bytes_through)
    )


def sessions(tallied: Table, appliances: Table, files: Table) -> Table:
    """What each session did of a title at a site in an hour; of requests that name their session (CMCD)."""
    return sum_sessions(_counted(tallied.filter(tallied.session.notnull()), appliances, files))


def sum_sessions(rows: Table) -> Table:
    """Sessions of several counts as those of one."""
    return rows.group_by("hour", "site", "title", "session").aggregate(
        requests=_sum(rows.requests),
        bytes_served=_sum(rows.bytes_served),
        begun_ms=rows.begun_ms.min(),
        startup_ms=rows.startup_ms.min(),
        steady_ms=rows.steady_ms.min(),
        said_delay_ms=rows.said_delay_ms.min(),
        starved=_sum(rows.starved),
        kbps_sum=_sum(rows.kbps_sum),
        kbps_count=_sum(rows.kbps_count),
    )


def flaws(tallied: Table) -> Table:
    """What does not count: requests and bytes by appliance and reason."""
    refused = tallied.filter(tallied.reason != "")
    return refused.group_by("appliance", "reason").aggregate(
        requests=_sum(refused.requests), body_bytes=_sum(refused.body_bytes)
    )


def set_aside(requests: Table, *, most: int) -> Table:
    """The requests that are not trusted, as they came, with the reason; at most so many."""
    doubtful = requests.filter(~requests.reason.isin(["", Reason.ANSWER.value]))
    return doubtful.select(*(name for name, _ in REQUESTS), "reason").limit(most)


def top(rows: Table, *, by: tuple[str, ...], most: int) -> Table:
    """Demand summed by some of its columns, the most asked for first."""
    summed = rows.group_by(*by).aggregate(
        bytes_asked=_sum(rows.bytes_asked),
        bytes_served=_sum(rows.bytes_served),
        requests=_sum(rows.requests),
        plays=(rows.bytes_asked / rows.size_bytes).sum(),
        hours=rows.hour.nunique(),
    )
    return summed.order_by(ibis.desc("bytes_asked"), *by).limit(most)


def quality(rows: Table, *, by: tuple[str, ...], most: int) -> Table:
    """Sessions, play delay, rebuffering and throughput by some columns of sessions; most sessions first.

    Play delay is what the player says (msd), else the time from its first request to the first one that it does not
    call urgent (su), of those sessions whose first request is there. `rebuffers` counts requests of a player that had
    run dry (bs).
    """
    each = rows.group_by(*by, *(("session",) if "session" not in by else ())).aggregate(
        begun_ms=rows.begun_ms.min(),
        startup_ms=rows.startup_ms.min(),
        steady_ms=rows.steady_ms.min(),
        said_delay_ms=rows.said_delay_ms.min(),
        starved=_sum(rows.starved),
        kbps_sum=_sum(rows.kbps_sum),
        kbps_count=_sum(rows.kbps_count),
        bytes_served=_sum(rows.bytes_served),
    )
    seen_ms = each.steady_ms - each.startup_ms
    is_seen = (each.startup_ms == each.begun_ms) & seen_ms.between(0, _MOST_DELAY_MS)
    each = each.mutate(
        delay_ms=ibis.coalesce(each.said_delay_ms, is_seen.ifelse(seen_ms, ibis.null("int64"))),
        is_starved=(each.starved > 0).cast("int64"),
    )
    summed = each.group_by(*by).aggregate(
        sessions=each.session.nunique(),
        delay_ms=each.delay_ms.mean(),
        most_delay_ms=each.delay_ms.max(),
        rebuffers=_sum(each.starved),
        rebuffered_sessions=_sum(each.is_starved),
        kbps=_sum(each.kbps_sum) / _sum(each.kbps_count).nullif(0),
        bytes_served=_sum(each.bytes_served),
    )
    return summed.order_by(ibis.desc("sessions"), *by).limit(most)


def _sane(column: IntegerColumn) -> IntegerValue:
    """-1 for what no request has; so that a sum or difference of numbers that somebody made up cannot overflow."""
    return ibis.ifelse((column < 0) | (column > _MOST), -1, column)


def _counted(tallied: Table, appliances: Table, files: Table) -> Table:
    # Titles are joined to what was tallied, not to each request: a third of the time of the pass.
    return tallied.filter(tallied.reason == "").inner_join(appliances, "appliance").inner_join(files, "file")


def _sum(column: IntegerColumn) -> IntegerValue:
    # Engines widen sums, each in its own way, and a file of totals must not hold what one of them takes for it. Ibis
    # leaves out a cast to the type that it takes a column for, so there is one in between.
    return column.sum().cast("decimal(38, 0)").cast("int64")
