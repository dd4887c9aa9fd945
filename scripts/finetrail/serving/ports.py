"""Free ports of this machine."""

import socket

CHANGES_NO_RESULT = "It finds a free port, which processes meet at; the machine has another one every time."
LOOPBACK = "127.0.0.1"


def free_port(address: str = LOOPBACK) -> int:
    """Return a port that nobody listens on now; whoever binds it next may still be somebody else.

    Args:
        address: of the interface; empty for all.
    """
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port
