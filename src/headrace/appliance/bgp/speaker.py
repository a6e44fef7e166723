"""Keeps one ExaBGP and its collector running beside the agent, and tells what they hear.

Both are started in a session of their own and outlive a killed agent; the next agent takes them over by their socket.
A speaker that dies, or answers no more, is ended and started again with growing pauses; its tables are on disk.
"""

import asyncio
import contextlib
import errno
import logging
import os
import pwd
import signal
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import headrace
from headrace.appliance.bgp.asking import (
    MOST_WAIT_S,
    Line,
    Looked,
    Question,
    SpeakerError,
    What,
    call_up,
    stop_listening,
)
from headrace.appliance.bgp.collector import COMMAND, CONF, FOLDER_VARIABLE, LOG, SETTINGS
from headrace.appliance.bgp.settings import BgpPeer, BgpSettings
from headrace.appliance.bgp.speaker_conf import render_speaker_conf, speaker_environment
from headrace.base.clock import Clock
from headrace.base.errors import UsageError
from headrace.base.logs import event
from headrace.base.rng import Rng, backoff_s
from headrace.routes.chunks import split_chunks
from headrace.routes.model import Session, SessionState
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError
from headrace.wire.files import write_atomic
from headrace.wire.processes import started_ticks
from headrace.wire.routes import ChunkRef, SessionTable

