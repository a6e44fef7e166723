"""Last copies: which files would be on no serving appliance if some left. Pure.

The failure budget (`fleet.lifecycle`) asks.
"""

from collections.abc import Iterable

from headrace.catalog.fileset import FileSet


def sole_files(own: FileSet, others: Iterable[FileSet], published: FileSet) -> FileSet:
    """Published files in `own` that none of `others` (the holdings of the other serving appliances) has."""
    sole = own & published
    for held in others:
        if not sole:
            break
        sole = sole - held
    return sole
