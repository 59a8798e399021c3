"""What one refresh works with, from the log to the store."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Job:
    """releases : those behind `panel`. accept_review : publish what a check asks to be looked at. run : its record. alone : raises Locked
    where another refresh has taken over meanwhile."""

    log: ReleaseLog
    store: SnapshotStore
    watch: Watch
    panel: Panel
    releases: pd.DataFrame
    assumptions: Assumptions
    computation: Computation
    accept_review: bool
    run: Run
    step: Step
    alone: Callable[[], None]


@dataclass(frozen=True)
class Outcome:
    """snapshot : id, None where none was published. checks : all that were made. rows : the answers, where it came to them."""

    snapshot: str | None
    checks: "list[Check]"
    rows: list[dict[str, Any]]
