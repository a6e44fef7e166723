"""What the deciding loop makes of fills, on a real store: shares, last copies, accusations, orders by a date."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.base.ids import ApplianceId, SiteId, TitleId
from headrace.catalog.fileset import FileSet
from headrace.control.adapters.store import SqlStore, open_store
from headrace.control.loops.filling import FillRuler
from headrace.control.loops.reading import FleetState, StoreReader
from headrace.control.loops.settings import FillDefaults
from headrace.control.loops.telling import FillTeller
from headrace.control.loops.testing import EVENT, enrol, make_title, publish
from headrace.control.model import SetHead, StoredReport, StoredSet
from headrace.fill.model import FillRules
from headrace.fill.orders import FillOrder
from headrace.fleet.model import ApplianceReport, FillReport, Health, HealthState, Site, WrongBytes

EVENING_S = datetime(2026, 1, 9, 20, 0, tzinfo=UTC).timestamp()
NIGHT_S = datetime(2026, 1, 10, 3, 0, tzinfo=UTC).timestamp()
HEALTHY = Health(state=HealthState.HEALTHY, is_turned_up=True)
NAMES = tuple(ApplianceId(name) for name in ("a1", "a2", "a3"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    store = open_store(f"sqlite:///{tmp_path}/db")
    yield store
    store.close()


class Bed:
    """Three appliances of a site that fills at night, one title of two files of 4096 bytes, and the loop's parts."""

    def __init__(self, store: SqlStore, **defaults: object) -> None:
        self.store = store
        for name in NAMES:
            enrol(store, name, f"http://{name}", site="ams")
        site = Site(site_id=SiteId("ams"), time_zone="UTC", fill_bps=900)
        store.put_site(site, event=EVENT, now_s=EVENING_S)
        self.files = FileSet(publish(store, make_title("film")).file_nos)
        self.reader = StoreReader(store)
        self.defaults = replace(FillDefaults(), **defaults)  # type: ignore[arg-type]
        self.ruler = FillRuler(store, self.defaults)
        self.sequences = dict.fromkeys(NAMES, 0)

    def plan(self, name: ApplianceId, files: FileSet) -> None:
        now = self.store.plan(name)
        new = StoredSet(head=SetHead(digest=files.digest(), count=len(files)), files=files)
        version = now.head.version if now else 0
        assert self.store.save_plan(name, new, expected_version=version, event=None, now_s=EVENING_S)

    def hold(self, name: ApplianceId, files: FileSet) -> None:
        now = self.store.holdings(name)
        assert now is not None
        new = StoredSet(head=SetHead(digest=files.digest(), count=len(files)), files=files)
        assert self.store.save_holdings(name, new, expected_digest=now.head.digest)

    def report(self, name: ApplianceId, fill: FillReport) -> None:
        before, self.sequences[name] = self.sequences[name], self.sequences[name] + 1
        new = StoredReport(boot_id="boot", sequence=before + 1, report=ApplianceReport(fill=fill))
        boot = "boot" if before else ""
        assert self.store.save_report(name, new, expected_boot_id=boot, expected_sequence=before)

    def state(self) -> FleetState:
        return self.reader.read()

    def rules(self, now_s: float) -> dict[ApplianceId, FillRules]:
        return self.ruler.turn(self.state(), dict.fromkeys(NAMES, HEALTHY), now_s=now_s)

    def kinds(self) -> list[str]:
        return [f"{one.kind} {one.subject}" for one in self.store.events() if one.kind.startswith("fill.")]


def test_the_hungry_share_what_the_site_may_take_in_until_its_volume_is_fetched(store: SqlStore) -> None:
    bed = Bed(store, site_volume_bytes=1000)
    for name in NAMES:
        bed.plan(name, bed.files)
    assert {one.inbound_bps for one in bed.rules(NIGHT_S).values()} == {300}
    bed.hold(NAMES[0], bed.files)
    shares = bed.rules(NIGHT_S)
    assert [shares[name].inbound_bps for name in NAMES] == [300, 450, 450]
    opened_s = datetime(2026, 1, 10, 2, 0, tzinfo=UTC).timestamp()
    for name in NAMES[1:]:
        bed.report(name, FillReport(window_opened_s=opened_s, window_inbound_bytes=500))
    assert {one.inbound_bps for one in bed.rules(NIGHT_S).values()} == {0}
    assert 0 not in {one.inbound_bps for one in bed.rules(NIGHT_S + 86_400).values()}, "yesterday's do not count"


