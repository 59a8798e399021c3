"""What every request passes, in pure ASGI: request id, access, rate, size and time limits, headers, metrics, a log line.

``BaseHTTPMiddleware`` would cost a request 350-480 microseconds (measured); this costs a few tens.
"""

import asyncio
import itertools
import json
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import REQUEST, problem
from service.holder import Holder, Ready, same
from service.keys import Key, Keys
from service.metrics import Metrics

access = logging.getLogger("quietquota.access")
OPEN = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs", "/sign-in", "/sign-out"})
"""Paths that need no key; nor does what lies under ``/static/``."""
COOKIE = "quietquota_key"
"""In which a browser keeps the key it signed in with. It opens what can be read and asked, and never what changes anything."""
LARGEST_BODY, LARGEST_HEADERS = 1 << 20, 16_384
BODY_SECONDS = 10.0
WHAT_IF_COST = 10.0
"""Requests that a what-if counts as, where there is a rate."""
CLIENTS = 10_000
"""Clients whose rate is remembered; of more, the longest silent are forgotten."""
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_CSP = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


class Rates:
    """A token bucket a client: `rate` a second, twice as many at once."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def taken(self, client: str, now: float, cost: float = 1.0) -> tuple[float, float]:
        """(tokens left, seconds to wait); of who must wait nothing is taken."""
        left, then = self._left.pop(client, (2 * self.rate, now))
        left = min(2 * self.rate, left + (now - then) * self.rate)
        granted = left >= cost
        left -= cost if granted else 0
        self._left[client] = (left, now)
        if len(self._left) > CLIENTS:
            self._left.popitem(last=False)
        return left, 0.0 if granted else (cost - left) / self.rate


class _Refused(Exception):
    """Ends the reading of a body."""


class Edge:
    def __init__(self, app: ASGIApp, holder: Holder, keys: Keys, metrics: Metrics, locked: bool, rate: float) -> None:
        """locked : whether a key is needed. rate : requests a second and client; 0 for no limit."""
        self.app, self.holder, self.keys, self.metrics, self.locked = app, holder, keys, metrics, locked
        self.rates = Rates(rate) if rate > 0 else None
        # Ids are for finding a line in a log, not for keeping a secret.
        self._prefix, self._asked = secrets.token_hex(4), 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self._asked += 1
        began, identity = time.perf_counter(), f"{self._prefix}{self._asked & 0xFFFFFFFF:08x}"
        REQUEST.set(identity)
        told: MutableMapping[str, Any] = {"status": 500, "started": False, "refusal": None}
        extra: list[tuple[bytes, bytes]] = [(b"x-request-id", identity.encode()), *HEADERS]

        async def out(message: Message) -> None:
            if told["refusal"] is not None:
                return  # what the application makes of a body that was cut off
            if message["type"] == "http.response.start":
                told["status"], told["started"] = message["status"], True
                has = {name.lower() for name, _ in message["headers"]}
                add = extra if b"content-security-policy" in has else [*extra, _CSP]
                message["headers"] = [*message["headers"], *(h for h in add if h[0] not in has)]
            await send(message)

        client = None
        try:
            if sum(map(len, itertools.chain.from_iterable(scope["headers"]))) > LARGEST_HEADERS:
                await problem(431, "too-large", f"headers of more than {LARGEST_HEADERS:,} bytes")(scope, receive, out)
                return
            client, refusal = self._admitted(scope, extra)
            if refusal is not None:
                await refusal(scope, receive, out)
            elif (ready := self._ready(scope)) is not None:
                scope["route"] = ready
                told["status"] = await self._at_once(scope, send, ready, extra)
            else:
                await self._within_limits(scope, receive, out, told)
        finally:
            self._tell(scope, told["status"], time.perf_counter() - began, identity, client)

    def _ready(self, scope: Scope) -> Ready | None:
        """An answer that was given before, to the same question in the same form."""
        if scope["method"] != "GET" or not scope["path"].startswith("/v1/"):
            return None
        for name, value in scope["headers"]:
            if name == b"accept" and any(form in value.lower() for form in (b"csv", b"ndjson", b"arrow")):
                return None
        query = scope["query_string"]
        return self.holder.ready(f"{scope['path']}?{query.decode('latin-1')}" if query else scope["path"])

    def _admitted(self, scope: Scope, extra: list[tuple[bytes, bytes]]) -> tuple[str | None, ASGIApp | None]:
        """(who asks, or None; the refusal, if it is one)."""
        who = (scope.get("client") or ("unknown",))[0]
        if scope["path"] in OPEN or scope["path"].startswith("/static/"):
            return None, None
        key = None
        if self.locked:
            try:
                key = self.keys.holder(presented(scope))
            except OSError:
                return None, problem(503, "store-unreachable", "the store does not answer", headers={"Retry-After": "30"})
            if key is None and _by_a_person(scope):
                return None, RedirectResponse(f"/sign-in?next={quote(scope['path'])}", 303)
            if key is None:
                detail = "give a key that holds: Authorization: Bearer qq_...; quietquota keys add makes one"
                return None, problem(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
            if missing := needed(scope, key):
                return key.id, problem(403, "forbidden", f"this key has not the scope {missing}")
        if self.rates is not None:
            cost = WHAT_IF_COST if scope["path"].endswith("/what-if") else 1.0
            left, wait = self.rates.taken(key.id if key else who, time.monotonic(), min(cost, 2 * self.rates.rate))
            policy = f'"default";q={int(2 * self.rates.rate)};w=2'
            extra += [(b"ratelimit-policy", policy.encode()), (b"ratelimit", f'"default";r={int(left)};t=1'.encode())]
            if wait:
                return key.id if key else None, problem(
                    429,
                    "too-many-requests",
                    f"more than {self.rates.rate:g} requests a second",
                    headers={"Retry-After": str(int(wait) + 1)},
                )
        return key.id if key else None, None

    async def _at_once(self, scope: Scope, send: Send, ready: Ready, extra: list[tuple[bytes, bytes]]) -> int:
        """What the route would answer, byte for byte. Returns the status."""
        given = next((value for name, value in scope["headers"] if name == b"if-none-match"), None)
        held = given is not None and same(given.decode("latin-1"), ready.etag)
        status, headers, body = (304, ready.not_modified, b"") if held else (200, ready.headers, ready.body)
        await send({"type": "http.response.start", "status": status, "headers": [*headers, *extra, _CSP]})
        await send({"type": "http.response.body", "body": body})
        return status

    async def _within_limits(self, scope: Scope, receive: Receive, out: Send, told: MutableMapping[str, Any]) -> None:
        size, until = 0, time.monotonic() + BODY_SECONDS
        complete = False
        too_large = problem(413, "too-large", f"a body of more than {LARGEST_BODY:,} bytes")

        async def limited() -> Message:
            nonlocal size, complete
            if complete:
                return await receive()  # only a disconnect can follow
            try:
                async with asyncio.timeout(max(0.0, until - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                told["refusal"] = problem(408, "too-slow", f"the body took more than {BODY_SECONDS:g} s")
                raise
            size += len(message.get("body", b""))
            complete = message["type"] != "http.request" or not message.get("more_body", False)
            if size > LARGEST_BODY:
                told["refusal"] = too_large
                raise _Refused
            return message

        declared = dict(scope["headers"]).get(b"content-length", b"0")
        try:
            if declared.isdigit() and int(declared) > LARGEST_BODY:
                told["refusal"] = too_large
            else:
                await self.app(scope, limited, out)
        except (_Refused, TimeoutError):
            if told["refusal"] is None:
                raise
        if (refusal := told["refusal"]) is not None and not told["started"]:
            told["refusal"] = None
            await refusal(scope, receive, out)

    def _tell(self, scope: Scope, status: int, seconds: float, identity: str, client: str | None) -> None:
        matched = scope.get("route")
        route = str(matched.route if isinstance(matched, Ready) else getattr(matched, "path", "unmatched"))
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS") else "other"
        self.metrics.count(route, method, status, seconds)
        if access.isEnabledFor(logging.INFO):
            # Neither query nor headers: keys are given in headers, and a mistaken client gives them in the query.
            line = {
                "request_id": identity,
                "method": method,
                "path": scope["path"],
                "status": status,
                "ms": round(1e3 * seconds, 2),
                "key": client,
            }
            access.info(json.dumps(line))


def presented(scope: Scope) -> str:
    """The key that a request brings, in ``Authorization: Bearer`` or ``X-API-Key``, or in a browser's cookie."""
    headers = dict(scope["headers"])
    bearer = headers.get(b"authorization", b"").decode("latin-1")
    if bearer[:7].lower() == "bearer ":
        return bearer[7:].strip()
    if named := headers.get(b"x-api-key", b"").decode("latin-1"):
        return named
    return _in_cookie(scope, headers)


