"""Probabilities: causes that sum to one, and abstention with its reason."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.chain import MISSING, POSITIVE, ZERO
from model.probabilities import abstention, causes
from model.spec import Assumptions

A = Assumptions()
K = len(A.states)
weights = arrays(float, K, elements=st.floats(0, 1)).filter(lambda w: w.sum() > 0.01).map(lambda w: w / w.sum())


@given(weights, weights)
def test_the_four_causes_sum_to_one_and_combine_the_scopes_as_stated(unit, family):
    still_open, disrupted, targeted, product_wide = causes(unit, family, A.regime)
    restricted = np.array(A.regime) == "restricted"
    assert min(still_open, disrupted, targeted, product_wide) >= 0
    assert still_open + disrupted + targeted + product_wide == pytest.approx(1)
    either = 1 - (1 - unit[restricted].sum()) * (1 - family[restricted].sum())
    assert targeted + product_wide == pytest.approx(either, abs=1e-9)
    assert targeted == pytest.approx(unit[restricted].sum(), abs=1e-9)


def test_a_certain_family_shock_is_disruption_and_not_a_targeted_restriction():
    unit, family = np.eye(K)[0], np.eye(K)[A.regime.index("disrupted")]
    np.testing.assert_allclose(causes(unit, family, A.regime), [0, 1, 0, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("kinds", "last", "horizon", "says"),
    [
        ([MISSING] * 60, -1, 59, "no figure known"),
        ([ZERO] * 60, 59, 59, "all 60 known figures are zero"),
        ([POSITIVE] * 5, 4, 5, "5 months of figures; 24 are needed"),
        ([POSITIVE] * 60, 59, 72, "the last figure is 13 months old"),
        ([POSITIVE] * 60, 59, 61, ""),
    ],
)
def test_it_abstains_with_the_reason_where_the_data_are_too_thin(kinds, last, horizon, says):
    reason = abstention(np.array(kinds, np.int8), last, horizon, A)
    assert reason.startswith(says)
    assert bool(reason) == bool(says)
