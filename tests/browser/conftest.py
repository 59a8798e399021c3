"""A store with three publications, served by a real process, and a real Chromium to look at it."""

import shutil
from datetime import timedelta

import numpy as np
import orjson
import pandas as pd
import pytest
import xarray as xr
from answers import FIGURES, META, WHEN, month, thinkable, unit
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright
from support import serving

from model.snapshot import Snapshot
from model.spec import Assumptions
from service.report import render
from service.snapshots import CONTEXT, SnapshotStore, as_lines

A = Assumptions()
MONTHS = [str(m) for m in pd.period_range("2024-01", "2026-09", freq="M")]
NAMES = ("noise", "drift", "season_sd", "residual", "campaign", "product_wide", "surge_entry", "disruption_entry")
CHECK = {
    "name": "rhat_max",
    "value": 1.004,
    "threshold": 1.01,
    "review": 1.05,
    "outcome": "PASS",
    "worst": "drift",
    "meaning": "they agree",
}
REVISED = {
    "source": "gacc", "reporter": "CHN", "cells": 300, "stated": 1.0, "lag_days": 20.0, "lag_days_p90": 21.0, "revised": 0.1, "size": 0.02,
    "months_to_last": 3.0,
}  # fmt: skip
FULL_META = META | {
    "assumptions": A.model_dump(), "sources": "gacc, comtrade", "log": "0" * 16, "panel_sha256": "f" * 64,
    "fitted_at": "2026-11-01T01:58:00+00:00", "published_at": WHEN.isoformat(), "assumptions_digest": "a" * 12,
    "computation_digest": "c" * 12, "computation": {"seed": 1}, "versions": {"pymc": "6.4.0"}, "checks": [CHECK], "revisions": [REVISED],
    "released": ["2024-02-20T00:00:00Z", "2026-10-20T00:00:00Z"],
}  # fmt: skip
CHANGED = {"unit": "CHN.JPN.magnets", "change": 0.5, "sentence": "CHN.JPN.magnets: p(restricted) rose from 0.40 to 0.90."}


def with_history(row):
    if row["abstention"]:
        return row
    p, rng = row["current"]["probability"], np.random.default_rng(3)
    rise = np.clip(np.linspace(-2, 1, len(MONTHS)), 0, 1) * p
    history = []
    for kind, shift in (("filtered", 0.0), ("smoothed", 0.02)):
        for m, value in zip(MONTHS, rise, strict=True):
            told = month(round(float(min(value + shift, 1.0)), 6), kind, m)
            history.append(
                told
                | {
                    "observed_kg": float(round(1e6 * np.exp(rng.normal(0, 0.2)))),
                    "counterfactual_kg": 1.1e6,
                    "counterfactual_kg_interval": [8e5, 1.5e6],
                }
            )
    nowcast = month(p, "nowcast", "2026-10") | {"observed_kg": None}
    return row | {"history": [*history, nowcast], "current": history[len(MONTHS) - 1], "nowcast": nowcast}


def rows(japan):
    return [
        with_history(r)
        for r in (unit("USA", 0.2), unit("JPN", japan), unit("KOR", None), unit("JPN", 0.4, "metals"), unit("USA", 0.05, "metals"))
    ]


def context():
    rng = np.random.default_rng(4)
    offices = {f"{o}_kg": [float(v) for v in 1e6 * np.exp(rng.normal(0, 0.2, len(MONTHS)))] for o in ("exporter", "importer")}
    return {
        "period": MONTHS,
        **offices,
        "revised": MONTHS[3:5],
        "covariates": {"tension": [float(v) for v in rng.normal(0, 1, len(MONTHS))]},
    }


def snapshot(japan, units=()):
    changed = {"since": "20261101T020000Z-00000000" if units else None, "as_of": META["as_of"], "releases": 3, "units": list(units)}
    every = rows(japan)
    tree = xr.DataTree.from_dict(fitted())
    return Snapshot(tree, FULL_META | {"changes": changed}, every, {r["unit"]: context() for r in every})


