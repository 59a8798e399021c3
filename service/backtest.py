"""What would have been said, month by month, by someone who knew only what had been released: forecasts in real time.

Every as-of reads the log as it stood. The model is fitted on a schedule; in between, the stored draws are filtered over the
newer figures (:mod:`model.update`). A stretch, one fit and the as-ofs that live on it, depends on no other stretch: they run
in parallel, and one that is done is not done again.
"""

import csv
import hashlib
import re
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data.config import Watch
from data.log import LogError, ReleaseLog
from data.panel import Panel, read_panel
from model.fit import Fit, continued, fit
from model.frame import frame, room_for
from model.graph import Graph
from model.layers import draws_of
from model.probabilities import abstentions, regime_table
from model.snapshot import answers
from model.spec import Assumptions, Computation
from model.update import extend, grown
from service.decision import versions
from service.forecasts import forecast_rows, write_forecasts
from service.shards import executor

BACKTEST = Computation(draws=120, tune=220, chains=1, cores=1, target_accept=0.8, probability_draws=120)
"""Shorter fits than a refresh's: their draws are averaged, and no single one is published."""
WARM_TUNE = 80
"""Warm-up of a fit that starts where the one before it ended."""
STRETCH_MONTHS = 12


@dataclass(frozen=True)
class Stretch:
    """as_ofs : the first fit is made at the first, and a new one, which starts where the last ended, once in `refit_months`.
    complete : the last as-of gets every smoothed month too. capacity : months that the graph has room for.
    """

    log: str | Path
    watch: Watch
    as_ofs: tuple[datetime, ...]
    complete: bool
    refit_months: int
    capacity: int
    assumptions: Assumptions
    computation: Computation

    def digest(self) -> str:
        known = hashlib.sha256(self.watch.model_dump_json().encode())
        known.update(
            f"{self.assumptions.digest()}{self.computation.digest()}{self.as_ofs}{self.complete}{self.refit_months}{self.capacity}".encode()
        )
        known.update(f"{versions()}{ReleaseLog(self.log).fingerprint()}".encode())
        return known.hexdigest()[:16]


def instants(first: datetime, last: datetime, every: str) -> list[datetime]:
    """As-ofs from `first` to `last`; `every` is a number and mo, w or d. Raises ValueError."""
    match = re.fullmatch(r"([1-9][0-9]*)(mo|w|d)", every)
    if match is None:
        raise ValueError(f"--every {every}: not a number and mo, w or d, such as 1mo")
    count, unit = int(match[1]), {"mo": "months", "w": "weeks", "d": "days"}[match[2]]
    if last < first:
        raise ValueError(f"--to {last.date()} lies before --from {first.date()}")
    out = [first]
    while True:
        step = pd.DateOffset(**{unit: count * len(out)})  # type: ignore[arg-type]
        following = (pd.Timestamp(first) + step).to_pydatetime()
        if following > last:
            return out
        out.append(following)


def stretches(
    log: str | Path, watch: Watch, as_ofs: list[datetime], refit_months: int, assumptions: Assumptions, computation: Computation
) -> list[Stretch]:
    """Stretches of :data:`STRETCH_MONTHS`; the last as-of is a stretch of its own."""
    starts = [0]
    for n, instant in enumerate(as_ofs):
        if _months_apart(as_ofs[starts[-1]], instant) >= STRETCH_MONTHS:
            starts.append(n)
    if starts[-1] != len(as_ofs) - 1:
        starts.append(len(as_ofs) - 1)
    ends = [*starts[1:], len(as_ofs)]
    capacity = room_for(read_panel(ReleaseLog(log), watch, as_ofs[-1]).sizes["period"])
    return [
        Stretch(log, watch, tuple(as_ofs[a:b]), b == len(as_ofs), refit_months, capacity, assumptions, computation)
        for a, b in zip(starts, ends, strict=True)
    ]


def _months_apart(earlier: datetime, later: datetime) -> int:
    """Whole months from one to the other."""
    whole = (later.year - earlier.year) * 12 + later.month - earlier.month
    return whole if pd.Timestamp(earlier) + pd.DateOffset(months=whole) <= pd.Timestamp(later) else whole - 1