def test_of_several_that_hold_what_leaves_all_plans_one_keeps_it(store: SqlStore) -> None:
    bed = Bed(store)
    for name in NAMES:
        bed.plan(name, bed.files)
        bed.hold(name, bed.files)
    assert not any(one.keep for one in bed.rules(NIGHT_S).values())
    bed.plan(NAMES[0], FileSet())
    assert not any(one.keep for one in bed.rules(NIGHT_S + 10).values()), "the others hold it and go on"
    bed.plan(NAMES[1], FileSet())
    bed.plan(NAMES[2], FileSet())
    for name in NAMES:
        bed.hold(name, FileSet())  # agents report what they hold of their plan
    kept = [FileSet.decode(one.keep) for one in bed.rules(NIGHT_S + 20).values() if one.keep]
    assert kept == [bed.files]
    bed.plan(NAMES[1], bed.files)
    bed.hold(NAMES[1], bed.files)
    assert not any(one.keep for one in bed.rules(NIGHT_S + 30).values()), "there is another copy again"


def test_what_is_not_published_any_more_is_no_last_copy(store: SqlStore) -> None:
    bed = Bed(store)
    bed.plan(NAMES[0], bed.files)
    bed.hold(NAMES[0], bed.files)
    bed.rules(NIGHT_S)
    store.withdraw_title(TitleId("film"), event=EVENT, now_s=NIGHT_S)
    bed.plan(NAMES[0], FileSet())
    assert not any(one.keep for one in bed.rules(NIGHT_S + 10).values())


def test_who_is_accused_is_asked_to_verify_and_is_named_once(store: SqlStore) -> None:
    bed = Bed(store)
    number = next(iter(bed.files))
    bed.hold(NAMES[0], bed.files)
    wrong = (WrongBytes(base_url="http://a1", file_no=number), WrongBytes(base_url="http://elsewhere", file_no=number))
    bed.report(NAMES[1], FillReport(wrong_bytes=wrong))
    for turn in range(3):
        rules = bed.rules(NIGHT_S + turn)
        assert FileSet.decode(rules[NAMES[0]].doubt) == FileSet([number])
        assert not rules[NAMES[1]].doubt
    assert bed.kinds() == ["fill.wrong-bytes appliance/a1"]
    bed.hold(NAMES[0], FileSet())
    assert not bed.rules(NIGHT_S + 5)[NAMES[0]].doubt, "it gave the file up"


@pytest.mark.parametrize(("by_h", "is_urgent"), [(11, False), (2, True)])
def test_an_order_by_a_date_comes_first_in_the_window_or_passes_it(store: SqlStore, by_h: int, is_urgent: bool) -> None:
    """At 900 b/s the title needs 73 s; there are hours of window before the one date, and none before the other."""
    bed = Bed(store, appliance_bps=900, site_bps=900)
    order = FillOrder(order_id="", title_id=TitleId("film"), by_s=EVENING_S + by_h * 3600, expires_s=NIGHT_S + 10**6)
    store.add_fill_order(order, event=EVENT, now_s=EVENING_S)
    for name in NAMES:
        bed.plan(name, bed.files)
    bed.hold(NAMES[2], bed.files)
    for turn in range(2):
        rules = bed.rules(EVENING_S + turn)
        assert FileSet.decode(rules[NAMES[0]].urgent if is_urgent else rules[NAMES[0]].first) == bed.files
        assert not (rules[NAMES[0]].first if is_urgent else rules[NAMES[0]].urgent)
        assert (rules[NAMES[2]].urgent, rules[NAMES[2]].first) == ("", "")
    assert bed.kinds() == (["fill.passes-window site/ams"] if is_urgent else [])
    for name in NAMES[:2]:
        bed.hold(name, bed.files)
    bed.rules(EVENING_S + 5)
    assert store.fill_orders() == ()
    assert bed.kinds()[-1] == "fill.order-ended fleet"


def test_what_will_not_fit_is_told_once_for_each_window_and_before_it(store: SqlStore) -> None:
    site = Site(site_id=SiteId("ams"), time_zone="UTC", fill_bps=1)
    bed = Bed(store, appliance_bps=10**6)
    store.put_site(site, event=EVENT, now_s=EVENING_S)
    bed.plan(NAMES[0], bed.files)
    teller = FillTeller(store, bed.defaults)
    for at_s in (EVENING_S, EVENING_S + 1, EVENING_S + 100, NIGHT_S, NIGHT_S + 86_400):
        teller.turn(bed.state(), now_s=at_s, has_time=lambda: True)
    told = [one for one in store.events() if one.kind == "fill.will-not-fit"]
    assert [one.subject for one in told] == ["site/ams", "site/ams"]
    assert [one.at_s for one in told] == [EVENING_S, NIGHT_S + 86_400]
    assert "2.7 KiB of 8.0 KiB" in told[0].detail
