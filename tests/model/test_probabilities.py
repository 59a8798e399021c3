"""Probabilities: causes that sum to one, and abstention with its reason."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.causes import CAUSES, causes
from model.kernel import MISSING, POSITIVE, ZERO
from model.probabilities import abstention
from model.spec import Assumptions
from model.states import states

A = Assumptions()
K = len(A.states)
weights = arrays(float, K, elements=st.floats(0, 1)).filter(lambda w: w.sum() > 0.01).map(lambda w: w / w.sum())


S = states(A)
PURE = {name: np.eye(K)[A.states.index(name)] for name in A.states}


@given(weights, weights)
def test_the_four_causes_sum_to_one_and_combine_the_scopes_as_stated(unit, family):
    mass = dict(zip(CAUSES, causes(unit, family, S), strict=True))
    restricted = np.array(A.regime) == "restricted"
    assert min(mass.values()) >= 0
    assert sum(mass.values()) == pytest.approx(1)
    targeted, wide, exempt = unit[restricted].sum(), family[restricted].sum(), unit[A.states.index("open exempt")]
    assert mass["targeted"] + mass["product_wide"] == pytest.approx(1 - (1 - targeted) * (1 - wide) - exempt * wide, abs=1e-9)
    assert mass["product_wide"] == pytest.approx(wide * (1 - exempt), abs=1e-9)


@pytest.mark.parametrize(
    ("unit", "family", "cause"),
    [
        ("open", "open", "open"),
        ("open", "disrupted 45%", "disrupted"),
        ("disrupted 75%", "open", "disrupted"),
        ("restricted 72%", "open", "targeted"),
        ("restricted 72%", "disrupted 45%", "targeted"),
        ("open", "restricted 55%", "product_wide"),
        ("restricted 98%", "restricted 55%", "product_wide"),
        ("open exempt", "restricted 55%", "open"),
        ("open exempt", "disrupted 75%", "open"),
        ("open x1.6", "open", "open"),
        ("parted 84%", "open", "disrupted"),
        ("parted 84%", "disrupted 45%", "disrupted"),
        ("parted 84%", "restricted 55%", "product_wide"),
    ],
)
def test_each_pair_of_states_has_one_cause(unit, family, cause):
    assert dict(zip(CAUSES, causes(PURE[unit], PURE[family], S), strict=True))[cause] == pytest.approx(1)


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
