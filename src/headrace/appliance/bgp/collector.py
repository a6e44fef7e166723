"""The process that ExaBGP gives all it hears to: keeps the tables, bounds them, and answers the agent.

It is started by ExaBGP and ends with it. Both go on without the agent for a time (`bgp.keep_s`), so that an agent that
is killed, restarted or upgraded loses no session. Reads ExaBGP's lines on standard input, writes commands to standard
output, logs to standard error. ExaBGP works in /, so the speaker's folder is in the environment.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import headrace
from headrace.appliance.bgp.asking import MOST_WAIT_S, Looked, Question, What, listen
from headrace.appliance.bgp.kept import KeptTables
from headrace.appliance.bgp.messages import MOST_LINE_BYTES, read_line
from headrace.appliance.bgp.sessions import Command, EndSession, Sessions
from headrace.appliance.bgp.settings import BgpSettings
from headrace.appliance.bgp.speaker_conf import render_speaker_conf
from headrace.base.clock import Clock, SystemClock
from headrace.base.logs import event, set_up_logging
from headrace.base.tasks import Tasks
from headrace.routes.chunks import join_chunks
from headrace.routes.model import RouteError
from headrace.routes.table import PackedParts, PackedTable
from headrace.wire.codec import decode, encode
from headrace.wire.files import write_atomic
from headrace.wire.routes import ChunkRef

_log = logging.getLogger(__name__)

COMMAND = f"{sys.executable} -m headrace.appliance.bgp.collector"
FOLDER_VARIABLE = "HEADRACE_BGP_FOLDER"
SETTINGS = "settings.json"
CONF = "exabgp.conf"
LOG = "speaker.log"
ALIVE = "alive"
"""Its time is when the speaker lived last; sessions of a killed one are down since then."""
_TICK_S = 0.5
_PACK_INTERVAL_S = 1.0
_SAVED_BYTES_PER_S = 100_000
"""On average: small tables are kept soon after a change, a full one every few minutes."""
_LEAST_SAVE_INTERVAL_S = 5.0
_TABLES_REMEMBERED = 3
"""Of each session: a table that was named to the control plane can be asked for while newer ones come."""
_MOST_LOG_BYTES = 8 << 20
_LINES_AT_ONCE = 100
_FLAWS_LOGGED = 20


class Collector:
    """One speaker's tables, in one folder."""

    def __init__(self, folder: Path, settings: BgpSettings, *, clock: Clock) -> None:
        self._folder, self._clock = folder, clock
        self._sessions = Sessions(settings, now_s=clock.now_s())
        self._kept = KeptTables(folder)
        self._shown: dict[str, list[PackedTable]] = {}
        self._changed = asyncio.Event()
        self._seen_version = 0
        self._flawed = 0
        self._asked_s = self._next_save_s = clock.monotonic_s()
        self._is_ending = False

    async def run(self) -> None:
        """Work until ExaBGP closes standard input."""
        self._restore()
        await self._pack()
        server = await listen(self._folder, self._answer)
        told = asyncio.Event()
        # ExaBGP, when it ends, sends this and kills 2 s later.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        try:
            async with Tasks() as tasks:
                tasks.spawn("ticks", self._tick_for_ever())
                ends = {tasks.spawn("lines", self._read_lines()), tasks.spawn("signal", told.wait())}
                failing = tasks.spawn("failure", tasks.until_first_failure())
                await asyncio.wait({*ends, failing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            server.close()
            self._save()

    def _restore(self) -> None:
        alive = self._folder / ALIVE
        lived_s = alive.stat().st_mtime if alive.exists() else 0.0
        for kept, chunks in self._kept.read():
            try:
                self._sessions.restore(kept.session_id, chunks, since_s=max(lived_s, kept.saved_s))
            except RouteError as error:
                event(_log, "bgp_kept_table_broken", level=logging.WARNING, session=kept.session_id, error=error)
        alive.touch(mode=0o600)

    # ---- ExaBGP

    async def _read_lines(self) -> None:
        reader = asyncio.StreamReader(limit=MOST_LINE_BYTES)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        lines = 0
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                self._flaw(f"a line over {MOST_LINE_BYTES} bytes")
                continue
            if not line:
                return
            self._take(line)
            lines += 1
            if lines % _LINES_AT_ONCE == 0:
                # readline does not wait while there is something in its buffer: let the others work.
                await asyncio.sleep(0)

    def _take(self, line: bytes) -> None:
        now_s = self._clock.now_s()
        try:
            for happened in read_line(line):
                self._carry_out(self._sessions.take(happened, now_s=now_s))
        except RouteError as error:
            self._flaw(str(error))

    def _flaw(self, text: str) -> None:
        self._flawed += 1
        if self._flawed <= _FLAWS_LOGGED:
            event(_log, "bgp_message_not_understood", level=logging.WARNING, error=text, messages=self._flawed)

    def _carry_out(self, commands: Iterable[Command]) -> None:
        for command in commands:
            if isinstance(command, EndSession):
                self._say(f"neighbor {command.peer} teardown {command.subcode}")
            else:
                text = render_speaker_conf(self._sessions.settings, COMMAND, left_out=command.left_out)
                write_atomic(self._folder / CONF, text.encode(), mode=0o600)
                self._say("reload")

    def _say(self, command: str) -> None:
        # A few bytes into a pipe that ExaBGP reads all the time.
        with contextlib.suppress(BrokenPipeError):
            os.write(1, f"{command}\n".encode())

    # ---- time

    async def _tick_for_ever(self) -> None:
        packed_s = touched_s = 0.0
        while True:
            await self._clock.sleep(_TICK_S)
            self._carry_out(self._sessions.tick(now_s=self._clock.now_s()))
            now_s = self._clock.monotonic_s()
            if now_s - packed_s >= _PACK_INTERVAL_S:
                await self._pack()
                packed_s = self._clock.monotonic_s()
            if now_s - touched_s >= _LEAST_SAVE_INTERVAL_S:
                touched_s = now_s
                with contextlib.suppress(OSError):
                    os.utime(self._folder / ALIVE)
            if now_s >= self._next_save_s:
                await asyncio.to_thread(self._save)
                self._bound_log()
            if now_s - self._asked_s > self._sessions.settings.keep_s + MOST_WAIT_S:
                await self._end("no agent has asked for long")

    async def _pack(self) -> None:
        """Name the tables that have changed."""
        for session_id, table in self._sessions.tables_to_pack():
            try:
                for _ in table.pack():
                    await asyncio.sleep(0)
            except RouteError as error:
                self._flaw(str(error))
                continue
            packed = table.packed()
            shown = self._shown.setdefault(session_id, [])
            if not shown or shown[-1].names != packed.names:
                shown.append(packed)
                del shown[:-_TABLES_REMEMBERED]
            self._sessions.use_packed(session_id, packed)
        if self._sessions.version != self._seen_version:
            self._seen_version = self._sessions.version
            self._changed.set()

    def _save(self) -> None:
        written_bytes = 0
        try:
            written_bytes = self._kept.write(self._sessions.packed_tables(), now_s=self._clock.now_s())
        except OSError as error:
            event(_log, "bgp_tables_not_kept", level=logging.WARNING, error=error)
        wait_s = max(_LEAST_SAVE_INTERVAL_S, written_bytes / _SAVED_BYTES_PER_S)
        self._next_save_s = self._clock.monotonic_s() + wait_s

    def _bound_log(self) -> None:
        """The log file is opened for appending, by ExaBGP and us: emptied, it goes on from its start."""
        with contextlib.suppress(OSError):
            if os.fstat(2).st_size > _MOST_LOG_BYTES:
                os.ftruncate(2, 0)

    async def _end(self, why: str) -> None:
        if not self._is_ending:
            self._is_ending = True
            event(_log, "bgp_speaker_ends", why=why)
            await self._pack()
            self._save()
            self._say("shutdown")

    # ---- the agent

    async def _answer(self, question: Question) -> bytes:
        self._asked_s = self._clock.monotonic_s()
        try:
            return await self._find_answer(question)
        finally:
            self._asked_s = self._clock.monotonic_s()

    async def _find_answer(self, question: Question) -> bytes:
        now_s = self._clock.now_s()
        match question.what:
            case What.TABLE:
                return encode(self._refs(question.digests[0] if question.digests else ""), tuple[ChunkRef, ...])
            case What.CHUNKS:
                return self._chunks(question.digests)
            case What.CONFIGURE if question.settings is not None:
                write_atomic(self._folder / SETTINGS, encode(question.settings), mode=0o600)
                self._carry_out(self._sessions.configure(question.settings, now_s=now_s))
            case What.RETRY:
                self._carry_out(self._sessions.retry(now_s=now_s))
            case What.END:
                await self._end("the agent says so")
            case What.LOOK:
                await self._wait_for_change(question.after, min(question.wait_s, MOST_WAIT_S))
        return encode(self._looked())

    async def _wait_for_change(self, after: int, wait_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while self._sessions.version == after:
                    self._changed.clear()
                    await self._changed.wait()

    def _looked(self) -> Looked:
        return Looked(
            build=headrace.__version__,
            settings=self._sessions.settings,
            version=self._sessions.version,
            sessions=self._sessions.report(),
            flawed=self._flawed,
        )

    def _refs(self, digest: str) -> tuple[ChunkRef, ...]:
        """The chunks of a table or of times; none when they are no longer known."""
        for parts in self._known_parts():
            if parts.digest == digest:
                return tuple(ChunkRef(number=each, digest=parts.digests[each]) for each in sorted(parts.digests))
        return ()

    def _known_parts(self) -> Iterator[PackedParts]:
        for shown in self._shown.values():
            for packed in shown:
                yield packed
                yield packed.times

    def _chunks(self, digests: tuple[str, ...]) -> bytes:
        """Those that are still known."""
        tables = [parts.chunks for parts in self._known_parts()]
        found = (next((chunks[digest] for chunks in tables if digest in chunks), None) for digest in digests)
        return join_chunks(chunk for chunk in found if chunk is not None)


def main() -> None:
    """Run as ExaBGP's process."""
    set_up_logging("INFO")
    folder = Path(os.environ[FOLDER_VARIABLE])
    settings = decode(BgpSettings, (folder / SETTINGS).read_bytes())
    asyncio.run(Collector(folder, settings, clock=SystemClock()).run())


if __name__ == "__main__":
    main()
