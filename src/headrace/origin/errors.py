"""What can go wrong at publish and in the origin. Each kind has its own exit code: 10-19."""

from headrace.base.errors import HeadraceError


class OriginError(HeadraceError):
    """The origin or a publish could not do what was asked."""

    exit_code = 10


class UnsupportedSourceError(OriginError):
    """The packaged folder uses something that cannot be taken over unchanged (several periods, encryption, live)."""

    exit_code = 10


class NotVideoError(OriginError):
    """The file is not a video that ffmpeg can read."""

    exit_code = 11


class TruncatedError(OriginError):
    """The source ends before it says it does; get the whole file and publish again."""

    exit_code = 12


class EmptySourceError(OriginError):
    """The source has zero bytes."""

    exit_code = 13


class NoVideoStreamError(OriginError):
    """The source has no video stream."""

    exit_code = 14


class DiskFullError(OriginError):
    """There is no room left; free some space and run publish again, it goes on where it stopped."""

    exit_code = 15


class StoreUnreachableError(OriginError):
    """The origin store does not answer or does not let us write."""

    exit_code = 16


class TitleConflictError(OriginError):
    """Another publish of this title won; nothing of this one is registered."""

    exit_code = 17


class SourceUnreadableError(OriginError):
    """The source does not exist or may not be read."""

    exit_code = 18


class EncodeError(OriginError):
    """ffmpeg or the packager failed, or made no progress for too long."""

    exit_code = 19
