"""Runs the `git` program: each call bounded in time, in the C locale, without prompts and anybody's own settings.

What git says is mapped here to our errors, with the URL's password taken out. Never interprets what git prints: that is
`workshop.repository`. A child dies with this process (Linux; `setpriv` of util-linux does it).
"""

import contextlib
import os
import re
import selectors
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from headrace.base.clock import Clock
from headrace.upstream.model import show_url
from headrace.workshop.errors import RepositoryError

LOCAL_TIMEOUT_S = 300.0
"""For what reads and writes only this disk; minutes, because a source tree may be 100,000 files on a slow one."""
NETWORK_TIMEOUT_S = 4 * 3600.0
"""For a first fetch of the largest repositories over a slow line."""
STALL_S = 300.0
"""A fetch that says nothing for so long is dead: servers send a sign of life every few seconds."""

IDENTITY = ("Headrace", "headrace@localhost.invalid")
"""Committer of candidates: fixed, so that the same queue on the same head is the same commit."""

_KEPT_ENVIRONMENT = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LD_LIBRARY_PATH", "GIT_EXEC_PATH"),
    *("SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
)
_SSH = "ssh -oBatchMode=yes -oConnectTimeout=20 -oServerAliveInterval=15 -oServerAliveCountMax=4"

_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsync": "committed,reference",
    "core.autocrlf": "false",
    "core.quotePath": "false",
    "core.sparseCheckout": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "fetch.fsckObjects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "protocol.ext.allow": "never",
    "commit.gpgSign": "false",
    "merge.conflictStyle": "merge",
    "rerere.enabled": "false",
    "advice.detachedHead": "false",
    "user.name": IDENTITY[0],
    "user.email": IDENTITY[1],
}

