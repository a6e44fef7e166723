"""Shapes of the operators' API about fills, /v1/fill..."""

from dataclasses import dataclass

from headrace.base.ids import ApplianceId, Sha256, SiteId, TitleId
from headrace.fill.orders import FillOrder
from headrace.fleet.model import FillState

LISTED_TITLES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FillOrderRequest:
    """POST /v1/fill/orders. Exactly one of `title_id` and `sha256`; instants are UTC epoch seconds."""

    title_id: TitleId | None = None
    sha256: Sha256 | None = None
    site_id: SiteId | None = None
    by_s: float | None = None
    """To be there by then; None: now."""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplianceFill:
    """How far one appliance is."""

    appliance_id: ApplianceId
    state: FillState
    missing_files: int
    missing_bytes: int
    rate_bps: float
    expected_end_s: float | None
    """None: nothing is missing, or it will never end as things are."""
    outside_bytes: int
    """Fetched from outside of its site since its agent started."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TitleFill:
    """How far a title is at a site: sums over the appliances that plan it."""

    title_id: TitleId
    missing_bytes: int
    planned_bytes: int
    expected_end_s: float | None
    fits: bool
    """Whether it will be there before the window closes; True where there is no window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFill:
    """How far a site is, and what its window is. Instants are UTC epoch seconds."""

    site_id: SiteId
    zone: str
    hours: str
    """'' for no window: it fills at once."""
    is_open: bool
    opens_s: float | None
    closes_s: float | None
    """Of the window that is open now, else of the next one."""
    site_bps: int
    """Bound for what comes in from outside; 0 for none."""
    missing_bytes: int
    """Summed over its appliances."""
    inbound_bytes: int
    """What has to come from outside: files that nobody of the site holds, once."""
    left_over_bytes: int
    """What will be missing when the window closes, summed likewise."""
    expected_end_s: float | None
    appliances: tuple[ApplianceFill, ...] = ()
    titles: tuple[TitleFill, ...] = ()
    """Those with the most missing, at most LISTED_TITLES."""
    titles_missing: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FillView:
    """GET /v1/fill."""

    now_s: float
    sites: tuple[SiteFill, ...]
    orders: tuple[FillOrder, ...]
