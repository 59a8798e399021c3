"""Draws of a fit weighed by the next month's figures, beside a fit of them: twelve months running, on the bundled figures. Prints JSON.

Each month is fitted; the draws of the month before are weighed by what has become known. p(restricted) of each unit in each of the
last twelve months, from either, and by how many Monte-Carlo standard errors of the two they differ.
"""

import json
import sys
import time
from datetime import UTC, datetime

import arviz_stats as azs
import numpy as np
import problems

from data.config import read_watch
from data.panel import read_panel
from model.fit import fit
from model.frame import CAPACITY_MONTHS, frame
from model.graph import graph_of
from model.layers import draws_of
from model.probabilities import restricted_by_draw
from model.reweigh import reweighed
from model.spec import Computation
from model.update import grown

MONTHS, LOOKED_AT = 12, 12
COMPUTATION = Computation(draws=1000, tune=400, chains=1, cores=1)


def main() -> None:
    log, watch = problems._log(), read_watch(problems.SAMPLE_CONFIG)
    as_ofs = [datetime(2023 + (n + 11) // 12, (n + 11) % 12 + 1, 28, tzinfo=UTC) for n in range(MONTHS + 1)]
    capacity = -(-read_panel(log, watch, as_ofs[-1]).sizes["period"] // CAPACITY_MONTHS) * CAPACITY_MONTHS
    rows, before = [], None
    for as_of in as_ofs:
        panel = read_panel(log, watch, as_of)
        row: dict[str, float | str] = {"as_of": as_of.isoformat()[:10]}
        if before is not None:
            graph, draws = before
            f = grown(graph, panel, problems.A)
            assert f is not None
            began = time.perf_counter()
            told = reweighed(draws, graph, f, problems.A, 1)
            row |= {"weighing_s": time.perf_counter() - began, "k": told.pareto_k, "bound": told.bound, "efficiency": told.efficiency}
        f = frame(panel, problems.A, capacity=capacity)
        began = time.perf_counter()
        made = fit(f, problems.A, COMPUTATION)
        row["fit_s"] = time.perf_counter() - began
        graph, draws = graph_of(f, problems.A), draws_of(made.posterior["posterior"].to_dataset(), 800)
        if before is not None:
            row |= _compared(told, graph, draws)
        before = graph, draws
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    print(json.dumps({"months": rows[1:]}))


def _compared(told, graph, draws) -> dict[str, float]:
    last = slice(graph.frame.periods - LOOKED_AT, graph.frame.periods)
    out = {}
    for which in ("filtered", "smoothed"):
        ours, theirs = (
            np.stack([one[which] for one in restricted_by_draw(some, graph, problems.A)])[:, :, last] for some in (told.draws, draws)
        )
        ess = np.vectorize(lambda x: float(azs.ess(x[None], method="mean")), signature="(n)->()")(np.moveaxis(theirs, 0, -1))
        # Weighed draws come of a chain like the other's, and are fewer by the efficiency.
        error = np.sqrt(theirs.var(0) / ess + ours.var(0) / (ess * told.efficiency))
        difference = ours.mean(0) - theirs.mean(0)
        z = difference / np.maximum(error, 1e-4)
        named = {"largest": np.abs(difference).max(), "z_sd": z.std(), "z_over_3": (np.abs(z) > 3).mean()}
        out |= {f"{which}_{name}": float(value) for name, value in named.items()}
    return out


if __name__ == "__main__":
    main()
