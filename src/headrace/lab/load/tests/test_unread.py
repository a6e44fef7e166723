"""What connections without a reader do is drawn from the seed, within the file, and of every length."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.base.rng import make_rng
from headrace.lab.content import PAGE_BYTES, KnownFile
from headrace.lab.load.unread import draw_drain, draw_reset


@given(size=st.integers(1, 20_000_000), seed=st.integers(0, 1 << 30))
def test_a_drain_stays_within_its_file(size: int, seed: int) -> None:
    drain = draw_drain(KnownFile(size_bytes=size, seed="x"), make_rng(seed))
    assert drain.ranges
    assert all(0 <= first < end <= size for first, end in drain.ranges)
    assert drain == draw_drain(KnownFile(size_bytes=size, seed="x"), make_rng(seed))


def test_drains_end_at_pages_and_off_them_and_some_pause() -> None:
    file, rng = KnownFile(size_bytes=8 << 20, seed="x"), make_rng(1)
    drains = [draw_drain(file, rng) for _ in range(50)]
    ends = [end % PAGE_BYTES for drain in drains for _, end in drain.ranges]
    assert 0.4 < sum(end == 0 for end in ends) / len(ends) < 0.95
    assert {drain.pause_s > 0 for drain in drains} == {True, False}
    assert max(end - first for drain in drains for first, end in drain.ranges) > 6 << 20


def test_resets_come_before_within_and_after_the_request() -> None:
    rng = make_rng(1)
    resets = [draw_reset(("/a", "/b"), rng) for _ in range(500)]
    shares = [reset.sent_ratio for reset in resets]
    assert 0 < sum(share == 0 for share in shares) < 50
    assert 0 < sum(0 < share < 1 for share in shares) < 50
    assert {reset.path for reset in resets} == {"/a", "/b"}
