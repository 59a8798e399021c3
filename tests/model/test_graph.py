"""The graph from a panel: its shapes, its start, its gradient, and what each kind of data does to it."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import DEMO_AS_OF, csv, simulated_csv

from data.config import Family, Watch
from data.log import ReleaseLog
from data.panel import read_panel
from model.drivers import measured, rise, standardised
from model.flows import flows
from model.frame import Helmert, contrasts, frame
from model.graph import anchored_course, build, graph_of
from model.kernel import INNOCENT, MEASURE, MISSING, PARTED, POSITIVE, ZERO
from model.spec import Assumptions
from model.states import states, transitions

A = Assumptions()
RATES = ("exempt_entry", "exempt_exit", "surge_entry", "surge_exit", "disruption_entry", "disruption_exit")
probability = st.floats(0.001, 0.999)


@given(st.tuples(*[probability] * 6))
def test_transitions_are_probabilities_for_any_rates(rates):
    s = states(A)
    move = transitions(A, dict(zip(RATES, rates, strict=True)))
    assert (move >= -1e-15).all()
    for j, role in enumerate(s.role):
        # Given the state before and the role now; of what has parted, whatever else it becomes is one choice.
        for now in ([INNOCENT, MEASURE], [PARTED]) if role == PARTED else ([INNOCENT], [MEASURE], [PARTED]):
            chances = move[(s.before == j) & np.isin(s.role[s.now], now)]
            assert chances.size == 0 or chances.sum() == pytest.approx(1, rel=1e-12)
            assert chances.size or (role, now) == (MEASURE, [PARTED]), "only a restriction does not part"


def test_pairs_are_sorted_as_the_kernel_wants_them():
    s = states(A)
    assert (np.diff(s.now) >= 0).all()
    assert (np.diff(s.role[s.before])[np.diff(s.now) == 0] >= 0).all()


def test_severity_is_a_grid_of_states_and_a_surge_is_open():
    assert len(set(A.states)) == len(A.multiple) == len(A.regime) == states(A).shift.size
    assert A.states[0] == "open"
    assert {r for r, m in zip(A.regime, A.multiple, strict=True) if m > 1} == {"open"}


@pytest.mark.parametrize("family", [[0, 0, 0, 1, 1, 2], [0], [0, 1], [0] * 5])
def test_contrasts_are_orthonormal_and_cancel_within_each_family(family):
    family = np.array(family)
    c = contrasts(family)
    assert c.shape == (len(family), len(family) - len(set(family)))
    np.testing.assert_allclose(c.T @ c, np.eye(c.shape[1]), atol=1e-12)
    for g in set(family):
        np.testing.assert_allclose(c[family == g].sum(0), 0, atol=1e-12)


@pytest.mark.parametrize("family", [[0, 0, 0, 1, 1, 2], [2, 0, 1, 0, 2, 2, 0], [1, 0, 0], [0] * 5])
def test_running_sums_are_the_products_with_the_matrix_of_contrasts(family):
    family, rng = np.array(family), np.random.default_rng(0)
    matrix, sums = contrasts(family), Helmert(family)
    contrast, values = rng.normal(size=(matrix.shape[1], 3)), rng.normal(size=len(family))
    np.testing.assert_allclose(sums.spread(contrast), matrix @ contrast, atol=1e-14)
    np.testing.assert_allclose(sums.of(values), matrix.T @ values, atol=1e-14)
    np.testing.assert_allclose(sums.squared(values), (matrix**2).T @ values, atol=1e-14)


def test_a_covariate_nobody_knows_any_more_fades_to_its_mean():
    series = np.r_[np.random.default_rng(0).normal(size=30), 3.0, np.full(12, np.nan)][None]
    z = standardised(series, *measured(series), 0.8)[0]
    np.testing.assert_allclose(z[31:], z[30] * 0.8 ** np.arange(1, 13))
    unknown = np.full((1, 5), np.nan)
    assert not standardised(unknown, *measured(unknown), 0.8).any()


WATCH = Watch(exporter="CHN", importers=("JPN", "USA", "KOR", "DEU"), families={"magnets": Family(title="Magnets", hs=("850511",))})


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory):
    log = ReleaseLog(tmp_path_factory.mktemp("m") / "log")
    log.ingest(simulated_csv(), "simulated.csv")
    return read_panel(log, WATCH, datetime(2024, 3, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def sample(sample_log, sample_watch):
    return read_panel(sample_log, sample_watch, DEMO_AS_OF)


@pytest.mark.parametrize("which", ["mirrored", "sample"])
def test_at_the_start_density_and_gradient_are_finite_in_every_coordinate(which, request):
    panel = request.getfixturevalue(which)
    f = frame(panel, A)
    model = build(f, A).model
    point = model.initial_point()
    course = anchored_course(f)
    assert point["family_course"].shape == course.shape
    point["family_course"] = course
    for term in model.compile_logp(sum=False, mode="FAST_COMPILE")(point):
        assert np.isfinite(term).all()
    assert np.isfinite(model.compile_dlogp(mode="FAST_COMPILE")(point)).all()


def test_one_more_month_needs_no_new_graph_and_its_data_are_filled_up_with_nothing_seen(mirrored):
    f = frame(mirrored, A)
    shorter = frame(mirrored.isel(period=slice(0, -1)), A, like=f)
    assert shorter.structure == f.structure
    assert graph_of(f, A).equations is graph_of(shorter, A).equations
    for name, value in f.data().items():
        assert shorter.data()[name].shape == value.shape, name
    assert (f.data()["kind"][:, f.periods :] == MISSING).all()


def test_pointwise_predictive_density_has_named_dimensions(mirrored):
    model = build(frame(mirrored, A), A).model
    assert model.named_vars_to_dims["log_flow"] == ("unit", "period")
    assert model.logp(vars=[model["log_flow"]], sum=False)[0].ndim == 2


def test_only_one_office_means_no_mirror_parameters(sample, mirrored):
    alone, both = ({v.name for v in build(frame(p, A), A).model.free_RVs} for p in (sample, mirrored))
    assert {"reporting_exporter", "reporting_importer", "transit", "bias"} <= both - alone


def panel_of(tmp_path, rows, hs=("850511",), as_of="2024-06-30"):
    log = ReleaseLog(tmp_path / "log")
    log.ingest(csv(*rows), "f.csv")
    watch = Watch(exporter="CHN", importers=("JPN",), families={"magnets": Family(title="Magnets", hs=hs)})
    return read_panel(log, watch, datetime.fromisoformat(as_of).replace(tzinfo=UTC))


def row(period, kg, reporter="CHN", hs="850511"):
    return f"{reporter},CHN,JPN,{hs},{period},{kg},,2024-05-01"


def test_a_month_is_zero_only_if_no_office_saw_a_flow(tmp_path):
    rows = [row("2024-01", 0), row("2024-02", 0), row("2024-02", 50, "JPN"), row("2024-03", 10)]
    kind = flows(panel_of(tmp_path, rows)).combined_kind()[0]
    assert kind[:4].tolist() == [ZERO, POSITIVE, POSITIVE, MISSING]


def test_what_an_importer_books_of_last_months_shipment_is_no_flow(tmp_path):
    rows = [row("2024-01", 100), row("2024-02", 0), row("2024-02", 40, "JPN"), row("2024-03", 0), row("2024-03", 40, "JPN")]
    seen = flows(panel_of(tmp_path, rows))
    assert seen.combined_kind()[0, :3].tolist() == [POSITIVE, ZERO, POSITIVE], "in March nothing was left to be booked"
    assert seen.primary()[0, 1] == 0
    np.testing.assert_allclose(np.exp(seen.primary()[0, [0, 2]]), [100, 40])


def test_each_code_of_a_family_is_a_series_and_a_stopped_code_is_a_zero(tmp_path):
    rows = [
        row(f"2024-0{m}", kg, hs=hs)
        for m, hs, kg in [(1, "850511", 60), (1, "850519", 40), (2, "850511", 60), (3, "850511", 60), (3, "850519", 0)]
    ]
    panel = panel_of(tmp_path, rows, hs=("850511", "850519"))
    assert flows(panel).hs == ["850511", "850519"]
    assert flows(panel).combined_kind()[:, :3].tolist() == [[POSITIVE] * 3, [POSITIVE, MISSING, ZERO]]
    np.testing.assert_allclose(frame(panel, A).observed_kg[0, :3], [100, 60, 60])


def test_two_months_in_one_figure_are_one_cell_and_yield_to_months_of_their_own(tmp_path):
    rows = [row("2023-12", 10), row("2024-01/2024-02", 30), row("2024-03", 12), row("2024-02", 14, "JPN"), row("2024-03", 12, "JPN")]
    double = flows(panel_of(tmp_path / "a", [r for r in rows if not r.startswith("JPN")]))
    assert double.kind[0, 0, :4].tolist() == [POSITIVE, MISSING, POSITIVE, POSITIVE]
    assert double.summed[0, 0, :4].tolist() == [False, False, True, False]
    np.testing.assert_allclose(np.exp(double.log_kg[0, 0, 2]), 30)
    assert not flows(panel_of(tmp_path / "b", rows)).summed.any()


def test_a_slump_of_all_trade_is_a_deviation_of_the_control_and_not_its_course(mirrored):
    rng = np.random.default_rng(1)
    total = np.exp(20 + rng.normal(0, 0.05, mirrored.sizes["period"]))
    total[30:38] *= 0.5
    control = np.full((mirrored.sizes["importer"], 2, mirrored.sizes["period"]), np.nan)
    control[0, 0] = total
    f = frame(mirrored.assign(control_kg=(("importer", "side", "period"), control)), A)
    deviation = f.control[f.importer == 0][0]
    assert deviation[30:38].mean() < -0.5
    assert abs(np.delete(deviation, np.s_[30:38]).mean()) < 0.1
    assert not f.control[f.importer == 1].any()


def test_a_rise_is_measured_from_the_months_before():
    level = np.r_[np.zeros(8), 3.0, np.full(8, 3.0)][None]
    assert rise(level, 6)[0, 8] == 3.0
    assert rise(level, 6)[0, 16] == 0.0


def test_units_without_a_positive_month_are_left_out_of_the_fit(sample):
    f = frame(sample, A)
    assert len(f.fitted) == 8
    assert f.coords["family"] == ["rare_earths"]
