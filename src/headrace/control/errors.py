"""What can go wrong in the control plane. A refusal to a caller is a problem document instead (api/problems.py)."""

from headrace.base.errors import HeadraceError


class ControlError(HeadraceError):
    """The control plane cannot do its work."""

    exit_code = 27


class StoreError(ControlError):
    """The store could not be asked; check store.url and that the database runs. Nothing was changed."""

    exit_code = 28


class StoreAwayError(StoreError):
    """The store does not answer, or cannot do its work now; the log says so once. It may be asked again."""


class CertificateError(ControlError):
    """A certificate or key cannot be made or read."""

    exit_code = 29
