"""What would have been said, month by month, by someone who knew only what had been released: forecasts in real time.

Every as-of reads the log as it stood. The model is fitted on a schedule; in between, the stored draws are filtered over the
newer figures (:mod:`model.update`). A stretch, one fit and the as-ofs that live on it, depends on no other stretch: they run
in parallel, and one that is done is not done again.
"""

import csv
import hashlib
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data.config import Watch
from data.log import LogError, ReleaseLog
from data.panel import Panel, read_panel
from model.fit import fit
from model.graph import Graph
from model.layers import draws_of
from model.probabilities import abstentions, regime_table
from model.snapshot import answers
from model.spec import Assumptions, Computation
from model.update import extend, extendable
from service.forecasts import forecast_rows, write_forecasts

BACKTEST = Computation(draws=150, tune=250, chains=2, cores=1, target_accept=0.85, probability_draws=120)
"""Shorter fits than a refresh's: their draws are averaged, and no single one is published."""


@dataclass(frozen=True)
class Stretch:
    """as_ofs : the fit is made at the first. complete : the last as-of gets every smoothed month too."""

    log: Path
    watch: Watch
    as_ofs: tuple[datetime, ...]
    complete: bool
    assumptions: Assumptions
    computation: Computation

    def digest(self) -> str:
        known = hashlib.sha256(self.watch.model_dump_json().encode())
        known.update(f"{self.assumptions.digest()}{self.computation.digest()}{self.as_ofs}{self.complete}".encode())
        known.update(ReleaseLog(self.log).fingerprint().encode())
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
    log: Path, watch: Watch, as_ofs: list[datetime], refit_months: int, assumptions: Assumptions, computation: Computation
) -> list[Stretch]:
    """A fit at the first as-of, one each time `refit_months` have passed, and one at the last."""
    starts = [0]
    for n, instant in enumerate(as_ofs):
        if pd.Timestamp(instant) >= pd.Timestamp(as_ofs[starts[-1]]) + pd.DateOffset(months=refit_months):
            starts.append(n)
    if starts[-1] != len(as_ofs) - 1:
        starts.append(len(as_ofs) - 1)
    ends = [*starts[1:], len(as_ofs)]
    return [Stretch(log, watch, tuple(as_ofs[a:b]), b == len(as_ofs), assumptions, computation) for a, b in zip(starts, ends, strict=True)]


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
    with ProcessPoolExecutor(min(jobs, max(len(todo), 1)), mp_context=get_context("spawn")) as pool:
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


def _rows(stretch: Stretch) -> Iterator[dict[str, Any]]:
    log, a, c = ReleaseLog(stretch.log), stretch.assumptions, stretch.computation
    held: tuple[Graph, dict[str, np.ndarray], str] | None = None
    for as_of in stretch.as_ofs:
        try:
            panel = read_panel(log, stretch.watch, as_of)
        except LogError:
            continue  # nothing of it was known yet
        if all(abstentions(panel, a)):
            continue
        if held is None or not extendable(held[0], panel):
            held = _fitted(panel, a, c, as_of)
        else:
            graph, draws = extend(held[1], held[0], panel, a, c.seed)
            held = graph, draws, held[2]
        regimes = regime_table(held[1], held[0], panel, a, c)
        full = stretch.complete and as_of == stretch.as_ofs[-1]
        yield from forecast_rows(answers(regimes, {}, history=full), as_of.isoformat(), held[2])


def _fitted(panel: Panel, a: Assumptions, c: Computation, as_of: datetime) -> tuple[Graph, dict[str, np.ndarray], str]:
    result = fit(panel, a, c)
    draws = draws_of(result.posterior["posterior"].to_dataset(), c.probability_draws)
    return result.graph, draws, f"fit-{as_of.astimezone(UTC):%Y-%m-%d}"