_log = logging.getLogger(__name__)
_POLL_S = 0.1
_RETRY_MOST_S = 30.0
_STEADY_S = 60.0
_PID = "speaker.pid"
_MOST_CHUNKS_BYTES = 1 << 30
_TCP_MD5SIG = 14
_CHILDREN: list["subprocess.Popen[bytes]"] = []
"""Those of this process, so that they are reaped; not asyncio's, which kills a child that nobody holds any more."""
_NO_MD5 = "this system's kernel has no TCP MD5 (CONFIG_TCP_MD5SIG): no session where md5_password is set"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the speaker is waited for, in seconds."""

    start_s: float = 30.0
    look_s: float = MOST_WAIT_S
    """Between signs of life when nothing changes."""
    answer_s: float = 60.0
    """A collector that packs a full table is busy for some seconds."""
    end_s: float = 10.0


class BgpSpeaker:
    """The speaker of one state folder. `run` keeps it; the rest tells what it has heard."""

    def __init__(
        self, folder: Path, settings: BgpSettings, *, clock: Clock, rng: Rng, patience: Patience | None = None
    ) -> None:
        """`folder` is the speaker's own, made when there are peers."""
        self._patience = patience or Patience()
        self._folder, self._clock, self._rng = folder, clock, rng
        self._settings = _without_impossible(settings)
        self._line: Line | None = None
        self._looked: Looked | None = None
        self._sessions: tuple[SessionTable, ...] | None = None if settings.peers else ()
        self._failures = 0
        self.restarts = 0
        """Times that it was started after a first time, since the agent started."""
        self.changed = asyncio.Event()
        """Set when `sessions` may have changed; whoever waits for it clears it."""

    @property
    def sessions(self) -> tuple[SessionTable, ...] | None:
        """All sessions with the names of their tables; None while nobody knows."""
        return self._sessions

    @property
    def flawed(self) -> int:
        """Messages that were not understood, since the speaker started."""
        return self._looked.flawed if self._looked else 0

    async def run(self) -> None:
        """Keep it running until cancelled. Cancelling leaves it alive for `bgp.keep_s`."""
        if not self._settings.peers:
            await self._end_old()
            self.changed.set()
            await asyncio.Event().wait()
        has_hung = False
        while True:
            started_s = self._clock.monotonic_s()
            try:
                await self._take_over_or_start(has_hung=has_hung)
                has_hung = False
                await self._look_for_ever()
            except (SpeakerError, MalformedError, OSError, EOFError, TimeoutError) as error:
                # One that does not answer is not asked again whether it does.
                has_hung = isinstance(error, TimeoutError)
                self._say_lost(error)
            except Exception:
                # The top of the loop: serving and filling go on without routes.
                _log.exception("turn_failed loop=bgp")
            finally:
                self._hang_up()
            if self._clock.monotonic_s() - started_s > _STEADY_S:
                self._failures = 0
            await self._clock.sleep(backoff_s(self._rng, self._failures, first_s=0.5, most_s=_RETRY_MOST_S))
            self._failures += 1

    async def stop(self) -> None:
        """End it now; its tables are kept on disk."""
        self._hang_up()
        await self._end_old()

    # ---- what it has heard

    async def chunks_of(self, table_digest: str) -> tuple[ChunkRef, ...]:
        """The chunks of a table; none when newer ones have taken its place.

        Raises:
            SpeakerError: the speaker does not answer.
        """
        return decode(tuple[ChunkRef, ...], await self._ask_beside(Question(what=What.TABLE, digests=(table_digest,))))

    async def packed_chunks(self, digests: tuple[str, ...]) -> tuple[bytes, ...]:
        """Chunks as they are sent; those no longer known are left out.

        Raises:
            SpeakerError: the speaker does not answer.
        """
        body = await self._ask_beside(Question(what=What.CHUNKS, digests=digests))
        return split_chunks(body, most_bytes=_MOST_CHUNKS_BYTES)

    async def retry(self) -> tuple[SessionTable, ...]:
        """Speak again with peers that were over their limit.

        Raises:
            SpeakerError: no speaker answers.
        """
        return decode(Looked, await self._ask_beside(Question(what=What.RETRY))).sessions

    # ---- one life of it

    async def _look_for_ever(self) -> None:
        after = 0
        while True:
            looked = decode(
                Looked, await self._ask(Question(what=What.LOOK, after=after, wait_s=self._patience.look_s))
            )
            after = looked.version
            self._take(looked)

    def _take(self, looked: Looked) -> None:
        self._looked = looked
        self._show(tuple(_with_reason(table) for table in looked.sessions))

    def _show(self, sessions: tuple[SessionTable, ...]) -> None:
        before = {each.session.session_id: each.session for each in self._sessions or ()}
        for table in sessions:
            _say_change(before.get(table.session.session_id), table.session)
        if self._sessions != sessions:
            self._sessions = sessions
            self.changed.set()

    async def _take_over_or_start(self, *, has_hung: bool) -> None:
        if not has_hung and await self._is_ours():
            event(_log, "bgp_speaker_taken_over")
            return
        await self._end_old()
        if self._looked is not None:
            self.restarts += 1
        await self._start()

    async def _is_ours(self) -> bool:
        """Whether one of our release answers; it is told our settings."""
        try:
            await self._call_up()
            looked = decode(Looked, await self._ask(Question(what=What.LOOK)))
            if looked.build == headrace.__version__ and looked.settings != self._settings:
                looked = decode(Looked, await self._ask(Question(what=What.CONFIGURE, settings=self._settings)))
            return looked.build == headrace.__version__
        except (OSError, EOFError, TimeoutError, SpeakerError, MalformedError):
            return False

    async def _start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        write_atomic(self._folder / SETTINGS, encode(self._settings), mode=0o600)
        write_atomic(self._folder / CONF, render_speaker_conf(self._settings, COMMAND).encode(), mode=0o600)
        stop_listening(self._folder)
        child = self._spawn()
        write_atomic(self._folder / _PID, f"{child.pid} {started_ticks(child.pid)}".encode(), mode=0o600)
        event(_log, "bgp_speaker_started", pid=child.pid, peers=len(self._settings.peers))
        async with asyncio.timeout(self._patience.start_s):
            while True:
                if child.poll() is not None:
                    raise SpeakerError(f"ExaBGP ended with {child.returncode}: {self._last_words()}")
                with contextlib.suppress(OSError):
                    await self._call_up()
                    return
                await self._clock.sleep(_POLL_S)

    def _spawn(self) -> "subprocess.Popen[bytes]":
        for ended in [child for child in _CHILDREN if child.poll() is not None]:
            _CHILDREN.remove(ended)
        user = pwd.getpwuid(os.geteuid()).pw_name
        with (self._folder / LOG).open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "headrace.appliance.bgp.exabgp_program", "server", str(self._folder / CONF)],
                cwd=self._folder,
                env={**os.environ, **speaker_environment(user), FOLDER_VARIABLE: str(self._folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _CHILDREN.append(child)
        return child

    def _last_words(self) -> str:
        """The end of the log, in one line."""
        try:
            with (self._folder / LOG).open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - 2000))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            return "no log"
        return " / ".join(line.strip() for line in lines[-4:])[-600:]

    async def _end_old(self) -> None:
        """End whatever speaker there is in our folder: asked first, so that it keeps its tables, then by force."""
        process = _find(self._folder)
        if process is None:
            return
        with contextlib.suppress(OSError, EOFError, TimeoutError, SpeakerError, MalformedError):
            async with asyncio.timeout(self._patience.end_s):
                await self._call_up()
                await self._ask(Question(what=What.END))
        self._hang_up()
        if not await self._is_gone(self._patience.end_s):
            event(_log, "bgp_speaker_killed", level=logging.WARNING, pid=process)
            _kill_session(process)
            await self._is_gone(self._patience.end_s)

    async def _is_gone(self, limit_s: float) -> bool:
        end_s = self._clock.monotonic_s() + limit_s
        while _find(self._folder) is not None:
            if self._clock.monotonic_s() > end_s:
                return False
            await self._clock.sleep(_POLL_S)
        return True

    def _say_lost(self, error: BaseException) -> None:
        event(
            _log, "bgp_speaker_lost", level=logging.ERROR, error=error or type(error).__name__,
            last_words=self._last_words(), failures_in_a_row=self._failures,
        )  # fmt: skip
        detail = f"the speaker ended: {error or type(error).__name__}"[:600]
        now_s = self._clock.now_s()
        if self._sessions is None:
            tables = tuple(_never_seen(peer, self._settings.local_as, detail, now_s) for peer in self._settings.peers)
            self._show(tables)
        else:
            self._show(tuple(_lost(table, detail, now_s) for table in self._sessions))

    # ---- its socket

    async def _call_up(self) -> None:
        self._hang_up()
        self._line = await call_up(self._folder)

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = None

    async def _ask(self, question: Question) -> bytes:
        assert self._line is not None
        return await self._line.ask(question, limit_s=self._patience.answer_s + self._patience.look_s)

    async def _ask_beside(self, question: Question) -> bytes:
        """Over a line of its own: the other one waits for changes."""
        try:
            with contextlib.closing(await call_up(self._folder)) as line:
                return await line.ask(question, limit_s=self._patience.answer_s + self._patience.look_s)
        except (OSError, EOFError, TimeoutError) as error:
            raise SpeakerError(f"no BGP speaker answers in {self._folder}: {error or type(error).__name__}") from None


