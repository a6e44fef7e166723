"""What can keep a steering node from running."""

from headrace.base.errors import HeadraceError


class PlaybackError(HeadraceError):
    """The steering node cannot run; the message says what is missing."""

    exit_code = 41


class ListenError(PlaybackError):
    """The address to listen on is taken or not of this machine."""

    exit_code = 42


class SnapshotError(PlaybackError):
    """The snapshot on disk cannot be used."""

    exit_code = 43
