"""Builders for tests of metering: a network of a few files, logs that ask for them, and what they must come to."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from headrace.base.clock import ManualClock
from headrace.base.ids import ApplianceId, RenditionId, Sha256, SiteId, TitleId
from headrace.catalog.model import FileSuffix, PublishedFile, Rendition, Title, TrackKind

NOW_S = 1_800_000_000.0
HOUR = int(NOW_S // 3_600)
A1, A2 = ApplianceId("a1"), ApplianceId("a2")
SITES = {A1: SiteId("north"), A2: SiteId("south")}


def sha256_of(number: int) -> Sha256:
    """The name of the file of that number."""
    return Sha256(f"{number:064x}")


def size_of(number: int) -> int:
    """Its size."""
    return 1_000_000 + number


def title_of(number: int, *, files: int = 2) -> Title:
    """A title whose files are `number * 10` and the following ones."""
    numbers = [10 * number + each for each in range(files)]
    published = tuple(
        PublishedFile(
            sha256=sha256_of(one), size_bytes=size_of(one), suffix=FileSuffix.MP4, rendition_id=RenditionId(f"v{one}")
        )
        for one in numbers
    )
    rendition = Rendition(
        rendition_id=RenditionId(f"v{numbers[0]}"),
        kind=TrackKind.VIDEO,
        group="v",
        file=published[0].sha256,
        playlist=published[1].sha256,
        codecs="avc1.64001f",
        bandwidth_bps=1_000_000,
        average_bandwidth_bps=1_000_000,
    )
    return Title(title_id=TitleId(f"t{number}"), name="", duration_s=60.0, renditions=(rendition,), files=published)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request of a log."""

    file: int = 10
    first: int = 0
    length: int = 100_000
    at_s: float = NOW_S
    is_miss: bool = False
    session: str = ""
    cmcd: str = ""

    def fields(self) -> dict[str, str]:
        """For telemetry.testing.log_line."""
        name = sha256_of(self.file)
        said = ",".join(part for part in (self.cmcd, rf"sid=\x22{self.session}\x22" if self.session else "") if part)
        return {
            "time": f"{self.at_s:.3f}",
            "path": f"/f/{name[:2]}/{name}.mp4",
            "range": f"bytes={self.first}-{self.first + self.length - 1}",
            "status": "302" if self.is_miss else "206",
            "body_bytes": "0" if self.is_miss else str(min(self.length, size_of(self.file) - self.first)),
            "cmcd_session": said or "-",
        }


def expected(asks: dict[ApplianceId, list[Ask]]) -> dict[tuple[str, str, int], tuple[int, int, int]]:
    """Bytes asked, bytes served and requests by file, site and hour, counted the slow way."""
    asked: Counter[tuple[str, str, int]] = Counter()
    served: Counter[tuple[str, str, int]] = Counter()
    requests: Counter[tuple[str, str, int]] = Counter()
    for appliance, some in asks.items():
        for ask in some:
            key = (sha256_of(ask.file), SITES[appliance], int(ask.at_s // 3_600))
            length = min(ask.length, size_of(ask.file) - ask.first)
            asked[key] += length
            served[key] += 0 if ask.is_miss else length
            requests[key] += 1
    return {key: (asked[key], served[key], requests[key]) for key in requests}


def manual_clock() -> ManualClock:
    """A clock at the time of the logs."""
    return ManualClock(NOW_S)


def tree_bytes(folder: Path) -> int:
    """All files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
