"""What can keep a candidate from being judged."""

from headrace.base.errors import HeadraceError


class ReleaseError(HeadraceError):
    """The candidate cannot be judged as asked."""

    exit_code = 65


class HistoryError(ReleaseError):
    """The commits between the good and the bad end do not form a history that can be searched."""

    exit_code = 66


class TransitionError(ReleaseError):
    """A candidate cannot go from its state to the one asked for."""

    exit_code = 67


class CheckError(ReleaseError):
    """There is no such check, or what was measured does not fit it."""

    exit_code = 68
