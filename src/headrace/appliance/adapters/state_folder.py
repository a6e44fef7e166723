"""The agent's state folder: made, and closed to everybody but the agent and nginx's workers.

Workers are another user when the agent runs as root and nginx.user names one: then their group may pass through, and
still not list or read what is inside.
"""

import os
import pwd
import tempfile
from pathlib import Path

from headrace.appliance.errors import StateError


def prepare_state(state: Path, worker_user: str) -> None:
    """Make the folder and the one of nginx in it, with modes 0700, or 0710 for the workers' group.

    Raises:
        StateError: it cannot be made or is not ours, or there is no such user.
    """
    try:
        for folder in (state, state / "nginx"):
            folder.mkdir(parents=True, exist_ok=True)
            group = _group_to_let_through(folder, worker_user)
            if group is not None:
                os.chown(folder, -1, group)
            folder.chmod(0o700 if group is None else 0o710)
    except OSError as error:
        raise StateError(f"cannot use the state folder {state}: {error.strerror or error}") from None


def check_state(state: Path) -> None:
    """Whether the folder is there and can be written, or can be made. Leaves nothing behind.

    Raises:
        StateError: it cannot; says why.
    """
    there = next(folder for folder in (state, *state.parents) if os.path.lexists(folder))
    try:
        # Permissions alone do not tell: of root, of a read-only or a full file system.
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(b"headrace\n")
            probe.flush()
    except OSError as error:
        raise StateError(f"cannot use the state folder {state}: {there}: {error.strerror or error}") from None


def _group_to_let_through(folder: Path, worker_user: str) -> int | None:
    if os.geteuid() != 0 or not worker_user:
        return None
    try:
        worker = pwd.getpwnam(worker_user)
    except KeyError:
        raise StateError(f"nginx.user: there is no user {worker_user!r} on this machine") from None
    return None if worker.pw_uid in (0, folder.stat().st_uid) else worker.pw_gid
