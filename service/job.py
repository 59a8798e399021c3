"""What one refresh is asked for, and what it works with, from the log to the store."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from data.config import Watch
from data.log import ReleaseLog
from data.panel import Panel
from model.spec import Assumptions, Computation
from service.runs import Run
from service.snapshots import SnapshotStore

if TYPE_CHECKING:
    from model.checks import Check

Tell = Callable[[int, int], None]
"""Is told (done, of)."""
Step = Callable[[str], AbstractContextManager[Tell]]
"""A step of a run, by its title."""


SHARD_UNITS = 60
"""Units from which on a panel is fitted in shards: one fit of more takes half an hour, and may not converge."""


@dataclass(frozen=True)
class Asked:
    """as_of : None for the latest that the log can speak of. full : fit whatever :func:`service.decision.decide` says. accept_review :
    publish what a check asks to be looked at. executor, jobs : of shards, where they are fitted and how many at once
    (:func:`service.shards.executor`); None for one a core."""

    watch: Watch
    as_of: datetime | None = None
    assumptions: Assumptions = field(default_factory=Assumptions)
    computation: Computation = field(default_factory=Computation)
    full: bool = False
    accept_review: bool = False
    shard_units: int = SHARD_UNITS
    executor: str = "local"
    jobs: int | None = None

    def record(self) -> dict[str, Any]:
        """For the run's record."""
        of = {"as_of": self.as_of, "watch": self.watch.model_dump(), "seed": self.computation.seed}
        return of | {"full": self.full, "accept_review": self.accept_review}


@dataclass(frozen=True)
class Job:
    """asked : with assumptions informed by the log. releases : those behind `panel`. run : its record. alone : raises Locked where another
    refresh has taken over meanwhile."""

    log: ReleaseLog
    store: SnapshotStore
    asked: Asked
    panel: Panel
    releases: pd.DataFrame
    run: Run
    step: Step
    alone: Callable[[], None]


@dataclass(frozen=True)
class Outcome:
    """snapshot : id, None where none was published. checks : all that were made. rows : the answers, where it came to them."""

    snapshot: str | None
    checks: "list[Check]"
    rows: list[dict[str, Any]]
