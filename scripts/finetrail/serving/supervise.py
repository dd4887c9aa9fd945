"""Run a server for as long as whoever started us lives: ``supervise.py COMMAND [ARGUMENT ...]``.

The starter holds the other end of our standard input; when that closes, because it says so or because it
was killed, the server and all that it started are ended. Should we be killed ourselves, the kernel ends the
server (Linux). Written with the standard library only: it is started by path, without the package.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

PATIENCE_S = 8.0
POLL_S = 0.2
PR_SET_PDEATHSIG = 1
STOPPED = 200  # our exit code when the server still ran until we were told to stop


def _die_with_supervisor() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _signal_group(group: int, number: int) -> bool:
    """Signal the server's process group; False when nobody is left in it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _end(server: "subprocess.Popen[bytes]") -> None:
    _signal_group(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        server.poll()
        if not _signal_group(server.pid, 0):
            break
        time.sleep(0.02)
    _signal_group(server.pid, signal.SIGKILL)
    server.wait()


def main(command: list[str]) -> int:
    """Run the command until it ends, and return its exit code, or until our standard input ends: ``STOPPED``."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(STOPPED))
    server = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_supervisor
    )
    try:
        while server.poll() is None:
            readable, _, _ = select.select([sys.stdin.fileno()], [], [], POLL_S)
            if readable and not os.read(sys.stdin.fileno(), 1) and server.poll() is None:
                return STOPPED
        return server.returncode
    finally:
        _end(server)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
