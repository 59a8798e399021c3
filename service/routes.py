"""The routes: typed parameters, one look-up, ready-made bytes."""

from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import Response

from service.errors import PROBLEM, UnknownUnit, problem
from service.holder import Loaded
from service.schemas import Health, Problem, Readiness, RegimeAnswer, RegimeTable
from service.snapshots import NoSnapshot

_Responses = dict[int | str, dict[str, Any]]
_WRONG: dict[str, Any] = {"model": Problem, "content": {PROBLEM: {}}}
_ERRORS: _Responses = {
    404: {"description": "No such unit, or nothing published by then", **_WRONG},
    422: {"description": "Invalid parameter", **_WRONG},
}
_SAME: _Responses = {304: {"description": "The answer is the one whose ETag was sent"}}
_NOT_READY: _Responses = {503: {"description": "No verified snapshot", **_WRONG}}

AsOf = Annotated[
    datetime | None,
    Query(
        description="What the service would have said at this instant (RFC 3339; a date means 00:00 UTC). Default: now.",
        examples=["2026-11-23T06:00:00Z"],
    ),
]
Code = Annotated[str | None, Query(pattern=r"^[A-Z]{3}$", description="ISO 3166 alpha-3.", examples=["JPN"])]
IfNoneMatch = Annotated[str | None, Header(description="ETag of an answer already held.")]

router = APIRouter()


def _loaded(request: Request, as_of: datetime | None) -> tuple[Loaded, datetime]:
    holder = request.app.state.holder
    now = datetime.now(UTC)
    if as_of is None:
        return holder.current(), now
    instant = as_of.replace(tzinfo=UTC) if as_of.tzinfo is None else as_of.astimezone(UTC)
    if instant > now:
        raise NoSnapshot(f"as_of {instant.isoformat()} is in the future; nothing has been said then yet")
    return holder.at(instant), instant


def _answer(loaded: Loaded, as_of: datetime | None, key: bytes, body: bytes, if_none_match: str | None) -> Response:
    """The body after its conditioning. as_of is the request's, so one snapshot and one question give the same bytes."""
    snapshot = loaded.snapshot
    stated = (as_of or snapshot.published_at).isoformat()
    etag = f'"{snapshot.id}-{stated}"'
    headers = {"ETag": etag, "X-Snapshot-Id": snapshot.id, "Cache-Control": "private, no-cache"}
    if if_none_match and etag in [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]:
        return Response(status_code=304, headers=headers)
    meta = snapshot.meta
    conditioning = {
        "as_of": stated,
        "snapshot": snapshot.id,
        "published_at": meta["published_at"],
        "data_as_of": meta["as_of"],
        "data_through": meta["data_through"],
        "gate": meta["gate"],
    }
    content = orjson.dumps(conditioning)[:-1] + b',"' + key + b'":' + body + b"}"
    return Response(content, headers=headers, media_type="application/json")


@router.get("/v1/regimes", response_model=RegimeTable, responses=_ERRORS | _SAME, tags=["regimes"], summary="The current table")
async def regimes(
    request: Request,
    as_of: AsOf = None,
    importer: Code = None,
    family: Annotated[str | None, Query(pattern=r"^[a-z][a-z0-9_]*$", examples=["rare_earths"], description="Commodity family.")] = None,
    min_probability: Annotated[
        float, Query(ge=0, le=1, description="Only units at or above it; 0 lists abstentions too.", examples=[0.5])
    ] = 0,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """All regime units: highest p(restricted) in the last month with figures first, abstentions last."""
    loaded, instant = _loaded(request, as_of)
    chosen = [
        loaded.records[unit]
        for unit in loaded.order
        if importer in (None, (row := loaded.rows[unit])["importer"])
        and family in (None, row["family"])
        and (min_probability == 0 or (row["current"] is not None and row["current"]["probability"] >= min_probability))
    ]
    return _answer(loaded, instant if as_of else None, b"regimes", b"[" + b",".join(chosen) + b"]", if_none_match)


@router.get(
    "/v1/regimes/{unit}",
    response_model=RegimeAnswer,
    responses=_ERRORS | _SAME,
    tags=["regimes"],
    summary="The current answer for one unit",
)
async def regime(
    request: Request,
    unit: Annotated[str, Path(description="EXPORTER.IMPORTER.family", examples=["CHN.JPN.rare_earths"], max_length=200)],
    as_of: AsOf = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """p(restricted) with its competing explanations, severity and shortfall."""
    loaded, instant = _loaded(request, as_of)
    if unit not in loaded.records:
        raise UnknownUnit(f"no unit {unit!r} in snapshot {loaded.snapshot.id}; GET /v1/regimes lists them")
    return _answer(loaded, instant if as_of else None, b"regime", loaded.records[unit], if_none_match)


@router.get("/healthz", response_model=Health, tags=["operations"], summary="The process answers")
async def healthz() -> Response:
    return Response(b'{"status":"ok"}', media_type="application/json", headers={"Cache-Control": "no-store"})


@router.get("/readyz", response_model=Readiness, responses=_NOT_READY, tags=["operations"], summary="A verified snapshot is loaded")
async def readyz(request: Request) -> Response:
    try:
        loaded = request.app.state.holder.current()
    except NoSnapshot as error:
        return problem(503, "not-ready", str(error), headers={"Cache-Control": "no-store"})
    body = orjson.dumps({"status": "ready", "snapshot": loaded.snapshot.id})
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})
