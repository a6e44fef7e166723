"""The workshop's settings."""

import pytest

from headrace.base.config import keys_in, keys_of
from headrace.base.errors import UsageError
from headrace.workshop.config import DEFAULTS, WorkshopConfig, read_workshop_config


def test_defaults_list_every_key() -> None:
    assert keys_in(DEFAULTS) == keys_of(WorkshopConfig)


def test_amounts_are_bytes() -> None:
    build = read_workshop_config('[build]\nmin_free = "1KiB"\nstore_limit = "2k"', source="x").build
    assert (build.min_free_bytes, build.store_limit_bytes, build.ccache_limit_bytes) == (1024, 2000, 5 << 30)


@pytest.mark.parametrize(
    "text",
    ["jobs = -1", "nice = 20", "time_limit_s = 0", "wait_s = -1", "work_trees = 0", 'min_free = "much"', "cores = 2"],
)
def test_what_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_workshop_config(f"[build]\n{text}", source="workshop.toml")
