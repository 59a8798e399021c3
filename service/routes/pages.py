"""The dashboard: pages for people, from the same snapshot as every answer. No page tells more than the API does."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import parse_qs

import orjson
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import RedirectResponse, Response

from service import alerts, pages
from service.edge import COOKIE
from service.errors import UnknownUnit
from service.holder import CACHING, Loaded, same
from service.routes.shared import AsOf, IfNoneMatch, loaded, row_of, tagged, utc
from service.runs import latest
from service.snapshots import RELEASES, NoSnapshot

router = APIRouter(include_in_schema=False)
HTML = "text/html; charset=utf-8"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": CSP, "Cache-Control": CACHING}
ALERTS, RUNS = 200, 10


def page(request: Request, name: str, here: str, found: Loaded | None, status: int = 200, **shown: Any) -> Response:
    """A page round what a template shows. here : the path that the navigation marks."""
    stale = request.app.state.holder.stale() if found else None
    body = pages.render(
        name, here=here, snapshot=found.snapshot if found else None, stale=stale, gate=found.snapshot.meta["gate"] if found else None,
        signed_in=COOKIE in request.cookies, **shown,
    )  # fmt: skip
    return Response(body, status, _HEADERS, HTML)


def _unless_held(
    request: Request, found: Loaded, as_of: datetime | None, if_none_match: str | None, beside: str, made: Callable[[], Response]
) -> Response:
    """What `made` makes, or 304 before it is made: a page of one snapshot is the same each time. beside : what else it shows."""
    stale = None if as_of else request.app.state.holder.stale()
    etag = found.etag(stale, f"page|{COOKIE in request.cookies}|{beside}|{request.url.path}?{request.url.query}")
    body = b"" if if_none_match and same(if_none_match, etag) else bytes(made().body)
    return tagged(body, HTML, if_none_match, _HEADERS | {"X-Snapshot-Id": found.snapshot.id}, etag)


def message(request: Request, status: int, title: str, text: str, hint: str = "") -> Response:
    return page(request, "message.html", "", None, status, title=title, text=text, hint=hint, bad=status >= 500)


@router.get("/")
def overview(request: Request, if_none_match: IfNoneMatch = None) -> Response:
    try:
        found = loaded(request, None)
    except NoSnapshot as error:
        return message(request, 503, "Nothing to show yet", str(error), "Run quietquota ingest, then quietquota refresh.")
    return _unless_held(
        request, found, None, if_none_match, "", lambda: page(request, "overview.html", "/", found, **pages.overview(found))
    )


@router.get("/units/{unit}")
def unit(request: Request, unit: Annotated[str, Path(max_length=200)], as_of: AsOf = None, if_none_match: IfNoneMatch = None) -> Response:
    try:
        found = loaded(request, as_of)
        row = row_of(found, unit)
    except UnknownUnit:
        return message(request, 404, "No such unit", f"{unit} is not watched.", "The overview lists all that are.")
    except NoSnapshot as error:
        return message(request, 404, "Nothing was published by then", str(error), "Choose a later instant.")
    instants = pages.instants(request.app.state.holder.store.switches())

    def made() -> Response:
        return page(request, "unit.html", "", found, **_of_unit(request, found, row, instants, as_of))

    return _unless_held(request, found, as_of, if_none_match, instants[-1], made)


def _of_unit(request: Request, found: Loaded, row: dict[str, Any], instants: list[str], as_of: datetime | None) -> dict[str, Any]:
    store, unit = request.app.state.holder.store, row["unit"]
    position = max(sum(at <= (utc(as_of).isoformat() if as_of else instants[-1]) for at in instants) - 1, 0)
    context = store.context(found.snapshot.id, unit)
    figures = orjson.loads(store.read(found.snapshot.id, RELEASES)).get(unit, []) if RELEASES in found.snapshot.meta["files"] else []
    return {
        "row": row, "instants": instants, "position": position, "said_at": instants[position], "live": as_of is None,
        "series": pages.drawn(row, context), "next_month": pages.following(row["data_through"]) if row["data_through"] else "",
        "codes": sorted({figure["hs_code"] for figure in figures}),
    }  # fmt: skip


@router.get("/alerts")
def raised(request: Request) -> Response:
    store = request.app.state.holder.store.store
    listed = [orjson.loads(store.read(name)) for name in alerts.names(store)[:ALERTS]]
    rules = dict(sorted(alerts.rules(store).items()))
    return page(request, "alerts.html", "/alerts", _current(request), alerts=listed, rules=rules)


@router.get("/freshness")
def freshness(request: Request) -> Response:
    found = _current(request)
    if found is None:
        return message(request, 503, "Nothing to show yet", "no snapshot has been published")
    return page(request, "freshness.html", "/freshness", found, rows=[orjson.loads(found.records[unit]) for unit in sorted(found.order)])


@router.get("/health")
def health(request: Request) -> Response:
    found = _current(request)
    if found is None:
        return message(request, 503, "Nothing to show yet", "no snapshot has been published")
    store = request.app.state.holder.store
    return page(request, "health.html", "/health", found, runs=latest(store.store, RUNS), calibration=store.calibration())


def _current(request: Request) -> Loaded | None:
    try:
        return loaded(request, None)
    except NoSnapshot:
        return None


@router.get("/sign-in")
def ask_for_key(request: Request, next: Annotated[str, Query(max_length=500)] = "/") -> Response:
    return page(request, "sign-in.html", "", None, next=_within(next), wrong=False)


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """The key goes into a cookie that no script reads and no other site sends."""
    given = {name: values[0] for name, values in parse_qs((await request.body()).decode("utf-8", "replace")).items()}
    key, to = given.get("key", "").strip(), _within(given.get("next", "/"))
    if request.app.edge.keys.holder(key) is None:
        return page(request, "sign-in.html", "", None, 401, next=to, wrong=True)
    answer = RedirectResponse(to, 303, _HEADERS)
    answer.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return answer


@router.post("/sign-out")
def sign_out() -> Response:
    answer = RedirectResponse("/sign-in", 303, _HEADERS)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


def _within(path: str) -> str:
    """A path of this service; anything else would send people elsewhere."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() else "/"
