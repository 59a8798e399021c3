"""A fit that was made is not made again, until it has been published."""

import io
from datetime import UTC, datetime

import numpy as np
import pytest
import xarray as xr
from answers import META, UNITS, filled
from rich.console import Console
from support import simulated_csv

from data.config import Family, Watch
from data.log import ReleaseLog
from data.panel import read_panel
from data.store import Folder
from model.frame import frame
from model.spec import Assumptions, Computation
from service.job import Asked
from service.posteriors import REFUSED, _carried, _made, _place, _recalled, _tries, done_with
from service.refresh import refresh
from service.runs import last
from service.snapshots import SnapshotStore

WATCH = Watch(exporter="CHN", importers=("JPN", "USA"), families={"magnets": Family(title="Magnets", hs=("850511",))})
A, SHORT = Assumptions(), Computation(draws=20, tune=30, chains=1, cores=1)


@pytest.mark.slow
def test_a_refresh_that_was_stopped_after_its_fit_goes_on_from_it(tmp_path):
    log, aside, steps = ReleaseLog(tmp_path / "log"), Folder(tmp_path / "store"), []
    log.ingest(simulated_csv(months=30, importers=("JPN", "USA")), "figures.csv")
    panel = read_panel(log, WATCH, datetime(2021, 8, 5, tzinfo=UTC))
    f, place = frame(panel, A), _place(panel, A, SHORT)
    assert place != _place(panel, A, SHORT.model_copy(update={"seed": 1}))
    assert place != _place(panel.assign_attrs(fingerprint="of other figures"), A, SHORT)
    first, found = _made(aside, place, f, A, SHORT, lambda *of: steps.append(of), None)
    assert not found and steps
    steps.clear()
    again, found = _made(aside, place, f, A, SHORT, lambda *of: steps.append(of), None)
    assert found and not steps
    for group in ("posterior", "sample_stats"):
        xr.testing.assert_equal(again.posterior[group].to_dataset(), first.posterior[group].to_dataset())
    assert again.free == first.free
    np.testing.assert_array_equal(again.left.ends, first.left.ends)
    np.testing.assert_array_equal(again.left.stretches, first.left.stretches)
    aside.write(place, b"half of a fit")
    assert _recalled(aside, place, f, A) is None, "what cannot be read is made anew"
    done_with(aside)
    assert not aside.names("work")


@pytest.mark.slow
def test_a_fit_that_fails_its_checks_is_tried_once_more_with_more_draws_and_then_what_was_served_stays(tmp_path):
    log, store = ReleaseLog(tmp_path / "log"), SnapshotStore(tmp_path / "store")
    log.ingest(simulated_csv(months=30, importers=("JPN", "USA")), "figures.csv")
    before = store.publish(META, UNITS, filled)
    short = Computation(draws=60, tune=40, chains=1, cores=1)
    asked = Asked(WATCH, datetime(2021, 8, 5, tzinfo=UTC), computation=short)
    told = refresh(log, store, asked, Console(file=io.StringIO()))
    assert (told.snapshot, store.current_id()) == (None, before)
    record = last(store.store)
    assert record["outcome"] == "gate failed"
    assert [(one["draws"], one["gate"]) for one in record["attempts"]] == [(60, "FAIL"), (120, "FAIL")]
    assert [check["name"] for check in record["checks"] if check["outcome"] == "FAIL"], "why, is on record"
    assert len(store.store.names("work")) == 2 and all(name.endswith(REFUSED) for name in store.store.names("work"))


def test_chains_that_an_earlier_version_left_are_not_carried_on():
    last = xr.DataTree.from_dict({"left": xr.Dataset({"end": (("chain", "dimension"), np.zeros((2, 3))), "scale": ("chain", np.ones(2))})})
    assert _carried(last, None, A, SHORT) is None


def test_seeds_whose_fits_were_refused_are_not_tried_again_on_the_same_figures(tmp_path):
    aside, panel = Folder(tmp_path), xr.Dataset(attrs={"fingerprint": "of the figures"})
    first = _tries(aside, panel, A, SHORT, False)
    assert [(c.seed, c.draws) for c in first.values()] == [(SHORT.seed, SHORT.draws), (SHORT.seed + 1000, 2 * SHORT.draws)]
    for place in first:
        aside.write(place + REFUSED, b"{}")
    aside.write("work/of-other-figures.nc", b"")
    then = _tries(aside, panel, A, SHORT, False)
    assert [c.seed for c in then.values()] == [SHORT.seed + 2000, SHORT.seed + 3000]
    assert aside.names("work") == sorted(place + REFUSED for place in first)
    assert list(_tries(aside, panel.assign_attrs(fingerprint="newer"), A, SHORT, False).values()) == list(first.values())
    assert aside.names("work") == []


def test_a_fit_afresh_is_another_than_one_that_carries_chains_on(tmp_path):
    """`--full` must not find the latter put aside."""
    aside, panel = Folder(tmp_path), xr.Dataset(attrs={"fingerprint": "of the figures"})
    (carried, again), (afresh, _) = _tries(aside, panel, A, SHORT, True), _tries(aside, panel, A, SHORT, False)
    assert carried != afresh and carried not in _tries(aside, panel, A, SHORT, False)
    aside.write(carried + REFUSED, b"{}")
    # What comes after it begins afresh, and is found again where it was put aside.
    aside.write(again, b"")
    place, tried = next(iter(_tries(aside, panel, A, SHORT, True).items()))
    assert (place, tried.seed) == (again, SHORT.seed + 1000)
    assert aside.exists(again)
    assert again in _tries(aside, panel, A, SHORT, False)
