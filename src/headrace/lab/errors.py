"""What can go wrong in a lab. The message names the thing and the mend."""

from headrace.base.errors import HeadraceError


class LabError(HeadraceError):
    """The lab could not do what was asked."""

    exit_code = 70


class NotPossibleHereError(LabError):
    """This machine lacks something that a lab needs: a permission, a program, a kernel."""

    exit_code = 71


class MachineError(LabError):
    """A machine of the lab did not start, ended, hung, or did not answer."""

    exit_code = 72


class NoSuchLabError(LabError):
    """There is no running lab of that name."""

    exit_code = 73


class LoadError(LabError):
    """The load itself could not be made or its report not be read."""

    exit_code = 74
