"""One refresh: log -> panel -> fit -> checks -> snapshot, or the last good snapshot stays and the reason is said."""

import math
import platform
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import xarray as xr
from rich.console import Console
from rich.progress import Progress, TaskID, TimeElapsedColumn
from zarr.codecs import ZstdCodec

from data.config import Watch
from data.log import ReleaseLog
from data.panel import Panel, read_panel
from data.revisions import revisions, spread
from data.store import Locked
from model.checks import Check, figure_checks, jump_check, outcome, records, run_checks
from model.evidence import detectability, evidence
from model.fit import fit
from model.frame import frame
from model.held import DRAWS, held
from model.layers import draws_of, evaluated
from model.modes import screen
from model.pointwise import health
from model.probabilities import abstentions, regime_table
from model.snapshot import Snapshot, assemble
from model.spec import Assumptions, Computation
from model.states import states
from service.alerts import weigh
from service.changes import changes, unexplained
from service.progress import COLUMNS
from service.report import render
from service.runs import Run, on_record
from service.snapshots import (
    CONTEXT,
    NETCDF,
    POSTERIOR,
    RELEASES,
    REPORT,
    WHAT_IF,
    Damaged,
    NoSnapshot,
    SnapshotStore,
    StoreBusy,
    as_lines,
)  # fmt: skip
from service.webhooks import Send, deliver

PACKAGES = ("pymc", "pytensor", "nutpie", "jax", "jaxlib", "arviz", "numba", "numpy", "xarray", "pandas")


ATTEMPTS = 2
"""Fits, each with a seed of its own, before the gate's answer stands."""


class NothingToFit(ValueError):
    """Every unit of the panel abstains; says why."""


@dataclass(frozen=True)
class Refreshed:
    """snapshot : id, or None where none was published. nothing_new : whether that is since there was nothing to say anew."""

    snapshot: str | None
    checks: list[Check]
    rows: list[dict]
    seconds: dict[str, float]
    nothing_new: bool = False


def refresh(
    log: ReleaseLog,
    store: SnapshotStore,
    watch: Watch,
    as_of: datetime | None,
    assumptions: Assumptions,
    computation: Computation,
    console: Console,
    accept_review: bool = False,
    full: bool = True,
    send: Send | None = None,
) -> Refreshed:
    """Fit the panel as known at `as_of` and publish it if the gate lets it through; every run is on record in the store.

    as_of : None for the latest that the log can speak of. full : fit also where the current snapshot says the same already. send : how
    alerts are brought to webhooks; None to leave them. One refresh at a time: raises StoreBusy where another runs; LogError (nothing known,
    past the horizon), NothingToFit.
    """
    instant = as_of or min(datetime.now(UTC), log.horizon())
    asked = {"as_of": instant, "watch": watch.model_dump(), "full": full, "accept_review": accept_review, "seed": computation.seed}
    with _alone(store), on_record(store.store, asked) as run, Progress(*COLUMNS, TimeElapsedColumn(), console=console) as progress:

        @contextmanager
        def step(title: str, total: float | None = None) -> Iterator[TaskID]:
            task = progress.add_task(title, total=total)
            with run.step(title):
                yield task
            progress.update(task, total=1, completed=1)

        done = _refreshed(log, store, watch, instant, assumptions, computation, accept_review, full, run, progress, step)
        if done.snapshot and send:
            with step("sending alerts"):
                run.know(deliveries=_sent(store, send))
        run.know(snapshot=done.snapshot, checks=records(done.checks))
        run.end("published" if done.snapshot else "nothing new" if done.nothing_new else "gate failed")
    return done


def _sent(store: SnapshotStore, send: Send) -> str:
    """How many deliveries ended how. What was published stays published, whatever becomes of them."""
    try:
        return ", ".join(f"{n} {state}" for state, n in Counter(d.state for d in deliver(store.store, send)).items()) or "none due"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@contextmanager
def _alone(store: SnapshotStore) -> Iterator[None]:
    try:
        with store.store.lock(".refresh.lock", 0.0):
            yield
    except Locked as error:
        raise StoreBusy(f"another refresh is running. {error}") from error


