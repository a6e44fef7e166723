"""Run a program that gets a signal when its parent ends, however that ends (Linux; elsewhere it just runs the program).

Started as a script, in a Python without site packages, because code between fork and exec is unsafe beside threads.
Arguments: the parent's process id, the signal's number, the program with its arguments.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    parent, signal_number, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(program[0], program)  # noqa: S606  a path and an argument list, no shell
