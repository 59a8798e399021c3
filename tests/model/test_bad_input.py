"""Panels nobody would wish for: each unit gets a wide answer or an abstention with its reason, never a confident alarm."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from support import csv

from data.config import Covariates, Family, Watch
from data.log import ReleaseLog
from data.panel import read_panel
from model.fit import fit
from model.frame import frame
from model.layers import draws_of
from model.probabilities import regime_table
from model.spec import Assumptions, Computation

pytestmark = pytest.mark.slow
A, SHORT = Assumptions(), Computation(draws=120, tune=200, chains=1, probability_draws=80)
PERIODS = pd.period_range("2019-01", periods=48, freq="M")
ODD = {
    "KOR": "five months of figures",
    "DEU": "one office only",
    "NLD": "all zeros",
    "IND": "one outlier in wrong units",
    "FRA": "one office once writes grams for kilograms",
    "TWN": "one lumpy code",
    "VNM": "never reported",
}
FAMILY = "magnets"


def a_row(reporter, importer, period, kg, hs="850511"):
    return f"{reporter},CHN,{importer},{hs},{period},{kg:.0f},,{(period + 1).to_timestamp() + pd.Timedelta(days=20):%Y-%m-%d}"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rng = np.random.default_rng(5)
    rows = []
    for importer in ("JPN", "USA", *(i for i in ODD if i != "VNM")):
        for t, period in enumerate(PERIODS):
            kg = np.exp(11 + rng.normal(0, 0.15))
            if importer == "KOR" and t < len(PERIODS) - 5:
                continue
            if importer == "NLD":
                kg = 0
            if importer == "IND" and t == 40:
                kg /= 1000  # tonnes in the place of kilograms
            if importer == "TWN":
                kg *= rng.uniform() < 0.35
            rows.append(a_row("CHN", importer, period, kg * (1000 if importer == "FRA" and t == 30 else 1)))
            if importer in ("JPN", "USA", "IND", "TWN", "FRA"):
                rows.append(a_row(importer, importer, period, kg * np.exp(rng.normal(0.02, 0.05))))
    folder = tmp_path_factory.mktemp("odd")
    log = ReleaseLog(folder / "log")
    log.ingest(csv(*rows), "odd.csv")
    tension = [f"tension,CHN,{i},,{p},{rng.normal():.3f},{p + 1}-02" for i in ("JPN", "IND") for p in PERIODS[:-12]]
    log.ingest(csv(*tension, header="series,exporter,importer,family,period,value,released_at"), "tension.csv")
    watch = Watch(
        exporter="CHN",
        importers=("JPN", "USA", *ODD),
        families={FAMILY: Family(title="Magnets", hs=("850511",))},
        covariates=Covariates(transition=("tension",)),
    )
    panel = read_panel(log, watch, datetime(2023, 2, 1, tzinfo=UTC))
    result = fit(frame(panel, A), A, SHORT)
    draws = draws_of(result.posterior["posterior"].to_dataset(), 80)
    return regime_table(draws, result.graph, panel, A, SHORT)


def restricted(table, importer, which="filtered"):
    of_unit = table[which].sel(unit=f"CHN.{importer}.{FAMILY}", cause=["targeted", "product_wide"]).sum("cause")
    return of_unit.where(table["is_observed"].sel(unit=f"CHN.{importer}.{FAMILY}")).values


@pytest.mark.parametrize(("importer", "reason"), [("KOR", "5 months of figures"), ("NLD", "figures are zero"), ("VNM", "no figure known")])
def test_too_little_to_go_by_is_an_abstention_with_its_reason(table, importer, reason):
    assert reason in table["abstention"].sel(unit=f"CHN.{importer}.{FAMILY}").item()


@pytest.mark.parametrize("importer", ["DEU", "IND", "TWN", "JPN", "FRA"])
def test_what_is_odd_but_open_is_never_a_confident_alarm(table, importer):
    """One office, figures in wrong units, a code that is bought now and then, a covariate that stopped a year ago."""
    assert table["abstention"].sel(unit=f"CHN.{importer}.{FAMILY}").item() == ""
    assert np.nanmax(restricted(table, importer)) < 0.9
    assert np.nanmean(restricted(table, importer)) < 0.2
    assert np.nanmax(restricted(table, importer, "smoothed")) < 0.9
    ahead = table["filtered"].sel(unit=f"CHN.{importer}.{FAMILY}", cause=["targeted", "product_wide"]).sum("cause").values[-4:]
    assert (ahead < 0.5).all(), "the nowcast, and the months ahead"


def test_where_less_is_known_the_counterfactual_is_wider(table):
    """One office, months that are bought now and then: never the confidence of a unit seen whole by two."""
    low, high = np.moveaxis(table["counterfactual_kg_interval"].sel(unit=[f"CHN.{i}.{FAMILY}" for i in ("JPN", "TWN")]).values, -1, 0)
    width = np.nanmedian(1 - low / high, axis=1)
    assert width[1] > width[0]


def test_answers_are_probabilities_everywhere_else_nothing(table):
    answered = table["abstention"].values == ""
    total = table["filtered"].sum("cause").values
    np.testing.assert_allclose(total[answered], 1, atol=1e-6)
