"""What tests of several packages share: a headless browser, a kernel that Debian built, kernels built from source."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from headrace.workshop.testing_linux import LOG, WAIT_S, Kernel, KernelShop

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of kernels come last: by then the kernel, which is built beside the others, is there."""
    items.sort(key=lambda item: item.get_closest_marker("kernel") is not None)


@pytest.fixture(scope="session")
def kernels() -> KernelShop:
    """Kernels built from source; those not built yet are built by whoever asks."""
    return KernelShop()


@pytest.fixture(scope="session")
def base_kernel(kernels: KernelShop, pytestconfig: pytest.Config) -> Kernel:
    """The kernel without a patch. Waits for the build that `scripts/probe` began, and says how far it is."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with ThreadPoolExecutor(1) as pool:
        kernel = pool.submit(kernels.base)
        for waited_s in range(0, int(WAIT_S), 20):
            try:
                return kernel.result(timeout=20)
            except NotYet:
                last = LOG.read_text().splitlines()[-1:] if LOG.exists() else []
                with capture.global_and_fixture_disabled():
                    print(f"\nwaiting for the kernel for {waited_s + 20} s: {' '.join(last)}", flush=True)
        return kernel.result(timeout=1)
