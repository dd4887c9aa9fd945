"""Free ports of this machine."""

import socket

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
