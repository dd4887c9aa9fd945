"""A stand-in for `python` that runs a script with no way to a server: for test_replay.py.

Whatever binds, connects, looks a host up or starts a process that could is refused, and noted in a file.
"""

import os
import runpy
import sys
from pathlib import Path
from typing import Any

REFUSED = {"socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}
SERVER = "finetrail.serving.offline.server"


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Stop what would reach a server."""
    if event in REFUSED or (event == "subprocess.Popen" and SERVER in map(str, arguments[1])):
        with Path(os.environ["REFUSED_NOTES"]).open("a", encoding="utf-8") as notes:
            notes.write(f"{event} in {sys.argv[0]}\n")
        raise PermissionError(f"{event}: this test allows no server")


def main() -> None:
    """Run the script as Python would, behind the hook."""
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    sys.addaudithook(refuse)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
