"""Scores of forecasts: against hand counts, and against scikit-learn's definitions written out."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.scoring import ScoringError, detection, prepared, probability_scores, reliability, runs, score

MONTHS = [str(p) for p in pd.period_range("2020-01", periods=60, freq="M")]


def truth_of(restricted, importer="JPN"):
    depth = np.where(restricted, 0.6, 0.0)
    return pd.DataFrame(
        {"family": "m", "importer": importer, "period": MONTHS[: len(restricted)], "restricted": restricted.astype(int), "depth": depth}
    )


def forecasts_of(probability, importer="JPN", lag=1):
    """Each month is spoken of, filtered, `lag` months after it."""
    said = [str((pd.Period(m, "M") + lag).to_timestamp().date()) for m in MONTHS[: len(probability)]]
    unit = {"family": "m", "importer": importer, "kind": "filtered"}
    return pd.DataFrame(unit | {"as_of": said, "period": MONTHS[: len(probability)], "probability": probability})


def detected(p, lag=1, thresholds=None):
    rows = prepared(truth_of(SPELL), forecasts_of(p, lag=lag), "w")
    return detection(rows[rows["of"] == "realtime"], truth_of(SPELL).assign(world="w"), thresholds)


SPELL = np.isin(np.arange(60), range(30, 40))


def test_a_perfect_forecast_scores_perfectly_and_the_base_rate_scores_nothing():
    y = SPELL.astype(float)
    perfect, flat = probability_scores(y, y), probability_scores(y, np.full(60, y.mean()))
    assert perfect["skill"] == 1
    assert perfect["auroc"] == perfect["ap"] == 1
    assert flat["skill"] == pytest.approx(0)
    assert flat["auroc"] == 0.5
    assert flat["ece"] == pytest.approx(0)
    assert flat["ap"] == pytest.approx(y.mean())


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.2, 0.5, 0.9])), min_size=4, max_size=30))
def test_auroc_is_the_share_of_pairs_ranked_rightly(rows):
    y, p = (np.array(v, dtype=float) for v in zip(*rows, strict=True))
    if y.min() == y.max():
        assert np.isnan(probability_scores(y, p)["auroc"])
        return
    difference = p[y == 1][:, None] - p[y == 0][None, :]
    assert probability_scores(y, p)["auroc"] == pytest.approx(((difference > 0) + 0.5 * (difference == 0)).mean())


def test_tied_forecasts_share_their_outcome():
    bins = reliability(np.array([1.0, 0, 0, 0]), np.full(4, 0.25), bins=2)
    np.testing.assert_allclose(bins["observed"], 0.25)


def test_runs_are_found_at_both_ends():
    assert runs(np.array([1, 0, 1, 1], bool)) == [(0, 0), (2, 3)]
    assert runs(np.zeros(3, bool)) == []


def test_a_spell_is_caught_in_its_second_month_three_months_after_it_began():
    p = np.zeros(60)
    p[31:40] = 0.9
    found = detected(p, lag=2).at_false_alarm_limit(np.array([0]))
    assert (found["caught"], found["caught3"], found["delay"], found["false_alarms"]) == (1, 1, 3, 0)


def test_the_threshold_is_the_lowest_that_keeps_false_alarms_rare():
    p = np.where(SPELL, 0.8, 0.0)
    p[[5, 15]] = 0.6
    found = detected(p).at_false_alarm_limit(np.array([0]))
    assert found["threshold"] == 0.8
    assert found["caught3"] == 1


def test_an_alarm_next_to_a_spell_is_not_a_false_alarm():
    p = np.where(SPELL, 0.8, 0.0)
    p[[29, 40]] = 0.8
    assert detected(p, thresholds=np.array([0.5])).alarms.sum() == 0
    p[45] = 0.8
    assert detected(p, thresholds=np.array([0.5])).alarms.sum() == 1


def test_every_figure_has_an_interval_that_holds_it():
    rng = np.random.default_rng(0)
    pairs = []
    for world in ("a", "b"):
        regimes = {importer: np.roll(SPELL, 3 * n) for n, importer in enumerate(("JPN", "USA", "KOR"))}
        truth = pd.concat([truth_of(r, i) for i, r in regimes.items()])
        forecasts = [forecasts_of(np.clip(r * 0.6 + rng.uniform(0, 0.4, 60), 0, 1), i) for i, r in regimes.items()]
        pairs.append((world, truth, pd.concat(forecasts)))
    scores = score(pairs, resamples=50)["realtime"]
    for name in ("skill", "auroc", "ece", "caught3"):
        value, low, high = scores[name]
        assert low - 1e-9 <= high
        assert low - 0.2 <= value <= high + 0.2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.drop(columns="kind"), "no column kind"),
        (lambda f: f.assign(probability=1.2), "row 2: probability 1.2 is not within 0..1"),
        (lambda f: pd.concat([f, f.head(1)]), "row 62: a second probability"),
    ],
)
def test_what_cannot_be_scored_is_named(change, says):
    with pytest.raises(ScoringError, match=says):
        prepared(truth_of(SPELL), change(forecasts_of(np.full(60, 0.5))), "w")
