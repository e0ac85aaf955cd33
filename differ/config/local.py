"""Whether a host's name stands for this machine alone: what is sent there crosses no network."""

from __future__ import annotations

import ipaddress


def is_local(host: str) -> bool:
    """Whether only this machine is reached at `host`, a name or an address without brackets. Asks no name server."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
