"""A refresh of a panel in shards: what is done and in which order, and one snapshot of them all.

A shard that is done is put aside; a refresh that was stopped goes on with the others. A shard that its gate refuses is left out: its units
abstain, and say where their last answer is. Where that befalls more than :data:`MOST_LEFT_OUT` of the units, nothing is published.
"""

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from data.store import Store
from model.checks import LEFT_OUT, ORDER, Check, outcome
from model.context import contexts
from model.layers import draws_of
from model.pooling import pooled
from model.snapshot import Snapshot, facts, silent
from model.spec import Assumptions
from service.decision import Decision, versions
from service.job import Job, Outcome
from service.netcdf import from_netcdf
from service.posteriors import WORK, answerable
from service.publication import put, titles, told_of
from service.shards import Done, Task, part, plan, put_aside, run_all, untried
from service.snapshots import SHARDS, Damaged, NoSnapshot, SnapshotStore

POOLED = 3
"""Shards that are fitted first, under the priors as they are, for what they say of the others'."""
MOST_LEFT_OUT = 0.1
"""Share of the units that may be left out of a publication."""
TELLING = 200
"""Draws of a shard that are pooled."""


def in_shards(job: Job, decision: Decision) -> tuple[Decision, Outcome]:
    """A refresh of a panel in shards, and the decision acted on."""
    asked, aside, run = job.asked, job.store.store, job.run
    answerable(job.panel, asked.assumptions)
    one, where = asked.computation.model_copy(update={"cores": 1}), (asked.executor, asked.jobs or os.cpu_count() or 1)
    shards, then = plan(asked.watch, asked.shard_units), dict[str, Any]()
    if decision.current:
        then = job.store.manifest(decision.current)
        if {n: list(w.families) for n, w in shards.items()} != {n: told["families"] for n, told in then.get("shards", {}).items()}:
            decision, then = Decision("fit", "the shards are not those of the current snapshot"), {}
            run.know(decision=vars(decision))
    weigh, held = decision.kind == "weigh", then.get("files", {})
    tasks = [
        Task(
            name,
            part(job.panel, of),
            titles(of),
            asked.assumptions,
            one,
            weigh=weigh and f"{SHARDS}/{name}.nc" in held,
            accept_review=asked.accept_review,
        )
        for name, of in shards.items()
    ]
    told = dict[str, Done]()

    def ready(task: Task) -> Task:
        return replace(task, before=_before(job.store, then, task.name))

    # The draws there are were drawn under these.
    pool = then.get("pooled") if weigh else None
    if decision.kind == "fit" and len(tasks) > POOLED:
        first = [untried(aside, tasks[n])[0] for n in np.unique(np.linspace(0, len(tasks) - 1, POOLED).round().astype(int))]
        with job.step(f"{len(first)} shards, for what all share") as tell:
            told = run_all(first, *where, aside, tell, ready)
        found = [draws for task in first if (draws := _telling(aside, task))]
        if found:
            prior = pooled(asked.assumptions, found)
            pool = {"from": sorted(told), "assumptions": prior.model_dump(), "assumptions_digest": prior.digest()}
    if pool:
        # Those whose figures are in it already keep the prior as it was: no figure is used twice.
        prior = Assumptions(**pool["assumptions"])
        tasks = [t if t.name in pool["from"] else replace(t, assumptions=prior) for t in tasks]
    sought = [untried(aside, task) for task in tasks]
    tasks = [task for task, _ in sought]
    for old in set(aside.names(WORK)) - {task.place for task in tasks} - {mark for _, marks in sought for mark in marks}:
        aside.delete(old)
    left_out = {name for name, of in then.get("shards", {}).items() if not _let_pass(of["gate"], asked.accept_review)}
    with job.step(f"{len(tasks)} shards") as tell:
        if weigh and then["panel_sha256"] == job.panel.attrs["fingerprint"]:
            # Nothing is new: these alone are tried again, and where none passes there is nothing to publish.
            told = run_all([task for task in tasks if task.name in left_out], *where, aside, tell, ready)
            if not any(_let_pass(one.told["gate"], asked.accept_review) for one in told.values()):
                decision = Decision("nothing", f"the same figures, and {', '.join(sorted(told))} refused once more", decision.current)
                run.know(shards=_recorded(told), decision=vars(decision))
                return decision, Outcome(None, [], [])
        rest = [task for task in tasks if task.name not in told]
        done = told | run_all(rest, *where, aside, tell, ready)
    run.know(shards=_recorded(done), pooled=pool)
    snapshot = _joined(job, done, pool)
    checks = [Check(**c) for c in snapshot.meta["checks"]]
    if outcome(checks) == "FAIL":
        return decision, Outcome(None, checks, snapshot.rows)

    def fill(folder: Path) -> None:
        (folder / SHARDS).mkdir()
        for task in tasks:
            if _let_pass(done[task.name].told["gate"], asked.accept_review):
                for name, content in put_aside(aside, task).files.items():
                    (folder / name).write_bytes(content)

    return decision, put(job, snapshot, fill)


