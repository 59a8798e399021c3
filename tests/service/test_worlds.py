"""A world of the model's own, from the command line to a score. Slow: the model's graph is compiled."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from service.cli import app

pytestmark = pytest.mark.slow
run = CliRunner().invoke


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds") / "one"
    result = run(app, ["simulate", str(folder), "--seed", "3", "--months", "48"])
    assert result.exit_code == 0, result.output
    return folder


def test_what_may_be_seen_goes_into_a_log_without_a_row_rejected(world, tmp_path):
    result = run(app, ["ingest", str(world / "observations.csv"), str(world / "covariates.csv"), "--store", str(tmp_path)])
    assert result.exit_code == 0, result.output
    truth = pd.read_csv(world / "truth.csv")
    assert len(truth) == 48 * truth.groupby(["family", "importer"]).ngroups
    assert (truth.loc[truth["restricted"] == 0, "depth"] == 0).all()


def test_the_same_seed_is_the_same_world_and_a_world_is_never_overwritten(world, tmp_path):
    run(app, ["simulate", str(tmp_path / "again"), "--seed", "3", "--months", "48"])
    run(app, ["simulate", str(tmp_path / "other"), "--seed", "4", "--months", "48"])
    for name in ("observations.csv", "truth.csv"):
        same, other = ((tmp_path / which / name).read_bytes() for which in ("again", "other"))
        assert (world / name).read_bytes() == same != other
    refused = run(app, ["simulate", str(world), "--seed", "3"])
    assert (refused.exit_code, "holds a world already" in refused.stderr) == (2, True)


def test_whoever_knows_the_truth_is_scored_as_perfect_and_whoever_knows_the_base_rate_as_nothing(world, tmp_path):
    truth = pd.read_csv(world / "truth.csv")
    last = pd.Period(truth["period"].max(), "M")
    said = truth.assign(as_of=str((last + 1).to_timestamp().date()), exporter="CHN", kind="smoothed")
    for name, probability in (("perfect", said["restricted"]), ("flat", np.full(len(said), 0.1))):
        said.assign(probability=probability).to_csv(tmp_path / f"{name}.csv", index=False)
    found = {}
    for name in ("perfect", "flat"):
        result = run(app, ["score", str(world), str(tmp_path / f"{name}.csv"), "--resamples", "20", "--format", "json"])
        assert result.exit_code == 0, result.output
        found[name] = json.loads(result.stdout)["retrospective"]
    assert found["perfect"]["skill"] == found["perfect"]["sure"] == [1, 1, 1]
    assert found["flat"]["auroc"] == [0.5, 0.5, 0.5]
    said.assign(importer="XXX", probability=0.1).to_csv(tmp_path / "others.csv", index=False)
    said.to_csv(tmp_path / "unsaid.csv", index=False)
    for name, why in (("others", "speaks of no unit and month"), ("unsaid", "no column probability")):
        refused = run(app, ["score", str(world), str(tmp_path / f"{name}.csv")])
        assert (refused.exit_code, why in refused.stderr) == (2, True), refused.stderr
    missing = run(app, ["score", str(world), str(tmp_path / "no.csv")])
    assert (missing.exit_code, "no such file" in missing.stderr) == (2, True)
