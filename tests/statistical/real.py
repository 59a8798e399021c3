"""The bundled real figures, on which no restriction aimed at one importer is known: does the model describe them, and stay calm?"""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import arviz_stats as azs
import numpy as np
from calibration import A

from data.config import SAMPLE, SAMPLE_CONFIG, read_watch
from data.log import ReleaseLog
from data.panel import read_panel
from model.checks import records, run_checks
from model.fit import fit
from model.frame import Frame, frame
from model.kernel import POSITIVE, ZERO
from model.layers import draws_of, evaluated
from model.modes import screen
from model.pointwise import with_densities
from model.probabilities import regime_table
from model.simulate import paths, readings
from model.spec import Computation

COMPUTATION = Computation()
AS_OF = datetime(2025, 1, 31, tzinfo=UTC)
SCALED = ["noise", "drift", "campaign", "product_wide", "entry_lone", "control_effect", "residual", "noise_family"]


def statistics(log_flow: np.ndarray, kind: np.ndarray) -> dict[str, np.ndarray]:
    """(series,) of each: what a customs series looks like."""
    y = np.where(kind == POSITIVE, log_flow, np.nan)
    step = np.diff(y, axis=1)
    return {
        "sd of monthly changes": np.nanstd(step, axis=1),
        "largest fall": np.nanmin(step, axis=1),
        "share of zero months": (kind == ZERO).mean(1),
        "correlation of successive changes": np.array([_successive(s) for s in step]),
        "sd of yearly levels": np.nanstd(_yearly(y), axis=1),
    }


def _successive(step: np.ndarray) -> float:
    both = ~np.isnan(step[1:]) & ~np.isnan(step[:-1])
    return float(np.corrcoef(step[1:][both], step[:-1][both])[0, 1])


def _yearly(y: np.ndarray) -> np.ndarray:
    years = y.shape[1] // 12
    return np.nanmedian(y[:, : 12 * years].reshape(len(y), years, 12), axis=2)


def replicated(f: Frame, result: Any, count: int = 60) -> dict[str, np.ndarray]:
    """{statistic: (replicate, series)} of flows drawn anew, regimes included, from the posterior."""
    rng = np.random.default_rng(1)
    draws = draws_of(result.posterior["posterior"].to_dataset(), count)
    out: dict[str, list[np.ndarray]] = {}
    for s, draw in enumerate(evaluated(result.graph, draws)):
        values = {n: v[s] for n, v in draws.items()}
        kind, flow = readings(f, draw, values, paths(draw.unit, rng), A, rng)
        kind = np.where(f.kind == 0, 0, kind)
        for name, value in statistics(flow, kind).items():
            out.setdefault(name, []).append(value)
    return {name: np.array(v) for name, v in out.items()}


def piece(folder: Path) -> Path:
    """Where what is said of the real figures lies, by this file's text and how the fit is computed."""
    told = hashlib.sha256(Path(__file__).read_bytes() + COMPUTATION.model_dump_json().encode())
    return folder / f"real-{told.hexdigest()[:8]}.json"


def describe(folder: Path) -> None:
    path = piece(folder)
    if path.exists():
        return
    log = ReleaseLog(folder / "log")
    for source in sorted(SAMPLE.glob("*.csv")):
        log.ingest(source.read_bytes(), source.name)
    panel = read_panel(log, read_watch(SAMPLE_CONFIG), AS_OF)
    f = frame(panel, A)
    result = fit(f, A, COMPUTATION)
    table = regime_table(draws_of(result.posterior["posterior"].to_dataset(), 200), result.graph, panel, A, COMPUTATION)
    told, own = replicated(f, result), statistics(f.primary, f.kind)
    tree = with_densities(result, draws=200)
    loo = azs.loo(tree, var_name="log_flow", pointwise=True)
    asked = [name for name in SCALED if name in result.free]
    # Their own priors only: those of what depends on them are part of the model.
    scaled = azs.psense(tree, var_names=asked, group_var_names=asked)
    likelihood = azs.psense(tree, var_names=asked, group="likelihood")
    p = table["filtered"].sel(cause=["targeted", "product_wide"]).sum("cause").where(table["is_observed"]).values
    alarm = p >= 0.5
    starts = alarm & ~np.pad(alarm, [(0, 0), (1, 0)])[:, :-1]
    found = {
        "checks": records(run_checks(result.posterior, result.free, screen(result, A, COMPUTATION))),
        "predictive": {n: (0.5 * ((told[n] < own[n]).mean(0) + (told[n] <= own[n]).mean(0))).tolist() for n in own},
        "loo": {"elpd": float(loo.elpd), "se": float(loo.se), "pareto_k_over": float(np.mean(loo.pareto_k.values > 0.7))},
        "power_scaling": {n: [float(scaled[n].values), float(likelihood[n].values)] for n in asked},
        "alarms": int(starts.sum()),
        "unit_years": float(np.isfinite(p).sum() / 12),
        "highest": float(np.nanmax(p)),
    }
    path.write_text(json.dumps(found))
