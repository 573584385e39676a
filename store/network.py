"""What a setting may say about the network; shared by every package that listens."""

from __future__ import annotations

import ipaddress
import re

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
