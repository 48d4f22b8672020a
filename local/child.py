"""Run a command that cannot outlive its parent: `python child.py PARENT_PID COMMAND ARG...`.

On Linux the kernel kills the process when the thread that started it ends (prctl(2),
PR_SET_PDEATHSIG, kept across execve(2)); elsewhere the parent's own clean-up is all there is.
Standard library only and run with -I -S: it costs milliseconds.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Never returns: becomes `command`, or exits with 127 where that can't be run."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the prctl took effect
            sys.exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the command is the supervisor's own
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