def _say_change(before: Session | None, now: Session) -> None:
    if before is not None and (before.state, before.detail) == (now.state, now.detail):
        return
    is_bad = now.state in (SessionState.DOWN, SessionState.OVER_LIMIT) or now.detail.startswith("near its limit")
    event(
        _log, "bgp_session", level=logging.WARNING if is_bad else logging.INFO, session=now.session_id,
        state=now.state, detail=now.detail, prefixes=now.prefixes, drops=now.drops,
    )  # fmt: skip


def _with_reason(table: SessionTable) -> SessionTable:
    """Why a session is disabled that its settings do not disable."""
    session = table.session
    if session.state is SessionState.DISABLED and not md5_is_possible():
        return replace(table, session=replace(session, detail=session.detail or _NO_MD5))
    return table


def _lost(table: SessionTable, detail: str, now_s: float) -> SessionTable:
    session = table.session
    if session.state is not SessionState.ESTABLISHED:
        return table
    return replace(table, session=replace(session, state=SessionState.DOWN, since_s=now_s, detail=detail))


def _never_seen(peer: BgpPeer, local_as: int, detail: str, now_s: float) -> SessionTable:
    session = Session(
        session_id=peer.session_id,
        peer_address=peer.address,
        peer_as=peer.peer_as,
        local_as=local_as,
        family=peer.family,
        state=SessionState.CONNECTING if peer.enabled else SessionState.DISABLED,
        since_s=now_s,
        detail=detail,
        most_prefixes=peer.most_prefixes,
    )
    return SessionTable(session=session, table_digest="")


def _without_impossible(settings: BgpSettings) -> BgpSettings:
    """Without sessions that this system cannot have: better none than one without the protection that was asked for."""
    if md5_is_possible() or not any(peer.md5_password for peer in settings.peers):
        return settings
    event(_log, "bgp_md5_not_possible", level=logging.WARNING, error=_NO_MD5)
    peers = tuple(replace(peer, enabled=peer.enabled and not peer.md5_password) for peer in settings.peers)
    return replace(settings, peers=peers)


def check_speaker(settings: BgpSettings) -> None:
    """Whether this machine can have the sessions; opens none.

    Raises:
        UsageError: names the key at fault.
    """
    for number, peer in enumerate(settings.peers):
        key = f"bgp.peers.{number}"
        if peer.md5_password and not md5_is_possible():
            raise UsageError(f"key '{key}.md5_password': {_NO_MD5}")
        family = socket.AF_INET6 if ":" in peer.local_address else socket.AF_INET
        with socket.socket(family) as probe:
            try:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((peer.local_address, peer.port if peer.passive else 0))
            except OSError as error:
                # A speaker that runs has the port of passive peers: it is the one that is wanted.
                if error.errno != errno.EADDRINUSE:
                    what = f"{peer.local_address} port {peer.port}" if peer.passive else peer.local_address
                    raise UsageError(f"key '{key}.local_address': cannot use {what}: {error.strerror}") from None


@cache
def md5_is_possible() -> bool:
    """Whether this kernel signs TCP segments (RFC 2385)."""
    address = struct.pack("HH4s120x", socket.AF_INET, 0, socket.inet_aton("192.0.2.1"))
    with socket.socket() as probe:
        try:
            probe.setsockopt(socket.IPPROTO_TCP, _TCP_MD5SIG, address + struct.pack("2xH4x80s", 1, b"x"))
        except OSError:
            return False
    return True


def _find(folder: Path) -> int | None:
    """The speaker that was started last in this folder, if it lives; its pid is also its session's."""
    with contextlib.suppress(OSError, ValueError):
        pid, ticks = (int(word) for word in (folder / _PID).read_text().split())
        if started_ticks(pid) == ticks:
            return pid
    return None


def _kill_session(leader: int) -> None:
    """Kill a process and all of its session: the collector is in it, with a process group of its own."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if int((entry / "stat").read_text().rpartition(")")[2].split()[3]) == leader:
                os.kill(int(entry.name), signal.SIGKILL)
