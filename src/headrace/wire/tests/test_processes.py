import os
import subprocess
import sys

from headrace.wire.processes import is_alive, started_ticks


def test_a_process_lives_until_it_ends_and_not_as_a_zombie():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert is_alive(child.pid)
        assert started_ticks(child.pid) >= started_ticks(os.getpid()) > 0
    finally:
        child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(child.pid), "ended, and not asked after yet"
    child.communicate(timeout=10)
    assert started_ticks(child.pid) == -1
