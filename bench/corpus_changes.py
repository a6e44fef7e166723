"""What the corpus holds, and how each change is built: sources are fetched, patched and built by Headrace itself.

Each component of the corpus is a folder with a `corpus.toml` and patches. Programs are built once and found again.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from headrace.lab.ports import MachineKind, MachineSpec
from headrace.lab.qualify.stand import Subject
from headrace.upstream.build import BuildVerdict
from headrace.workshop.adapters.tarball import unpack
from headrace.workshop.builder import Outcome
from headrace.workshop.testing_linux import KernelShop
from headrace.workshop.testing_nginx import Shop, fetch_nginx

ROOT = Path(__file__).resolve().parent.parent
COMPONENTS = ("nginx", "linux")
BASE = "base"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One entry of a manifest."""

    component: str
    name: str
    """Of the patch, without its ending; BASE for no change at all."""
    level: str
    """The earliest that can see it; `none`: no level may complain."""
    kind: str = ""
    group: str = ""
    """Its class: what sort of fault."""
    what: str = ""
    check: str = ""
    """The check that is expected to fail first, where the manifest says so."""

    @property
    def is_harmless(self) -> bool:
        return self.level == "none"

    @property
    def patch(self) -> Path:
        return ROOT / "corpus" / self.component / f"{self.name}.patch"


def read_changes(component: str) -> list[Change]:
    """All entries of a component's manifest, in its order."""
    manifest = tomllib.loads((ROOT / "corpus" / component / "corpus.toml").read_text(encoding="utf-8"))
    return [
        Change(
            component=component,
            name=entry["patch"].removesuffix(".patch"),
            level=entry["level"],
            kind=entry["kind"],
            group=entry.get("class", ""),
            what=entry["what"],
            check=entry.get("check", ""),
        )
        for entry in manifest.get("change", [])
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A change as a program."""

    subject: Subject
    took_s: float
    """0 when it was found built."""


class NginxWorks:
    """nginx with and without changes, on this machine's kernel. Each starts with a fresh copy of the source."""

    def __init__(self, folder: Path) -> None:
        self._shop = Shop()
        self.source = unpack(fetch_nginx(ROOT / "scripts"), folder)
        self._base = self._shop.build_folder(self.source)

    def build(self, change: Change) -> Built:
        """The program; the source is left as it was."""
        is_plain = change.name == BASE
        outcome = self._base if is_plain else self._shop.build_patched(self.source, change.patch)
        if outcome.build.verdict is not BuildVerdict.BUILT:
            raise SystemExit(f"{change.name} does not build: {outcome.build.failure}")
        machine = MachineSpec(kind=MachineKind.PROCESS, nginx=self._shop.program(outcome))
        warnings = self._warnings(outcome) - self._warnings(self._base)
        subject = Subject(
            name=change.name,
            machine=machine,
            digest=outcome.build.output_sha256,
            new_warnings=tuple(f"{file}: {text}" for file, text in sorted(warnings)),
        )
        return Built(subject=subject, took_s=0.0 if outcome.was_stored else outcome.took_s)

    @staticmethod
    def _warnings(outcome: Outcome) -> set[tuple[str, str]]:
        return {(one.file, one.text) for one in outcome.build.warnings}


class LinuxWorks:
    """Kernels with and without changes, each with the same nginx on it.

    Faults that cost processor time, and harmless ones, are built as images for QEMU too, in which ticks are counted.
    """

    def __init__(self, nginx: Path) -> None:
        self._shop = KernelShop()
        self._images = KernelShop("linux-image")
        self._nginx = nginx

    def build(self, change: Change) -> Built:
        """The kernel; waits for whoever builds it already."""
        has_image = change.is_harmless or change.group == "CPU"
        shops = [self._shop, self._images] if has_image else [self._shop]
        kernels = [shop.base() if change.name == BASE else shop.kernel_with(change.patch) for shop in shops]
        programs = [kernel.program for kernel in kernels]
        subject = Subject(
            name=change.name,
            machine=MachineSpec(kind=MachineKind.UML, nginx=self._nginx, kernel=programs[0]),
            image=programs[1] if has_image else None,
            # Outputs lie in a folder named by their digest.
            digest="-".join(program.parent.name for program in programs),
        )
        return Built(subject=subject, took_s=sum(0.0 if kernel.was_stored else kernel.took_s for kernel in kernels))