def _in_cookie(scope: Scope, headers: dict[bytes, bytes]) -> str:
    """No other site's page may use it, and nothing can be changed with it."""
    harmless = scope["method"] in ("GET", "HEAD") or scope["path"].endswith(("/what-if", ":query"))
    if not harmless or headers.get(b"sec-fetch-site", b"none") not in (b"same-origin", b"none"):
        return ""
    pairs = (pair.strip().partition("=") for pair in headers.get(b"cookie", b"").decode("latin-1").split(";"))
    return next((value for name, _, value in pairs if name == COOKIE), "")


def _by_a_person(scope: Scope) -> bool:
    """Whether a browser asks for a page, which can be told where to sign in."""
    wants = dict(scope["headers"]).get(b"accept", b"")
    return scope["method"] == "GET" and not scope["path"].startswith("/v1/") and b"text/html" in wants


def needed(scope: Scope, key: Key) -> str | None:
    """The scope that a request needs and `key` has not."""
    path, method = scope["path"], scope["method"]
    if path.endswith("/what-if"):
        wanted = "what-if"
    elif method in ("PUT", "DELETE", "PATCH") or path.endswith("/secret"):
        wanted = "admin"
    else:
        wanted = "read"
    return None if wanted in key.scopes or "admin" in key.scopes else wanted
