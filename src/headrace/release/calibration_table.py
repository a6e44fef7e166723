"""A calibration as rows of words, for the terminal, the dossier and the published table. Text out, nothing decided."""

import re
from collections.abc import Sequence

from headrace.release.calibrate import Calibration, CheckCalibration, Rate
from headrace.release.errors import CheckError
from headrace.release.model import CheckDefinition
from headrace.release.verdicts import show_effect

HEADINGS = ("check", "margin", "pairs", "spread of a pair", "passes at no effect", "found with 90 %")
MARK_BEGIN, MARK_END = "<!-- figures of headrace release calibrate -->", "<!-- end of calibration -->"


def calibration_rows(calibration: Calibration, definitions: Sequence[CheckDefinition]) -> list[tuple[str, ...]]:
    """A row for each check, in the order of `HEADINGS`; a check that nothing is known of says so."""
    known = {one.check_id: one for one in definitions}
    return [_row(one, known[one.check_id]) for one in calibration.checks if one.check_id in known]


def say_rate(rate: Rate, what: str) -> str:
    """'0 of 20 qualifications (95 % interval: 0.0 to 16.8 %)'."""
    if not rate.runs:
        return f"{what}: none came to its end yet"
    return f"{rate.hits} of {rate.runs} {what} (95 % interval: {100 * rate.low:.1f} to {100 * rate.high:.1f} %)"


def calibration_markdown(
    calibration: Calibration, definitions: Sequence[CheckDefinition], machine: Sequence[tuple[str, str]]
) -> str:
    """The table with what it was measured on, as it stands between the marks of a page."""
    rows = [HEADINGS, tuple("---" for _ in HEADINGS), *calibration_rows(calibration, definitions)]
    table = "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows)
    where = ", ".join(f"{name} {value}" for name, value in machine)
    return (
        f"{table}\n\nFalse alarms: {say_rate(calibration.measured_alarms, 'qualifications that were run')}; "
        f"{say_rate(calibration.drawn_alarms, 'drawn from their runs')}. Measured on: {where}.\n"
    )


def put_between_marks(page: str, text: str, *, name: str) -> str:
    """The page with `text` between the two marks, whatever stood there.

    Raises:
        CheckError: the page has not both marks.
    """
    begin, end = page.find(MARK_BEGIN), page.find(MARK_END)
    if not 0 <= begin < end:
        raise CheckError(f"{name} has no place for the table: put the two lines {MARK_BEGIN} and {MARK_END} in it")
    return f"{page[: begin + len(MARK_BEGIN)]}\n\n{text}\n{page[end:]}"


def _row(one: CheckCalibration, definition: CheckDefinition) -> tuple[str, ...]:
    margin = show_effect(definition, definition.margin.value)
    if one.spread is None:
        return (one.check_id, margin, str(one.pairs), "not measured", "", "")
    spread = _plain(show_effect(definition, one.spread))
    found = "none within the budget" if one.smallest_effect is None else show_effect(definition, one.smallest_effect)
    if definition.repeat_spread is not None:
        held = (
            "no repeats" if one.passes is None else "holds" if one.passes.hits == one.passes.runs else "DOES NOT HOLD"
        )
        allowed = _plain(show_effect(definition, definition.repeat_spread))
        return (one.check_id, margin, f"{one.pairs} repeats", spread, f"allowed {allowed}: {held}", found)
    passes = "" if one.passes is None else f"{100 * one.passes.ratio:.0f} %"
    if one.pairs_to_pass is not None:
        passes += f", after {one.pairs_to_pass} pairs"
    return (one.check_id, margin, str(one.pairs), spread, passes, found)


def _plain(text: str) -> str:
    return re.sub(r"^[+-]", "", text)
