"""What can go wrong between processes. 'Refused' carries the peer's answer; 'unreachable' means nobody answered."""

from headrace.base.errors import HeadraceError


class WireError(HeadraceError):
    """A message could not be sent, read or understood."""

    exit_code = 21


class MalformedError(WireError):
    """A message does not have the agreed shape."""


class UnreachableError(WireError):
    """The control plane did not answer; check its URL and that `headrace control` runs."""

    exit_code = 22


class RefusedError(WireError):
    """The control plane refused a request."""

    exit_code = 23

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


class UnauthorizedError(RefusedError):
    """The token is missing, unknown or revoked, or its role may not do this."""

    exit_code = 24


class NotFoundError(RefusedError):
    """There is no such thing."""

    exit_code = 25


class ConflictError(RefusedError):
    """Somebody else changed it first."""

    exit_code = 26
