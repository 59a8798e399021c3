"""Fits, on figures whose truth is known. Slow: each compiles and samples."""

from datetime import UTC, datetime

import numpy as np
import pytest
from support import simulated_csv

from data.config import Family, Watch
from data.log import ReleaseLog
from data.panel import read_panel
from model.fit import fit
from model.probabilities import regime_table
from model.spec import Assumptions, Computation

pytestmark = pytest.mark.slow
A = Assumptions()
SHORT = Computation(draws=150, tune=250, probability_draws=100)
WATCH = Watch(exporter="CHN", importers=("JPN", "USA", "KOR", "DEU"), families={"magnets": Family(title="Magnets", hs=("850511",))})


@pytest.fixture(scope="module")
def panel(tmp_path_factory):
    log = ReleaseLog(tmp_path_factory.mktemp("m") / "log")
    log.ingest(simulated_csv(), "simulated.csv")
    return read_panel(log, WATCH, datetime(2024, 2, 5, tzinfo=UTC))


@pytest.fixture(scope="module")
def fitted(panel):
    return fit(panel, A, SHORT)


@pytest.fixture(scope="module")
def regimes(fitted, panel):
    return regime_table(fitted.posterior["posterior"].to_dataset(), panel, A, SHORT)


def test_the_same_seed_and_panel_give_the_same_draws_bit_for_bit(fitted, panel):
    again = fit(panel, A, SHORT).posterior["posterior"].to_dataset()
    for name, values in fitted.posterior["posterior"].to_dataset().data_vars.items():
        np.testing.assert_array_equal(values, again[name], err_msg=name)


def test_a_year_at_fifteen_percent_of_one_importer_is_a_targeted_restriction(regimes):
    cut = regimes["filtered"].sel(unit="CHN.JPN.magnets").sel(period=slice("2023-03", "2023-12"))
    assert cut.sel(cause="targeted").min() > 0.9
    assert cut.sel(cause="product_wide").max() < 0.05
    withheld = regimes["severity_smoothed"].sel(unit="CHN.JPN.magnets").sel(period="2023-08-01")
    assert float(withheld) == pytest.approx(0.85, abs=0.06)


def test_the_importers_left_alone_stay_open(regimes):
    others = regimes["filtered"].sel(unit=["CHN.USA.magnets", "CHN.KOR.magnets", "CHN.DEU.magnets"])
    seen = others.sel(cause=["targeted", "product_wide"]).sum("cause").where(regimes["is_observed"])
    assert float(seen.max()) < 0.3


def test_the_counterfactual_is_what_would_have_moved(regimes):
    japan = regimes.sel(unit="CHN.JPN.magnets").sel(period=slice("2023-01", "2023-12"))
    np.testing.assert_allclose(np.median(japan["counterfactual_kg"]), np.exp(12), rtol=0.25)
    np.testing.assert_allclose(japan["shortfall_kg"].sum(), 12 * np.exp(12) * 0.85, rtol=0.25)
    assert (japan["shortfall_kg_interval"].sel(quantile=0.05) > 0).all()


def test_after_the_last_figure_the_probability_is_a_nowcast_that_forgets(regimes):
    japan = regimes["filtered"].sel(unit="CHN.JPN.magnets", cause="targeted")
    last, ahead = japan.sel(period="2023-12-01"), japan.isel(period=slice(-4, None))
    assert (np.diff(np.r_[float(last), ahead.values]) < 0).all()


def test_the_reporters_bias_transit_and_noise_are_found(fitted):
    posterior = fitted.posterior["posterior"].to_dataset()
    assert float(posterior["reporting_importer"].mean()) == pytest.approx(0.05, abs=0.03)
    assert float(np.exp(posterior["log_noise"]).mean()) == pytest.approx(0.12 / np.sqrt(5 / 3), abs=0.04)
