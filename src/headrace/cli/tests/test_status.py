"""What `headrace status` and `headrace title show` say, word for word where it matters."""

import io
from dataclasses import replace

from headrace.base.ids import RenditionId, SiteId
from headrace.catalog.model import Rendition, TrackKind
from headrace.cli.console import PlainConsole
from headrace.cli.status import render_fleet
from headrace.cli.title import _what
from headrace.fleet.model import Appliance, ApplianceReport, DiskReport, Health, HealthState, Site
from headrace.wire.operator import ApplianceView, FleetView

GIB = 2**30
DISKS = tuple(
    DiskReport(folder=f"/cache/{n}", is_ok=True, total_bytes=9 * GIB, free_bytes=2 * GIB, filesystem="2049")
    for n in (1, 2)
)
ONE = ApplianceView(
    appliance=Appliance(appliance_id="a-1", site_id=SiteId("s-1"), content_url="http://192.0.2.1"),
    health=Health(state=HealthState.HEALTHY),
    report=ApplianceReport(disks=DISKS),
    last_report_s=100.0,
    holdings_count=1,
    holdings_bytes=0,
    plan_count=1,
    plan_bytes=0,
    is_drained=False,
)
FLEET = FleetView(
    now_s=101.0,
    sites=(Site(site_id=SiteId("s-1")),),
    appliances=(ONE,),
    title_count=1,
    file_count=1,
    total_bytes=0,
    is_health_held=False,
)


def shown(view: FleetView) -> str:
    console = PlainConsole(file=io.StringIO(), width=200)
    console.print(render_fleet(view))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_one_is_not_many() -> None:
    assert "1/1 appliance healthy at 1 site · 0 b/s · 1 title, 1 file, 0 B" in shown(FLEET)
    more = replace(FLEET, title_count=2, file_count=0, sites=())
    assert "at 0 sites · 0 b/s · 2 titles, 0 files, 0 B" in shown(more)


def test_folders_on_one_file_system_count_once() -> None:
    assert "2.0 GiB free" in shown(FLEET)
    apart = replace(ONE, report=ApplianceReport(disks=tuple(replace(one, filesystem=one.folder) for one in DISKS)))
    assert "4.0 GiB free" in shown(replace(FLEET, appliances=(apart,)))


def test_tracks_are_named_without_saying_it_twice() -> None:
    audio = Rendition(
        rendition_id=RenditionId("a0"),
        kind=TrackKind.AUDIO,
        group="audio",
        file="0" * 64,
        playlist="1" * 64,
        codecs="mp4a.40.2",
        bandwidth_bps=1,
        average_bandwidth_bps=1,
        language="en",
        name="en",
        channels="2",
    )
    assert _what(audio) == "audio en 2 ch"
    assert _what(replace(audio, name="Director", is_default=True)) == "audio en Director (default) 2 ch"
    assert _what(replace(audio, language="", name="", channels="")) == "audio"
