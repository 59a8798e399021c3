"""Answers for regime units: the table, one unit, its history, evidence, counterfactual and the figures behind it."""

from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from service.errors import problem
from service.forecasts import FORECAST_COLUMNS
from service.holder import Loaded
from service.routes.shared import (
    BODY,
    ERRORS,
    LISTED,
    SAME,
    Accept,
    AsOf,
    Code,
    Cursor,
    IfNoneMatch,
    Month,
    Since,
    Slug,
    UnitId,
    answer,
    entry_of,
    lines,
    loaded,
    page,
    paged,
    row_of,
    utc,
    wanted,
)  # fmt: skip
from service.schemas import (
    AsPublished,
    CounterfactualAnswer,
    EvidenceAnswer,
    HistoryAnswer,
    Instant,
    QueryAnswer,
    RegimeAnswer,
    RegimeTable,
    ReleasesAnswer,
    WhatIf,
    WhatIfAnswer,
)  # fmt: skip
from service.schemas import (
    Query as Asked,
)
from service.snapshots import RELEASES, NoSnapshot, what_if_file
from service.what_if import Refused, Unavailable

router = APIRouter(tags=["regimes"])
MOST = 1000
COLUMNS = ("unit", "title", "abstention", "data_through", *FORECAST_COLUMNS)


def _flat(found: Loaded, unit: str) -> dict[str, Any]:
    """A unit's current answer as one line of a table."""
    row = orjson.loads(found.records[unit])
    current = row["current"] or {}
    told = {k: v for k, v in row.items() if not isinstance(v, (dict, list))}
    return told | {k: v for k, v in current.items() if not isinstance(v, (dict, list))} | (current.get("causes") or {}) | _when(found)


def _when(found: Loaded) -> dict[str, Any]:
    return {"as_of": found.snapshot.meta["as_of"], "snapshot": found.snapshot.id}


