"""The files of TLS, checked when the settings are read and not at the first connection."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, NamedTuple


class TlsFiles(NamedTuple):
    """PEM files of a server that answers by TLS 1.2 or newer."""

    cert: Path
    """The certificate, with those between it and its root."""
    key: Path
    client_ca: Path | None
    """Given: who connects must show a certificate that one of these has signed (mTLS)."""

    def for_uvicorn(self) -> dict[str, Any]:
        """As ``uvicorn.Config`` takes them; Python's own default refuses what is older than TLS 1.2."""
        options: dict[str, Any] = {"ssl_certfile": str(self.cert), "ssl_keyfile": str(self.key)}
        if self.client_ca is not None:
            options |= {"ssl_ca_certs": str(self.client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
        return options


def check_certificates(path: Path) -> None:
    """Raise ``ValueError`` unless the file can be read and holds certificates."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as exc:
        raise ValueError(str(exc)) from None


def check_key(cert: Path, key: Path) -> None:
    """Raise ``ValueError`` unless the file holds the certificate's private key, not encrypted."""
    try:
        # A key with a passphrase would be asked for on the terminal; an empty one fails.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: b"")
    except (OSError, ssl.SSLError) as exc:
        raise ValueError(str(exc)) from None
