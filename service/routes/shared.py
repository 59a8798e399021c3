"""What the routes share: parameters, conditioning, ETag, the forms of a list, cursors."""

import base64
import csv
import hashlib
import io
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import Header, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response

from service.errors import PROBLEM, InvalidCursor, UnknownUnit
from service.holder import CACHING, Loaded, Ready, same
from service.schemas import Instant, Problem
from service.snapshots import NoSnapshot

NDJSON, CSV, ARROW = BULK = "application/x-ndjson", "text/csv", "application/vnd.apache.arrow.stream"
Responses = dict[int | str, dict[str, Any]]
_WRONG: dict[str, Any] = {"model": Problem, "content": {PROBLEM: {}}}
ERRORS: Responses = {
    401: {"description": "No key, or none that holds", **_WRONG},
    403: {"description": "The key has not the scope", **_WRONG},
    404: {"description": "No such thing, or nothing published by then", **_WRONG},
    422: {"description": "Invalid parameter", **_WRONG},
    429: {"description": "Too many requests; Retry-After says how long to wait", **_WRONG},
    431: {"description": "The headers are too large", **_WRONG},
    503: {"description": "No verified snapshot, or the store does not answer", **_WRONG},
}
BODY: Responses = {408: {"description": "The body came too slowly", **_WRONG}, 413: {"description": "The body is too large", **_WRONG}}
LISTED: Responses = {200: {"content": {form: {"schema": {"type": "string"}} for form in BULK}}}
SAME: Responses = {304: {"description": "The answer is the one whose ETag was sent"}}

Since = Annotated[Instant | None, Query(description="RFC 3339; a date means 00:00 UTC.", examples=["2026-11-23T06:00:00Z"])]
AsOf = Annotated[
    Instant | None,
    Query(
        description="What the service would have said at this instant (RFC 3339; a date means 00:00 UTC). Default: now.",
        examples=["2026-11-23T06:00:00Z"],
    ),
]
Code = Annotated[str | None, Query(pattern=r"^[A-Z]{3}$", description="ISO 3166 alpha-3.", examples=["JPN"])]
Slug = Annotated[str | None, Query(pattern=r"^[a-z][a-z0-9_]*$", max_length=100, examples=["rare_earths"], description="Commodity family.")]
Month = Annotated[str | None, Query(pattern=r"^\d{4}-(0[1-9]|1[0-2])$", description="Month, YYYY-MM.", examples=["2024-12"])]
UnitId = Annotated[str, Path(description="EXPORTER.IMPORTER.family", examples=["CHN.JPN.rare_earths"], max_length=200)]
IfNoneMatch = Annotated[str | None, Header(description="ETag of an answer already held.")]
Accept = Annotated[str | None, Header(description=f"application/json (default), {', '.join(BULK)}.")]
Cursor = Annotated[
    str | None, Query(max_length=500, description="`next` of the page before; its snapshot answers.", examples=["eyJvIjoyfQ"])
]

TEXTS = frozenset(("unit", "title", "abstention", "data_through", "as_of", "exporter", "importer", "family", "period", "kind", "snapshot"))
"""Columns of a list that are text; the others are numbers."""


def known_parameters(request: Request) -> None:
    """Raises RequestValidationError of a parameter that the route has not: a misspelt filter would filter nothing, and say so to no one."""
    described = request.app.openapi()["paths"].get(request.scope["route"].path) if request.query_params else None
    if described is None:
        return  # nothing asked, or a page
    known = {p["name"] for of in described.values() for p in of.get("parameters", []) if p["in"] == "query"}
    why = f"no such parameter; there {'is' if len(known) == 1 else 'are'} {', '.join(sorted(known)) or 'none'}"
    if unknown := [name for name in request.query_params if name not in known]:
        # Its value is not repeated: it may be a key, put where none belongs.
        raise RequestValidationError([{"loc": ("query", n), "msg": why, "input": ""} for n in unknown])


EARLIEST = datetime(1000, 1, 1, tzinfo=UTC)


def utc(instant: datetime) -> datetime:
    """`instant` in UTC; before the year 1000, and where UTC has no such year, the nearest that can be written in four digits."""
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    try:
        return max(instant.astimezone(UTC), EARLIEST)
    except OverflowError:
        return EARLIEST if instant.year < EARLIEST.year else datetime.max.replace(tzinfo=UTC)


def loaded(request: Request, as_of: datetime | None) -> Loaded:
    """The snapshot that answers. Raises NoSnapshot."""
    holder = request.app.state.holder
    if as_of is None:
        return holder.current()  # type: ignore[no-any-return]
    if (instant := utc(as_of)) > datetime.now(UTC):
        raise NoSnapshot(f"as_of {instant.isoformat()} is in the future; nothing has been said then yet")
    return holder.at(instant)  # type: ignore[no-any-return]


def entry_of(found: Loaded, unit: str) -> dict[str, Any]:
    """What the index has of a unit. Raises UnknownUnit."""
    if unit not in found.index:
        raise UnknownUnit(f"no unit {unit!r} in snapshot {found.snapshot.id}; GET /v1/regimes lists them")
    return found.index[unit]


