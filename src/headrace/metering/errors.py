"""What can go wrong in metering. A batch or request that is not trusted is a result, not an error."""

from headrace.base.errors import HeadraceError


class MeteringError(HeadraceError):
    """Demand cannot be counted or read."""

    exit_code = 75


class EngineError(MeteringError):
    """The query engine failed."""


class TotalsError(MeteringError):
    """The folder of totals cannot be used."""