_TELLING = r"fatal:|error:|ssh:|remote: (?!Enumerating|Counting|Compressing|Total)"
"""Lines that say what went wrong."""
_MEANINGS = (
    (r"No space left on device|Disk quota exceeded", "the disk is full; nothing was changed"),
    (
        r"could not read (?:Username|Password)|Authentication failed|Permission denied \(|terminal prompts disabled",
        "access was refused; put a token into the URL, or a key into ssh's agent",
    ),
    (
        r"does not appear to be a git repository|[Nn]ot a git repository|[Rr]epository '?.*'? not found"
        r"|[Rr]epository '?.*'? does not exist|invalid gitfile format|not valid: is this a git repository",
        "there is no git repository",
    ),
    (
        r"dubious ownership",
        "the repository belongs to another user; run as its owner or use a URL that a server serves",
    ),
    (
        r"Could not resolve host|unable to access|Connection (?:refused|timed out|reset)|Network is unreachable"
        r"|No route to host|unable to connect|Operation too slow",
        "it cannot be reached",
    ),
    (r"mismatched algorithms|unknown object format", "it uses SHA-256 object names, which are not supported"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GitOutput:
    """What a call printed, and its exit code."""

    out: bytes
    err: str
    code: int

    @property
    def text(self) -> str:
        """Standard output as text, without the last line feed."""
        return self.out.decode("utf-8", "replace").rstrip("\n")

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(self.text.split("\n")) if self.text else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """The program, bound to a repository (or none), a folder, a work tree and an index."""

    git_dir: Path | None = None
    folder: Path | None = None
    """Where it runs; git finds the repository from there when `git_dir` is not given."""
    work_tree: Path | None = None
    index: Path | None = None
    url: str = ""
    """Of the remote `origin`; handed over in the environment, never on a command line or in a file of the mirror."""
    settings: Mapping[str, str] = field(default_factory=dict)

    def run(
        self,
        *words: str,
        stdin: bytes = b"",
        timeout_s: float = LOCAL_TIMEOUT_S,
        may_fail: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> GitOutput:
        """Run one command.

        Args:
            may_fail: exit codes beside 0 that are results.

        Raises:
            RepositoryError: git is missing, took too long or failed; the message holds no password.
        """
        with self._started(words, environment or {}) as process:
            try:
                out, err = process.communicate(stdin, timeout=timeout_s)
            except subprocess.TimeoutExpired:
                raise RepositoryError(f"git {words[0]} took longer than {timeout_s:.0f} s{self._of_url()}") from None
        return self._judged(
            words, GitOutput(out=out, err=err.decode("utf-8", "replace"), code=process.returncode), may_fail
        )

    def run_watched(
        self,
        *words: str,
        watch: Callable[[str], None],
        clock: Clock,
        timeout_s: float = NETWORK_TIMEOUT_S,
        stall_s: float = STALL_S,
    ) -> None:
        """Run one command that shows progress on standard error, each line given to `watch`; its output is dropped.

        Raises:
            RepositoryError: as `run`; also when nothing was said for `stall_s`.
        """
        said: deque[str] = deque(maxlen=50)
        deadline_s = clock.monotonic_s() + timeout_s
        with self._started(words, {}) as process:
            assert process.stdin is not None
            assert process.stderr is not None
            process.stdin.close()
            for line in _lines(process.stderr, stall_s=stall_s):
                if line is None:
                    raise RepositoryError(f"git {words[0]} said nothing for {stall_s:.0f} s{self._of_url()}")
                if clock.monotonic_s() > deadline_s:
                    raise RepositoryError(f"git {words[0]} took longer than {timeout_s:.0f} s{self._of_url()}")
                if not re.search(r"\d+%", line):
                    said.append(line)
                watch(line)
            process.wait(timeout=LOCAL_TIMEOUT_S)
        self._judged(words, GitOutput(out=b"", err="\n".join(said), code=process.returncode), ())

    @contextlib.contextmanager
    def _started(self, words: Sequence[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        """The process, in a group of its own that is killed if the block is left early."""
        try:
            process = subprocess.Popen(
                [*_launcher(), "git", *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL if "--progress" in words else subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self.folder or self.work_tree or self.git_dir or "/",
                env={**self._environment(), **environment},
                start_new_session=True,
            )
        except FileNotFoundError as error:
            missing = "git is not installed: install the package `git`" if error.filename in _PROGRAMS else str(error)
            raise RepositoryError(missing) from None
        try:
            yield process
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):  # what was not yet written to a process that is gone
                        stream.close()

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in _KEPT_ENVIRONMENT}
        places = {"GIT_DIR": self.git_dir, "GIT_WORK_TREE": self.work_tree, "GIT_INDEX_FILE": self.index}
        settings = {**_SETTINGS, **self.settings, **({"remote.origin.url": self.url} if self.url else {})}
        numbered: dict[str, str] = {"GIT_CONFIG_COUNT": str(len(settings))}
        for number, (key, value) in enumerate(settings.items()):
            numbered |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        return {
            **kept,
            "LC_ALL": "C",
            "TZ": "UTC0",
            "GIT_TERMINAL_PROMPT": "0",
            "SSH_ASKPASS_REQUIRE": "never",
            "GIT_SSH_COMMAND": _SSH,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_COMMITTER_NAME": IDENTITY[0],
            "GIT_COMMITTER_EMAIL": IDENTITY[1],
            **{name: str(place) for name, place in places.items() if place is not None},
            **numbered,
        }

    def _judged(self, words: Sequence[str], output: GitOutput, may_fail: Sequence[int]) -> GitOutput:
        if output.code == 0 or output.code in may_fail:
            return output
        raise RepositoryError(f"git {words[0]} failed{self._of_url()}: {explain(output.err, code=output.code)}")

    def _of_url(self) -> str:
        return f" for {show_url(self.url)}" if self.url else ""


def explain(said: str, *, code: int) -> str:
    """What git said on standard error, for an operator: the meaning where known, then git's words, no passwords."""
    words = " ".join(line for line in said.splitlines() if re.match(_TELLING, line))
    words = re.sub(r"([a-z0-9+.-]+://)[^/@\s']*@", r"\1", words or " ".join(said.split()))[:600]
    meaning = next((meaning for pattern, meaning in _MEANINGS if re.search(pattern, said)), "")
    if code < 0:
        meaning = f"it was ended by signal {-code}"
    return " - ".join(part for part in (meaning, f"git says: {words}" if words else "") if part) or f"exit code {code}"


_PROGRAMS = ("git", "setpriv")


def _launcher() -> tuple[str, ...]:
    """A prefix that makes the child die with this process, where util-linux is there."""
    return ("setpriv", "--pdeathsig", "KILL", "--") if shutil.which("setpriv") else ()


def _lines(stream: IO[bytes], *, stall_s: float) -> Iterator[str | None]:
    """Lines of a pipe, ended by CR or LF; None when nothing came for `stall_s`."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            if not selector.select(stall_s):
                yield None
                continue
            chunk = os.read(stream.fileno(), 65536)
            *whole, rest = re.split(rb"[\r\n]+", rest + chunk)
            yield from (line.decode("utf-8", "replace") for line in whole if line.strip())
            if not chunk:
                if rest:
                    yield rest.decode("utf-8", "replace")
                return
