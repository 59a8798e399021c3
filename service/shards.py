"""A panel that is too large for one fit: shards of it, fanned out to processes or to a Dask cluster.

A shard is some families with all their importers: what befalls a family, and who is spared, is settled within it. What shards cannot tell
each other is that a campaign against an importer runs across families of two shards, and what all share: so a few shards are fitted
first, and what they say of the population parameters is the prior of the rest (:mod:`model.pooling`), on record as such.
"""

import io
import sys
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing import active_children
from typing import Any

import numpy as np
import orjson
import xarray as xr

from data.config import Watch
from data.panel import Panel, fingerprint
from data.store import Store
from model.checks import Check, outcome, records
from model.context import contexts
from model.probabilities import abstentions
from model.snapshot import answers, silent
from model.spec import Assumptions, Computation
from service.decision import Decision
from service.job import Tell
from service.netcdf import from_netcdf, to_netcdf
from service.posteriors import (
    ATTEMPTS,
    REFUSED,
    SEED_STEP,
    WORK,
    NeedsFit,
    NothingToFit,
    Posterior,
    answerable,
    fit_of,
    fitted,
    key,
    weighed,
)
from service.publication import concluded, what_ifs
from service.snapshots import SHARDS, WHAT_IF
from service.workers import processes

RETRIES = 2
"""Of a shard whose worker died."""
AHEAD = 2
"""Tasks that are sent, for each that is worked on."""
PATIENCE_SECONDS = 60
"""How long a cluster may be without any worker when it is first asked."""


@dataclass(frozen=True)
class Task:
    """All that a worker needs: it sees neither the log nor the store. before : the shard's last posterior and its meta, to be weighed if
    `weigh`, and otherwise for the next fit to begin with; it is read when the task is sent."""

    name: str
    panel: Panel
    titles: dict[str, str]
    assumptions: Assumptions
    computation: Computation
    before: tuple[bytes, dict[str, Any]] | None = None
    weigh: bool = False
    accept_review: bool = False

    @property
    def place(self) -> str:
        """Where it is put aside once it is done."""
        return f"{WORK}/{self.name}-{key(self.panel, self.assumptions, self.computation)}{'-w' if self.weigh else ''}.zip"


@dataclass(frozen=True)
class Done:
    """told : ``name``, ``families``, ``decision``, ``checks``, ``gate``, ``fit``, ``assumptions``, ``seconds``; ``rows`` and ``contexts``,
    empty where the gate refused. files : what its part of the snapshot is made of, by name."""

    told: dict[str, Any]
    files: dict[str, bytes]

    def packed(self) -> bytes:
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
            for name, content in {"told.json": orjson.dumps(self.told), **self.files}.items():
                archive.writestr(name, content)
        return sink.getvalue()

    @classmethod
    def unpacked(cls, content: bytes) -> "Done":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        return cls(orjson.loads(files.pop("told.json")), files)


