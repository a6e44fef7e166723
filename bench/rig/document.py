"""Put a generated table between two marks of a page, so that no figure is typed by hand.

A page holds `<!-- NAME:begin -->` and `<!-- NAME:end -->`; what lies between is replaced.
"""

from pathlib import Path


class NoSuchSection(Exception):
    """The page lacks the two marks of that name."""


def write_section(page: Path, name: str, text: str) -> None:
    """Replace the section `name` of `page` by `text`.

    Raises:
        NoSuchSection: the marks are missing or in the wrong order.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    old = page.read_text(encoding="utf-8")
    if begin not in old or end not in old[old.index(begin) :]:
        raise NoSuchSection(f"{page}: needs the marks {begin} and {end}")
    before, _, rest = old.partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}", encoding="utf-8")
