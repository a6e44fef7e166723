"""The snapshots of a steering node's past, one after the other, for whoever reads its log."""

from pathlib import Path

from headrace.playback.adapters.disk import HISTORY_NAME, SnapshotFile
from headrace.playback.adapters.history import History
from headrace.playback.errors import SnapshotError
from headrace.steering.compile import CompiledSnapshot, compile_snapshot
from headrace.wire.errors import MalformedError
from headrace.wire.snapshot import SnapshotParts, unpack_snapshot


class Past:
    """Snapshots by moment, each for `step_s`: loads change every second, and reading each would take a day's time."""

    def __init__(self, folder: Path, *, step_s: float) -> None:
        """Begin.

        Args:
            folder: the node's [snapshot] folder.
        """
        if not (folder / HISTORY_NAME).is_dir():
            raise SnapshotError(f"{folder} keeps no past snapshots: give the [snapshot] folder of a steering node")
        self._file = SnapshotFile(folder)
        self._history = History(folder / HISTORY_NAME, self._file.parts, most_age_s=0, most_bytes=0)
        self._step_s = step_s
        self._parts = SnapshotParts()
        self._step, self._data = -1, b""
        self._compiled: CompiledSnapshot | None = None

    def at(self, at_s: float) -> CompiledSnapshot | None:
        """The snapshot that was in force when the step of a moment began, or at the first moment asked for in it.

        Raises:
            SnapshotError: it cannot be read any more.
        """
        step = int(at_s // self._step_s)
        if step != self._step:
            self._step = step
            data = self._history.at(step * self._step_s) or self._history.at(at_s) or b""
            if data != self._data:
                self._compiled = self._read(data) if data else None
                self._data = data
        return self._compiled

    def _read(self, data: bytes) -> CompiledSnapshot:
        try:
            return compile_snapshot(unpack_snapshot(data, self._parts, find=self._file.parts.find), self._compiled)
        except MalformedError as error:
            raise SnapshotError(f"a kept snapshot cannot be read: {error}") from None
