"""Hold namespaces open: a program that makes them, says so, and ends when its owner does. It decides nothing.

Started as a script, in a Python without site packages. Arguments: the number of a Unix socket to the owner, `root` or
`user`, then the names of the network namespaces. It makes one PID, mount and IPC namespace (inside a user namespace for
`user`) and in it one process for each network namespace. Every process tells the owner its name through the socket,
which passes the sender's number on as the owner sees it. The end of the socket means that the owner has ended, however
it did: then the first process of the PID namespace ends, and the kernel kills all others in it and frees everything.
"""

import ctypes
import os
import signal
import socket
import sys

NEWNS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x00020000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 16384, 1 << 18
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    if _libc.unshare(flags):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def enter_user_namespace() -> None:
    """Be root inside, the caller outside."""
    user, group = os.getuid(), os.getgid()
    unshare(NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def mount_own_proc() -> None:
    # Where /proc is masked (some containers) a new one is refused; then the old one stays, which only `ps` notices.
    _libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    _libc.mount(b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None)


def hold(owner: socket.socket, name: str) -> None:
    """Say that it is made, then wait for the owner's end."""
    owner.sendall(f"{name}\n".encode())
    while owner.recv(1):
        pass


def start_space(owner: socket.socket, name: str) -> None:
    if os.fork():
        return
    try:
        unshare(NEWNET)
        hold(owner, name)
    finally:
        os._exit(0)


def first_process(owner: socket.socket, names: list[str]) -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps whoever is left to this process
    mount_own_proc()
    for name in names:
        start_space(owner, name)
    hold(owner, "first")


def main() -> int:
    owner = socket.socket(fileno=int(sys.argv[1]))
    mode, names = sys.argv[2], sys.argv[3:]
    try:
        if mode == "user":
            enter_user_namespace()
        unshare(NEWNS | NEWPID | NEWIPC)
    except OSError as error:
        owner.sendall(f"refused {error.strerror}\n".encode())
        return 1
    pid = os.fork()
    if not pid:
        try:
            first_process(owner, names)
        finally:
            os._exit(0)
    owner.close()
    os.waitpid(pid, 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
