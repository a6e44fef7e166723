from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.routes.chunks import chunk_number, unpack_chunk
from headrace.routes.model import AddressFamily, Attributes, Heard, RouteError, RouteOrigin, parse_prefix
from headrace.routes.table import Table
from headrace.routes.testing import attributes, prefixes
from headrace.routes.testing_tables import pack_old_chunk
from headrace.routes.times import read_times

V4, V6 = AddressFamily.IPV4, AddressFamily.IPV6
ONE = Attributes(as_path=(64500, 64501), origin=RouteOrigin.IGP, next_hop="192.0.2.1")
TWO = replace(ONE, med=7)
A, B, C = (parse_prefix(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"))


def filled(*steps):
    table = Table(V4)
    for now_s, prefix, said in steps:
        table.announce([prefix], said, now_s=now_s)
    return table


def pack(table):
    for _ in table.pack():
        pass
    return table.packed()


def read(packed):
    chunks = {number: unpack_chunk(packed.chunks[digest]) for number, digest in packed.digests.items()}
    times = read_times({number: len(chunk) for number, chunk in chunks.items()}, packed.times.chunks.values())
    return {
        prefix: (said, second)
        for number, chunk in chunks.items()
        for (prefix, said), second in zip(chunk.routes(), times[number], strict=True)
    }


def test_a_route_keeps_its_time_until_it_changes():
    table = filled((10.7, A, ONE), (20, A, replace(ONE)))
    assert dict(table.routes())[A].learned_s == 10
    assert table.announce([A], TWO, now_s=30) == 1
    assert dict(table.routes())[A] == replace(dict(table.routes())[A], attributes=TWO, learned_s=30)
    assert len(table) == 1


def test_withdrawing_what_is_not_there_changes_nothing():
    table = filled((1, A, ONE))
    pack(table)
    assert table.withdraw([B]) == 0
    assert table.changed_chunks == 0
    assert table.withdraw([A, A]) == 1
    assert len(table) == 0
    assert pack(table).digest == ""


def test_a_change_packs_one_chunk_and_leaves_what_was_given_out():
    table = filled((1, A, ONE), (1, B, ONE), (1, C, ONE))
    before = pack(table)
    table.announce([A], TWO, now_s=2)
    assert table.changed_chunks == 1
    after = pack(table)
    assert before.digest != after.digest
    assert read(before)[A] == (ONE, 1)
    table.announce([A], ONE, now_s=1)
    assert pack(table).names == before.names


def test_equal_tables_have_one_name_whenever_they_were_heard():
    early, late = pack(filled((1, A, ONE), (2, B, TWO))), pack(filled((7, B, TWO), (9, A, ONE)))
    assert early.digest == late.digest
    assert early.chunks == late.chunks
    assert early.times.digest != late.times.digest
    assert (read(early)[A], read(late)[A]) == ((ONE, 1), (ONE, 9))


def test_a_route_that_goes_and_comes_back_has_another_time_and_the_same_bytes():
    table = filled((1, A, ONE), (1, B, ONE))
    before = pack(table)
    table.withdraw([A])
    table.announce([A], ONE, now_s=5)
    after = pack(table)
    assert after.digest == before.digest
    assert (read(after)[A], read(after)[B]) == ((ONE, 5), (ONE, 1))


def test_a_large_table_and_its_times_are_cut_so_that_a_change_touches_little():
    table = Table(V4)
    for second in range(3):
        table.announce([bytes((10, second, number, 0, 24)) for number in range(256)], ONE, now_s=second)
    assert list(pack(table).times.digests) == [0]
    for second in range(40):
        table.announce([bytes((11, second, number, 0, 24)) for number in range(256)], ONE, now_s=second)
    before = pack(table)
    assert list(before.times.digests) == list(range(16))
    table.announce([A], ONE, now_s=99)
    after = pack(table)
    assert 200 < len(before.digests) < 600
    assert 1 <= len(set(after.digests.items()) - set(before.digests.items())) <= 2
    differs = {part for part in range(16) if before.times.digests[part] != after.times.digests[part]}
    assert differs == {chunk_number(A) % 16}
    assert read(after) == {prefix: (one.attributes, one.learned_s) for prefix, one in table.routes()}
    table.withdraw([bytes((11, second, number, 0, 24)) for second in range(40) for number in range(256)])
    assert list(pack(table).times.digests) == [0]
    assert len(pack(table).digests) < 40


def test_a_walk_that_is_broken_off_shows_nothing_and_loses_nothing():
    table = filled((1, A, ONE))
    before = pack(table)
    table.announce([bytes((10, 0, number, 0, 24)) for number in range(200)], ONE, now_s=2)
    walk = table.pack()
    next(walk)
    walk.close()
    assert table.packed().names == before.names
    assert len(read(pack(table))) == 201


def test_what_changes_while_it_is_packed_is_packed_the_next_time():
    table = Table(V4)
    many = [bytes((10, 0, number, 0, 24)) for number in range(200)]
    table.announce(many, ONE, now_s=2)
    for at, _ in enumerate(table.pack()):
        table.withdraw(many[at * 40 : at * 40 + 40])
        table.announce([bytes((11, 0, at, 0, 24))], TWO, now_s=3)
    read(table.packed())  # whole, with times that fit
    assert read(pack(table)) == {prefix: (one.attributes, one.learned_s) for prefix, one in table.routes()}


def test_equal_attributes_are_kept_once_and_forgotten_with_their_last_route():
    table = Table(V4)
    table.announce([A], replace(ONE), now_s=1)
    table.announce([B], replace(ONE), now_s=1)
    assert len({id(row) for part in table._parts for row in part.values()}) == 1
    for number in range(11_000):
        table.announce([C], replace(ONE, med=number), now_s=2)
    pack(table)
    assert len(table._known) == 2


def test_a_session_that_begins_again_ends_what_it_does_not_announce_again():
    table = filled((1, A, ONE), (1, B, ONE), (1, C, ONE))
    table.begin_again()
    assert (len(table), table.announced) == (3, 0)
    table.announce([A], ONE, now_s=50)
    table.announce([B], TWO, now_s=50)
    table.withdraw([B])
    table.announce([B], TWO, now_s=51)
    assert table.announced == 2
    assert table.end_again() == 1
    assert {prefix: heard.learned_s for prefix, heard in table.routes()} == {A: 1, B: 51}
    assert table.end_again() == 0
    assert table.announced == 2


def test_a_cleared_table_is_empty_in_every_way():
    table = filled((1, A, ONE), (1, B, ONE))
    pack(table)
    table.clear()
    assert len(table) == 0
    assert pack(table).digest == ""
    assert table.announce([A], ONE, now_s=3) == 1


def test_a_table_of_one_family_does_not_load_the_other():
    table = Table(V6)
    table.announce([parse_prefix("2001:db8::/32")], ONE, now_s=1)
    with pytest.raises(RouteError, match="ipv6"):
        Table(V4).load(everything(pack(table)))


def test_a_table_is_loaded_with_its_times_or_not_at_all():
    packed = pack(filled((1, A, ONE), (7, B, TWO)))
    again = Table(V4)
    again.load(everything(packed))
    assert pack(again).names == packed.names
    with pytest.raises(RouteError, match="times"):
        Table(V4).load(packed.chunks.values())
    with pytest.raises(RouteError, match="times"):
        Table(V4).load([*packed.chunks.values(), *pack(filled((1, A, ONE))).times.chunks.values()])


def test_a_table_that_an_earlier_release_kept_is_loaded():
    table = Table(V4)
    for second, prefix in ((3, A), (4, B)):
        table.load([pack_old_chunk(V4, {prefix: Heard(attributes=ONE, learned_s=second)})])
    assert {prefix: heard.learned_s for prefix, heard in table.routes()} == {A: 3, B: 4}


def everything(packed):
    return [*packed.chunks.values(), *packed.times.chunks.values()]


@settings(max_examples=40)
@given(st.data())
def test_a_table_is_what_a_plain_dictionary_would_be(data):
    pool = data.draw(st.lists(prefixes(V6), min_size=1, max_size=6, unique=True))
    said = data.draw(st.lists(attributes(), min_size=1, max_size=3, unique=True))
    table, plain = Table(V6), {}
    for now_s in range(data.draw(st.integers(1, 12))):
        some = data.draw(st.lists(st.sampled_from(pool), max_size=4))
        kind = data.draw(st.sampled_from(("announce", "withdraw", "pack")))
        if kind == "announce":
            attribute = data.draw(st.sampled_from(said))
            table.announce(some, attribute, now_s=now_s)
            for prefix in some:
                if prefix not in plain or plain[prefix][0] != attribute:
                    plain[prefix] = (attribute, now_s)
        elif kind == "withdraw":
            assert table.withdraw(some) == len(plain.keys() & set(some))
            for prefix in some:
                plain.pop(prefix, None)
        else:
            pack(table)
        assert len(table) == len(plain)
    packed = pack(table)
    assert read(packed) == plain
    again = Table(V6)
    again.load(everything(packed))
    assert pack(again).names == packed.names