def _refreshed(
    log: ReleaseLog, store: SnapshotStore, watch: Watch, as_of: datetime, assumptions: Assumptions, computation: Computation,
    accept_review: bool, full: bool, run: Run, progress: Progress, step: Callable[..., AbstractContextManager[TaskID]],
) -> Refreshed:  # fmt: skip
    with step("reading the log"):
        panel = read_panel(log, watch, as_of)
        releases = log.releases("observations", as_of, [hs for family in watch.families.values() for hs in family.hs])
        assumptions = informed(assumptions, releases)
        run.know(
            log=panel.attrs["log"], panel=panel.attrs["fingerprint"], assumptions=assumptions.digest(), computation=computation.digest(),
            versions=versions(),
        )  # fmt: skip
        if all(reasons := abstentions(panel, assumptions)):
            why = "; ".join(f"{unit}: {reason}" for unit, reason in zip(panel["unit"].values, reasons, strict=True))
            raise NothingToFit(f"no unit can be answered as of {as_of.isoformat()}; {why}. Ingest more months, or a longer history")
    if not full and _said_already(store, panel, assumptions, computation):
        return Refreshed(None, [], [], run.record["seconds"], nothing_new=True)
    f, attempts = frame(panel, assumptions), list[dict[str, Any]]()
    for attempt in range(ATTEMPTS):
        tried = computation.model_copy(update={"seed": computation.seed + 1000 * attempt})
        with step("compiling and sampling" if not attempt else f"sampling again, seed {tried.seed}") as task:
            result = fit(f, assumptions, tried, lambda done, total, task=task: progress.update(task, completed=done, total=total))  # type: ignore[misc]
        with step("looking for rival modes"):
            rivals = screen(result, assumptions, tried)
        with step("checking"):
            compared = health(result, seed=tried.seed)
            checks = [*run_checks(result.posterior, result.free, rivals), *figure_checks(compared)]
        gate = outcome(checks)
        attempts.append({"seed": tried.seed, "gate": gate, "checks": records(checks)})
        run.know(attempts=attempts)
        if gate != "FAIL":
            break
    if gate == "FAIL" or (gate == "REVIEW" and not accept_review):
        return Refreshed(None, checks, [], run.record["seconds"])
    with step("regime probabilities"):
        draws = draws_of(result.posterior["posterior"].to_dataset(), tried.probability_draws)
        regimes = regime_table(draws, result.graph, panel, assumptions, tried)
    with step("evidence"):
        few = list(evaluated(result.graph, draws_of(result.posterior["posterior"].to_dataset(), tried.evidence_draws)))
        space, seen = states(assumptions), result.graph.frame
        told = [evidence(few, seen, space), detectability(few, seen, space, np.random.default_rng(tried.seed))]
        regimes = xr.merge([regimes, *(t.reindex(unit=regimes["unit"]) for t in told)], combine_attrs="override")
        titles = {name: family.title for name, family in watch.families.items()}
        now, late = datetime.now(UTC), told_of(releases)
        snapshot = assemble(result.posterior, regimes, panel, checks, assumptions, tried, titles, versions(), now, late, compared)
        figures = behind(releases, watch)
        snapshot.meta["changes"], jumps = since_last(store, snapshot, figures)
    checks = [*checks, jump_check(jumps)]
    released = sorted(row["released_at"] for rows in figures.values() for row in rows)
    snapshot.meta.update(checks=records(checks), gate=outcome(checks), released=[*released[:1], *released[-1:]])
    if snapshot.meta["gate"] == "REVIEW" and not accept_review:
        return Refreshed(None, checks, [], run.record["seconds"])
    with step("report"):
        page = render(snapshot, store.calibration())
    with step("publishing"):
        thought = held(draws_of(result.posterior["posterior"].to_dataset(), DRAWS), result.graph, panel, assumptions)
        name = store.publish(snapshot.meta, snapshot.rows, lambda folder: write_files(snapshot, figures, thought, page, folder))
    with step("weighing alerts"):
        raised = weigh(store.store, store.load(name))
        run.know(alerts=[alert.id for alert in raised])
    return Refreshed(name, checks, snapshot.rows, run.record["seconds"])


def _said_already(store: SnapshotStore, panel: Panel, assumptions: Assumptions, computation: Computation) -> bool:
    """Whether the current snapshot was fitted to these figures, of this month, under these assumptions, by these versions."""
    try:
        name = store.current_id()
        meta = store.manifest(name) if name else {}
    except (Damaged, NoSnapshot):
        return False
    mine = {"panel_sha256": panel.attrs["fingerprint"], "assumptions_digest": assumptions.digest(), "versions": versions()}
    # A fit that was tried again has another seed.
    how = {**(meta.get("computation") or {}), "seed": computation.seed} == orjson.loads(orjson.dumps(computation.model_dump()))
    return how and all(meta.get(key) == value for key, value in mine.items())


def informed(assumptions: Assumptions, releases: pd.DataFrame) -> Assumptions:
    """With the prior of how much noisier preliminary figures are set to what revisions have been, where the log knows enough of them."""
    measured = spread(releases)
    # The mean of a half-normal is 0.8 of its scale.
    return assumptions if measured is None else assumptions.model_copy(update={"preliminary": measured * math.sqrt(math.pi / 2)})


