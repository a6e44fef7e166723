"""What can go wrong where git and compilers are run."""

from headrace.base.errors import HeadraceError


class ConflictError(HeadraceError):
    """A patch does not apply to upstream's new head; the last good candidate stays in force."""

    exit_code = 62


class WorkshopError(HeadraceError):
    """The workshop could not do its work; its state is as before."""

    exit_code = 63


class BusyError(WorkshopError):
    """Another process works on the same upstream or folder."""


class RepositoryError(WorkshopError):
    """A git repository cannot be reached, read or written."""


class RewrittenError(RepositoryError):
    """The upstream branch was rewritten (force-pushed); the old head is no ancestor of the new one."""


class SourceError(WorkshopError):
    """The source to be built cannot be read, or is not what the recipe builds."""


class StoreError(WorkshopError):
    """The build store cannot be read or written, or does not hold what was asked for."""


class BuildFailedError(WorkshopError):
    """The source does not build; the message has the last lines and the path of the log."""

    exit_code = 64
