"""Object stores by URL, through ``obstore`` (the extra ``artifacts``)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

from store.artifacts.objects import Found, ObjectMissing, ObjectStore, StoreAway
from store.errors import SettingsError
from store.settings import without_password

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Opened

Answer = TypeVar("Answer")

URL_VARIABLE = "XRAY_ARTIFACT_URL"
SCHEMES = ("file", "s3", "gs", "az", "abfss")
URL_FORM = (
    "a URL with a bucket or folder: file:///folder, s3://bucket/prefix, gs://bucket/prefix, "
    "az://container/prefix or abfss://container@account.dfs.core.windows.net/prefix,"
)
INSTALL = "pip install 'xray-otel-server[artifacts]'"
_PAGE = 1000
_RETRIES = 2
_FOLDER_MODE = 0o700


def open_store(url: str, timeout_s: float, *, allow_http: bool = False) -> ObjectStore:
    """
    Return the store; connects when first used. Credentials and endpoint: by the usual variables of the cloud.

    timeout_s: for a request, its repetitions included. allow_http: for an endpoint without TLS. Raises
    ``SettingsError`` where the extra is missing, the URL is no such URL, or the folder cannot be made.
    """
    if find_spec("obstore") is None:
        raise SettingsError(URL_VARIABLE, shown(url), f"where obstore is installed ({INSTALL}), a URL")
    try:
        return _Objects(url, timeout_s, allow_http)
    except Exception as error:
        raise SettingsError(URL_VARIABLE, shown(url), URL_FORM) from error


def is_accepted(url: str) -> bool:
    """Tell whether a URL has the accepted form; a place that forgets with the process has not."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return not parts.netloc and parts.path.startswith("/") and parts.path.strip("/") != ""
    return parts.scheme in SCHEMES and bool(parts.netloc) and not parts.query and not parts.fragment


def shown(url: str) -> str:
    """The URL as logs and answers may have it."""
    return without_password(url) if "@" in url else url


class _Objects:
    """An ``ObjectStore`` by obstore."""

    def __init__(self, url: str, timeout_s: float, allow_http: bool) -> None:
        import obstore
        from obstore.store import from_url

        self._api = obstore
        self._missing = (FileNotFoundError, obstore.exceptions.NotFoundError)
        self._exists = (FileExistsError, obstore.exceptions.AlreadyExistsError)
        self.place = shown(url)
        self._folder: Path | None = None
        self._store: Opened
        if urlsplit(url).scheme == "file":
            self._folder = Path(unquote(urlsplit(url).path))
            # Ours alone, like the database's: payloads are as private as what they belong to.
            self._folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            # A run's folder goes with its last object: else one stays for every run there ever was.
            self._store = from_url(url, automatic_cleanup=True)
        else:
            limit = timedelta(seconds=timeout_s)
            self._store = from_url(
                url,
                client_options={"timeout": limit, "connect_timeout": limit / 2, "allow_http": allow_http},
                retry_config={"max_retries": _RETRIES, "retry_timeout": limit},
            )

    def put_new(self, path: str, data: bytes) -> bool:
        with self._known_errors():
            try:
                self._api.put(self._store, path, data, mode="create", use_multipart=False)
            except self._exists:
                return False
            finally:
                self._to_disk(path)
        return True

    def get_range(self, path: str, start: int, end: int) -> bytes:
        return self._ask(lambda: bytes(self._api.get_range(self._store, path, start=start, end=end)))

    def exists(self, path: str) -> bool:
        try:
            self._ask(lambda: self._api.head(self._store, path))
        except ObjectMissing:
            return False
        return True

    def delete(self, paths: Sequence[str]) -> None:
        with suppress(ObjectMissing):
            self._ask(lambda: self._api.delete(self._store, list(paths)))
            return
        # A folder stops at the first that is gone; a bucket does not mind.
        for path in paths:
            with suppress(ObjectMissing):
                self._ask(lambda path=path: self._api.delete(self._store, path))  # type: ignore[misc]

    def list(self, folder: str | None = None) -> Iterator[Sequence[Found]]:
        pages = iter(self._ask(lambda: self._api.list(self._store, folder, chunk_size=_PAGE)))
        while True:
            with self._known_errors():
                page = next(pages, None)
            if page is None:
                return
            yield [Found(each["path"], each["last_modified"], each["size"]) for each in page]

    def _to_disk(self, path: str) -> None:
        """A rename is not on the disk yet (decision 0045); whoever finds the object may have to finish it."""
        if self._folder is None:
            return
        file = self._folder / path
        for place in (file, file.parent, self._folder):
            with suppress(FileNotFoundError):
                descriptor = os.open(place, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        with self._known_errors():
            return question()

    @contextmanager
    def _known_errors(self) -> Iterator[None]:
        try:
            yield
        except self._missing as error:
            raise ObjectMissing("there is no such object") from error
        except (self._api.exceptions.BaseError, OSError, ValueError) as error:
            # The kind alone: the text has URLs, and what a server answered.
            raise StoreAway(f"the object store does not do it: {type(error).__name__}") from error
