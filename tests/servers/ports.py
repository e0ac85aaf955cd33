"""Choose a port that is free and stays free while a server is down between kill and restart.

The kernel hands out 32768-60999 to outgoing connections, so a port from there may be taken by a client while
the server that owned it restarts. The ports given here lie below that range.
"""

import random
import socket

LOOPBACK = "127.0.0.1"
FIRST_PORT = 20000
LAST_PORT = 31999

_random = random.SystemRandom()


def free_port(attempts: int = 200) -> int:
    """Return a port of 127.0.0.1 on which nothing listened a moment ago.

    Two callers may still be given the same one: a server whose first start fails tries another port.
    """
    for _ in range(attempts):
        port = _random.randint(FIRST_PORT, LAST_PORT)
        if is_free(port):
            return port
    raise OSError(f"no free port found in {FIRST_PORT}-{LAST_PORT} after {attempts} attempts")


def is_free(port: int) -> bool:
    """Tell whether a server could listen on `port` of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
