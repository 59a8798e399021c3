"""Answers as the model would publish them, made by hand for the tests of the service."""

from datetime import UTC, datetime

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
