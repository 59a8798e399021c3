"""What was published: families, importers, snapshots and their parts, calibration."""

import io
import zipfile
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from service.routes.shared import ERRORS, SAME, AsOf, Cursor, IfNoneMatch, answer, loaded, next_after, opened, tagged, utc
from service.schemas import Calibration, Checks, FamilyList, ImporterList, Instant, SnapshotInfo, SnapshotList
from service.snapshots import CALIBRATION, NETCDF, POSTERIOR, REPORT, SHARDS, NoSnapshot

router = APIRouter(tags=["snapshots"])
ZIP, HDF = "application/zip", "application/x-netcdf"
FOREVER = "private, max-age=31536000, immutable"
SnapshotId = Annotated[str, Path(description="Id of a snapshot, or `current`.", examples=["20261123T020512Z-7f3a9c1e"], max_length=100)]


def _named(request: Request, snapshot: str) -> tuple[str, str]:
    """(id, how long it may be cached): what an id names never changes, what `current` names does."""
    if snapshot == "current":
        return loaded(request, None).snapshot.id, "private, no-cache"
    return snapshot, FOREVER


@router.get("/v1/families", response_model=FamilyList, responses=ERRORS | SAME, tags=["regimes"], summary="Commodity families")
async def families(request: Request, as_of: AsOf = None, if_none_match: IfNoneMatch = None) -> Response:
    """Each with its importers and how many of its units are given p >= 0.5."""
    found = loaded(request, as_of)
    listed = _grouped(found.snapshot.index, "family", "importer")
    titles = {row["family"]: row["title"] for row in found.snapshot.index}
    parts = {"families": orjson.dumps([{"family": f, "title": titles[f], "importers": of, "restricted": n} for f, of, n in listed])}
    return answer(request, found, as_of, parts, if_none_match)


@router.get("/v1/importers", response_model=ImporterList, responses=ERRORS | SAME, tags=["regimes"], summary="Importers")
async def importers(request: Request, as_of: AsOf = None, if_none_match: IfNoneMatch = None) -> Response:
    """Each with its families and how many of its units are given p >= 0.5."""
    found = loaded(request, as_of)
    listed = _grouped(found.snapshot.index, "importer", "family")
    parts = {"importers": orjson.dumps([{"importer": i, "families": of, "restricted": n} for i, of, n in listed])}
    return answer(request, found, as_of, parts, if_none_match)


def _grouped(rows: list[dict[str, Any]], by: str, of: str) -> list[tuple[str, list[str], int]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[by], []).append(row)
    return [
        (name, [r[of] for r in members], sum((r["probability"] or 0) >= 0.5 for r in members)) for name, members in sorted(groups.items())
    ]


@router.get("/v1/snapshots", response_model=SnapshotList, responses=ERRORS, summary="Published snapshots, latest first")
async def snapshots(
    request: Request,
    since: Annotated[Instant | None, Query(description="Published at or after this instant.", examples=["2026-11-01T00:00:00Z"])] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Snapshots a page.", examples=[50])] = 50,
    cursor: Cursor = None,
) -> Response:
    """A snapshot is immutable. `current` of one of them tells which is served."""
    store = request.app.state.holder.store
    before = None if cursor is None else opened(cursor)["s"]
    names = [name for name in reversed(store.ids()) if before is None or name < before]
    if since is not None:
        names = [name for name in names if name[:15] >= utc(since).strftime("%Y%m%dT%H%M%S")]
    current = loaded(request, None).snapshot.id
    shown = [_info(store.manifest(name)) | {"current": name == current} for name in names[:limit]]
    following = next_after(names[limit - 1]) if len(names) > limit else b"null"
    body = b'{"next":' + following + b',"snapshots":' + orjson.dumps(shown) + b"}"
    return Response(body, media_type="application/json", headers={"Cache-Control": "private, no-cache"})


def _info(manifest: dict[str, Any]) -> dict[str, Any]:
    known = ("id", "published_at", "fitted_at", "exporter", "gate", "data_through", "panel_sha256", "log", "sources", "versions", "files")
    came = manifest.get("fit") or {}
    return {"data_as_of": manifest["as_of"], "weighed_from": came.get("snapshot")} | {k: manifest.get(k) for k in known}


@router.get("/v1/snapshots/{snapshot}", response_model=SnapshotInfo, responses=ERRORS | SAME, summary="What a snapshot is")
async def snapshot(request: Request, snapshot: SnapshotId, if_none_match: IfNoneMatch = None) -> Response:
    """Its manifest: as-of, data range, versions, and the SHA-256 of each of its files."""
    name, caching = _named(request, snapshot)
    manifest = request.app.state.holder.store.manifest(name)
    body = orjson.dumps(_info(manifest) | {"assumptions": manifest.get("assumptions"), "computation": manifest.get("computation")})
    return tagged(body, "application/json", if_none_match, {"Cache-Control": caching})


