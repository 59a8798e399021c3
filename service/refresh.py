"""One refresh: log -> panel -> decision -> posterior -> checks -> snapshot, or the last good snapshot stays and the reason is said.

What fits is imported where it is needed: a night on which nothing is new costs a second, not a compiler.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn

from data.log import ReleaseLog
from data.panel import read_panel
from data.revisions import spread
from data.store import Locked
from model.spec import Assumptions
from service.alerts import weigh, weighed
from service.decision import Decision, decide, versions
from service.job import Asked, Job, Outcome
from service.progress import COLUMNS
from service.runs import on_record
from service.snapshots import Damaged, NoSnapshot, SnapshotStore, StoreBusy, StoreError
from service.webhooks import Send, deliver

if TYPE_CHECKING:
    from model.checks import Check

POSTERIORS_KEPT = timedelta(days=90)
"""How long after it was published a snapshot that is no longer current keeps its posterior; its answers stay for good."""


class Backwards(StoreError):
    """What would be published knows less than what is served."""


@dataclass(frozen=True)
class Refreshed:
    """snapshot : id, or None where none was published. decision : the one acted on. checks : of the gate."""

    snapshot: str | None
    decision: Decision
    checks: "list[Check]"
    rows: list[dict]
    seconds: dict[str, float]

    @property
    def nothing_new(self) -> bool:
        return self.decision.kind == "nothing"


def refresh(
    log: ReleaseLog,
    store: SnapshotStore,
    asked: Asked,
    console: Console,
    send: Send | None = None,
    fetching: Callable[[], list[dict[str, Any]]] | None = None,
) -> Refreshed:
    """Bring what is served up to what was known at an instant, if the gate lets it through; every run is on record in the store.

    send : how alerts are brought to webhooks; None to leave them. fetching : brings what publishers have into the log, and says for the
    record what became of each. One refresh at a time: raises StoreBusy where another runs; LogError (nothing known, past the horizon),
    NothingToFit, Backwards.
    """
    inputs = asked.record()
    with (
        _alone(store) as alone,
        on_record(store.store, inputs) as run,
        Progress(*COLUMNS, TimeElapsedColumn(), console=console) as progress,
    ):

        @contextmanager
        def step(title: str) -> Iterator[Callable[[int, int], None]]:
            task = progress.add_task(title, total=None)
            if not console.is_terminal:
                console.print(title, highlight=False)  # a bar would be drawn at the end only
            with run.step(title):
                yield lambda done, of: progress.update(task, completed=done, total=of)
            progress.update(task, total=1, completed=1)

        with step("weighing alerts"):
            # Of what was published by a refresh that came no further.
            _heard(store)
        if fetching:
            with step("fetching"):
                run.know(fetched=fetching())
        unheard = bool(run.record.get("fetched")) and all(one["error"] for one in run.record["fetched"])
        with step("reading the log"):
            instant = asked.as_of or log.latest()
            if asked.as_of is None:
                _forwards(store, instant)
            run.know(inputs=inputs | {"as_of": instant})
            panel, watch = read_panel(log, asked.watch, instant), asked.watch
            releases = log.releases("observations", instant, [hs for family in watch.families.values() for hs in family.hs])
            job = Job(log, store, replace(asked, assumptions=informed(asked.assumptions, releases)), panel, releases, run, step, alone)
        heard_of = panel["covariates"].count(("unit", "period")) > 0
        for name in panel["covariate"].values[~heard_of.values]:
            console.print(
                f"covariate {name}: the log has no row of it, so that it counts for nothing; is it spelt so?",
                highlight=False,
                soft_wrap=True,
            )
        with step("deciding"):
            a, c = job.asked.assumptions, asked.computation
            decision = Decision("fit", "asked for") if asked.full else decide(store, panel, a, c, asked.accept_review)
        run.know(
            log=panel.attrs["log"], panel=panel.attrs["fingerprint"], assumptions=a.model_dump(), computation=c.model_dump(),
            versions=versions(), decision=vars(decision), pending_findings=len(log.pending()),
        )  # fmt: skip
        done = Outcome(None, [], [])
        if decision.kind != "nothing":
            if len(watch.units()) > asked.shard_units:
                from service.sharded import in_shards

                decision, done = in_shards(job, decision)
            else:
                from service.publication import in_one

                decision, done = in_one(job, decision)
        if send:
            # Also those that an earlier night could not send.
            with step("sending alerts"):
                run.know(deliveries=_sent(store, send))
        if done.snapshot:
            with step("pruning"):
                run.know(pruned=_pruned(store))
        run.know(snapshot=done.snapshot, checks=[vars(c) for c in done.checks])
        nothing = "nothing fetched" if unheard else "nothing new"
        if decision.kind == "nothing" and asked.as_of is None and not unheard:
            store.look(instant)
        run.end("published" if done.snapshot else nothing if decision.kind == "nothing" else "gate failed")
    return Refreshed(done.snapshot, decision, done.checks, done.rows, run.record["seconds"])


def _heard(store: SnapshotStore) -> None:
    with suppress(NoSnapshot, Damaged):
        if weighed(store.store) != store.current_id():
            weigh(store.store, store.load())


def _forwards(store: SnapshotStore, instant: datetime) -> None:
    """Raises Backwards."""
    with suppress(NoSnapshot, Damaged):
        if (name := store.current_id()) and instant < (then := datetime.fromisoformat(store.manifest(name)["as_of"])):
            raise Backwards(
                f"what is served is as of {then.isoformat()}, and this refresh would be as of {instant.isoformat()}: is this machine's "
                "clock right, and is this the log it was made from? --as-of says that an earlier view is wanted"
            )


def _sent(store: SnapshotStore, send: Send) -> str:
    """How many deliveries ended how. What was published stays published, whatever becomes of them."""
    try:
        return ", ".join(f"{n} {state}" for state, n in Counter(d.state for d in deliver(store.store, send)).items()) or "none due"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _pruned(store: SnapshotStore) -> dict[str, int] | str:
    """Bytes freed by snapshot. An old one that cannot be read is no reason to call what was published a failure."""
    try:
        return store.prune(POSTERIORS_KEPT)
    except (StoreError, OSError) as error:
        return f"{type(error).__name__}: {error}"


@contextmanager
def _alone(store: SnapshotStore) -> Iterator[Callable[[], None]]:
    try:
        with store.store.lock(".refresh.lock", 0.0) as still_held:
            yield still_held
    except Locked as error:
        raise StoreBusy(f"another refresh is running. {error}") from error


def informed(assumptions: Assumptions, releases: pd.DataFrame) -> Assumptions:
    """With the prior of how much noisier preliminary figures are set to what revisions have been, where the log knows enough of them."""
    measured = spread(releases)
    # The mean of a half-normal is 0.8 of its scale.
    return assumptions if measured is None else assumptions.model_copy(update={"preliminary": measured * math.sqrt(math.pi / 2)})
