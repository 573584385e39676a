"""What a setting may say about the network; shared by every package that listens."""

from __future__ import annotations

import ipaddress
import re
import socket

_ORIGIN = re.compile(r"https?://[^/?#@\s]+")


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address reaches this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_origin(text: str) -> bool:
    """Tell whether a text is an origin as browsers send it, or ``*`` for any (Fetch, section 3.2)."""
    return text == "*" or _ORIGIN.fullmatch(text) is not None


def is_of_this_machine(host: str) -> bool:
    """Tell whether a server of this machine can listen on an address or host name."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        # Any port of UDP will do: no port of TCP, which may be taken, is touched.
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except (OSError, UnicodeError):
        return False
    return True
