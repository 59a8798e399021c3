"""Posterior -> published snapshot: answers, evidence, what changed, the report; and the store's current is it."""

import io
import math
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import xarray as xr
from zarr.codecs import ZstdCodec

from data.config import Watch
from data.panel import Panel
from data.revisions import revisions
from model.checks import LEFT_OUT, Check, jump_check, lost_check, outcome, records
from model.evidence import as_published, detectability, evidence
from model.held import DRAWS, held
from model.layers import evaluated
from model.probabilities import regime_table
from model.snapshot import Snapshot, assemble
from model.spec import Assumptions, Computation
from model.states import states
from service.alerts import weigh
from service.changes import changes, lost, unexplained
from service.decision import Decision, versions
from service.job import Job, Outcome, Step
from service.netcdf import from_netcdf, to_netcdf
from service.posteriors import NeedsFit, Posterior, answerable, done_with, fit_of, fitted, weighed
from service.report import render
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
    as_lines,
)  # fmt: skip


def may_be_published(checks: list[Check], accept_review: bool) -> bool:
    """That a few shards are left out is said in every answer, and keeps the others from no one."""
    asking = [c for c in checks if c.name != LEFT_OUT]
    return outcome(checks) != "FAIL" and (accept_review or all(c.outcome == "PASS" for c in asking))


def concluded(posterior: Posterior, panel: Panel, step: Step) -> xr.Dataset:
    """The regime table, with evidence and detectability in it."""
    a, c = posterior.assumptions, posterior.computation
    with step("regime probabilities"):
        regimes = regime_table(posterior.draws(c.probability_draws), posterior.graph, panel, a, c)
    with step("evidence"):
        few, seen, space = list(evaluated(posterior.graph, posterior.draws(c.evidence_draws))), posterior.graph.frame, states(a)
        told = [as_published(evidence(few, seen, space, c.cores), regimes), detectability(few, seen, space, np.random.default_rng(c.seed))]
        return xr.merge([regimes, *(t.reindex(unit=regimes["unit"]) for t in told)], combine_attrs="override")


def in_one(job: Job, decision: Decision) -> tuple[Decision, Outcome]:
    """A refresh of a panel that is fitted in one piece, and the decision that was acted on."""
    answerable(job.panel, job.asked.assumptions)
    posterior = last = None
    if decision.current:
        try:
            meta = job.store.manifest(decision.current)
            last = fit_of(from_netcdf(job.store.read(meta["id"], NETCDF)))
            if decision.kind == "weigh":
                with job.step("weighing the draws there are"):
                    then = Assumptions(**meta["assumptions"]), Computation(**meta["computation"])
                    posterior = weighed(last, meta, job.panel, *then)
        except (NeedsFit, Damaged, NoSnapshot) as error:
            decision = Decision("fit", f"the draws there are cannot stand for it: {error}")
            job.run.know(decision=vars(decision))
    if posterior is None:
        posterior = fitted(
            job.panel, job.asked.assumptions, job.asked.computation, job.step, job.store.store, last, job.asked.accept_review
        )
    job.run.know(attempts=posterior.attempts)
    if not may_be_published(posterior.checks, job.asked.accept_review):
        return decision, Outcome(None, posterior.checks, [])
    regimes, thought = concluded(posterior, job.panel, job.step), what_ifs(posterior, job.panel)
    snapshot = assemble(
        posterior.tree, regimes, job.panel, posterior.checks, posterior.assumptions, posterior.computation, titles(job.asked.watch),
        versions(), datetime.now(UTC), told_of(job.releases),
    )  # fmt: skip
    if posterior.fit is not None:
        snapshot.meta.update(fit=posterior.fit, fitted_at=posterior.fit["fitted_at"])

    def fill(folder: Path) -> None:
        write_posterior(snapshot.tree, folder)
        for importer, content in thought.items():
            (folder / WHAT_IF / f"{importer}.npz").write_bytes(content)

    return decision, put(job, snapshot, fill)


