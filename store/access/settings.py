"""What is set alike for every port of a server: its address, who may use it, and TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from store.access.tls import TlsFiles, check_certificates, check_key
from store.network import is_loopback, is_origin
from store.settings import setting

HOST_FORM = "an address or host name of this machine (0.0.0.0 or :: for every interface)"
_MAX_RATE_PER_S = 1_000_000


class ListenSettings(BaseSettings):
    """The base of the settings of every package that listens. Checks read the fields above theirs."""

    model_config = SettingsConfigDict(env_prefix="XRAY_", frozen=True, extra="ignore")

    allow_anonymous: bool = setting(
        False,
        "Ask for no API key, whatever the interface: whoever reaches a port may send and read.",
        accepted="true or false",
    )
    require_keys: bool = setting(
        False,
        "Ask for an API key on loopback too, as behind a proxy; elsewhere one is asked for anyway.",
        accepted="true or false (true not together with XRAY_ALLOW_ANONYMOUS=true)",
    )
    host: str = setting(
        "127.0.0.1",
        "Address that the servers listen on. Anything but loopback asks for API keys "
        "(`xray keys create`), unless XRAY_ALLOW_ANONYMOUS says otherwise.",
        accepted=HOST_FORM,
        min_length=1,
    )
    rate_limit: float = setting(
        0.0,
        "Requests per second that an API key may make in one server process, if it was made without "
        "`--rate`; 0 = any number.",
        accepted=f"a number from 0 to {_MAX_RATE_PER_S}, above 0 only where API keys are asked for,",
        ge=0,
        le=_MAX_RATE_PER_S,
    )
    tls_cert: Path | None = setting(
        None,
        "Certificate of this server, followed by those between it and its root; set, every port speaks TLS "
        "(1.2 or newer) and nothing else. Read at start.",
        accepted="a readable PEM file of certificates",
    )
    tls_key: Path | None = setting(
        None,
        "Private key of XRAY_TLS_CERT.",
        accepted="a readable PEM file, without a passphrase, with the private key of XRAY_TLS_CERT "
        "(both are set or neither)",
    )
    tls_client_ca: Path | None = setting(
        None,
        "Certificates of the authorities that sign those of clients; set, only clients that show such a "
        "certificate may connect (mTLS). API keys are asked for as without it.",
        accepted="a readable PEM file of certificates, with XRAY_TLS_CERT set,",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = setting(
        (),
        "Origins of web pages that may send and ask, separated by commas; * = any.",
        accepted="origins like https://shop.example separated by commas, or *,",
    )

    @property
    def asks_for_keys(self) -> bool:
        """Whether a request needs an API key."""
        return _asks_for_keys(self.host, self.require_keys, self.allow_anonymous)

    @property
    def tls(self) -> TlsFiles | None:
        """The files of TLS; None = plain connections."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        return TlsFiles(self.tls_cert, self.tls_key, self.tls_client_ca)

    @field_validator("require_keys")
    @classmethod
    def _agrees(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("allow_anonymous"):
            raise ValueError("contradicts XRAY_ALLOW_ANONYMOUS")
        return value

    @field_validator("rate_limit")
    @classmethod
    def _counts_somebody(cls, value: float, info: ValidationInfo) -> float:
        names = ("host", "require_keys", "allow_anonymous")
        # A field that was refused itself is missing here, and its own error comes first.
        known = all(name in info.data for name in names)
        if value and known and not _asks_for_keys(*(info.data[name] for name in names)):
            raise ValueError("no key, no limit per key")
        return value

    @field_validator("tls_cert", "tls_client_ca")
    @classmethod
    def _holds_certificates(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is None:
            return None
        check_certificates(value.expanduser())
        if info.field_name == "tls_client_ca" and info.data.get("tls_cert") is None:
            raise ValueError("no TLS without XRAY_TLS_CERT")
        return value.expanduser()

    @field_validator("tls_key")
    @classmethod
    def _fits(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        cert = info.data.get("tls_cert")
        if (value is None) != (cert is None):
            raise ValueError("both or neither")
        if value is None or cert is None:
            return None
        check_key(cert, value.expanduser())
        return value.expanduser()

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(map(is_origin, value)):
            raise ValueError("not an origin")
        return value


def _asks_for_keys(host: str, require_keys: bool, allow_anonymous: bool) -> bool:
    return require_keys or not (is_loopback(host) or allow_anonymous)
