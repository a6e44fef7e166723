"""What can go wrong on an appliance. A disk or source that fails is a result of a turn, not the end of the agent."""

from headrace.base.errors import HeadraceError


class ApplianceError(HeadraceError):
    """The appliance cannot do what was asked."""

    exit_code = 30


class AlreadyRunningError(ApplianceError):
    """Another agent works on this state folder."""

    exit_code = 31


class JoinRefusedError(ApplianceError):
    """The control plane refused the join token; ask an operator for a new one."""

    exit_code = 32


class StateError(ApplianceError):
    """The state folder cannot be used."""

    exit_code = 33


class DiskError(ApplianceError):
    """A disk of the store does not do its work."""

    exit_code = 34


class DiskFullError(DiskError):
    """A disk of the store has no room left."""


class VerifyStoppedError(ApplianceError):
    """The agent ends in the middle of verifying a file."""


class SourceError(ApplianceError):
    """A fill source did not give the bytes that were asked of it."""