def fitted():
    """Groups as a fit leaves them, of noise."""
    rng, cells, draws = np.random.default_rng(5), 40, 100
    posterior = xr.Dataset({n: (("chain", "draw"), rng.normal(0, 1, (2, draws))) for n in NAMES})
    flow = xr.Dataset({"log_flow": (("chain", "draw", "cell"), rng.normal(0, 1, (2, draws, cells)))}, {"cell": np.arange(cells)})
    flow = flow.assign_coords(unit=("cell", ["CHN.JPN.magnets"] * cells), period=("cell", ["2025-01"] * cells))
    groups = {
        "posterior": posterior, "log_likelihood": -(flow**2) / 20, "posterior_predictive": flow.isel(draw=slice(0, None, 2)),
        "observed_data": flow.isel(chain=0, draw=0, drop=True), "prior": posterior * 2,
        "log_prior": -(posterior**2) / 2,
    }  # fmt: skip
    groups = {
        name: v.assign_coords(chain=[0, 1], draw=np.arange(draws)[:: 2 if name == "posterior_predictive" else 1]) if "draw" in v.dims else v
        for name, v in groups.items()
    }
    stats = xr.Dataset({"energy": (("chain", "draw"), rng.normal(50, 5, (2, draws)))}, {"chain": [0, 1], "draw": np.arange(draws)})
    return {"posterior": groups["posterior"], "sample_stats": stats} | {f"health/{name}": v for name, v in groups.items()}


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(snapshot(0.9, [CHANGED]), calibration()), encoding="utf-8")
    return path


def calibration():
    forecast = np.linspace(0.02, 0.97, 10)
    bins = {
        "forecast": forecast.tolist(),
        "observed": forecast.tolist(),
        "observed_low": (forecast * 0.9).tolist(),
        "observed_high": (forecast * 0.9 + 0.1).tolist(),
    }
    scores = {
        "skill": [0.65, 0.6, 0.7],
        "auroc": [0.95, 0.94, 0.96],
        "ece": [0.02, 0.01, 0.03],
        "caught3": [0.7, 0.6, 0.8],
        "delay": [1.2, 1.0, 1.4],
    }
    return {
        "scored_at": WHEN.isoformat(),
        "worlds": ["w1", "w2"],
        "scores": {"realtime": scores | {"rows": [100, 100, 100], "reliability": bins}},
    }


@pytest.fixture(scope="session")
def store(tmp_path_factory, report):
    store = SnapshotStore(tmp_path_factory.mktemp("browser") / "var")
    for n, japan in enumerate((0.1, 0.4, 0.9)):
        made = snapshot(japan, [CHANGED] if n else ())

        def fill(folder, made=made):
            (folder / "releases.json").write_bytes(orjson.dumps(FIGURES))
            (folder / CONTEXT).write_bytes(as_lines(made.contexts[r["unit"]] for r in made.rows))
            shutil.copy(report, folder / "report.html")
            (folder / "what-if").mkdir()
            np.savez_compressed(folder / "what-if" / "JPN.npz", **thinkable(16, "2024-01", 36))

        store.publish({k: v for k, v in made.meta.items() if k != "published_at"}, made.rows, fill, WHEN + timedelta(days=n))
    store.store.write("calibration.json", orjson.dumps(calibration()))
    return store


@pytest.fixture(scope="session")
def address(store):
    with serving(store.store.url) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, request):
    """A page that writes down what its console complains of; as a parameter, options of the browser's context."""
    options = getattr(request, "param", {})
    context = chromium.new_context(**options)
    page, wrong = context.new_page(), []
    page.wrong = wrong
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: wrong.append(str(e)))
    yield page
    context.close()


@pytest.fixture
def accessible():
    """Asserts that axe finds nothing wrong with a page by WCAG 2.2 AA."""

    def check(page):
        tags = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}}
        found = Axe().run(page, options=tags)
        assert found.violations_count == 0, found.generate_report()

    return check
