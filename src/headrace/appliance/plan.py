"""Decides whether a fill plan from the control plane may come into force: whole, well formed, and its digest fits.

Pages come from wire/agent.py; nothing here fetches or stores them.
"""

from dataclasses import dataclass, field

from headrace.appliance.errors import ApplianceError
from headrace.base.errors import InvalidIdError
from headrace.base.ids import FileNo, Sha256, sha256
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import CatalogFile
from headrace.wire.agent import PlanUpdate

MAX_FILE_BYTES = 1 << 50
"""Bound on a size that a peer may claim: a pebibyte is over any disk."""


class PlanRefusedError(ApplianceError):
    """A fill plan update cannot be applied; the plan in force stays and a whole one is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FillPlan:
    """What this appliance should hold."""

    version: int = 0
    digest: str = ""
    files: dict[FileNo, CatalogFile] = field(default_factory=dict)
    """Never changed after it is made."""
    numbers: FileSet = field(default_factory=FileSet)
    """The keys of `files`."""
    by_sha256: dict[Sha256, CatalogFile] = field(default_factory=dict)
    total_bytes: int = 0


def make_plan(version: int, files: dict[FileNo, CatalogFile]) -> FillPlan:
    """A plan of `files`, with its digest and sums."""
    by_sha256 = {file.sha256: file for file in files.values()}
    numbers = FileSet(files)
    return FillPlan(
        version=version,
        digest=numbers.digest(),
        files=files,
        numbers=numbers,
        by_sha256=by_sha256,
        total_bytes=sum(file.size_bytes for file in by_sha256.values()),
    )


@dataclass(slots=True)
class PlanPages:
    """The pages of one update as they come in; a page that belongs to another update is refused."""

    first: PlanUpdate
    added: list[CatalogFile] = field(default_factory=list)
    removed: list[FileNo] = field(default_factory=list)
    more_after: FileNo | None = None

    def add(self, page: PlanUpdate) -> None:
        """Take one page; `more_after` then says whether to fetch another.

        Raises:
            PlanRefusedError: the plan changed while its pages were fetched, or pages go round in a circle.
        """
        first = self.first
        if (page.version, page.base_version, page.digest) != (first.version, first.base_version, first.digest):
            raise PlanRefusedError(f"plan {first.version} changed to {page.version} between its pages")
        if self.more_after is not None and page.more_after is not None and page.more_after <= self.more_after:
            raise PlanRefusedError(f"plan {first.version}: page after {self.more_after} does not go on")
        self.added += page.added
        self.removed += page.removed
        self.more_after = page.more_after


def apply_pages(plan: FillPlan, pages: PlanPages) -> FillPlan:
    """Lay a whole update over `plan`.

    Raises:
        PlanRefusedError: pages are missing, the base is another version, an entry is malformed, or the digest differs.
    """
    update = pages.first
    if pages.more_after is not None:
        raise PlanRefusedError(f"plan {update.version}: not all pages are here")
    if update.base_version is not None and update.base_version != plan.version:
        raise PlanRefusedError(f"plan {update.version} starts from {update.base_version}, in force is {plan.version}")
    files = dict(plan.files) if update.base_version is not None else {}
    for number in pages.removed:
        files.pop(number, None)
    for file in pages.added:
        _check_file(file)
        files[file.file_no] = file
    made = make_plan(update.version, files)
    if made.digest != update.digest or len(files) != update.count:
        raise PlanRefusedError(f"plan {update.version}: {len(files)} files do not give the digest of {update.count}")
    return made


def _check_file(file: CatalogFile) -> None:
    try:
        sha256(file.sha256)
    except InvalidIdError as error:
        raise PlanRefusedError(f"plan names a file that cannot be: {error}") from None
    if not 0 < file.file_no < 1 << 32 or not 0 < file.size_bytes <= MAX_FILE_BYTES:
        raise PlanRefusedError(f"plan: file {file.sha256} has number {file.file_no} and {file.size_bytes} bytes")