@router.get("/v1/snapshots/{snapshot}/checks", response_model=Checks, responses=ERRORS | SAME, summary="Why it was published")
async def checks(request: Request, snapshot: SnapshotId, if_none_match: IfNoneMatch = None) -> Response:
    """The gate: each check with its value, thresholds, outcome and source."""
    name, caching = _named(request, snapshot)
    manifest = request.app.state.holder.store.manifest(name)
    body = orjson.dumps({"snapshot": name, "gate": manifest["gate"], "checks": manifest.get("checks", [])})
    return tagged(body, "application/json", if_none_match, {"Cache-Control": caching})


@router.get(
    "/v1/snapshots/{snapshot}/report",
    response_class=Response,
    responses=ERRORS | SAME | {200: {"content": {"text/html": {"schema": {"type": "string"}}}}},
    summary="The analyst's page",
)
async def report(request: Request, snapshot: SnapshotId, if_none_match: IfNoneMatch = None) -> Response:
    """One self-contained HTML file."""
    name, caching = _named(request, snapshot)
    body = request.app.state.holder.store.read(name, REPORT)
    headers = {"Cache-Control": caching, "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:"}
    return tagged(body, "text/html; charset=utf-8", if_none_match, headers)


@router.get(
    "/v1/snapshots/{snapshot}/posterior",
    response_class=Response,
    responses=ERRORS | {200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in (ZIP, HDF)}}},
    summary="The posterior, for ArviZ",
)
def posterior(
    request: Request,
    snapshot: SnapshotId,
    format: Annotated[
        Literal["zarr", "netcdf"], Query(description="zarr: a zip that zarr and xarray open as it is; netcdf: netCDF-4.", examples=["zarr"])
    ] = "zarr",
    shard: Annotated[
        str | None, Query(description="Of a panel fitted in shards, the shard; netCDF.", pattern="^shard-[0-9]+$", examples=["shard-1"])
    ] = None,
) -> Response:
    """Posterior, sample_stats, panel, regimes: `xarray.open_datatree(zarr.storage.ZipStore("posterior.zarr.zip"), engine="zarr",
    consolidated=False)`, or `arviz.from_netcdf("posterior.nc")`."""
    store = request.app.state.holder.store
    name, caching = _named(request, snapshot)
    if shard is not None:
        headers = {"Cache-Control": caching, "Content-Disposition": f'attachment; filename="{name}.{shard}.nc"'}
        return Response(store.read(name, f"{SHARDS}/{shard}.nc"), media_type=HDF, headers=headers)
    headers = {
        "Cache-Control": caching,
        "Content-Disposition": f'attachment; filename="{name}.{"nc" if format == "netcdf" else "zarr.zip"}"',
    }
    held = store.manifest(name)["files"]
    files = [file for file in held if (file == NETCDF if format == "netcdf" else file.startswith(f"{POSTERIOR}/"))]
    if not files:
        shards = ", ".join(sorted(file.removeprefix(f"{SHARDS}/").removesuffix(".nc") for file in held if file.startswith(f"{SHARDS}/")))
        raise NoSnapshot(
            f"snapshot {name} was published {f'in shards; ?shard= one of {shards}' if shards else 'without its posterior in this form'}"
        )
    if format == "netcdf":
        return Response(store.read(name, NETCDF), media_type=HDF, headers=headers)
    sink = io.BytesIO()
    # The chunks are compressed already; ZipStore wants its keys at the root.
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            archive.writestr(zipfile.ZipInfo(file.removeprefix(f"{POSTERIOR}/")), store.read(name, file))
    return Response(sink.getvalue(), media_type=ZIP, headers=headers)


@router.get(
    "/v1/calibration", response_model=Calibration, responses=ERRORS | SAME, tags=["regimes"], summary="How far to believe a probability"
)
async def calibration(request: Request, if_none_match: IfNoneMatch = None) -> Response:
    """Scores of the last backtest where the truth was known (`quietquota score --publish`): skill, reliability, detection delay."""
    try:
        body = request.app.state.holder.store.store.read(CALIBRATION)
    except FileNotFoundError as error:
        raise NoSnapshot("no backtest has been scored and published yet; quietquota score TRUTH FORECASTS --publish") from error
    return tagged(body, "application/json", if_none_match, {"Cache-Control": "private, no-cache"})
