from headrace.control.fleet_view import view_appliance, view_fleet
from headrace.control.loops.memory import Memory, write_memory
from headrace.control.model import CatalogTotals, FleetRow, SetHead, StoredReport
from headrace.control.testing import make_appliance, make_site
from headrace.fleet.lifecycle import Drain, DrainState
from headrace.fleet.model import AdminState, Health

DRAINED = write_memory(Memory(drain=Drain(state=DrainState.DRAINED)))


def row(admin_state=AdminState.ENABLED, memory=""):
    return FleetRow(
        appliance=make_appliance(admin_state=admin_state),
        version=1,
        enrolled_at_s=1.0,
        desired=None,
        health=Health(),
        health_version=0,
        health_memory=memory,
        report=StoredReport(received_at_s=5.0),
        holdings=SetHead(version=1, digest="d", count=3, total_bytes=30),
        plan=SetHead(version=1, digest="d", count=4, total_bytes=40),
    )


def test_an_appliance_is_drained_only_while_it_drains():
    assert view_appliance(row(AdminState.DRAINING, DRAINED)).is_drained
    assert not view_appliance(row(AdminState.ENABLED, DRAINED)).is_drained
    assert not view_appliance(row(AdminState.DRAINING)).is_drained


def test_the_fleet():
    totals = CatalogTotals(title_count=1, file_count=2, total_bytes=3)
    view = view_fleet((make_site(),), (row(),), totals, is_health_held=True, now_s=9.0)
    one = view.appliances[0]
    assert (one.holdings_count, one.holdings_bytes, one.plan_count, one.plan_bytes) == (3, 30, 4, 40)
    assert (one.last_report_s, view.now_s, view.is_health_held) == (5.0, 9.0, True)
    assert (view.title_count, view.file_count, view.total_bytes) == (1, 2, 3)
