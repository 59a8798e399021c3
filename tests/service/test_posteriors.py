"""A fit that was made is not made again, until it has been published."""

from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import xarray as xr
from support import simulated_csv

from data.config import Family, Watch
from data.log import ReleaseLog
from data.panel import read_panel
from data.store import Folder
from model.frame import frame
from model.spec import Assumptions, Computation
from service.posteriors import WORK, _recalled, done_with, fitted

WATCH = Watch(exporter="CHN", importers=("JPN", "USA"), families={"magnets": Family(title="Magnets", hs=("850511",))})


@pytest.mark.slow
def test_a_refresh_that_was_stopped_after_its_fit_goes_on_from_it(tmp_path):
    log, aside = ReleaseLog(tmp_path / "log"), Folder(tmp_path / "store")
    log.ingest(simulated_csv(months=30, importers=("JPN", "USA")), "figures.csv")
    panel = read_panel(log, WATCH, datetime(2021, 8, 5, tzinfo=UTC))
    short, steps = Computation(draws=20, tune=30), []

    @contextmanager
    def step(title):
        steps.append(title)
        yield lambda done, of: steps.append("drew")

    aside.write(f"{WORK}/of-other-figures.nc", b"")
    first = fitted(panel, Assumptions(), short, step, aside)
    assert [one["found"] for one in first.attempts] == [False, False], "so short a fit fails its checks, and another seed's is tried"
    assert len(aside.names(WORK)) == 2, "and nothing of other figures is kept"
    steps.clear()
    again = fitted(panel, Assumptions(), short, step, aside)
    assert [one["found"] for one in again.attempts] == [True, True]
    assert "drew" not in steps
    assert again.checks == first.checks
    xr.testing.assert_equal(again.tree["posterior"].to_dataset(), first.tree["posterior"].to_dataset())
    for name in aside.names(WORK):
        aside.write(name, b"half of a fit")
        assert _recalled(aside, name, frame(panel, Assumptions()), Assumptions()) is None, "what cannot be read is made anew"
    done_with(aside)
    assert not aside.names(WORK)