def row_of(found: Loaded, unit: str) -> dict[str, Any]:
    """A unit's answer, whole. Raises UnknownUnit."""
    entry_of(found, unit)
    return found.snapshot.row(unit)


def answer(request: Request, found: Loaded, as_of: datetime | None, parts: dict[str, bytes], if_none_match: str | None = None) -> Response:
    """The parts after their conditioning. One snapshot and one question give the same bytes, and an ETag that tells.

    What was said at a past instant is not stale: it is what was said.
    """
    stale = None if as_of else request.app.state.holder.stale()
    body = found.answer(parts, stale, utc(as_of) if as_of else None)
    path, query = request.url.path, request.url.query
    etag = found.etag(stale, f"{path}?{query}")
    if request.method == "GET":
        kept = Ready(etag, body, found.snapshot.id, request.scope["route"].path)
        request.app.state.holder.keep(f"{path}?{query}" if query else path, kept)
    return tagged(body, "application/json", if_none_match, {"X-Snapshot-Id": found.snapshot.id, "Cache-Control": CACHING}, etag)


def tagged(body: bytes, media_type: str, if_none_match: str | None, headers: dict[str, str], etag: str | None = None) -> Response:
    """`body`, or 304 for those who hold it already. etag : by default its digest."""
    etag = etag or f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    headers = headers | {"ETag": etag, "Vary": "Accept"}
    if if_none_match and same(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=media_type)


def wanted(accept: str | None) -> str:
    """A bulk form where the client names one, else JSON."""
    named = [part.split(";")[0].strip().lower() for part in (accept or "").split(",")]
    return next((form for form in named if form in BULK), "application/json")


def lines(form: str, rows: Iterable[dict[str, Any]], columns: tuple[str, ...], found: Loaded, if_none_match: str | None) -> Response:
    """Bulk forms: one record a line or row. What they are conditioned on is in the headers, and in the columns of CSV and Arrow."""
    if form == NDJSON:
        body = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    elif form == ARROW:
        body = arrow_stream(list(rows), columns)
    else:
        sink = io.StringIO()
        writer = csv.DictWriter(sink, columns, extrasaction="ignore", lineterminator="\r\n")
        writer.writeheader()
        writer.writerows({k: _harmless(v) for k, v in row.items()} for row in rows)
        body = sink.getvalue().encode()
    meta = found.snapshot.meta
    headers = {"X-Snapshot-Id": found.snapshot.id, "X-Data-As-Of": meta["as_of"], "Cache-Control": CACHING}
    return tagged(body, f"{form}; charset=utf-8" if form == CSV else form, if_none_match, headers)


def arrow_stream(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> bytes:
    """One Arrow IPC stream of text and double columns, null where a row has nothing."""
    # Imported where it is used: it takes a tenth of the time in which the service is ready.
    import nanoarrow as na
    from nanoarrow.ipc import StreamWriter

    types = {name: na.string() if name in TEXTS else na.float64() for name in columns}
    values = [na.c_array([row.get(name) for row in rows], kind) for name, kind in types.items()]
    sink = io.BytesIO()
    with StreamWriter.from_writable(sink) as writer:
        writer.write_array(na.c_array_from_buffers(na.struct(types), len(rows), [None], children=values))
    return sink.getvalue()


def _harmless(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula is quoted as text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


def page(found: Loaded, items: list[Any], limit: int, cursor: str | None, question: str) -> tuple[list[Any], bytes]:
    """(this page, JSON of the cursor of the next or null). A cursor belongs to its question. Raises InvalidCursor."""
    start = 0
    if cursor is not None:
        told = opened(cursor)
        if told["q"] != _digest(question):
            raise InvalidCursor("the cursor is of another question; send the same parameters as with the first page")
        start = told["o"]
    following = start + limit
    if following >= len(items):
        return items[start:], b"null"
    sealed = orjson.dumps({"o": following, "s": found.snapshot.id, "q": _digest(question)})
    return items[start:following], orjson.dumps(base64.urlsafe_b64encode(sealed).decode().rstrip("="))


def next_after(last: str) -> bytes:
    """JSON of the cursor of a page that follows `last`, a name."""
    return orjson.dumps(base64.urlsafe_b64encode(orjson.dumps({"o": 0, "s": last, "q": ""})).decode().rstrip("="))


def opened(cursor: str) -> dict[str, Any]:
    """Offset, snapshot and question of a cursor. Raises InvalidCursor."""
    try:
        told = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not (isinstance(told["o"], int) and 0 <= told["o"] < 1 << 40 and isinstance(told["s"], str) and isinstance(told["q"], str)):
            raise InvalidCursor("not a cursor of this service; begin without one")
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidCursor("not a cursor of this service; begin without one") from error
    return dict(told)


def paged(request: Request, as_of: datetime | None, cursor: str | None) -> Loaded:
    """The snapshot that answers: of a later page, that of the first."""
    if cursor is None:
        return loaded(request, as_of)
    return request.app.state.holder.by_id(opened(cursor)["s"])  # type: ignore[no-any-return]


def _digest(question: str) -> str:
    return hashlib.sha256(question.encode()).hexdigest()[:12]
