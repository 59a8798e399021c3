"""The plan of a backtest; that it runs in real time and resumes is a slow test, with real fits."""

from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pytest
from support import simulated_csv
from typer.testing import CliRunner

from data.config import Family, Watch
from data.log import ReleaseLog
from model.spec import Assumptions, Computation
from service.backtest import backtest, instants, stretches
from service.cli import app
from service.forecasts import FORECAST_COLUMNS

WATCH = Watch(exporter="CHN", importers=("JPN", "USA", "KOR", "DEU"), families={"magnets": Family(title="Magnets", hs=("850511",))})
TINY = Computation(draws=60, tune=120, chains=1, cores=1, probability_draws=30)


def day(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_as_ofs_are_months_apart_and_keep_their_day():
    months = instants(day("2023-10-31"), day("2024-03-31"), "1mo")
    assert [d.date().isoformat() for d in months] == ["2023-10-31", "2023-11-30", "2023-12-31", "2024-01-31", "2024-02-29", "2024-03-31"]
    assert len(instants(day("2024-01-01"), day("2024-01-31"), "2w")) == 3


@pytest.mark.parametrize("every", ["monthly", "0mo", "1.5mo", ""])
def test_a_distance_that_is_none_is_refused(every):
    with pytest.raises(ValueError, match="not a number and mo, w or d"):
        instants(day("2024-01-01"), day("2024-03-01"), every)


def test_stretches_of_a_year_each_run_apart_and_the_last_as_of_is_one_of_its_own(tmp_path):
    log = ReleaseLog(tmp_path / "log")
    log.ingest(simulated_csv(), "simulated.csv")
    as_ofs = instants(day("2022-01-21"), day("2024-05-21"), "1mo")
    planned = stretches(log.store.root, WATCH, as_ofs, 6, Assumptions(), TINY)
    assert [s.as_ofs[0].strftime("%Y-%m") for s in planned] == ["2022-01", "2023-01", "2024-01", "2024-05"]
    assert [a for s in planned for a in s.as_ofs] == as_ofs
    assert [s.complete for s in planned] == [False, False, False, True]
    assert len({s.capacity for s in planned}) == 1, "one graph serves them all"
    # Months that it has room for are dimensions of every draw.
    assert replace(planned[0], capacity=planned[0].capacity + 24).digest() != planned[0].digest()
    shorter = stretches(log.store.root, WATCH, as_ofs[:-2], 6, Assumptions(), TINY)
    assert shorter[0].digest() == planned[0].digest(), "an end two months later leaves what is done as it is"


def test_the_command_says_what_is_wrong():
    result = CliRunner().invoke(app, ["backtest", "--from", "2024-02-01", "--to", "2024-01-01", "-o", "x.csv"])
    assert result.exit_code == 2
    assert "lies before" in result.stderr


@pytest.mark.slow
def test_a_backtest_sees_only_what_was_released_and_goes_on_where_it_stopped(tmp_path):
    log = ReleaseLog(tmp_path / "log")
    log.ingest(simulated_csv(), "simulated.csv")
    as_ofs = instants(day("2023-03-21"), day("2023-07-21"), "1mo")
    planned = stretches(log.store.root, WATCH, as_ofs, 3, Assumptions(), TINY)
    heard = []
    rows = backtest(planned, tmp_path / "f.csv", 2, lambda *told: heard.append(told))
    forecasts = pd.read_csv(tmp_path / "f.csv")
    assert list(forecasts.columns) == list(FORECAST_COLUMNS)
    assert len(forecasts) == rows
    assert not forecasts.duplicated(["as_of", "family", "importer", "period"]).any()
    assert heard[-1][:2] == (5, 5)
    # The exporter's figure of a month is out on the 20th of the next: in March the last is February.
    march = forecasts[forecasts["as_of"].str.startswith("2023-03")]
    assert march[march["kind"] == "filtered"]["period"].unique().tolist() == ["2023-02"]
    assert march[march["kind"] == "nowcast"]["period"].max() == "2023-03"
    japan = forecasts[(forecasts["importer"] == "JPN") & (forecasts["kind"] == "filtered")].set_index("as_of")["probability"]
    assert japan.iloc[-1] > 0.8, "cut by 85 % since January"
    first = (tmp_path / "f.csv").read_bytes()
    # An interrupted run: one part is gone, the other is not fitted again.
    parts = sorted((tmp_path / "f.csv.parts").iterdir())
    kept = parts[0].stat().st_mtime_ns
    parts[1].unlink()
    backtest(planned, tmp_path / "f.csv", 1, lambda *told: heard.append(told))
    assert parts[0].stat().st_mtime_ns == kept
    assert (tmp_path / "f.csv").read_bytes() == first
