"""
Where a webhook may lead: http and https, and to public addresses unless a setting says otherwise.

Whoever writes rules chooses where the server sends requests. Names are looked up when something is
sent, and the connection goes to the very address that was checked: a name that resolves to another
one a moment later gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

_MAX_URL = 2048
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")
"""What of IPv6 is assigned to the Internet: what else looks global is a notation of something local."""
_PORTS = {"http": 80, "https": 443}
PRIVATE = "is no public address; XRAY_ALERT_PRIVATE_ADDRESSES=true allows those"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressProblem(ValueError):
    """A URL that nothing is sent to; the text says why, without the URL."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect, and what to say there."""

    url: str
    """With the address in place of the name."""
    host: str
    """The header ``Host``."""
    name: str
    """What the certificate must be of."""


def check_url(url: str, *, allow_private: bool) -> None:
    """Raise ``AddressProblem`` for what no request can be sent to; names are not looked up."""
    parts = _parts(url)
    if not allow_private and (literal := _literal(parts.hostname or "")) and not is_public(literal):
        raise AddressProblem(PRIVATE)


def origin(url: str) -> str:
    """Return what may be shown of a webhook: its path and query may be a token."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/***"
    except ValueError:
        return "***"


def resolved(url: str, *, allow_private: bool) -> Target:
    """Look the name up and return where to connect; raises ``AddressProblem``."""
    parts = _parts(url)
    name = parts.hostname or ""
    port = parts.port or _PORTS[parts.scheme]
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise AddressProblem("its name cannot be resolved") from exc
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    # All of them: a name with one public address among private ones is meant to slip through.
    if not addresses or not (allow_private or all(map(is_public, addresses))):
        raise AddressProblem(PRIVATE)
    address = addresses[0]
    shown = f"[{address}]" if address.version == 6 else str(address)
    path = parts.path or "/"
    query = f"?{parts.query}" if parts.query else ""
    return Target(f"{parts.scheme}://{shown}:{port}{path}{query}", parts.netloc, name)


def is_public(address: Address) -> bool:
    """Whether an address is one of the Internet, looked at through the ways to write an IPv4 one as IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
        if address not in _UNICAST:
            return False
    return address.is_global and not address.is_multicast


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _parts(url: str) -> SplitResult:
    if len(url) > _MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise AddressProblem(f"must be a URL of at most {_MAX_URL} ASCII characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise AddressProblem("must be a URL like https://host/path") from exc
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise AddressProblem("must be a URL like https://host/path; only http and https are sent to")
    if parts.username is not None or parts.password is not None:
        raise AddressProblem("must not hold a user or password; the signature says who sends")
    if parts.fragment:
        raise AddressProblem("must not hold a fragment")
    return parts
