"""What operators ask of fills: a title or file now, past the window, or by a date. Pure.

An order never makes an appliance hold what its plan does not name: placement says where, an order says when.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from headrace.base.ids import Sha256, SiteId, TitleId
from headrace.fill.windows import Window

MARGIN = 1.25
"""A pre-seed that needs so many times the time left in windows passes them: rates are bounds, not promises."""


class OrderEnd(StrEnum):
    """Why an order is over."""

    DONE = "done"
    """Every appliance that plans its files holds them."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """It was not done in its time; its files go on as any others."""


class Urgency(StrEnum):
    """How an order's files are filled now."""

    PASSES_WINDOW = "passes-window"
    FIRST = "first"
    """In the window, before all others."""


class UrgencyReason(StrEnum):
    """Why."""

    ASKED_NOW = "asked-now"
    NO_TIME_IN_WINDOWS = "no-time-in-windows"
    """The windows that are left before the date are too short."""
    TIME_IN_WINDOWS = "time-in-windows"


@dataclass(frozen=True, slots=True, kw_only=True)
class FillOrder:
    """Fill a title or a file now, or by a date. Instants are UTC epoch seconds."""

    order_id: str
    """o1, o2, ...; given by the store."""
    title_id: TitleId | None = None
    sha256: Sha256 | None = None
    """Exactly one of both."""
    site_id: SiteId | None = None
    """Only there; None: everywhere."""
    by_s: float | None = None
    """To be there by then; None: now."""
    expires_s: float
    reason: str = ""
    ordered_by: str = ""
    ordered_at_s: float = 0.0
    ended: OrderEnd | None = None
    ended_at_s: float = 0.0

    @property
    def target(self) -> str:
        """What it is about, for people."""
        return f"title {self.title_id}" if self.title_id is not None else f"file {(self.sha256 or '')[:12]}"


def judge_order(
    order: FillOrder, windows: Sequence[Window], *, left_bytes: int, rate_bps: int, now_s: float
) -> tuple[Urgency, UrgencyReason]:
    """How an order's files are filled at one site now.

    Args:
        windows: of the site, from now until the date at least; none where there is no window, so that nothing waits.
        left_bytes: what the appliance of the site that lacks most of them lacks.
        rate_bps: at which it fills in a window.
    """
    if order.by_s is None:
        return Urgency.PASSES_WINDOW, UrgencyReason.ASKED_NOW
    if not windows:
        return Urgency.FIRST, UrgencyReason.TIME_IN_WINDOWS
    left_s = sum(max(0.0, min(one.closes_s, order.by_s) - max(one.opens_s, now_s)) for one in windows)
    if left_bytes * 8 * MARGIN > left_s * rate_bps:
        return Urgency.PASSES_WINDOW, UrgencyReason.NO_TIME_IN_WINDOWS
    return Urgency.FIRST, UrgencyReason.TIME_IN_WINDOWS


def end_of(order: FillOrder, *, is_filled: bool, now_s: float) -> OrderEnd | None:
    """Whether an order is over."""
    if is_filled:
        return OrderEnd.DONE
    return OrderEnd.EXPIRED if now_s >= order.expires_s else None
