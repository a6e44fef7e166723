"""The failure budget as the API asks it, and what an operator must say to overrule it."""

from headrace.control.api.parts import Parts
from headrace.control.api.problems import Refusal, invalid
from headrace.control.in_force import rows_in_force
from headrace.control.leaving import Leaving
from headrace.fleet.lifecycle import LeaveVerdict
from headrace.fleet.maintenance import MaintenanceWindow


def open_windows(parts: Parts) -> tuple[MaintenanceWindow, ...]:
    """Maintenance windows that have not ended."""
    return tuple(one.window for one in parts.store.windows())


def leaving_now(parts: Parts) -> Leaving:
    """What the budget is asked with, as the store has it now."""
    return Leaving(
        rows=rows_in_force(parts.store.fleet(), parts.store.windows()),
        sites=parts.store.sites(),
        copying=parts.holders,
        budget=parts.config.fleet.budget,
        hearings=parts.routing.current_hearings(),
    )


def overruled(verdict: LeaveVerdict, *, is_forced: bool, why: str, hint: str) -> str:
    """The note for the event that an operator went past a refusal.

    Raises:
        Refusal: he did not ask for that, or did not say why.
    """
    if not is_forced:
        raise Refusal(409, verdict.reason.value, verdict.detail + hint)
    if not why.strip():
        raise invalid(f"say why it is forced past {verdict.reason} ({verdict.detail}): --reason, or reason in the API")
    return f"forced past: {verdict.reason} ({verdict.detail})"
