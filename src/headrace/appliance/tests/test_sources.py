"""Which source is asked next."""

from headrace.appliance.sources import SourceBook, sources_of
from headrace.base.ids import Sha256
from headrace.base.rng import make_rng
from headrace.fill.model import FillSource, SourceKind
from headrace.fleet.model import AdminState
from headrace.wire.agent import DesiredState

PEER, TIER, ORIGIN = (
    FillSource(kind=kind, base_url=f"http://{kind}") for kind in (SourceKind.PEER, SourceKind.TIER, SourceKind.ORIGIN)
)
ALL = (PEER, TIER, ORIGIN)
NAME, OTHER = Sha256("a" * 64), Sha256("b" * 64)


def a_book():
    return SourceBook(first_s=1.0, most_s=30.0, rng=make_rng(1))


def chosen(book, now_s, name=NAME, sources=ALL):
    choice = book.choose(sources, name, now_s=now_s)
    return choice.source if choice else None


def test_the_best_ranked_goes_first():
    assert chosen(a_book(), 0.0) is PEER
    assert a_book().choose((), NAME, now_s=0.0) is None


def test_a_failed_source_rests_longer_each_time_and_is_forgiven():
    book = a_book()
    book.failed(PEER.base_url, "refused", now_s=0.0)
    assert chosen(book, 0.1) is TIER
    assert chosen(book, 1.0) is PEER
    for turn in range(8):
        book.failed(PEER.base_url, "refused", now_s=10.0 + turn)
    assert chosen(book, 17.0 + 14.9) is TIER
    assert chosen(book, 17.0 + 30.1) is PEER
    book.gave(PEER.base_url)
    book.failed(PEER.base_url, "refused", now_s=100.0)
    assert chosen(book, 101.0) is PEER


def test_a_source_without_the_file_is_asked_for_others():
    book = a_book()
    book.does_not_hold(PEER.base_url, NAME, now_s=0.0)
    assert chosen(book, 0.1) is TIER
    assert chosen(book, 0.1, OTHER) is PEER
    assert chosen(book, 31.0) is PEER


def test_the_pause_of_a_missing_file_grows():
    book, now_s = a_book(), 0.0
    for _ in range(6):
        book.does_not_hold(ORIGIN.base_url, NAME, now_s=now_s)
        now_s += book.rest_s((ORIGIN,), NAME, now_s=now_s) + 0.01
    book.does_not_hold(ORIGIN.base_url, NAME, now_s=now_s)
    assert 10.0 < book.rest_s((ORIGIN,), NAME, now_s=now_s) <= 30.0


def test_a_slow_source_is_the_last_hope():
    book = a_book()
    book.was_slow(PEER.base_url, now_s=0.0)
    assert chosen(book, 0.1) is TIER
    choice = book.choose((PEER,), NAME, now_s=0.1)
    assert choice
    assert choice.source is PEER
    assert choice.is_last_hope
    assert chosen(book, 31.0) is PEER


def test_a_liar_is_left_alone_for_that_file_for_long():
    book = a_book()
    book.gave_wrong_bytes(PEER.base_url, NAME, now_s=0.0)
    assert chosen(book, 100.0) is TIER
    assert chosen(book, 100.0, OTHER) is PEER
    assert chosen(book, 301.0) is PEER


def test_rest_and_reasons():
    book = a_book()
    assert book.rest_s((), NAME, now_s=0.0) == 30.0
    assert book.rest_s(ALL, NAME, now_s=0.0) == 0.0
    book.failed(ORIGIN.base_url, "HTTP 503", now_s=0.0)
    assert 0 < book.rest_s((ORIGIN,), NAME, now_s=0.0) <= 1.0
    assert book.errors(ALL, now_s=0.1) == "http://origin: HTTP 503"


def test_the_origin_is_always_the_last_source():
    desired = DesiredState(
        version=1,
        admin_state=AdminState.ENABLED,
        origin_url="http://o",
        redirect_url="",
        sources=(PEER,),
        fill_rate_bps=0,
    )
    assert [one.base_url for one in sources_of(desired)] == ["http://peer", "http://o"]