@router.get("/v1/regimes", response_model=RegimeTable, responses=ERRORS | SAME | LISTED, summary="The current table")
async def regimes(
    request: Request,
    as_of: AsOf = None,
    exporter: Code = None,
    importer: Code = None,
    family: Slug = None,
    min_probability: Annotated[
        float, Query(ge=0, le=1, description="Only units at or above it; 0 lists abstentions too.", examples=[0.5])
    ] = 0,
    changed_since: Annotated[
        Instant | None,
        Query(description="Only units whose answer differs from the one given at this instant.", examples=["2026-11-01T00:00:00Z"]),
    ] = None,
    sort: Annotated[
        Literal["-probability", "probability", "unit", "-shortfall_kg"],
        Query(description="`-` is descending. Abstentions are last.", examples=["-probability"]),
    ] = "-probability",
    limit: Annotated[int, Query(ge=1, le=MOST, description="Units a page.", examples=[100])] = MOST,
    cursor: Cursor = None,
    accept: Accept = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """All regime units: highest p(restricted) in the last month with figures first, abstentions last.

    `Accept: application/x-ndjson`, `text/csv` and `application/vnd.apache.arrow.stream` give all units that match, without pages.
    """
    found = paged(request, as_of, cursor)
    before = None if changed_since is None else request.app.state.holder.at(utc(changed_since))
    chosen = [
        unit
        for unit in found.order
        if exporter in (None, (entry := found.index[unit])["exporter"])
        and importer in (None, entry["importer"])
        and family in (None, entry["family"])
        and (min_probability == 0 or (entry["probability"] is not None and entry["probability"] >= min_probability))
        and (before is None or before.records.get(unit) != found.records[unit])
    ]
    if sort != "-probability":
        chosen.sort(key=lambda unit: _place(found, unit, sort))
    if (form := wanted(accept)) != "application/json":
        return lines(form, (_flat(found, unit) for unit in chosen), COLUMNS, found, if_none_match)
    question = f"{as_of}|{exporter}|{importer}|{family}|{min_probability}|{changed_since}|{sort}"
    shown, following = page(found, chosen, limit, cursor, question)
    parts = {"total": str(len(chosen)).encode(), "next": following, "regimes": _listed(found, shown)}
    return answer(request, found, as_of, parts, if_none_match)


def _place(found: Loaded, unit: str, sort: str) -> tuple[bool, float, str]:
    entry = found.index[unit]
    probability = entry["probability"]
    if sort == "unit" or probability is None:
        return sort != "unit" and probability is None, 0.0, unit
    return False, (probability if sort == "probability" else -(entry["shortfall_kg"] or 0.0)), unit


def _listed(found: Loaded, units: list[str]) -> bytes:
    return b"[" + b",".join(found.records[unit] for unit in units) + b"]"


@router.post("/v1/regimes:query", response_model=QueryAnswer, responses=ERRORS | BODY, summary="Many units in one round trip")
async def query(request: Request, asked: Asked) -> Response:
    """Answers in the order asked, from one snapshot; a unit that is not in it is named in `unknown`."""
    found = loaded(request, asked.as_of)
    known = [unit for unit in asked.units if unit in found.records]
    parts = {"regimes": _listed(found, known), "unknown": orjson.dumps([u for u in asked.units if u not in found.records])}
    response = answer(request, found, asked.as_of, parts)
    response.headers["Cache-Control"] = "no-store"
    return response


@router.post(
    "/v1/regimes/{unit}/what-if", response_model=WhatIfAnswer, responses=ERRORS | BODY, summary="What would be believed, had it been so"
)
def what_if(request: Request, unit: UnitId, asked: WhatIf, as_of: AsOf = None) -> Response:
    """Probabilities before and after figures that nobody has reported, or a path of tension, by filtering the draws that were published."""
    found = loaded(request, as_of)
    entry = entry_of(found, unit)
    importer = entry["importer"]
    if what_if_file(found.snapshot.meta, importer, entry["family"]) not in found.snapshot.meta["files"]:
        raise NoSnapshot(f"snapshot {found.snapshot.id} was published without draws of {importer} that could be filtered")
    question = {"snapshot": found.snapshot.id, "unit": unit} | asked.model_dump()
    try:
        told = request.app.state.what_if.ask(question)
    except Refused as error:
        return problem(422, "not-asked", str(error))
    except Unavailable as error:
        return problem(503, "what-if-unavailable", str(error), headers={"Retry-After": "5"})
    response = answer(request, found, as_of, {"unit": orjson.dumps(unit)} | {name: orjson.dumps(value) for name, value in told.items()})
    response.headers["Cache-Control"] = "no-store"
    return response


@router.get("/v1/regimes/{unit}", response_model=RegimeAnswer, responses=ERRORS | SAME, summary="The current answer for one unit")
async def regime(request: Request, unit: UnitId, as_of: AsOf = None, if_none_match: IfNoneMatch = None) -> Response:
    """p(restricted) with its competing explanations, severity and shortfall."""
    found = loaded(request, as_of)
    entry_of(found, unit)
    return answer(request, found, as_of, {"regime": found.records[unit]}, if_none_match)


@router.get(
    "/v1/regimes/{unit}/history",
    response_model=HistoryAnswer | AsPublished,
    responses=ERRORS | SAME | LISTED,
    summary="One unit month by month, or publication by publication",
)
async def history(
    request: Request,
    unit: UnitId,
    kind: Annotated[
        Literal["filtered", "smoothed", "nowcast", "as_published"],
        Query(description="Conditioning of the months; `as_published`: what was said at each publication.", examples=["smoothed"]),
    ] = "filtered",
    first: Annotated[Month, Query(alias="from")] = None,
    last: Annotated[Month, Query(alias="to")] = None,
    as_of: AsOf = None,
    published_from: Since = None,
    published_to: Since = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Publications (as_published only), the latest.", examples=[50])] = 50,
    accept: Accept = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """*filtered*: given figures to that month. *smoothed*: given all figures. *nowcast*: months that had no figure yet. All with parameters
    learnt from the whole panel; `as_published` is what anyone could have been told then."""
    found = loaded(request, as_of)
    row = row_of(found, unit)
    if kind == "as_published":
        latest = published_to or as_of
        until = None if latest is None else utc(latest)
        said = _said(request, unit, utc(published_from) if published_from else None, until, limit)
        parts = {"unit": orjson.dumps(unit), "kind": b'"as_published"', "publications": orjson.dumps(said)}
        return answer(request, found, as_of, parts, if_none_match)
    months = sorted((m for m in [*row["history"], *row["ahead"]] if m["kind"] == kind), key=lambda m: m["period"])
    months = [m for m in months if (first is None or m["period"] >= first) and (last is None or m["period"] <= last)]
    if (form := wanted(accept)) != "application/json":
        base = {k: row[k] for k in ("unit", "exporter", "importer", "family")} | _when(found)
        return lines(form, (base | m | (m["causes"] or {}) for m in months), ("unit", *FORECAST_COLUMNS), found, if_none_match)
    parts = {"unit": orjson.dumps(unit), "kind": orjson.dumps(kind), "months": orjson.dumps(months)}
    return answer(request, found, as_of, parts, if_none_match)


def _said(request: Request, unit: str, since: datetime | None, until: datetime | None, limit: int) -> list[dict[str, Any]]:
    """The last `limit` publications between two instants, oldest first, each with what it said of `unit`."""
    store, said = request.app.state.holder.store, []
    switches = [(at, to) for at, to in store.switches() if (since is None or at >= since) and (until is None or at <= until)]
    for at, name in switches[-limit:]:
        row = store.said(name, unit)
        if row is not None:
            said.append({"said_at": at.isoformat(), "snapshot": name, "abstention": row["abstention"], "month": row["current"]})
    return said


@router.get("/v1/regimes/{unit}/evidence", response_model=EvidenceAnswer, responses=ERRORS | SAME, summary="What speaks for and against")
async def evidence(request: Request, unit: UnitId, as_of: AsOf = None, if_none_match: IfNoneMatch = None) -> Response:
    """Log Bayes factors of each source, which add up to the change in log odds over the last twelve months with figures."""
    found = loaded(request, as_of)
    row = row_of(found, unit)
    told = {k: row[k] for k in ("unit", "abstention", "data_through", "evidence", "log_odds", "detectability", "sentence")}
    return answer(request, found, as_of, {"evidence": orjson.dumps(told)}, if_none_match)


@router.get(
    "/v1/regimes/{unit}/counterfactual",
    response_model=CounterfactualAnswer,
    responses=ERRORS | SAME,
    summary="What moved, what was expected, what is missing",
)
async def counterfactual(
    request: Request,
    unit: UnitId,
    first: Annotated[Month, Query(alias="from")] = None,
    last: Annotated[Month, Query(alias="to")] = None,
    as_of: AsOf = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Kilograms a month, observed and expected in the open regime; smoothed, with 90 % intervals that include one month's noise."""
    found = loaded(request, as_of)
    fields = ("period", "observed_kg", "counterfactual_kg", "counterfactual_kg_interval", "shortfall_kg_mean", "shortfall_kg_p05")
    months = sorted((m for m in row_of(found, unit)["history"] if m["kind"] == "smoothed"), key=lambda m: m["period"])
    kept = [
        {k: m[k] for k in (*fields, "shortfall_kg_p95")}
        for m in months
        if (first is None or m["period"] >= first) and (last is None or m["period"] <= last)
    ]
    total = sum(m["shortfall_kg_mean"] for m in kept if m["shortfall_kg_mean"] is not None)
    parts = {"unit": orjson.dumps(unit), "months": orjson.dumps(kept), "shortfall_kg_total": orjson.dumps(total)}
    return answer(request, found, as_of, parts, if_none_match)


@router.get(
    "/v1/regimes/{unit}/releases",
    response_model=ReleasesAnswer,
    responses=ERRORS | SAME,
    summary="The figures behind an answer, with both clocks",
)
async def releases(
    request: Request,
    unit: UnitId,
    first: Annotated[Month, Query(alias="from")] = None,
    last: Annotated[Month, Query(alias="to")] = None,
    as_of: AsOf = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Every release of the unit's cells known at `data_as_of`, oldest first: what month it is about, and when it could first be known."""
    found = loaded(request, as_of)
    entry_of(found, unit)
    store = request.app.state.holder.store
    if RELEASES not in found.snapshot.meta["files"]:
        raise NoSnapshot(f"snapshot {found.snapshot.id} was published without the figures behind it")
    rows = orjson.loads(store.read(found.snapshot.id, RELEASES)).get(unit, [])
    rows = [r for r in rows if (first is None or r["period"][-7:] >= first) and (last is None or r["period"][:7] <= last)]
    return answer(request, found, as_of, {"unit": orjson.dumps(unit), "releases": orjson.dumps(rows)}, if_none_match)
