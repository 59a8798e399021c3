"""Every error meets HTTP here, in one shape: RFC 9457 problem details plus ``request_id``."""

import logging
import secrets
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from service.snapshots import Damaged, NoSnapshot

log = logging.getLogger("quietquota.serve")
REQUEST: ContextVar[str] = ContextVar("request", default="")
"""Id of the request that is being answered."""
PROBLEM = "application/problem+json"
_TITLES = {
    400: "Bad request", 401: "Unauthorized", 403: "Forbidden", 404: "Not found", 405: "Method not allowed", 408: "Request timeout",
    413: "Content too large", 422: "Invalid parameter", 429: "Too many requests", 431: "Headers too large", 503: "Not available",
}  # fmt: skip


class UnknownUnit(LookupError):
    """No such regime unit in the snapshot."""


class InvalidCursor(ValueError):
    """A cursor that this service did not give, or that belongs to another question."""


def problem(
    status: int, slug: str, detail: str, errors: list[dict[str, Any]] | None = None, headers: dict[str, str] | None = None
) -> Response:
    body = {
        "type": f"/problems/{slug}",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "request_id": REQUEST.get() or secrets.token_hex(8),
        "errors": errors or [],
    }
    return Response(orjson.dumps(body), status, headers, media_type=PROBLEM)


def install(app: FastAPI) -> None:
    @app.exception_handler(UnknownUnit)
    def _unknown_unit(_: Request, error: UnknownUnit) -> Response:
        return problem(404, "unknown-unit", str(error))

    @app.exception_handler(NoSnapshot)
    def _no_snapshot(_: Request, error: NoSnapshot) -> Response:
        return problem(404, "no-snapshot", str(error))

    @app.exception_handler(Damaged)
    def _damaged(_: Request, __: Damaged) -> Response:
        return problem(503, "snapshot-damaged", "the snapshot asked for fails its checksums; it is not served")

    @app.exception_handler(OSError)
    def _unreachable(_: Request, error: OSError) -> Response:
        log.error("the store is unreachable: %s", error)
        return problem(
            503, "store-unreachable", "the store does not answer; what is current can still be had", headers={"Retry-After": "30"}
        )

    @app.exception_handler(InvalidCursor)
    def _cursor(_: Request, error: InvalidCursor) -> Response:
        return problem(422, "invalid-parameter", str(error), [{"field": "query.cursor", "reason": str(error), "value": ""}])

    @app.exception_handler(RequestValidationError)
    def _invalid(_: Request, error: RequestValidationError) -> Response:
        found = [{"field": ".".join(map(str, e["loc"])), "reason": e["msg"], "value": repr(e.get("input"))[:200]} for e in error.errors()]
        return problem(422, "invalid-parameter", "; ".join(f"{f['field']}: {f['reason']}" for f in found), found)

    @app.exception_handler(HTTPException)
    def _http(_: Request, error: HTTPException) -> Response:
        if error.status_code == HTTPStatus.BAD_REQUEST:
            return problem(
                422, "invalid-parameter", "the body cannot be read as JSON", [{"field": "body", "reason": "not JSON", "value": ""}]
            )
        slug = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http")
        return problem(error.status_code, slug, str(error.detail), headers=dict(error.headers or {}))

    @app.exception_handler(Exception)
    def _unexpected(_: Request, __: Exception) -> Response:
        return problem(500, "internal", "an unexpected error; quote the request_id to the operator")