def plan(watch: Watch, units: int) -> dict[str, Watch]:
    """Shards by name, of about so many units each: as few as that allows, and of as equal size as they can be."""
    families, each = list(watch.families), max(1, units // len(watch.importers))
    count = -(-len(families) // each)
    groups = np.array_split(np.arange(len(families)), count)
    wide = len(str(count))
    return {
        f"shard-{n + 1:0{wide}}": watch.model_copy(update={"families": {families[i]: watch.families[families[i]] for i in group}})
        for n, group in enumerate(groups)
    }


def work(task: Task) -> Done:
    """What a worker does."""
    if "dask" not in sys.modules:
        return _worked(task)
    import dask

    # In a Dask worker xarray asks the cluster for leave to write a file, under the name of an object that only this process has.
    with dask.config.set(scheduler="synchronous"):
        return _worked(task)


def _worked(task: Task) -> Done:
    """The shard's posterior, weighed or fitted, and what it says."""
    began, a, c, decision = datetime.now(UTC), task.assumptions, task.computation, Decision("fit", "no draws to weigh")
    posterior = last = None
    if task.before:
        content, meta = task.before
        last, decision = fit_of(from_netcdf(content)), Decision("fit", "asked for")
        try:
            if task.weigh:
                posterior = weighed(last, meta, task.panel, Assumptions(**meta["assumptions"]), c)
                decision = Decision("weigh", "there are new figures, or a new month")
        except NeedsFit as error:
            decision = Decision("fit", f"the draws there are cannot stand for it: {error}")
    if posterior is None:
        answerable(task.panel, a)
        posterior = fitted(task.panel, a, c, quiet, None, last, task.accept_review)
    return said(task, posterior, decision, began)


def quiet(_: str) -> AbstractContextManager[Tell]:
    """Steps of a worker, which nobody watches."""
    return nullcontext(lambda done, of: None)


def said(task: Task, posterior: Posterior, decision: Decision, began: datetime) -> Done:
    """A shard's part of a snapshot."""
    rows, beside, files = list[dict[str, Any]](), dict[str, Any](), dict[str, bytes]()
    if outcome(posterior.checks) != "FAIL":
        regimes = concluded(posterior, task.panel, quiet)
        rows, beside = answers(regimes, task.titles), contexts(task.panel)
        groups = {node.path: node.to_dataset() for node in posterior.tree.subtree}
        files = {f"{SHARDS}/{task.name}.nc": to_netcdf(xr.DataTree.from_dict(groups | {"panel": task.panel, "regimes": regimes}))}
        files |= {f"{WHAT_IF}/{task.name}-{importer}.npz": held for importer, held in what_ifs(posterior, task.panel).items()}
    seconds = (datetime.now(UTC) - began).total_seconds()
    fitted_at = posterior.fit["fitted_at"] if posterior.fit else began.isoformat()
    return _done(task, posterior.assumptions, vars(decision), posterior.checks, posterior.fit, fitted_at, rows, beside, seconds, files)


def _done(
    task: Task, a: Assumptions, decision: dict[str, Any], checks: list[Check], fit: dict[str, Any] | None, fitted_at: str | None,
    rows: list[dict[str, Any]], beside: dict[str, Any], seconds: float, files: dict[str, bytes],
) -> Done:  # fmt: skip
    told = {
        "name": task.name, "families": [str(f) for f in task.panel["family"].values], "decision": decision, "checks": records(checks),
        "gate": outcome(checks) if checks else "PASS", "fit": fit, "assumptions": a.model_dump(), "fitted_at": fitted_at,
        "as_of": task.panel.attrs["as_of"], "seconds": seconds, "rows": rows, "contexts": beside,
    }  # fmt: skip
    return Done(orjson.loads(orjson.dumps(told)), files)


@contextmanager
def executor(address: str, workers: int) -> Iterator[tuple[Executor, int]]:
    """And how many tasks it works on at once. ``local``: processes of this machine. ``dask://host:port``: an existing cluster, whose
    workers have this package installed; it runs the tasks of a worker that died elsewhere."""
    if address == "local":
        pool = processes(workers)
        try:
            yield pool, workers
        except BaseException:
            # Whoever is told to stop need not wait for hours of what nobody will take.
            for child in active_children():
                child.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()
    elif address.startswith("dask://"):
        from distributed import Client

        try:
            client = Client(address.replace("dask://", "tcp://", 1), set_as_default=False)  # type: ignore[no-untyped-call]
        except OSError as error:
            raise ValueError(f"--executor {address}: no scheduler answers there ({error})") from error
        with client:
            try:
                client.wait_for_workers(1, timeout=PATIENCE_SECONDS)  # type: ignore[no-untyped-call]
            except TimeoutError as error:
                raise ValueError(f"--executor {address}: the cluster has had no worker for {PATIENCE_SECONDS} s") from error
            there: Any = client.get_executor(retries=RETRIES, pure=False)  # type: ignore[no-untyped-call]
            yield there, max(workers, sum(client.ncores().values()))  # type: ignore[no-untyped-call]
    else:
        raise ValueError(f"--executor {address}: local, or dask://host:port of a scheduler")


def run_all(
    tasks: list[Task], address: str, workers: int, aside: Store, tell: Tell, ready: Callable[[Task], Task] = lambda task: task
) -> dict[str, Done]:
    """Every task, done or found put aside, by name; its files stay there (:func:`put_aside`). `ready` gives a task what it is sent with.
    Few are on their way at a time, and none is held: the posteriors of 2,000 units are some 5 GB, before and after. One that its gate
    refuses is not put aside, but for a mark (:func:`untried`). One that raises, or whose workers die, is done as one that is refused,
    without a mark: the next refresh tries just that again. At the last attempt each has a worker of its own, so that one that dies takes
    no other's work with it."""
    done: dict[str, Done] = {}
    for task in tasks:
        with suppress(FileNotFoundError, zipfile.BadZipFile, KeyError):
            done[task.name] = replace(put_aside(aside, task), files={})
    for attempt in range(RETRIES + 1):
        left = [task for task in tasks if task.name not in done]
        tell(len(done), len(tasks))
        for several in [left] if left and attempt < RETRIES else [[task] for task in left]:
            try:
                with executor(address, min(workers, len(several))) as (pool, slots):
                    queue, waiting = deque(several), dict[Future[Done], Task]()
                    while queue or waiting:
                        while queue and len(waiting) < AHEAD * slots:
                            task = queue.popleft()
                            waiting[pool.submit(work, ready(task))] = task
                        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                            task = waiting.pop(future)
                            done[task.name] = _result(future, task, aside)
                            tell(len(done), len(tasks))
            except BrokenProcessPool:
                if attempt == RETRIES:
                    done[several[0].name] = _broken(several[0], f"its worker died {RETRIES + 1} times: is there memory enough?")
    return done


def _result(future: Future[Done], task: Task, aside: Store) -> Done:
    """What has become of a task, its files put aside. Raises BrokenProcessPool."""
    try:
        one = future.result()
    except BrokenProcessPool:
        raise
    except NothingToFit as error:
        one = _abstaining(task, str(error))
    except Exception as error:
        return _broken(task, f"{type(error).__name__}: {error}")
    if one.told["gate"] == "FAIL":
        aside.write(task.place + REFUSED, orjson.dumps(one.told["checks"]))
    else:
        aside.write(task.place, one.packed())
    return replace(one, files={})


def untried(aside: Store, task: Task) -> tuple[Task, set[str]]:
    """`task` with seeds that its gate has not refused on these figures before, and the marks of those that it has."""
    refused = set[str]()
    while aside.exists(mark := task.place + REFUSED):
        refused.add(mark)
        seed = task.computation.seed + ATTEMPTS * SEED_STEP
        task = replace(task, computation=task.computation.model_copy(update={"seed": seed}))
    return task, refused


def put_aside(aside: Store, task: Task) -> Done:
    """With its files. Raises FileNotFoundError, and where it is not whole BadZipFile or KeyError."""
    return Done.unpacked(aside.read(task.place))


def _broken(task: Task, why: str) -> Done:
    """Of a shard that could not be done."""
    check = Check("worker_failed", 1.0, 0.0, 0.0, "FAIL", why, "the shard was worked on to its end")
    return _done(task, task.assumptions, {"kind": "fit", "why": why}, [check], None, None, [], {}, 0.0, {})


def _abstaining(task: Task, why: str) -> Done:
    reasons = zip(map(str, task.panel["unit"].values), abstentions(task.panel, task.assumptions), strict=True)
    rows = [silent(unit, task.titles, reason) for unit, reason in reasons]
    decision = {"kind": "fit", "why": why}
    return _done(task, task.assumptions, decision, [], None, None, rows, contexts(task.panel), 0.0, {})


def part(panel: Panel, watch: Watch) -> Panel:
    """Of `panel` what `watch` has of it. Not read anew: of two families whose codes nest, the whole panel has said which has what."""
    family, signal = panel["unit_family"].values, panel["signal_unit"].values
    mine = panel["unit"].values[np.isin(family, list(watch.families))]
    of = panel.isel(
        unit=np.isin(panel["unit"].values, mine), signal=np.isin(signal, mine), family=np.isin(panel["family"].values, list(watch.families))
    )
    return of.assign_attrs(fingerprint=fingerprint(of))
