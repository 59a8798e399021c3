"""What-if: figures asked about are read, expected and filtered as the graph would have them, had they been reported."""

import dataclasses
import io

import numpy as np
import pymc as pm
import pytest

from data.config import read_watch
from data.log import ReleaseLog
from data.panel import read_panel
from model.causes import causes
from model.filtering import filtered
from model.frame import contrasts, frame
from model.graph import anchored_course, graph_of
from model.held import held
from model.kernel import POSITIVE
from model.layers import evaluated
from model.simulate import Design, simulate
from model.spec import Assumptions
from model.states import states
from model.what_if import Held, NotAsked, answer
from service.worlds import write_world

A = Assumptions()
UNIT, D = "CHN.JPN.magnets", 6
DESIGN = Design(importers=("JPN", "USA", "KOR"), families=(("magnets", ("850511", "850590")), ("gallium", ("811292",))), months=60)


@pytest.fixture(scope="module")
def panel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_world(simulate(DESIGN, A, 5), folder, 5)
    log = ReleaseLog(folder / "log")
    for name in ("observations.csv", "covariates.csv"):
        log.ingest((folder / name).read_bytes(), name)
    return read_panel(log, read_watch(folder / "quietquota.toml"), log.horizon())


@pytest.fixture(scope="module")
def graph(panel):
    return graph_of(frame(panel, A), A)


@pytest.fixture(scope="module")
def draws(graph):
    """Of the prior, about where a fit begins."""
    f, own = graph.frame, [v for v in graph.model.free_RVs if v.name != "family_course"]
    many = dict(zip((v.name for v in own), pm.draw(own, draws=D, random_seed=1, mode="FAST_COMPILE"), strict=True))
    many = {name: np.asarray(v, dtype=float) for name, v in many.items()}
    near = np.random.default_rng(1)
    usual = {"contrast_baseline": contrasts(f.family_of).T @ f.usual, "family_baseline": np.bincount(f.family_of, f.usual)}
    usual["family_baseline"] /= np.bincount(f.family_of)
    for name, at in usual.items():
        many[name] = at[None, :, None] + near.normal(0, 0.1, many[name].shape)
    course = anchored_course(f)
    return many | {"family_course": course + near.normal(0, 0.1, (D, *course.shape))}


def stored(arrays):
    """As a snapshot's file has them."""
    sink = io.BytesIO()
    np.savez_compressed(sink, **arrays)
    return Held(np.load(io.BytesIO(sink.getvalue())), A)


@pytest.fixture(scope="module")
def japan(draws, graph, panel):
    return stored(held(draws, graph, panel, A)["JPN"])


def reported(panel, releases):
    """The panel, had these been reported."""
    kg, several, count = (panel[n].values.copy() for n in ("kg", "two_month_kg", "releases"))
    for release in releases:
        t = list(np.datetime_as_string(panel["period"].values, unit="M")).index(release["period"])
        side = "exporter" if release["reporter"] == "CHN" else "importer"
        row = (panel["signal_unit"].values == UNIT) & (panel["signal_side"].values == side)
        row &= panel["signal_hs"].values == release["hs_code"] if "hs_code" in release else True
        kg[row, t], several[row, t], count[row, t] = release["net_weight_kg"], np.nan, 1
    return panel.assign(kg=(panel["kg"].dims, kg), two_month_kg=(panel["kg"].dims, several), releases=(panel["kg"].dims, count))


def of_the_graph(draws, graph, panel):
    """(cause (draw, period, cause), log likelihood (draw,)) of the unit, by the graph itself."""
    f = frame(panel, A, like=graph.frame)
    # The months that the family was seen in stay those of the fit: its course is held.
    f = dataclasses.replace(f, family_seen=graph.frame.family_seen)
    unit, space = f.coords["unit"].index(UNIT), states(A)
    found = [causes(filtered(d.unit)[unit], filtered(d.family)[f.family[unit]], space) for d in evaluated(graph_of(f, A), draws)]
    return np.stack(found)


def code(panel):
    return str(panel["signal_hs"].values[(panel["signal_unit"].values == UNIT)][0])


def asked(panel, case):
    months = np.datetime_as_string(panel["period"].values, unit="M")
    seen = np.flatnonzero(np.isfinite(panel["kg"].values[(panel["signal_unit"].values == UNIT)]).any(0))
    last, hs = seen[-1], code(panel)
    usual = float(np.nanmedian(panel["kg"].values[(panel["signal_unit"].values == UNIT)][0]))
    told = {
        "a figure revised": [("CHN", last - 5, 0.3 * usual)],
        "a month of nothing": [("CHN", last - 2, 0.0)],
        "a surge, and what is paid back": [("CHN", t, 3 * usual) for t in range(last - 20, last - 10)],
        "both offices": [("CHN", last - 3, usual), ("JPN", last - 3, 0.8 * usual), ("JPN", last - 2, 0.4 * usual)],
        "two years": [(r, t, usual * (0.2 + 0.01 * t)) for t in range(last - 23, last + 1) for r in ("CHN", "JPN")],
    }[case]
    return [{"reporter": r, "period": months[t], "net_weight_kg": kg, "hs_code": hs} for r, t, kg in told]


