"""
Everything that ``collector`` raises on purpose::

    CollectorError
    ├── Undecodable              a request body that is not what it says it is
    │   └── TooLarge             a request above the limit, before or after decompression
    ├── DecisionsUnreadable      the payload of a step's decisions breaks its format
    ├── ReceptionFull            more bytes are on their way in than may be; send again later
    ├── BodyTooSlow              a request body did not arrive in time; send again
    ├── IntakeFull               more bytes wait for the database than may wait; send again later
    ├── IntakeStopped            the collector is stopping; send again, to another one or later
    └── CannotListen             a port of ours cannot be opened

Facts are attributes; nobody has to read them out of the text. No message carries a payload.
"""

from __future__ import annotations


class CollectorError(Exception):
    """Base of this tree."""


class Undecodable(CollectorError):
    """A request body that is not what it says it is; sending it again will not help."""


class TooLarge(Undecodable):
    """A request above the limit, before or after decompression."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"the request exceeds {limit_bytes} bytes after decompression; "
            "send smaller batches or raise XRAY_MAX_REQUEST_BYTES"
        )
        self.limit_bytes = limit_bytes


class DecisionsUnreadable(CollectorError):
    """The payload of a step's decisions breaks its format; the step itself is stored and flagged."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"decisions cannot be read: {reason}")
        self.reason = reason


class ReceptionFull(CollectorError):
    """More bytes are on their way in than may be at once; the sender is asked to come again."""

    def __init__(self, under_way_bytes: int, max_bytes: int) -> None:
        super().__init__(f"{under_way_bytes} bytes of requests are on their way in, {max_bytes} may be")
        self.under_way_bytes = under_way_bytes
        self.max_bytes = max_bytes


class BodyTooSlow(CollectorError):
    """A request body did not arrive in time, or not while others needed its place."""

    def __init__(self) -> None:
        super().__init__("the request did not arrive in time; send smaller ones")


class IntakeFull(CollectorError):
    """More bytes wait for the database than may wait; the sender is asked to come again."""

    def __init__(self, waiting_bytes: int, max_bytes: int) -> None:
        super().__init__(f"{waiting_bytes} bytes wait for the database, {max_bytes} may wait")
        self.waiting_bytes = waiting_bytes
        self.max_bytes = max_bytes


class IntakeStopped(CollectorError):
    """The collector is stopping and takes nothing new."""

    def __init__(self) -> None:
        super().__init__("the collector is stopping")


class CannotListen(CollectorError):
    """A port of ours cannot be opened; raised once, at start."""

    def __init__(self, host: str, port: int, variable: str) -> None:
        super().__init__(
            f"port {port} on {host} is in use or cannot be opened; stop the other program or set {variable} "
            "to another port (0 = any free port)"
        )
        self.host = host
        self.port = port
        self.variable = variable