def backtest(planned: list[Stretch], output: Path, jobs: int, told: Callable[[int, int, str], None]) -> int:
    """Run what is not done yet, and write all forecasts to `output`. Returns the number of rows.

    Finished stretches lie in ``<output>.parts``, named by what they depend on, so that an interrupted run goes on where
    it stopped. `told` hears (as-ofs done, of all, what happened).
    """
    parts = output.with_name(output.name + ".parts")
    parts.mkdir(parents=True, exist_ok=True)
    paths = [parts / f"{s.as_ofs[0]:%Y-%m-%d}-{s.digest()}.csv" for s in planned]
    total, done = sum(len(s.as_ofs) for s in planned), 0
    todo = []
    for stretch, path in zip(planned, paths, strict=True):
        if path.exists():
            done += len(stretch.as_ofs)
        else:
            todo.append((stretch, path))
    told(done, total, "found from an earlier run" if done else "")
    # The longest panels first, so that no core idles at the end.
    todo.sort(key=lambda item: item[0].as_ofs[0], reverse=True)
    with executor("local", min(jobs, max(len(todo), 1))) as (pool, _):
        running = {pool.submit(_run_to_file, stretch, path): stretch for stretch, path in todo}
        for future in as_completed(running):
            stretch = running[future]
            future.result()
            done += len(stretch.as_ofs)
            told(done, total, f"fit of {stretch.as_ofs[0]:%Y-%m-%d} and {len(stretch.as_ofs) - 1} as-ofs on it")
    rows = [row for path in paths for row in csv.DictReader(path.read_text().splitlines())]
    write_forecasts(output, rows)
    return len(rows)


def _run_to_file(stretch: Stretch, path: Path) -> None:
    write_forecasts(path, _rows(stretch))


@dataclass(frozen=True)
class _Held:
    """What forecasts are made from: draws, the graph they belong to, each unit's log weights of them, and the fit they come from."""

    fit: Fit
    fitted_at: datetime
    graph: Graph
    draws: dict[str, np.ndarray]
    log_local: np.ndarray | None = None


def _rows(stretch: Stretch) -> Iterator[dict[str, Any]]:
    log, a, c = ReleaseLog(stretch.log), stretch.assumptions, stretch.computation
    held: _Held | None = None
    for as_of in stretch.as_ofs:
        try:
            panel = read_panel(log, stretch.watch, as_of)
        except LogError:
            continue  # nothing of it was known yet
        if all(abstentions(panel, a)):
            continue
        due = held is None or _months_apart(held.fitted_at, as_of) >= stretch.refit_months
        f = None if held is None or due else grown(held.graph, panel, a)
        if held is None or f is None:
            held = _fitted(panel, stretch, as_of, held)
        else:
            newer = extend(held.draws, held.graph, f, a, [c.seed, as_of.toordinal()])
            told = newer.log_local if held.log_local is None else held.log_local + newer.log_local
            held = replace(held, graph=newer.graph, draws=newer.draws, log_local=told)
        full = stretch.complete and as_of == stretch.as_ofs[-1]
        regimes = regime_table(held.draws, held.graph, panel, a, c, smooth=full, log_local=held.log_local)
        name = f"fit-{held.fitted_at.astimezone(UTC):%Y-%m-%d}"
        yield from forecast_rows(answers(regimes, {}, history=full), as_of.isoformat(), name)


def _fitted(panel: Panel, stretch: Stretch, as_of: datetime, before: _Held | None) -> _Held:
    a, c = stretch.assumptions, stretch.computation
    f = frame(panel, a, capacity=stretch.capacity)
    left = continued(before.fit, f) if before else None
    result = fit(f, a, c) if left is None else fit(f, a, c.model_copy(update={"tune": WARM_TUNE}), start=left.ends[0])
    draws = draws_of(result.posterior["posterior"].to_dataset(), c.probability_draws)
    return _Held(result, as_of, result.graph, draws)
