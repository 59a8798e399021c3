"""What a validation must show, read from its pieces. Apart from the other tests: `make validate` runs it."""

import numpy as np
import pytest
from summary import LEVELS, coverage, first_component, outside, parameter_ranks, pieces, said
from validate import ROOT, digest

pytestmark = pytest.mark.statistical


@pytest.fixture(scope="module")
def worlds():
    found = pieces(ROOT / "var" / "validation" / digest(), "world")
    if len(found) < 20:
        pytest.fail("fewer than 20 worlds are fitted: run `make validate`")
    return found


def test_ranks_of_the_parameters_are_uniform(worlds):
    """Of some fifty parameters, each inside its 95 % band with probability 0.95."""
    left = {n: outside(first_component(r)) for n, r in parameter_ranks(worlds).items()}
    wrong = {n: round(v, 2) for n, v in left.items() if v > 1}
    assert len(wrong) <= 0.05 * len(left) + 2 * np.sqrt(0.05 * 0.95 * len(left)), wrong


@pytest.mark.parametrize("level", LEVELS)
def test_intervals_cover_as_often_as_they_say(worlds, level):
    shares = [coverage(r, level) for r in parameter_ranks(worlds).values()]
    assert np.mean(shares) == pytest.approx(level, abs=0.03)


@pytest.mark.parametrize("which", ["filtered", "smoothed"])
def test_where_the_model_says_p_a_share_p_is_true(worlds, which):
    answer = said(worlds, lambda w: w["said"][which])
    assert outside(answer.randomised()) <= 1
    for p, _, low, high, rows in answer.reliability():
        assert rows < 50 or low - 0.05 <= p <= high + 0.05, (p, low, high)
