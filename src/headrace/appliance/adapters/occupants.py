"""Who else has an address that nginx shall listen on. Reads the kernel's tables; opens nothing."""

from collections.abc import Iterable
from pathlib import Path

from headrace.appliance.adapters import sockets
from headrace.appliance.adapters.nginx_processes import find_processes
from headrace.appliance.nginx_conf import split_address


def find_occupant(addresses: Iterable[str], run_folder: Path) -> str:
    """The first address that somebody else than the nginx of `run_folder` has, and who; '' when all are free or ours.

    nginx shares its port with any process of the same user that allows sharing, so that trying does not tell.
    """
    own = {process.pid for process in find_processes(run_folder)}
    for address in addresses:
        for listener in sockets.find_listeners(*split_address(address)):
            owner = sockets.find_owner(listener.inode)
            if owner is None or owner[0] not in own:
                name = f"{owner[1]} (pid {owner[0]})" if owner else "another process"
                return f"{address} is in use by {name}"
    return ""
