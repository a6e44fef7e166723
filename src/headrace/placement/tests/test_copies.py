import pytest

from headrace.catalog.fileset import FileSet
from headrace.placement.copies import sole_files


@pytest.mark.parametrize(
    ("own", "others", "published", "count"),
    [
        ({1, 2, 3}, [], {1, 2, 3}, 3),
        ({1, 2, 3}, [{1}, {2}], {1, 2, 3}, 1),
        ({1, 2, 3}, [{1, 2, 3}], {1, 2, 3}, 0),
        ({1, 2, 3}, [], {4}, 0),
        (set(), [{1}], {1}, 0),
    ],
)
def test_files_that_nobody_else_holds(own, others, published, count):
    assert len(sole_files(FileSet(own), [FileSet(one) for one in others], FileSet(published))) == count
