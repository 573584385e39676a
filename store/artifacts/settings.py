"""Settings of where payloads of artifacts lie."""

from __future__ import annotations

from importlib.util import find_spec

from pydantic import field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from store.artifacts.objects import ObjectStore
from store.artifacts.open import INSTALL, URL_FORM, is_accepted, open_store
from store.settings import setting

DEFAULT_INLINE_BYTES = 256 * 1024


class ArtifactSettings(BaseSettings):
    """Where payloads of artifacts lie. All server processes of a database need the same."""

    model_config = SettingsConfigDict(env_prefix="XRAY_ARTIFACT_", frozen=True, extra="ignore")

    url: str | None = setting(
        None,
        "Object store for payloads above XRAY_ARTIFACT_INLINE_BYTES: file:///folder, s3://bucket/prefix, "
        f"gs://… or az://… (needs {INSTALL}). Credentials and endpoint come from the variables that the "
        "cloud's own tools read (AWS_*, GOOGLE_*, AZURE_*). Unset: all payloads lie in the database.",
        accepted=f"{URL_FORM} with obstore installed ({INSTALL})",
        secret=True,
    )
    inline_bytes: int = setting(
        DEFAULT_INLINE_BYTES,
        "Payloads up to this size lie in the database even when there is an object store.",
        accepted="a number of bytes from 0 to 67108864",
        ge=0,
        le=64 * 1024 * 1024,
    )
    grace_s: float = setting(
        86_400.0,
        "Seconds for which an object is left alone that nothing refers to: it may have just been put.",
        accepted="a number of seconds from 60 to 31536000",
        ge=60,
        le=31_536_000,
    )
    timeout_s: float = setting(
        4.0,
        "Seconds that the object store may take for a request. Payloads that come meanwhile wait; metrics "
        "and decisions do not. Shorter than XRAY_WRITE_TIMEOUT_S.",
        accepted="a number of seconds above 0 and up to 300",
        gt=0,
        le=300,
    )
    allow_http: bool = setting(
        False,
        "Whether the endpoint of the object store may be one without TLS (http://), as of a server on this "
        "machine.",
        accepted="true or false",
    )

    def open(self) -> ObjectStore | None:
        """Return the store that is set. Raises ``store.errors.SettingsError``."""
        return None if self.url is None else open_store(self.url, self.timeout_s, allow_http=self.allow_http)

    @field_validator("url")
    @classmethod
    def _can_be_opened(cls, value: str | None) -> str | None:
        if value is not None and (not is_accepted(value) or find_spec("obstore") is None):
            raise ValueError("not a URL of an object store")
        return value
