"""For those who run the service: alive, ready, metrics."""

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.errors import problem
from service.routes.shared import Responses
from service.schemas import Health, Problem, Readiness
from service.snapshots import NoSnapshot

router = APIRouter(tags=["operations"])
_NOT_READY: Responses = {503: {"description": "No verified snapshot", "model": Problem, "content": {"application/problem+json": {}}}}
_HERE = {"Cache-Control": "no-store"}


@router.get("/healthz", response_model=Health, summary="The process answers")
async def healthz() -> Response:
    return Response(b'{"status":"ok"}', media_type="application/json", headers=_HERE)


@router.get("/readyz", response_model=Readiness, responses=_NOT_READY, summary="A verified snapshot is loaded")
async def readyz(request: Request) -> Response:
    """Ready too while the store is away: the snapshot at hand answers, and `stale` says why it may not be the latest."""
    holder = request.app.state.holder
    try:
        found = holder.current()
    except NoSnapshot as error:
        return problem(503, "not-ready", str(error), headers=_HERE)
    body = orjson.dumps({"status": "ready", "snapshot": found.snapshot.id, "stale": holder.stale()})
    return Response(body, media_type="application/json", headers=_HERE)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    summary="For Prometheus",
)
def metrics(request: Request) -> Response:
    """Requests by route and status, age of snapshot and figures, whether the snapshot served is the store's."""
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST, headers=_HERE)
