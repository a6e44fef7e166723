"""The root of the error tree. Each package adds one child; leaves exist only where somebody catches them.

    HeadraceError (1)
      UsageError (2)            what the operator typed or wrote in a file
      <package>Error            one per package, in its own errors.py or model.py

The docstring of a class is the sentence that the operator reads when the error carries no message of its own.
Exit codes are part of the interface: a number once given keeps its meaning. 10-19 publish, 20-29 control and wire,
30-39 appliance, 40-49 playback, 50-59 demo, 60-69 placement and fill.
"""


class HeadraceError(Exception):
    """Headrace could not do what was asked."""

    exit_code = 1

    def __str__(self) -> str:
        return super().__str__() or (type(self).__doc__ or "").strip().splitlines()[0]


class UsageError(HeadraceError):
    """The command or its configuration is not usable as given."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file cannot be used; the message names file, key and mend."""


class InvalidIdError(UsageError):
    """An identifier does not have the allowed form."""
