"""Evidence: it adds up, it is about the right source, and it is silent where nothing was heard."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from model.causes import CAUSES
from model.evidence import SOURCES, SQUEEZES, as_published, detectability, evidence, told_by
from model.graph import build
from model.kernel import MISSING, POSITIVE, ZERO
from model.layers import evaluator
from model.simulate import Design, simulate
from model.spec import Assumptions
from model.states import states

A = Assumptions()
SPACE = states(A)
SMALL = Design(importers=("JPN", "USA", "KOR"), families=(("magnets", ("850511",)), ("gallium", ("811292", "282560"))), months=48)


@pytest.fixture(scope="module")
def world():
    return simulate(SMALL, A, 5)


@pytest.fixture(scope="module")
def draw(world):
    return evaluator(build(world.frame, A))(world.values)


def test_the_evidence_of_all_sources_is_the_change_of_the_log_odds(world, draw):
    found = evidence([draw], world.frame, SPACE)
    change = found["log_odds_after"] - found["log_odds_before"]
    np.testing.assert_allclose(found["evidence"].sum("source"), change, atol=1e-9)


def test_evidence_ends_at_the_published_probability_and_adds_up_as_before(world, draw):
    found, last = evidence([draw], world.frame, SPACE), world.frame.unit_kind.shape[1] - 1
    units = [*world.frame.coords["unit"], "CHN.XXX.unseen"]
    told = np.full((len(units), last + 1, len(CAUSES)), np.nan)
    told[:-1] = [0.7, 0.1, 0.15, 0.05]
    regimes = xr.Dataset(
        {"filtered": (("unit", "period", "cause"), told), "last_observed": ("unit", [*[last] * (len(units) - 1), -1])},
        coords={"unit": units, "cause": list(CAUSES)},
    )
    anchored = as_published(found, regimes)
    np.testing.assert_allclose(anchored["log_odds_after"], np.log(0.2 / 0.8))
    np.testing.assert_allclose(anchored["log_odds_after"] - anchored["log_odds_before"], found["evidence"].sum("source"), atol=1e-9)


def test_with_every_source_known_nothing_is_changed(world, draw):
    same = told_by(draw, world.frame, SOURCES, 30)
    for name in ("x", "scale", "kind", "onset", "relief"):
        np.testing.assert_array_equal(same.unit[name], draw.unit[name])


def test_a_cut_seen_by_both_offices_is_the_offices_evidence(world, draw):
    """Both figures of one unit cut to a tenth in its last four months."""
    f = world.frame
    x = draw.unit["x"].copy()
    mine = f.unit == 0
    x[mine, -4:] = np.log(0.1)
    exporter_x = draw.parts["exporter_x"].copy()
    exporter_x[mine, -4:] = np.log(0.1)
    kind = draw.unit["kind"].copy()
    kind[mine] = POSITIVE
    cut = type(draw)(draw.unit | {"x": x, "kind": kind}, draw.family, draw.parts | {"exporter_x": exporter_x})
    found = evidence([cut], f, SPACE).isel(unit=0)
    shares = dict(zip(SOURCES, found["evidence"].values, strict=True))
    assert shares["exporter"] > 1
    assert shares["exporter"] + shares["importer"] > 0.5 * float(found["log_odds_after"] - found["log_odds_before"])


def test_what_the_importer_books_of_the_month_before_is_no_evidence_of_its_own(world, draw):
    """The exporter saw nothing leave, the importer what had left the month before: a month of nothing, and alone not one of trade."""
    f = world.frame
    kind = f.flows.kind.copy()
    kind[0, :, -2] = ZERO, POSITIVE
    log_kg = f.flows.log_kg.copy()
    log_kg[0, :, -3] = log_kg[0, 1, -2] + 1
    flows = dataclasses.replace(f.flows, kind=kind, log_kg=log_kg)
    f = dataclasses.replace(f, flows=flows, kind=flows.combined_kind(), primary=flows.primary())
    assert f.kind[0, -2] == ZERO
    lacking = evaluator(build(f, A))(world.values)
    assert told_by(lacking, f, ["importer"], 30).unit["kind"][0, -2] == MISSING
    assert told_by(lacking, f, ["importer"], 30).unit["kind"][0, -1] == lacking.unit["kind"][0, -1]


def test_detectability_is_of_the_unit_and_not_of_what_is_in_force(world, draw):
    f, kind = world.frame, np.full_like(draw.unit["kind"], POSITIVE)
    cut = draw.unit["x"].copy()
    cut[:, -10:] = np.log(0.05)
    seen = [
        detectability([replace(draw, unit=draw.unit | {"x": x, "kind": kind})] * 40, f, SPACE, np.random.default_rng(0))["detectability"]
        for x in (draw.unit["x"] * 0, cut)
    ]
    np.testing.assert_allclose(seen[0], seen[1], atol=0.05)


def test_a_squeeze_of_a_lumpy_buyer_is_seen_less_often(world, draw):
    often = [
        detectability([replace(draw, unit=draw.unit | {"hurdle": np.full_like(draw.unit["hurdle"], h)})] * 40, world.frame, SPACE, rng)
        for h, rng in ((-5.0, np.random.default_rng(0)), (1.5, np.random.default_rng(0)))
    ]
    usual, lumpy = (v["detectability"].sel(squeeze=0.6).mean() for v in often)
    assert float(lumpy) < 0.5 * float(usual)


def test_deeper_squeezes_are_seen_more_often(world, draw):
    seen = detectability([draw] * 20, world.frame, SPACE, np.random.default_rng(0))["detectability"]
    assert seen.sizes["squeeze"] == len(SQUEEZES)
    assert ((seen >= 0) & (seen <= 1)).all()
    assert float(seen.sel(squeeze=0.9).mean()) > float(seen.sel(squeeze=0.3).mean())
