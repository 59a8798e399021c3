"""Evidence: it adds up, it is about the right source, and it is silent where nothing was heard."""

import numpy as np
import pytest

from model.evidence import SOURCES, SQUEEZES, detectability, evidence, told_by
from model.graph import build
from model.kernel import POSITIVE
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


def test_deeper_squeezes_are_seen_more_often(world, draw):
    seen = detectability([draw] * 20, world.frame, SPACE, np.random.default_rng(0))["detectability"]
    assert seen.sizes["squeeze"] == len(SQUEEZES)
    assert ((seen >= 0) & (seen <= 1)).all()
    assert float(seen.sel(squeeze=0.9).mean()) > float(seen.sel(squeeze=0.3).mean())
