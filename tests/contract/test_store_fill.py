"""Fill orders in the store, on SQLite and on PostgreSQL: the same promises on both."""

from dataclasses import replace

from headrace.base.ids import SiteId, TitleId
from headrace.control.adapters.store import SqlStore
from headrace.control.testing import A_REASON
from headrace.fill.orders import FillOrder, OrderEnd

NOW_S = 1_800_000_000.0
NOTED = {"event": A_REASON, "now_s": NOW_S}
ORDER = FillOrder(
    order_id="",
    title_id=TitleId("film"),
    site_id=SiteId("ams"),
    by_s=NOW_S + 60,
    expires_s=NOW_S + 3600,
    reason="premiere",
)


def test_orders_come_back_as_they_were_given_until_they_end(store: SqlStore) -> None:
    before = store.versions()
    first, second = store.add_fill_order(ORDER, **NOTED), store.add_fill_order(ORDER, **NOTED)
    assert (first, second) == (replace(ORDER, order_id="o1"), replace(ORDER, order_id="o2"))
    assert store.fill_orders() == (first, second)
    assert store.versions().fleet == before.fleet + 2, "the loops look again"
    ended = replace(first, ended=OrderEnd.DONE, ended_at_s=NOW_S)
    assert store.end_fill_order(ended, **NOTED)
    assert not store.end_fill_order(ended, **NOTED), "once"
    assert store.fill_orders() == (second,)
    assert store.fill_orders(with_ended=True) == (ended, second)
    assert len(store.events()) == 3


def test_old_orders_are_forgotten_and_open_ones_are_not(store: SqlStore) -> None:
    given = [store.add_fill_order(ORDER, **NOTED) for _ in range(4)]
    for one in given[1:]:
        store.end_fill_order(replace(one, ended=OrderEnd.CANCELLED), **NOTED)
    assert store.drop_fill_orders(keep=1) == 2
    assert [one.order_id for one in store.fill_orders(with_ended=True)] == ["o1", "o4"]
    assert store.add_fill_order(ORDER, **NOTED).order_id == "o5"