@pytest.mark.parametrize("case", ["a figure revised", "a month of nothing", "a surge, and what is paid back", "both offices", "two years"])
def test_every_draw_is_filtered_as_the_graph_would_filter_it(case, japan, draws, graph, panel):
    releases = asked(panel, case)
    figures, first = japan.changed(UNIT, releases, [])
    ours = japan.believed(UNIT, figures).cause
    theirs = of_the_graph(draws, graph, reported(panel, releases))
    assert japan.periods[first] == min(r["period"] for r in releases)
    np.testing.assert_allclose(ours, theirs, atol=2e-4)
    assert np.abs(ours - japan.before(UNIT).cause).max() > 0.01, "or nothing was asked"
    np.testing.assert_allclose(japan.before(UNIT).cause, of_the_graph(draws, graph, panel), atol=2e-4)


def test_what_was_reported_already_changes_nothing(japan, panel):
    rows = (panel["signal_unit"].values == UNIT) & (panel["signal_side"].values == "exporter")
    t = np.flatnonzero(np.isfinite(panel["kg"].values[rows][0]))[-30]
    month, kg = np.datetime_as_string(panel["period"].values, unit="M")[t], float(panel["kg"].values[rows][0][t])
    told = answer(japan, UNIT, [{"reporter": "CHN", "period": month, "net_weight_kg": kg, "hs_code": code(panel)}], [])
    assert (told["months"][0]["period"], told["effective_draws"], told["draws"]) == (month, D, D)
    for one in told["months"]:
        assert one["before"] == one["after"]
        assert sum(one["after"]["causes"].values()) == pytest.approx(1, abs=1e-5)
        assert one["after"]["probability_interval"][0] <= one["after"]["probability_interval"][1]


def test_tension_moves_the_odds_of_a_campaign_after_its_leads_and_nothing_before(japan):
    name, t = str(japan.arrays["covariate"][0]), len(japan.periods) - 8
    centre, spread = japan.arrays["measures"][:, 0].mean(1)
    high = [{"series": name, "period": japan.periods[n], "value": centre + 3 * spread} for n in range(t, t + 3)]
    figures, first = japan.changed(UNIT, [], high)
    before, after = japan.kernels(japan.known)["onset"], japan.kernels(figures)["onset"]
    assert first == t
    np.testing.assert_array_equal(after[..., :t], before[..., :t])
    assert (after[..., t + 1 : t + 4] > before[..., t + 1 : t + 4]).all()


@pytest.mark.parametrize(
    ("release", "covariate", "says"),
    [
        ({"period": "1999-01"}, None, r"period '1999-01' is none of 20\d\d-\d\d to 20\d\d-\d\d"),
        ({"reporter": "USA"}, None, "reporter 'USA' is neither of the unit's offices, CHN and JPN"),
        ({"hs_code": "999999"}, None, "999999 is none that has ever moved"),
        (None, {"series": "mood", "period": "2023-01", "value": 1.0}, "no covariate 'mood'; the snapshot has "),
    ],
)
def test_what_cannot_be_thought_through_is_refused_with_its_reason(japan, panel, release, covariate, says):
    whole = {"reporter": "CHN", "period": "2023-01", "net_weight_kg": 1.0, "hs_code": code(panel)}
    with pytest.raises(NotAsked, match=says):
        answer(japan, UNIT, [whole | release] if release else [], [covariate] if covariate else [])


def test_a_unit_that_abstains_has_nothing_to_change(japan):
    with pytest.raises(NotAsked, match="gives it no probability"):
        answer(japan, "CHN.JPN.tea", [{"reporter": "CHN", "period": "2023-01", "net_weight_kg": 1.0}], [])


@pytest.mark.parametrize("which", ["the first of the two", "the second"])
def test_a_month_reported_out_of_a_sum_of_two_leaves_of_the_sum_what_a_panel_would(which, draws, graph, panel):
    """Nothing: of the other month, and of the other office's, only the sum was known."""
    hs, months = code(panel), np.datetime_as_string(panel["period"].values, unit="M")
    rows = (panel["signal_unit"].values == UNIT) & (panel["signal_hs"].values == hs)
    second = np.flatnonzero(np.isfinite(panel["kg"].values[rows]).all(0))[-3]
    kg, several = panel["kg"].values.copy(), panel["two_month_kg"].values.copy()
    several[rows, second] = kg[rows, second - 1 : second + 1].sum(1)
    kg[rows, second - 1], kg[rows, second] = np.nan, np.nan
    of_two = panel.assign(kg=(panel["kg"].dims, kg), two_month_kg=(panel["kg"].dims, several))
    told = stored(held(draws, dataclasses.replace(graph, frame=frame(of_two, A, like=graph.frame)), of_two, A)["JPN"])
    n = told._row(UNIT, hs)
    assert told.known.summed[n, second]
    assert (told.known.kind[n, :, second] == POSITIVE).all()
    month = months[second - 1 if which == "the first of the two" else second]
    release = {"reporter": "CHN", "period": month, "net_weight_kg": 1000.0, "hs_code": hs}
    figures, _ = told.changed(UNIT, [release], [])
    as_a_panel = frame(reported(of_two, [release]), A, like=graph.frame)
    series = [f"{UNIT}:{hs}" == one for one in as_a_panel.coords["series"]].index(True)
    np.testing.assert_array_equal(figures.kind[n], as_a_panel.flows.kind[series])
    np.testing.assert_array_equal(figures.summed[n], as_a_panel.summed[series])
