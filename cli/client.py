"""
The REST API as the commands see it: one request, and errors in one line.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx
from rich.cells import cell_len

from cli.errors import CliError, Failure, UsageError

Parameters = list[tuple[str, str]]
"""Query parameters in the order given; the server answers for names it does not know."""

_PREFIX = "/api/v1"
_TIMEOUT_S = 30.0
_REQUEST_ERRORS = (400, 422)
_KEY = "XRAY_API_KEY"
"""Of the environment, never an option: command lines stand in histories and process lists."""
_SHOWN_BEFORE, _SHOWN_BEHIND = 50, 25
"""Characters around the place that a refusal points at; 80 columns hold them."""


class ApiClient:
    """Asks one X-Ray API. Use as a context manager; not for several threads."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        # trust_env=False: a proxy set for the web must not swallow questions to loopback.
        # Certificates as OpenSSL finds them, so that SSL_CERT_FILE may name those of a company.
        verify = ssl.create_default_context() if self._url.startswith("https:") else True
        key = os.environ.get(_KEY)
        self._http = httpx.Client(
            base_url=self._url,
            timeout=_TIMEOUT_S,
            trust_env=False,
            verify=verify,
            headers={"Authorization": f"Bearer {key}"} if key else {},
        )

    def __enter__(self) -> ApiClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, *segments: str, parameters: Iterable[tuple[str, str]] = ()) -> Any:
        """
        Return the parsed answer of ``/api/v1/<segments>``.

        Segments are quoted one by one, so an id may hold any character. Raises
        ``UsageError`` when the API refuses the question itself and ``Failure`` for
        everything else, an API that is away included.
        """
        asked: Parameters = list(parameters)
        with self._failures():
            response = self._http.get(_path(segments), params=tuple(asked))
        return self._answered(response, asked)

    def post(self, *segments: str, body: Any) -> Any:
        """Return the parsed answer to a question that is asked by a JSON body; raises as ``get`` does."""
        with self._failures():
            response = self._http.post(_path(segments), json=body)
        return self._answered(response, [])

    def _answered(self, response: httpx.Response, asked: Parameters) -> Any:
        if response.is_success:
            return _body(response, self._url)
        raise _refusal(response, self._url, asked)

    def send(
        self, method: str, *segments: str, body: Any = None, parameters: Iterable[tuple[str, str]] = ()
    ) -> Any:
        """Send ``body`` as JSON by POST, PUT or DELETE; return the answer, or raise, as ``get`` does."""
        asked: Parameters = list(parameters)
        with self._failures():
            response = self._http.request(method, _path(segments), params=tuple(asked), json=body)
        if response.is_success:
            return _body(response, self._url) if response.content else None
        raise _refusal(response, self._url, asked)

    @contextmanager
    def stream(self, *segments: str, parameters: Iterable[tuple[str, str]] = ()) -> Iterator[Iterator[bytes]]:
        """
        Give the answer's bytes as they come, for answers without a bound.

        Raises as ``get`` does, and ``Failure`` when the answer breaks off before its end.
        """
        asked: Parameters = list(parameters)
        with self._failures(), self._http.stream("GET", _path(segments), params=tuple(asked)) as response:
            if not response.is_success:
                response.read()
                raise _refusal(response, self._url, asked)
            yield self._whole(response)

    def _whole(self, response: httpx.Response) -> Iterator[bytes]:
        try:
            yield from response.iter_bytes()
        except httpx.HTTPError as error:
            raise Failure(
                f"the answer of {self._url} broke off before its end ({str(error) or type(error).__name__}); "
                "what was written is not all"
            ) from error

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """The boundary where errors of the HTTP client become those of the commands."""
        try:
            yield
        except httpx.InvalidURL as error:
            raise UsageError(
                f"--url or XRAY_API_URL {self._url!r}: {error}; accepted is http://HOST:PORT"
            ) from error
        except httpx.UnsupportedProtocol as error:
            raise UsageError(f"--url or XRAY_API_URL {self._url!r}: accepted is http://HOST:PORT") from error
        except httpx.ConnectError as error:
            if "CERTIFICATE_VERIFY_FAILED" not in str(error):
                raise self._away(error) from error
            raise Failure(
                f"the certificate of {self._url} is not trusted ({error}); "
                "SSL_CERT_FILE names a PEM file with the authority that signed it"
            ) from error
        except httpx.HTTPError as error:
            raise self._away(error) from error

    def _away(self, error: httpx.HTTPError) -> Failure:
        return Failure(
            f"no answer from the API at {self._url} ({str(error) or type(error).__name__}); "
            "start it with `xray up`, or name another with --url or XRAY_API_URL"
        )


def _path(segments: Iterable[str]) -> str:
    return _PREFIX + "".join("/" + quote(segment, safe="") for segment in segments)


def _body(response: httpx.Response, url: str) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise Failure(f"{url} answered with something that is not JSON; is it an X-Ray API?") from error


def _refusal(response: httpx.Response, url: str, asked: Parameters) -> CliError:
    """
    Turn the API's error object into one line, with the request id that finds it in the log.

    Where it says at which column of a parameter it stopped, the value and a caret stand under it.
    """
    more: list[str] = []
    try:
        error = response.json()["error"]
        line = f"{error['message']} (HTTP {response.status_code}, {error['code']}"
        if error.get("request_id"):
            line += f", request {error['request_id']}"
        line += ")"
        if response.status_code in (401, 403):
            line += f"; the commands send the key of {_KEY}"
        if error.get("column"):
            more = _pointed(dict(asked)[error["parameter"]], error["column"])
    except (ValueError, KeyError, TypeError):
        line = f"{url} answered HTTP {response.status_code} without X-Ray's error object; is it an X-Ray API?"
    failure = UsageError(line) if response.status_code in _REQUEST_ERRORS else Failure(line)
    failure.more = more
    return failure


def _pointed(text: str, column: int) -> list[str]:
    """Return the text around a column, counted from 1, and a line with a caret under it."""
    # One line of it, of as many cells: a newline or a tab would move what stands behind.
    plain = "".join(char if char.isprintable() else " " for char in text)
    start = max(0, column - 1 - _SHOWN_BEFORE)
    before, behind = plain[start : column - 1], plain[column - 1 : column - 1 + _SHOWN_BEHIND]
    return [f"  {before}{behind}", "  " + " " * cell_len(before) + "^"]
