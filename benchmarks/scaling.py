"""What it costs to grow: python scaling.py -> docs/scaling.md. Fits cut short, whose cost a draw is that of a whole one."""

import json
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import problems
from measure import ROOT, in_a_process, memory
from rich.console import Console

sys.path.insert(0, str(ROOT / "tests"))

from support import simulated_csv

from data.config import Family, Watch
from data.log import ReleaseLog
from data.panel import read_panel
from data.store import Folder
from model.fit import fit
from model.simulate import Design, simulate
from model.spec import Assumptions, Computation
from service.shards import Done, Task, plan, run_all

A = Assumptions()
SIZES = ((2, 1, 108), (4, 1, 108), (4, 2, 108), (6, 4, 108), (6, 4, 60), (6, 4, 216))
"""Importers, families, months."""
PANELS = 12
"""Shards of the run that is timed, two at a time."""
AS_OF = datetime(2022, 2, 5, tzinfo=UTC)
talk = Console(stderr=True)


def one(importers: str, families: str, months: str) -> None:
    """One chain's draws of one panel, compiled before; prints JSON."""
    names = problems.IMPORTERS[: int(importers)]
    f = simulate(Design(importers=names, families=problems.FAMILIES[: int(families)], months=int(months)), A, 1).frame
    c = Computation(chains=1, cores=1, draws=60, tune=200)
    fit(f, A, Computation(draws=2, tune=2, chains=1, cores=1))
    began = time.perf_counter()
    done = fit(f, A, c)
    seconds = time.perf_counter() - began
    draws = c.draws + c.tune
    steps = float(done.posterior["sample_stats"]["n_steps"].mean())
    print(
        json.dumps(
            {
                "units": len(f.fitted),
                "parameters": int(done.end.size),
                "ms_a_draw": 1e3 * seconds / draws,
                "steps": steps,
                "memory": memory(),
            }
        )
    )


def tasks() -> list[Task]:
    codes = [f"{810000 + n}" for n in range(PANELS)]
    log = ReleaseLog(Path(tempfile.mkdtemp()) / "log")
    log.ingest(simulated_csv(months=36, importers=("JPN", "USA"), codes=tuple(codes)), "figures.csv")
    families = {f"f{code}": Family(title=code, hs=(code,)) for code in codes}
    watch = Watch(exporter="CHN", importers=("JPN", "USA"), families=families)
    short = Computation(draws=100, tune=150, cores=1, probability_draws=100)
    return [Task(name, read_panel(log, part, AS_OF), {}, A, short) for name, part in plan(watch, 2).items()]


def wall(several: list[Task], address: str) -> tuple[float, float]:
    """(seconds on the wall, seconds of all shards together)."""
    with tempfile.TemporaryDirectory() as aside:
        began = time.perf_counter()
        done: dict[str, Done] = run_all(several, address, 2, Folder(Path(aside)), lambda *of: None)
        return time.perf_counter() - began, sum(d.told["seconds"] for d in done.values())


@contextmanager
def cluster():
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as running:
        yield running.scheduler_address.replace("tcp://", "dask://")


def main() -> None:
    rows = []
    for size in SIZES:
        told = in_a_process("scaling.py", *map(str, size))
        rows.append([size, told])
        talk.print(size, told)
    several = tasks()
    wall(several[:2], "local")
    local = wall(several, "local")
    with cluster() as address:
        there = wall(several, address)
    talk.print(local, there)
    (ROOT / "var" / "bench").mkdir(parents=True, exist_ok=True)
    told = {"sizes": rows, "local": local, "dask": there, "coordinator_gb": memory(), "shards": len(several)}
    (ROOT / "var" / "bench" / "scaling.json").write_text(json.dumps(told))
    print(json.dumps(told))


if __name__ == "__main__":
    one(*sys.argv[1:]) if sys.argv[1:] else main()
