"""The palette: text keeps a contrast of 4.5 to 1 and graphics of 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11) in both themes."""

import re

import pytest

from headrace.web import pages

TEXT_PAIRS = [
    ("text", "page"), ("text", "panel"), ("text", "sunken"), ("muted", "page"), ("muted", "panel"), ("muted", "sunken"),
    ("accent", "panel"), ("accent", "page"), ("on-accent", "accent"), ("bad", "panel"), ("bad", "sunken"),
    ("panel", "bad"), ("warn", "panel"), *((tone, f"{tone}-soft") for tone in ("ok", "warn", "bad", "info", "idle")),
    *(("on-series", f"series-{number}") for number in range(1, 9)),
]  # fmt: skip
GRAPHIC_PAIRS = [
    *((f"series-{number}", "panel") for number in range(1, 9)),
    ("accent", "idle-soft"),
    ("bad", "idle-soft"),
]


def palettes() -> dict[str, dict[str, str]]:
    """Custom properties of each theme; the dark one stands twice in the sheet, once per way to choose it."""
    sheet = (pages.static_folder() / "style.css").read_text()
    found = {}
    for name, opening in (
        ("light", r":root \{"),
        ("dark", r":root\[data-theme=\"dark\"\] \{"),
        ("dark by preference", r":root:not\(\[data-theme=\"light\"\]\) \{"),
    ):
        match = re.search(opening + r"(.*?)\}", sheet, re.DOTALL)
        assert match, name
        found[name] = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", match[1]))
    return found


def luminance(colour: str) -> float:
    """Relative luminance as WCAG defines it."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_both_ways_to_the_dark_theme_give_the_same_colours() -> None:
    found = palettes()
    assert found["dark"] == found["dark by preference"]
    assert set(found["dark"]) == set(found["light"])


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), TEXT_PAIRS)
def test_text_can_be_read(theme: str, ink: str, ground: str) -> None:
    palette = palettes()[theme]
    assert contrast(palette[ink], palette[ground]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), GRAPHIC_PAIRS)
def test_graphics_can_be_seen(theme: str, ink: str, ground: str) -> None:
    palette = palettes()[theme]
    assert contrast(palette[ink], palette[ground]) >= 3
