"""What each kind of figure does to the kernel's arguments: expectation, scale, onset."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pymc as pm
import pytest
from scipy.stats import t as student_t
from support import csv

from data.config import Covariates, Family, Watch
from data.log import ReleaseLog
from data.panel import read_panel
from model.expectation import OWN_SEASON
from model.flows import flows
from model.frame import _believable, frame
from model.graph import graph_of
from model.kernel import MISSING, NU, POSITIVE, ZERO
from model.layers import evaluator
from model.probabilities import open_flow
from model.simulate import Design, simulate
from model.spec import Assumptions

A = Assumptions()
MONTHS = [f"{year}-{month:02}" for year in (2021, 2022, 2023) for month in range(1, 13)]
WATCH = Watch(
    exporter="CHN",
    importers=("JPN", "USA"),
    families={"magnets": Family(title="Magnets", hs=("850511",))},
    covariates=Covariates(transition=("tension",)),
)


def rows_of(reporters=("CHN", "JPN"), importer="JPN", kg=1000.0, at="2024-01-05"):
    offices = [r if r == "CHN" else importer for r in reporters]
    return [f"{office},CHN,{importer},850511,{month},{kg},,{at}" for office in offices for month in MONTHS]


def a_frame(folder, rows, tension=()):
    log = ReleaseLog(folder / "log")
    log.ingest(csv(*rows), "f.csv")
    given = [f"tension,CHN,{i},,{m},{dict(tension).get(m, 0)},2024-01-05" for i in ("JPN", "USA") for m in MONTHS]
    log.ingest(csv(*given, header="series,exporter,importer,family,period,value,released_at"), "t.csv")
    panel = read_panel(log, WATCH, datetime(2024, 1, 31, tzinfo=UTC))
    return panel, frame(panel, A)


def drawn(f, **values):
    """The kernel's arguments where every parameter is at its initial value but for `values`, on their own scale."""
    graph = graph_of(f, A)
    model = graph.model
    on_their_scale = model.compile_fn(model.unobserved_value_vars, mode="FAST_COMPILE", on_unused_input="ignore")
    start = dict(zip((v.name for v in model.unobserved_value_vars), on_their_scale(model.initial_point()), strict=True))
    start = {v.name: np.asarray(start[v.name]) for v in model.free_RVs}
    return evaluator(graph)(start | {n: np.broadcast_to(np.asarray(v, float), start[n].shape) for n, v in values.items()})


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    rows = rows_of() + rows_of(importer="USA")
    return a_frame(tmp_path_factory.mktemp("both"), rows, tension={"2022-06": 3.0})


def test_a_second_office_that_says_the_same_leaves_the_flows_own_noise_whole(both):
    """Counting the two as independent would halve the variance."""
    draw = drawn(both[1], reporting_exporter=0.1, reporting_importer=0.1, log_noise=np.log(0.3), unevenness=1e-9, preliminary=1e-9)
    scale = draw.unit["scale"][draw.unit["kind"] == POSITIVE]
    np.testing.assert_allclose(scale**2, 0.3**2 + 0.1**2 / 2, rtol=1e-6)


def test_a_first_release_of_the_last_year_is_noisier_than_an_older_or_revised_one(tmp_path):
    first = rows_of(("CHN",)) + rows_of(("CHN",), importer="USA")
    revised = rows_of(("CHN",), kg=1001.0, at="2024-01-20")
    draw = drawn(a_frame(tmp_path, first + revised)[1], preliminary=0.4, log_noise=np.log(0.3), unevenness=1e-9)
    japan, usa = draw.unit["scale"][:, : len(MONTHS)]
    np.testing.assert_allclose(usa[-11:] ** 2, 0.3**2 + 0.4**2)
    np.testing.assert_allclose(np.r_[japan, usa[:-12]], 0.3)


def test_a_rise_of_tension_lifts_the_odds_of_a_campaign_as_many_months_later_as_it_leads(both):
    f = both[1]
    lead = np.zeros((len(f.drivers), A.covariate_leads + 1))
    lead[:, 2] = 1.0
    draw = drawn(f, covariate_effect=[1.0, 0.0], covariate_effect_lead=lead)
    lifted = np.flatnonzero(draw.unit["onset"][0] > draw.parts["onset_plain"][0] * 1.5)
    assert [f.coords["period"][t] for t in lifted] == ["2022-08"]


def test_where_the_control_sinks_the_expectation_sinks_by_its_elasticity(both):
    f = both[1]
    slump = np.zeros_like(f.control)
    slump[0, 20:23] = -0.5
    sunk = drawn(replace(f, control=slump), control_effect=0.8).parts["log_plain"]
    np.testing.assert_allclose((sunk[0, :] - sunk[0, 0])[20:23] - (sunk[1, :] - sunk[1, 0])[20:23], -0.4, atol=1e-9)


def test_a_total_in_the_wrong_unit_moves_the_expectation_no_further_than_trade_moves_and_a_slump_is_kept_whole():
    usual = np.random.default_rng(0).normal(0, 0.08, 60)
    spiked, slumped, higher = usual.copy(), usual.copy(), usual.copy()
    spiked[[30, 59]] += np.log(10)
    slumped[40:42] -= 0.7
    higher[50:] += 0.5
    assert np.all(_believable(spiked)[[30, 59]] < 0.8)
    np.testing.assert_array_equal(np.delete(_believable(spiked), [30, 59]), np.delete(usual, [30, 59]))
    for kept in (usual, slumped, higher):
        np.testing.assert_array_equal(_believable(kept), kept)


