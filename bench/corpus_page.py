"""The page of the corpus, docs/corpus.md: tables of what was measured, between marks; the words around them stay."""

from collections.abc import Callable, Sequence
from pathlib import Path

from corpus_changes import COMPONENTS, ROOT, Change, read_changes
from corpus_results import Ending, Result, read_results
from corpus_search import Found, read_found
from headrace.release.model import Level
from rig.document import write_section

PAGE = ROOT / "docs" / "corpus.md"
_NOT_RUN = "not run yet"


def write_page(page: Path = PAGE) -> None:
    """Put the tables of all kept results into the page."""
    changes = [change for component in COMPONENTS for change in read_changes(component)]
    results = {(one.component, one.change, one.run): one for one in read_results()}
    found = {(one.component, one.change): one for one in read_found()}
    write_section(page, "corpus-summary", summary(changes, results, found))
    write_section(page, "corpus-faults", _table(_FAULT_HEADS, changes, lambda one: fault_row(one, results)))
    write_section(page, "corpus-harmless", _table(_HARMLESS_HEADS, changes, lambda one: harmless_row(one, results)))
    write_section(page, "corpus-same", same_table([one for one in results.values() if one.run]))
    write_section(page, "corpus-bisection", _table(_SEARCH_HEADS, changes, lambda one: search_row(one, found)))


Results = dict[tuple[str, str, int], Result]
Founds = dict[tuple[str, str], Found]
_FAULT_HEADS = ("change", "fault", "seen at the earliest", "caught at", "by", "after", "pairs", "load")
_HARMLESS_HEADS = ("change", "kind", "alarm", "after", "pairs", "load")
_SEARCH_HEADS = ("change", "check", "right commit", "steps", "builds", "seconds a step", "confidence", "load")


def summary(changes: Sequence[Change], results: Results, found: Founds) -> str:
    """One line for each goal."""
    faults, harmless = _split(changes)
    seen = {one: results.get((one.component, one.name, 0)) for one in changes}
    caught = [one for one in faults if (result := seen[one]) and result.ending is Ending.FAILED]
    early = [one for one in caught if (result := seen[one]) and Level[result.level.upper()] <= Level[one.level.upper()]]
    tried = [one for one in harmless if seen[one]]
    alarms = [one for one in tried if (result := seen[one]) and result.ending is Ending.FAILED]
    undecided = [one for one in tried if (result := seen[one]) and result.ending is Ending.UNDECIDED]
    same = [one for one in results.values() if one.run]
    rows = [
        ("faults caught", f"{len(caught)} of {len([one for one in faults if seen[one]])} run, of {len(faults)}"),
        ("of them at the earliest level that can see them for sure, or before", f"{len(early)}"),
        ("false alarms among harmless changes", f"{len(alarms)} of {len(tried)} run, of {len(harmless)}"),
        ("harmless changes left undecided", f"{len(undecided)}"),
        ("false alarms of the baseline against itself", f"{_count(same, Ending.FAILED)} of {len(same)}"),
        ("of those runs undecided", f"{_count(same, Ending.UNDECIDED)}"),
        ("searches that named the right commit", f"{sum(one.is_right for one in found.values())} of {len(found)}"),
    ]
    return _markdown(("goal", "measured"), rows)


def fault_row(change: Change, results: Results) -> tuple[str, ...] | None:
    """One fault; None for a harmless change."""
    if change.is_harmless:
        return None
    head = (f"{change.component} `{change.name}`", f"{change.group}, {change.kind}", change.level)
    result = results.get((change.component, change.name, 0))
    if result is None:
        return (*head, _NOT_RUN, "", "", "", "")
    where = {
        Ending.FAILED: result.level,
        Ending.UNDECIDED: f"**undecided** at {result.level}",
        Ending.PASSED: "**missed**",
        Ending.SAME: "**missed**: same program",
    }[result.ending]
    by = ", ".join(f"`{name.partition('.')[2]}`" for name in result.checks) if result.ending is Ending.FAILED else ""
    return (*head, where, by, _seconds(result), _number(result.pairs), f"{result.load:.0f}")


def harmless_row(change: Change, results: Results) -> tuple[str, ...] | None:
    """One harmless change; None for a fault."""
    if not change.is_harmless:
        return None
    head = (f"{change.component} `{change.name}`", change.kind)
    result = results.get((change.component, change.name, 0))
    if result is None:
        return (*head, _NOT_RUN, "", "", "")
    return (*head, _alarm(result), _seconds(result), _number(result.pairs), f"{result.load:.0f}")


def same_table(same: Sequence[Result]) -> str:
    """Runs of the plain build against itself."""
    rows = [
        (one.component, str(one.run), _alarm(one), _seconds(one), _number(one.pairs), f"{one.load:.0f}")
        for one in sorted(same, key=lambda one: (one.component, one.run))
    ]
    return _markdown(("component", "run", "alarm", "after", "pairs", "load"), rows) if rows else f"{_NOT_RUN}."


def search_row(change: Change, found: Founds) -> tuple[str, ...] | None:
    """One search; None for a harmless change, and for a fault that was not searched for yet."""
    one = found.get((change.component, change.name))
    if change.is_harmless or one is None:
        return None
    right = "yes" if one.is_right else f"**no** ({one.ending}, {len(one.named)} named)"
    cost = f"{one.seconds_a_step:.0f} s"
    name, check = f"{change.component} `{change.name}`", f"`{one.check}`"
    return (name, check, right, str(one.steps), str(one.builds), cost, f"{one.confidence:.3f}", f"{one.load:.0f}")


def _alarm(result: Result) -> str:
    told = ", ".join(f"`{name}`" for name in result.checks)
    return {
        Ending.PASSED: "none",
        Ending.SAME: "none: the same program, not tested again",
        Ending.UNDECIDED: f"none, but undecided: {told}",
        Ending.FAILED: f"**false alarm**: {told}",
    }[result.ending]


def _table(heads: Sequence[str], changes: Sequence[Change], row: Callable[[Change], tuple[str, ...] | None]) -> str:
    rows = [made for change in changes if (made := row(change)) is not None]
    return _markdown(heads, rows) if rows else f"{_NOT_RUN}."


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _split(changes: Sequence[Change]) -> tuple[list[Change], list[Change]]:
    faults = [one for one in changes if not one.is_harmless]
    return faults, [one for one in changes if one.is_harmless]


def _count(results: Sequence[Result], ending: Ending) -> int:
    return sum(one.ending is ending for one in results)


def _seconds(result: Result) -> str:
    return f"{result.took_s:,.0f} s" if result.took_s else "0 s"


def _number(count: int) -> str:
    return str(count) if count else ""