def _telling(aside: Store, task: Task) -> dict[str, np.ndarray] | None:
    """Draws of a shard, of which others learn what all share; None where it has none to tell."""
    try:
        content = put_aside(aside, task).files[f"{SHARDS}/{task.name}.nc"]
    except (FileNotFoundError, KeyError):
        return None
    return draws_of(from_netcdf(content)["posterior"].to_dataset(), TELLING)


def _before(store: SnapshotStore, then: dict[str, Any], name: str) -> tuple[bytes, dict[str, Any]] | None:
    """The shard's last posterior and its meta. then : the manifest that has them, empty for none."""
    try:
        return store.read(then["id"], f"{SHARDS}/{name}.nc"), {"id": then["id"], **then["shards"][name]}
    except (KeyError, Damaged, NoSnapshot):
        return None


def _joined(job: Job, done: dict[str, Done], pool: dict[str, Any] | None) -> Snapshot:
    """One snapshot of all shards, without their posteriors."""
    watch, panel = job.asked.watch, job.panel
    try:
        last = job.store.load()
    except (Damaged, NoSnapshot):
        last = None
    rows = {row["unit"]: row for one in done.values() for row in one.told["rows"]}
    beside = contexts(panel) | {unit: context for one in done.values() for unit, context in one.told["contexts"].items()}
    out = {name for name, one in done.items() if not _let_pass(one.told["gate"], job.asked.accept_review)}
    refused = {family: name for name in out for family in done[name].told["families"]}
    ordered = []
    for unit, _, family in watch.units():
        if family in refused:
            answered = last is not None and unit in last.records and last.row(unit)["current"]
            where = f"; its last answer is that of snapshot {last.id}" if last and answered else ""
            rows[unit] = silent(unit, titles(watch), f"the checks of its fit ({refused[family]}) did not pass{where}")
        ordered.append(rows.get(unit) or silent(unit, titles(watch), "no figure known"))
    checks = _checks([one.told for one in done.values()], out, sum(r["family"] in refused for r in ordered) / len(ordered))
    meta = facts(panel, checks, job.asked.assumptions, job.asked.computation, versions(), datetime.now(UTC), told_of(job.releases))
    # The oldest of the fits: when all is fitted anew hangs on it.
    fits = [one.told["fitted_at"] for one in done.values() if one.told["fitted_at"]]
    weighings = [one.told["fit"] for one in done.values() if one.told["decision"]["kind"] == "weigh"]
    if len(weighings) == len(done):
        meta["fit"] = {"snapshot": weighings[0]["snapshot"], "as_of": weighings[0]["as_of"], "fitted_at": min(fits), "checks": []}
    meta |= {"fitted_at": min(fits, default=meta["fitted_at"]), "pooled": pool, "shards": {
        name: {k: one.told[k] for k in ("families", "gate", "decision", "checks", "fit", "fitted_at", "as_of", "assumptions", "seconds")}
        for name, one in sorted(done.items())
    }}  # fmt: skip
    return Snapshot(xr.DataTree(), meta, ordered, beside)


def _recorded(done: dict[str, Done]) -> dict[str, dict[str, Any]]:
    """Of each shard what a run's record has, what its checks hold against it among that."""
    names = ("gate", "decision", "seconds")
    against = {name: [c for c in one.told["checks"] if c["outcome"] != "PASS"] for name, one in done.items()}
    return {name: {k: one.told[k] for k in names} | {"against": against[name]} for name, one in sorted(done.items())}


def _let_pass(gate: str, accept_review: bool) -> bool:
    """A shard in review is one of many: it waits for --accept-review, and the others do not wait for it."""
    return gate == "PASS" or (gate == "REVIEW" and accept_review)


def _checks(shards: list[dict[str, Any]], refused: set[str], left_out: float) -> list[Check]:
    """Of each kind of check the worst of those of the shards that are published, and how many units are left out."""
    found: dict[str, list[tuple[str, Check]]] = {}
    for told in shards:
        if told["name"] not in refused:
            for one in told["checks"]:
                found.setdefault(one["name"], []).append((told["name"], Check(**one)))
    worst = []
    for several in found.values():
        sign = 1 if several[0][1].review >= several[0][1].threshold else -1
        name, check = max(several, key=lambda of: (ORDER.index(of[1].outcome), sign * of[1].value))
        worst.append(Check(**{**vars(check), "worst": f"{name}: {check.worst}" if check.worst else name}))
    found_in = ", ".join(sorted(refused)[:5]) + (f" and {len(refused) - 5} more" if len(refused) > 5 else "")
    verdict = "PASS" if not refused else "REVIEW" if left_out <= MOST_LEFT_OUT else "FAIL"
    return [*worst, Check(LEFT_OUT, left_out, 0.0, MOST_LEFT_OUT, verdict, found_in, "share of units whose shard's checks did not pass")]  # type: ignore[arg-type]