def put(job: Job, snapshot: Snapshot, fill: Callable[[Path], None]) -> Outcome:
    """Compare `snapshot` with the last, and publish it if it may be. fill : writes its posterior, and into ``what-if/``, in a folder."""
    with job.step("comparing with the last snapshot"):
        figures = behind(job.releases, job.asked.watch)
        snapshot.meta["changes"], compared = since_last(job.store, snapshot, figures)
    checks = [*(Check(**one) for one in snapshot.meta["checks"]), *compared]
    released = sorted(row["released_at"] for rows in figures.values() for row in rows)
    snapshot.meta.update(checks=records(checks), gate=outcome(checks), released=[*released[:1], *released[-1:]])
    if not may_be_published(checks, job.asked.accept_review):
        return Outcome(None, checks, snapshot.rows)
    with job.step("report"):
        page = render(snapshot, job.store.calibration())

    def write(folder: Path) -> None:
        (folder / CONTEXT).write_bytes(as_lines(snapshot.contexts[row["unit"]] for row in snapshot.rows))
        (folder / RELEASES).write_bytes(orjson.dumps(figures))
        (folder / REPORT).write_text(page, encoding="utf-8")
        (folder / WHAT_IF).mkdir()
        fill(folder)

    with job.step("publishing"):
        name = job.store.publish(snapshot.meta, snapshot.rows, write, sure=job.alone)
    job.run.know(snapshot=name)
    with job.step("weighing alerts"):
        raised = weigh(job.store.store, job.store.load(name))
        job.run.know(alerts=[alert.id for alert in raised])
    with suppress(OSError):  # the next fit takes away what is left
        done_with(job.store.store)
    return Outcome(name, checks, snapshot.rows)


def titles(watch: Watch) -> dict[str, str]:
    return {name: family.title for name, family in watch.families.items()}


def what_ifs(posterior: Posterior, panel: Panel) -> dict[str, bytes]:
    """What what-ifs are answered from, by importer."""
    found = {}
    for importer, arrays in held(posterior.draws(DRAWS), posterior.graph, panel, posterior.assumptions).items():
        sink = io.BytesIO()
        np.savez_compressed(sink, allow_pickle=False, **arrays)
        found[importer] = sink.getvalue()
    return found


def told_of(releases: pd.DataFrame) -> list[dict[str, Any]]:
    """The revision report, to be kept beside the answers that rest on the figures."""
    rows = revisions(releases).to_dict("records")
    return [{str(k): None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in rows]


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


def since_last(store: SnapshotStore, snapshot: Snapshot, figures: dict[str, list[dict[str, Any]]]) -> tuple[dict[str, Any], list[Check]]:
    """(what became of the answers since the last snapshot that can be read: ``since``, its id, null where there is none, ``as_of``, how
    many ``releases`` are new, and ``units`` (:mod:`service.changes`); the checks of that). Nothing is compared with a later view. Where
    there was a snapshot and none can be read, nobody can say what would be lost."""
    unknown: dict[str, Any] = {"since": None, "as_of": None, "releases": 0, "units": []}
    try:
        last = store.last_good()
        known = orjson.loads(store.read(last.id, RELEASES))
    except NoSnapshot:
        return unknown, [jump_check([]), lost_check(0.0, "")]
    except Damaged as error:
        return unknown, [jump_check([]), lost_check(1.0, f"no snapshot of before can be read: {error}")]
    if snapshot.meta["as_of"] < last.meta["as_of"]:
        # An earlier view, asked for on purpose: figures that it does not know yet are no news.
        return unknown, [jump_check([]), lost_check(0.0, "")]
    news = {}
    for unit, rows in figures.items():
        seen = {orjson.dumps(row) for row in known.get(unit, [])}
        news[unit] = [row for row in rows if orjson.dumps(row) not in seen]
    before = {unit: orjson.loads(record) for unit, record in last.records.items()}
    told = changes(before, snapshot.rows, news)
    since = {"since": last.id, "as_of": last.meta["as_of"], "releases": sum(map(len, news.values())), "units": told}
    tension = last.meta.get("covariates") != snapshot.meta.get("covariates")
    return since, [jump_check(unexplained(before, snapshot.rows, news, tension)), lost_check(*lost(before, snapshot.rows))]


def write_posterior(tree: xr.DataTree, folder: Path) -> None:
    """As Zarr, whose chunks carry checksums, and as netCDF-4."""
    checked = [ZstdCodec(level=3, checksum=True)]
    stored = xr.DataTree.from_dict({node.path: _stored(node.to_dataset(inherit=False)) for node in tree.subtree})
    encoding = {
        node.path: {name: {"compressors": checked} for name in node.to_dataset(inherit=False).variables}
        for node in stored.subtree
        if node.has_data
    }
    stored.to_zarr(folder / POSTERIOR, encoding=encoding, consolidated=False, zarr_format=3)
    (folder / NETCDF).write_bytes(to_netcdf(stored))


def _stored(dataset: xr.Dataset) -> xr.Dataset:
    """With text in Zarr's own string type."""
    text = {name: v.astype(object) for name, v in dataset.variables.items() if v.dtype.kind == "U"}
    return dataset.assign({n: v for n, v in text.items() if n in dataset.data_vars}).assign_coords(
        {n: v for n, v in text.items() if n in dataset.coords}
    )
