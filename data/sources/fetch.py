"""Fetching publishers' files: politely, again where it is worth it, and only what has changed.

One attempt may fail for reasons that pass: the connection, 429, 5xx. Such are tried again, after a wait that doubles, or as long as the
server asks (``Retry-After``), at most :data:`PATIENCE` seconds. Any other answer is final. What came last time is asked for with ETag and
Last-Modified, so that an unchanged file is not sent again. Between two requests to one host lie :data:`APART` seconds. A proxy is taken
from the environment (HTTPS_PROXY, NO_PROXY), as httpx does.

``comtrade:...`` is no address on the web but a question to UN Comtrade, put through its own client (:mod:`data.sources.comtrade_client`).

Keys do not belong into addresses that are logged: ``{NAME}`` in an address stands for the environment variable NAME, and only the
address as it was given is kept.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import pandas as pd
import tenacity

from data.observations import InputError
from data.sources.comtrade_client import SCHEME, Refused, records, requests_of
from data.store import Store

ATTEMPTS, FIRST_WAIT, PATIENCE, APART, TIMEOUT = 5, 1.0, 120.0, 1.0, 60.0
LARGEST = 2_000_000_000
"""Bytes beyond which an answer is refused."""


class FetchError(InputError):
    """The file could not be had; says what the server answered, and what to do."""


class _Again(Exception):
    """An answer that may be another one later. wait : seconds the server asks for, if it does."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


@dataclass(frozen=True)
class Fetched:
    """content : None where the publisher has nothing new. address : as given, keys not filled in."""

    address: str
    content: bytes | None
    etag: str | None
    last_modified: str | None
    sha256: str


def fetch(address: str, memory: Store, sleep: Callable[[float], None] = time.sleep) -> Fetched:
    """The file at `address`. memory : where it is kept what came last time, by address. Raises FetchError."""
    if not address.startswith(("http://", "https://", SCHEME)):
        raise FetchError(f"{address}: no address; one begins with https:// or {SCHEME}")
    kept = _kept(address)
    before = json.loads(memory.read(kept)) if memory.exists(kept) else {}
    headers = {"If-None-Match": before.get("etag"), "If-Modified-Since": before.get("last_modified")}
    patiently = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(ATTEMPTS), wait=_wait, retry=tenacity.retry_if_exception_type(_Again), sleep=sleep, reraise=True
    )  # fmt: skip
    answer: httpx.Response | None
    try:
        if address.startswith(SCHEME):
            answer = _comtrade(address, patiently, sleep)
        else:
            with _apart(urlsplit(address).netloc, sleep), httpx.Client(timeout=TIMEOUT, follow_redirects=True) as client:
                answer = patiently(_once, client, address, {name: value for name, value in headers.items() if value})
    except _Again as error:
        raise FetchError(f"{address}: {error}, {ATTEMPTS} times; try later") from error
    if answer is None:
        return Fetched(address, None, before.get("etag"), before.get("last_modified"), before.get("sha256", ""))
    digest = hashlib.sha256(answer.content).hexdigest()
    content = None if digest == before.get("sha256") else answer.content
    return Fetched(address, content, answer.headers.get("etag"), answer.headers.get("last-modified"), digest)


def _kept(address: str) -> str:
    return f"fetched/{hashlib.sha256(address.encode()).hexdigest()[:16]}.json"


def remember(fetched: Fetched, memory: Store) -> None:
    """Keep what came, once it is safely where it belongs: from then on the publisher is asked for something newer."""
    told = asdict(replace(fetched, content=None))
    memory.write(_kept(fetched.address), json.dumps(told, indent=1).encode())


_LAST: dict[str, float] = {}
"""When each host was last asked, on the monotonic clock."""


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait if isinstance(error, _Again) else None
    return min(PATIENCE, FIRST_WAIT * 2 ** (state.attempt_number - 1) if asked is None else asked)


def filled(address: str) -> str:
    """`address` with ``{NAME}`` replaced by the environment's. Raises FetchError where a variable is not set."""

    def value(match: re.Match[str]) -> str:
        if not (found := os.environ.get(match[1])):
            raise FetchError(f"{address}: the environment has no {match[1]}; set it to the publisher's key")
        return found

    return re.sub(r"\{([A-Z][A-Z0-9_]*)\}", value, address)


@contextmanager
def _apart(host: str, sleep: Callable[[float], None]) -> Iterator[None]:
    """A request to `host`, not too soon after the last one."""
    sleep(max(0.0, _LAST.get(host, 0.0) + APART - time.monotonic()))
    try:
        yield
    finally:
        _LAST[host] = time.monotonic()


def _comtrade(address: str, patiently: tenacity.Retrying, sleep: Callable[[float], None]) -> httpx.Response:
    """The records of all the requests that `address` stands for, as JSON."""

    def piece(request: dict[str, Any]) -> list[dict[str, Any]]:
        try:
            return records(request)
        except Refused as error:
            raise (_Again(str(error)) if error.passing else FetchError(f"{address}: {error}")) from error

    told = []
    for request in requests_of(address, pd.Timestamp.now(UTC)):
        with _apart(SCHEME, sleep):
            told += patiently(piece, request)
    return httpx.Response(httpx.codes.OK, content=json.dumps(told).encode())


def _once(client: httpx.Client, address: str, headers: dict[str, str]) -> httpx.Response | None:
    """What the server answers; None where it has nothing new."""
    try:
        answer = client.get(filled(address), headers=headers)
    except httpx.TransportError as error:
        raise _Again(f"no answer ({type(error).__name__})") from error
    except (httpx.InvalidURL, httpx.TooManyRedirects) as error:
        raise FetchError(f"{address}: not an address that can be fetched ({type(error).__name__})") from error
    except httpx.DecodingError as error:
        raise FetchError(f"{address}: the answer is not in the encoding that the server says ({error})") from error
    code = answer.status_code
    if code == httpx.codes.TOO_MANY_REQUESTS or code >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise _Again(f"the server answers {code} {answer.reason_phrase}", _asked(answer.headers.get("retry-after", "")))
    if code == httpx.codes.NOT_MODIFIED:
        return None
    if code != httpx.codes.OK:
        raise FetchError(f"{address}: the server answers {code} {answer.reason_phrase}; is the address, or the key, still right?")
    if "html" in answer.headers.get("content-type", ""):
        raise FetchError(f"{address}: the server answers with a web page and not with a file; open it in a browser to see what it says")
    if len(answer.content) > LARGEST:
        raise FetchError(f"{address}: {len(answer.content):,} bytes are more than {LARGEST:,}")
    return answer


def _asked(text: str) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date."""
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