def told_of(releases: pd.DataFrame) -> list[dict[str, Any]]:
    """The revision report, to be kept beside the answers that rest on the figures."""
    rows = revisions(releases).to_dict("records")
    return [{str(k): None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in rows]


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def behind(releases: pd.DataFrame, watch: Watch) -> dict[str, list[dict[str, Any]]]:
    """The releases of each unit's cells, oldest first."""
    ours = releases[(releases["exporter"] == watch.exporter) & releases["importer"].isin(watch.importers)]
    found: dict[str, list[dict[str, Any]]] = {}
    for unit, importer, family in watch.units():
        of_unit = ours[(ours["importer"] == importer) & ours["hs_code"].str.startswith(watch.families[family].hs)]
        of_unit = of_unit.sort_values("released_at", kind="stable")
        rows = of_unit[["reporter", "hs_code", "period", "net_weight_kg", "released_at", "released_at_basis", "status", "source"]]
        found[unit] = rows.assign(
            released_at=rows["released_at"].dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
            net_weight_kg=rows["net_weight_kg"].astype(object).where(rows["net_weight_kg"].notna(), None),
        ).to_dict("records")  # type: ignore[assignment]
    return found


def since_last(
    store: SnapshotStore, snapshot: Snapshot, figures: dict[str, list[dict[str, Any]]]
) -> tuple[dict[str, Any], list[tuple[str, float]]]:
    """(what became of the answers since the snapshot that is current: ``since``, its id, null where there is none that can be read,
    ``as_of``, how many ``releases`` are new, and ``units`` (:mod:`service.changes`); what moved unexplained)."""
    try:
        last = store.load()
        known = orjson.loads(store.read(last.id, RELEASES))
    except (Damaged, NoSnapshot):
        return {"since": None, "as_of": None, "releases": 0, "units": []}, []
    news = {}
    for unit, rows in figures.items():
        seen = {orjson.dumps(row) for row in known.get(unit, [])}
        news[unit] = [row for row in rows if orjson.dumps(row) not in seen]
    before = {unit: orjson.loads(record) for unit, record in last.records.items()}
    told = changes(before, snapshot.rows, news)
    since = {"since": last.id, "as_of": last.meta["as_of"], "releases": sum(map(len, news.values())), "units": told}
    return since, unexplained(before, snapshot.rows, news)


def write_files(
    snapshot: Snapshot, figures: dict[str, list[dict[str, Any]]], thought: dict[str, dict[str, np.ndarray]], page: str, folder: Path
) -> None:
    """The posterior as Zarr, whose chunks carry checksums, and as netCDF-4, the figures behind the answers, what what-ifs are answered
    from, what is drawn beside the answers, and the report."""
    (folder / CONTEXT).write_bytes(as_lines(snapshot.contexts[row["unit"]] for row in snapshot.rows))
    (folder / WHAT_IF).mkdir()
    for importer, arrays in thought.items():
        np.savez_compressed(folder / WHAT_IF / f"{importer}.npz", allow_pickle=False, **arrays)
    (folder / RELEASES).write_bytes(orjson.dumps(figures))
    checked = [ZstdCodec(level=3, checksum=True)]
    tree = xr.DataTree.from_dict({node.path: _stored(node.to_dataset(inherit=False)) for node in snapshot.tree.subtree})
    encoding = {
        node.path: {name: {"compressors": checked} for name in node.to_dataset(inherit=False).variables}
        for node in tree.subtree
        if node.has_data
    }
    tree.to_zarr(folder / POSTERIOR, encoding=encoding, consolidated=False, zarr_format=3)
    write_netcdf(tree, folder / NETCDF)
    (folder / REPORT).write_text(page, encoding="utf-8")


def write_netcdf(tree: xr.DataTree, path: Path) -> None:
    """As netCDF-4. Attributes that it has no types for stand in it as JSON."""
    nodes, encoding = dict[str, xr.Dataset](), dict[str, dict[str, Any]]()
    for node in tree.subtree:
        held = node.to_dataset(inherit=False)
        held.attrs = _json(held.attrs)
        for name in held.variables:
            held[name].attrs = _json(held[name].attrs)
        nodes[node.path] = held
        packed = {"zlib": True, "complevel": 1}
        encoding[node.path] = {str(name): packed for name, v in held.variables.items() if v.dtype.kind in "fiu"}
    xr.DataTree.from_dict(nodes).to_netcdf(path, engine="h5netcdf", encoding=encoding)


def _json(attrs: dict[Any, Any]) -> dict[Any, Any]:
    plain = (str, int, float, np.generic)
    return {k: v if isinstance(v, plain) or _texts(v) else orjson.dumps(v, default=str).decode() for k, v in attrs.items()}


def _texts(value: Any) -> bool:
    """Whether it is several texts, which netCDF has a type for, and ArviZ looks for under ``sample_dims``."""
    return isinstance(value, list) and len(value) > 1 and all(isinstance(v, str) for v in value)


def _stored(dataset: xr.Dataset) -> xr.Dataset:
    """With text in Zarr's own string type."""
    text = {name: v.astype(object) for name, v in dataset.variables.items() if v.dtype.kind == "U"}
    return dataset.assign({n: v for n, v in text.items() if n in dataset.data_vars}).assign_coords(
        {n: v for n, v in text.items() if n in dataset.coords}
    )
