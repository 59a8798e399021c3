"""One refresh: log -> panel -> fit -> checks -> snapshot, or the last good snapshot stays and the reason is said."""

import math
import platform
from collections.abc import Iterator
from contextlib import contextmanager
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
from data.panel import read_panel
from data.revisions import revisions, spread
from model.checks import Check, outcome, run_checks
from model.evidence import detectability, evidence
from model.fit import fit
from model.frame import frame
from model.layers import draws_of, evaluated
from model.modes import screen
from model.probabilities import abstentions, regime_table
from model.snapshot import Snapshot, assemble
from model.spec import Assumptions, Computation
from model.states import states
from service.progress import COLUMNS
from service.report import render
from service.snapshots import POSTERIOR, RELEASES, REPORT, SnapshotStore

PACKAGES = ("pymc", "pytensor", "nutpie", "jax", "jaxlib", "arviz", "numba", "numpy", "xarray", "pandas")


class NothingToFit(ValueError):
    """Every unit of the panel abstains; says why."""


@dataclass(frozen=True)
class Refreshed:
    """snapshot : id, or None when the gate kept it back."""

    snapshot: str | None
    checks: list[Check]
    rows: list[dict]
    seconds: dict[str, float]


@contextmanager
def _step(progress: Progress, title: str, seconds: dict[str, float], total: float | None = None) -> Iterator[TaskID]:
    started = datetime.now(UTC)
    task = progress.add_task(title, total=total)
    yield task
    seconds[title] = (datetime.now(UTC) - started).total_seconds()
    progress.update(task, total=1, completed=1)


def refresh(
    log: ReleaseLog,
    store: SnapshotStore,
    watch: Watch,
    as_of: datetime,
    assumptions: Assumptions,
    computation: Computation,
    console: Console,
    accept_review: bool = False,
) -> Refreshed:
    """Fit the panel as known at `as_of` and publish it if the gate lets it through.

    Raises LogError (nothing known, past the horizon), NothingToFit, StoreBusy.
    """
    seconds: dict[str, float] = {}
    with Progress(*COLUMNS, TimeElapsedColumn(), console=console) as progress:
        with _step(progress, "reading the log", seconds):
            panel = read_panel(log, watch, as_of)
            releases = log.releases("observations", as_of, [hs for family in watch.families.values() for hs in family.hs])
            assumptions = informed(assumptions, releases)
            if all(reasons := abstentions(panel, assumptions)):
                why = "; ".join(f"{unit}: {reason}" for unit, reason in zip(panel["unit"].values, reasons, strict=True))
                raise NothingToFit(f"no unit can be answered as of {as_of.isoformat()}; {why}. Ingest more months, or a longer history")
        with _step(progress, "compiling and sampling", seconds) as task:
            result = fit(
                frame(panel, assumptions), assumptions, computation,
                lambda done, total: progress.update(task, completed=done, total=total),
            )  # fmt: skip
        with _step(progress, "looking for rival modes", seconds):
            rivals = screen(result, assumptions, computation)
        with _step(progress, "checking", seconds):
            checks = run_checks(result.posterior, result.free, rivals)
        with _step(progress, "regime probabilities", seconds):
            draws = draws_of(result.posterior["posterior"].to_dataset(), computation.probability_draws)
            regimes = regime_table(draws, result.graph, panel, assumptions, computation)
        with _step(progress, "evidence", seconds):
            few = list(evaluated(result.graph, draws_of(result.posterior["posterior"].to_dataset(), computation.evidence_draws)))
            space, seen = states(assumptions), result.graph.frame
            told = [evidence(few, seen, space), detectability(few, seen, space, np.random.default_rng(computation.seed))]
            regimes = xr.merge([regimes, *(t.reindex(unit=regimes["unit"]) for t in told)], combine_attrs="override")
            titles = {name: family.title for name, family in watch.families.items()}
            snapshot = assemble(
                result.posterior, regimes, panel, checks, assumptions, computation, titles, versions(), datetime.now(UTC), told_of(releases)
            )
        gate = outcome(checks)
        if gate == "FAIL" or (gate == "REVIEW" and not accept_review):
            return Refreshed(None, checks, snapshot.rows, seconds)
        with _step(progress, "publishing", seconds):
            name = store.publish(snapshot.meta, snapshot.rows, lambda folder: write_files(snapshot, behind(releases, watch), folder))
    return Refreshed(name, checks, snapshot.rows, seconds)


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


def write_files(snapshot: Snapshot, figures: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    """The posterior as Zarr, whose chunks carry checksums, the figures behind the answers, and the report."""
    (folder / RELEASES).write_bytes(orjson.dumps(figures))
    checked = [ZstdCodec(level=3, checksum=True)]
    tree = xr.DataTree.from_dict({node.path: _stored(node.to_dataset(inherit=False)) for node in snapshot.tree.subtree})
    encoding = {
        node.path: {name: {"compressors": checked} for name in node.to_dataset(inherit=False).variables}
        for node in tree.subtree
        if node.has_data
    }
    tree.to_zarr(folder / POSTERIOR, encoding=encoding, consolidated=False, zarr_format=3)
    (folder / REPORT).write_text(render(snapshot), encoding="utf-8")


def _stored(dataset: xr.Dataset) -> xr.Dataset:
    """With text in Zarr's own string type."""
    text = {name: v.astype(object) for name, v in dataset.variables.items() if v.dtype.kind == "U"}
    return dataset.assign({n: v for n, v in text.items() if n in dataset.data_vars}).assign_coords(
        {n: v for n, v in text.items() if n in dataset.coords}
    )
