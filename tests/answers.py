"""Answers as the model would publish them, made by hand for the tests of the service."""

from datetime import UTC, datetime

import numpy as np
import orjson

WHEN = datetime(2026, 11, 1, 2, tzinfo=UTC)
META = {"as_of": "2026-10-31T00:00:00+00:00", "data_through": {"CHN": "2026-09"}, "gate": "PASS"}


def month(probability, kind="filtered", period="2026-09"):
    return {
        "period": period,
        "kind": kind,
        "probability": probability,
        "probability_interval": [max(0, probability - 0.1), min(1, probability + 0.1)],
        "causes": {"open": round(1 - probability, 6), "disrupted": 0.0, "targeted": probability, "product_wide": 0.0},
        "severity_mean": 0.6,
        "observed_kg": 1000.0,
        "counterfactual_kg": 2000.0,
        "counterfactual_kg_interval": [1500.0, 2500.0],
        "shortfall_kg_mean": 1000.0,
        "shortfall_kg_p05": 500.0,
        "shortfall_kg_p95": 1500.0,
    }


HISTORY = [("filtered", "2026-08"), ("filtered", "2026-09"), ("nowcast", "2026-10"), ("smoothed", "2026-08"), ("smoothed", "2026-09")]


def unit(importer, probability, family="magnets"):
    return {
        "unit": f"CHN.{importer}.{family}",
        "exporter": "CHN",
        "importer": importer,
        "family": family,
        "title": family,
        "abstention": None if probability is not None else "no figure known",
        "months_observed": 60,
        "data_through": "2026-09",
        "current": None if probability is None else month(probability),
        "nowcast": None if probability is None else month(probability, "nowcast", "2026-10"),
        "ahead": [] if probability is None else [month(probability, "nowcast", "2026-11")],
        "onset": "2026-08" if probability and probability >= 0.5 else None,
        "age_months": 2 if probability and probability >= 0.5 else None,
        "history": [] if probability is None else [month(probability, *m) for m in HISTORY],
        "evidence": None if probability is None else {"exporter": 1.5, "importer": 0.5},
        "log_odds": None if probability is None else [-1.0, 1.0],
        "detectability": None if probability is None else {"30%": 0.1, "60%": 0.6, "90%": 0.99},
        "sentence": "says something",
    }


UNITS = [unit("USA", 0.2), unit("JPN", 0.9), unit("KOR", None), unit("JPN", 0.4, "metals")]

RELEASE = {
    "reporter": "CHN", "hs_code": "850511", "net_weight_kg": 1000.0, "released_at": "2026-10-20T00:00:00Z", "released_at_basis": "stated",
    "status": "reported", "source": "gacc",
}  # fmt: skip
FIGURES = {"CHN.JPN.magnets": [RELEASE | {"period": period} for period in ("2026-07", "2026-08/2026-09", "2026-09")]}


def filled(folder):
    """What a refresh leaves beside the answers."""
    (folder / "releases.json").write_bytes(orjson.dumps(FIGURES))
    (folder / "report.html").write_text("<html>page</html>")
    (folder / "posterior.zarr").mkdir()
    (folder / "posterior.zarr" / "zarr.json").write_text("{}")


def thinkable(draws, first, months, unknown=3):
    """What a what-if is answered from: two units of Japan, one code each; both offices' figures but of the last months, as usual."""
    from model.causes import meanings
    from model.spec import Assumptions
    from model.states import states, transitions

    rng, a, N, D, T, usual = np.random.default_rng(0), Assumptions(), 2, draws, months, 12.0
    rates = {f"{name}_{way}": p for name in ("exempt", "surge", "disruption") for way, p in (("entry", 0.03), ("exit", 0.3))}
    kind = np.where(np.arange(T) < T - unknown, 2, 0) * np.ones((N, 2, 1))
    families = meanings(states(a))[1]
    wide = np.zeros((D, N, T, families.shape[1]))
    wide[..., families[0].argmax()] = 1.0
    drawn = {
        "plain": usual + rng.normal(0, 0.05, (D, N, 1)) + np.zeros((D, N, T)), "process": np.full((D, N, T), 0.02), "wide": wide,
        "own_hurdle": np.full((D, N), -3.0), "rho": np.full((D, N), 0.2), "spare": np.zeros((D, N)), "bias": np.zeros((D, N)),
        "relief": np.zeros((D, N, T)), "parting": np.zeros((D, N, T)), "hold": np.zeros((D, N, T)),
        "entry": np.tile([0.002, 0.4, 0.4, 0.02, 0.02, 0.002], (D, N, 1)), "pace": np.full((D, 2), 0.3), "exit": np.full((D, 6), 0.1),
        "move": np.stack([transitions(a, rates)] * D), "slope": np.ones(D), "transit": np.full(D, 0.2), "frontload": np.full(D, 0.1),
        "reporting_exporter": np.full(D, 0.005), "reporting_importer": np.full(D, 0.02), "preliminary": np.full(D, 0.001),
        "odds": np.full(D, -4.6), "led_effect": np.full((D, 2, 4), 0.3),
    }  # fmt: skip
    return {name: v.astype(np.float32) for name, v in drawn.items()} | {
        "exporter": np.array("CHN"), "importer": np.array("JPN"), "unit": np.array(["CHN.JPN.magnets", "CHN.JPN.metals"]),
        "hs": np.array(["850511", "811292"]), "chain": np.arange(N), "offices": np.array(2), "horizon": np.array(T - unknown),
        "period": np.datetime_as_string(np.datetime64(first, "M") + np.arange(T)), "log_kg": usual + rng.normal(0, 0.05, (N, 2, T)),
        "kind": kind.astype(np.int8), "summed": np.zeros((N, T), bool), "first_release": np.zeros((N, 2, T), bool),
        "covariate": np.array(["tension"]), "covariates": rng.normal(0, 1, (1, N, T)),
        "measures": np.stack([np.zeros((1, N)), np.ones((1, N))]),
    }  # fmt: skip
