"""What can go wrong in placement."""

from headrace.base.errors import HeadraceError


class PlacementError(HeadraceError):
    """A placement plan breaks a rule that must always hold."""

    exit_code = 60
