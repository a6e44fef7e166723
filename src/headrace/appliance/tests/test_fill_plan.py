"""What is fetched, where it goes, what is deleted."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.appliance.fill_plan import DiskRoom, decide_deletions, decide_fill, order_missing
from headrace.appliance.plan import make_plan
from headrace.base.ids import FileNo, RenditionId, Sha256, TitleId
from headrace.catalog.model import CatalogFile, FileSuffix
from headrace.fleet.model import FillState


def a_file(number, size_bytes, title="film"):
    return CatalogFile(
        file_no=FileNo(number),
        sha256=Sha256(f"{number:064x}"),
        size_bytes=size_bytes,
        suffix=FileSuffix.MP4,
        title_id=TitleId(title),
        rendition_id=RenditionId("v"),
    )


def a_plan(*files):
    return make_plan(1, {file.file_no: file for file in files})


def rooms(**room_bytes):
    return [DiskRoom(disk_id=name, room_bytes=size) for name, size in room_bytes.items()]


def decide(files, disks, *, parts=None, slots=4, is_filling=False):
    return decide_fill(files, disks, parts=parts or {}, slots=slots, is_filling=is_filling)


def test_titles_become_whole_one_by_one_small_files_first():
    plan = a_plan(a_file(1, 900, "big"), a_file(2, 10, "big"), a_file(3, 500, "small"), a_file(4, 5, "small"))
    assert [file.file_no for file in order_missing(plan, set())] == [4, 3, 2, 1]


def test_a_begun_title_goes_first():
    files = [a_file(1, 900, "begun"), a_file(2, 300, "begun"), a_file(3, 500, "other")]
    assert [file.file_no for file in order_missing(a_plan(*files), {files[0].sha256})] == [2, 3]


def test_new_files_spread_over_the_emptiest_disks():
    decision = decide([a_file(1, 40), a_file(2, 40), a_file(3, 40)], rooms(a=100, b=90))
    assert [start.disk_id for start in decision.starts] == ["a", "b", "a"]
    assert decision.state is FillState.FILLING


def test_a_part_goes_on_where_it_lies_unless_only_another_disk_has_room():
    file = a_file(1, 100)
    assert decide([file], rooms(a=30, b=500), parts={file.sha256: ("a", 80)}).starts[0].disk_id == "a"
    assert decide([file], rooms(a=10, b=500), parts={file.sha256: ("a", 80)}).starts[0].disk_id == "b"
    assert decide([file], rooms(b=500), parts={file.sha256: ("a", 80)}).starts[0].disk_id == "b"


def test_the_first_file_without_room_stops_the_fill_and_says_so():
    decision = decide([a_file(1, 50), a_file(2, 500), a_file(3, 1)], rooms(a=100))
    assert [start.file.file_no for start in decision.starts] == [1]
    assert decision.state is FillState.DISK_FULL
    assert decision.short_bytes == 450
    assert "500 B" in decision.reason


def test_nothing_to_do_and_no_disk():
    assert decide([], rooms(a=1)).state is FillState.IDLE
    assert decide([], rooms(a=1), is_filling=True).state is FillState.FILLING
    assert decide([a_file(1, 1)], []).state is FillState.DISK_FULL


@given(
    st.lists(st.integers(1, 1000), max_size=20),
    st.dictionaries(st.sampled_from("abcd"), st.integers(-50, 2000), min_size=1),
    st.integers(0, 6),
)
def test_never_more_than_there_is_room_or_slots(sizes, disks, slots):
    files = [a_file(number + 1, size) for number, size in enumerate(sizes)]
    decision = decide(files, rooms(**disks), slots=slots)
    assert len(decision.starts) <= slots
    for disk_id, room_bytes in disks.items():
        put = sum(start.file.size_bytes for start in decision.starts if start.disk_id == disk_id)
        assert put <= max(0, room_bytes)
    assert [start.file for start in decision.starts] == files[: len(decision.starts)]
    assert (decision.short_bytes > 0) == (decision.state is FillState.DISK_FULL)


def test_deletions_wait_for_their_grace_unless_room_is_short():
    unwanted = {Sha256("a"): (0.0, 100), Sha256("b"): (50.0, 100), Sha256("c"): (90.0, 100)}
    assert decide_deletions(unwanted, grace_s=60, short_bytes=0, now_s=100.0) == ["a"]
    assert decide_deletions(unwanted, grace_s=60, short_bytes=150, now_s=100.0) == ["a", "b"]
    assert decide_deletions(unwanted, grace_s=600, short_bytes=0, now_s=100.0) == []
    assert decide_deletions({}, grace_s=0, short_bytes=9, now_s=0.0) == []


@given(
    st.dictionaries(st.text("abcdef", min_size=1), st.tuples(st.floats(0, 100), st.integers(1, 99))), st.floats(0, 99)
)
def test_deletions_give_up_no_more_than_needed(unwanted, grace_s):
    gone = decide_deletions(unwanted, grace_s=grace_s, short_bytes=0, now_s=100.0)
    assert set(gone) == {name for name, (since_s, _) in unwanted.items() if 100.0 - since_s >= grace_s}