def test_what_was_bought_ahead_is_missing_afterwards_and_less_so_each_month(tmp_path):
    plain = rows_of(("CHN",)) + rows_of(("CHN",), importer="USA")
    bought = [r.replace(",1000.0,", ",4000.0,") if ",JPN," in r and ",2022-06," in r else r for r in plain]

    def owed(folder, rows):
        parts = drawn(a_frame(tmp_path / folder, rows)[1], frontload=0.2).parts
        return (parts["log_expected"] - parts["log_plain"])[0]

    more, at = owed("bought", bought) - owed("plain", plain), MONTHS.index("2022-06")
    np.testing.assert_allclose(more[: at + 1], 0, atol=1e-12)
    assert more[at + 1] < -0.2
    np.testing.assert_allclose(more[at + 2] / more[at + 1], A.frontload_keep, atol=1e-6)


def test_a_figure_of_two_months_is_set_against_the_flow_of_two_months(tmp_path):
    rows = [r for r in rows_of(("CHN",)) if ",2023-01," not in r and ",2023-02," not in r]
    rows.append("CHN,CHN,JPN,850511,2023-01/2023-02,2000,,2024-01-05")
    _, f = a_frame(tmp_path, rows + rows_of(("CHN",), importer="USA"))
    at = MONTHS.index("2023-02")
    assert f.kind[0, at - 1 : at + 1].tolist() == [MISSING, POSITIVE]
    draw = drawn(f)
    expected = np.logaddexp(*draw.parts["log_expected"][0, at - 1 : at + 1])
    np.testing.assert_allclose(draw.unit["x"][0, at], np.log(2000) - expected, atol=1e-6)
    none, never = np.zeros(f.kind.shape), np.full(f.kind.shape, -800.0)
    kg = open_flow(none, none, np.zeros(len(f.unit)), never, f, np.random.default_rng(0))
    assert kg[0, at - 2 : at + 2].tolist() == [1.0, 1.0, 2.0, 1.0]


def test_what_two_months_owe_to_the_family_is_told_of_both_where_only_their_sum_is_seen(tmp_path):
    """An accident of two months at -45 % is one of -45 %, and not a second month of -90 %."""
    gone = (",2023-01,", ",2023-02,")
    rows = [r for i in ("JPN", "USA") for r in rows_of(("CHN",), importer=i) if not any(month in r for month in gone)]
    rows += [f"CHN,CHN,{i},850511,2023-01/2023-02,2000,,2024-01-05" for i in ("JPN", "USA")]
    _, f = a_frame(tmp_path, rows)
    at, g = MONTHS.index("2023-02"), np.log(0.55)
    plain = drawn(f)
    course = np.pad(plain.parts["family_baseline"], [(0, 0), (0, f.capacity - f.periods)])
    course[0, at] += g
    moved = drawn(f, family_course=course)
    np.testing.assert_allclose(moved.family["x"][0, at] - plain.family["x"][0, at], g, atol=1e-6)
    np.testing.assert_allclose(moved.unit["x"][:, at] - plain.unit["x"][:, at], -g, atol=1e-6)
    after = plain.parts["log_expected"][:, at + 1] - plain.parts["log_plain"][:, at + 1]
    np.testing.assert_allclose(after, 0, atol=2e-3, err_msg="two months in one figure are nothing bought ahead")


def test_a_month_without_trade_stands_in_the_counterfactual_as_often_as_it_is_usual(tmp_path):
    _, f = a_frame(tmp_path, rows_of(("CHN",)))
    none, rng = np.zeros(f.kind.shape), np.random.default_rng(0)
    often = np.mean([open_flow(none, none, np.zeros(len(f.unit)), none + np.log(0.25 / 0.75), f, rng) > 0 for _ in range(200)])
    assert 0.73 < often < 0.77
    kg = np.array([open_flow(none, none + 0.3, np.zeros(len(f.unit)), none - 800, f, rng) for _ in range(200)]).ravel()
    at_ends = np.mean((np.log(kg) / 0.3 > student_t.ppf(0.05, NU)) & (np.log(kg) / 0.3 < student_t.ppf(0.95, NU)))
    assert 0.88 < at_ends < 0.92


def test_nothing_in_two_months_is_nothing_in_either(tmp_path):
    rows = [r for r in rows_of(("CHN",)) if ",2023-01," not in r and ",2023-02," not in r]
    panel, _ = a_frame(tmp_path, [*rows, "CHN,CHN,JPN,850511,2023-01/2023-02,0,,2024-01-05"])
    at = MONTHS.index("2023-01")
    assert flows(panel).kind[0, 0, at - 1 : at + 3].tolist() == [POSITIVE, ZERO, ZERO, POSITIVE]


def test_families_seasons_are_a_common_one_and_independent_own_ones():
    """Written as their average and what is zero over the families, they must have the covariance of the sum."""
    families = tuple((name, (code,)) for name, code in (("a", "850511"), ("b", "280530"), ("c", "284610")))
    model = graph_of(simulate(Design(importers=("JPN", "USA"), families=families, months=40), A, 1).frame, A).model
    common, own, sd = pm.draw([model["season"], model["season_family"], model["season_sd"]], 4000, random_seed=2)
    of_family = (common[:, None] + own) / sd[:, None, None]
    covariance = np.einsum("dfm,dgm->fg", of_family, of_family) / (len(sd) * 11)
    np.testing.assert_allclose(covariance, np.ones((3, 3)) + OWN_SEASON**2 * np.eye(3), atol=0.05)
