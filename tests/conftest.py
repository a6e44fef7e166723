"""What tests of several packages share: a headless browser, a kernel that Debian built."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

CHROMIUM = "/usr/bin/chromium"
"""Debian's package; nothing is downloaded."""

CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for the tests of a module, each with a context of its own.

    Not for the whole run: Playwright's synchronous face keeps an event loop running in the main thread, beside which
    no asynchronous test of another module could run.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def debian_kernel() -> tuple[Path, Path]:
    """Image and modules of Debian's own kernel for virtual machines; 30 MB, fetched once."""
    script = Path(__file__).parents[1] / "scripts" / "debian-kernel"
    said = subprocess.run([str(script), "bookworm", "6.1"], capture_output=True, text=True, timeout=300, check=True)
    image, modules = said.stdout.split()
    return Path(image), Path(modules)
