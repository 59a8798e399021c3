"""The panel is the log at an instant, and absence has a reason."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from support import DEMO_AS_OF, csv

from data.calendar import lunar_exposure, lunar_new_year
from data.config import Family, Watch, read_watch
from data.log import LogError
from data.observations import InputError
from data.panel import ABSENCE, AHEAD, PanelError, checked, read_panel

WATCH = Watch(exporter="CHN", importers=("JPN", "USA"), families={"magnets": Family(title="Magnets", hs=("850511", "850519"))})
HEADER = "reporter,exporter,importer,hs_code,period,net_weight_kg,value_usd,released_at,status"


def row(period="2024-01", kg="100", hs="850511", importer="JPN", reporter="CHN", at="2024-03-20", status="reported"):
    return f"{reporter},CHN,{importer},{hs},{period},{kg},,{at},{status}"


def panel_of(log, *rows, as_of="2024-06-30"):
    log.ingest(csv(*rows, header=HEADER), "f.csv")
    return read_panel(log, WATCH, datetime.fromisoformat(as_of).replace(tzinfo=UTC))


def absence(panel, signal):
    return [ABSENCE[c] for c in panel["absence"].sel(signal=signal).values]


def test_an_offices_subdivisions_add_up_and_one_that_is_divided_anew_is_no_stop(release_log):
    panel = panel_of(
        release_log,
        row("2024-01", "60", hs="85051110"),
        row("2024-01", "40", hs="85051190"),
        row("2024-02", "70", hs="85051110", at="2024-04-20"),
        row("2024-02", "25", hs="85051191", at="2024-04-20"),
        row("2024-02", "5", hs="85051199", at="2024-04-20"),
        row("2024-03", "", hs="85051110", status="suppressed", at="2024-05-20"),
        row("2024-03", "9", hs="85051190", at="2024-05-20"),
        # The office's own sum wins over its parts.
        row("2024-01", "111", hs="850511", reporter="JPN"),
        row("2024-01", "110", hs="850511000", reporter="JPN"),
    )
    exporter, importer = panel.sel(signal="CHN.JPN.magnets:exporter:850511"), panel.sel(signal="CHN.JPN.magnets:importer:850511")
    np.testing.assert_array_equal(exporter["kg"].values[:3], [100, 100, np.nan])
    assert absence(panel, "CHN.JPN.magnets:exporter:850511")[2] == "suppressed"
    assert importer["kg"].values[0] == 111


def test_what_a_new_edition_of_the_system_took_out_of_a_code_is_no_fall(release_log):
    rows = [
        row("2021-12", "100", hs="811292"),
        *(row("2022-01", kg, hs=hs) for kg, hs in (("80", "811292"), ("15", "811231"), ("5", "811241"))),
    ]
    release_log.ingest(csv(*rows, header=HEADER), "f.csv")
    watch = Watch(exporter="CHN", importers=("JPN",), families={"gallium": Family(title="g", hs=("811292",))})
    panel = read_panel(release_log, watch, datetime(2024, 6, 30, tzinfo=UTC))
    assert panel["kg"].values[0, :2].tolist() == [100, 100]
    apart = {"gallium": Family(title="g", hs=("811292",)), "hafnium": Family(title="h", hs=("811231",))}
    panel = read_panel(release_log, watch.model_copy(update={"families": apart}), datetime(2024, 6, 30, tzinfo=UTC))
    assert panel["kg"].values[:, 1].tolist() == [85, 15], "a family of its own is not added to another"


def test_a_code_that_is_part_of_two_families_is_of_the_narrower_and_one_that_stands_in_two_is_refused(release_log):
    families = {"magnets": Family(title="m", hs=("850511",)), "sintered": Family(title="s", hs=("85051110",))}
    watch = Watch(exporter="CHN", importers=("JPN",), families=families)
    release_log.ingest(csv(row(kg="60", hs="85051110"), row(kg="40", hs="85051190"), header=HEADER), "f.csv")
    panel = read_panel(release_log, watch, datetime(2024, 6, 30, tzinfo=UTC))
    assert dict(zip(panel["signal_hs"].values.tolist(), panel["kg"].values[:, 0].tolist(), strict=True)) == {"850511": 40, "85051110": 60}
    with pytest.raises(ValueError, match="85051110 stands in two places"):
        Watch(exporter="CHN", importers=("JPN",), families=families | {"again": families["sintered"]})


def test_the_five_kinds_of_absence_are_told_apart_from_zero(release_log):
    panel = panel_of(
        release_log,
        row("2024-01", "100"),
        row("2024-02", "0"),
        row("2024-03", "", status="suppressed", at="2024-06-20"),
        row("2024-05", "7", status="estimated", at="2024-06-20"),
    )
    signal = "CHN.JPN.magnets:exporter:850511"
    assert absence(panel, signal) == ["known", "known", "suppressed", "no_figure", "estimated"] + ["not_yet_published"] * (1 + AHEAD)
    np.testing.assert_array_equal(panel["kg"].sel(signal=signal).values[:5], [100, 0, np.nan, np.nan, np.nan])


def test_two_months_published_as_one_sum_are_never_split(release_log):
    panel = panel_of(release_log, row("2023-12", "90"), row("2024-01/2024-02", "150"))
    signal = "CHN.JPN.magnets:exporter:850511"
    assert absence(panel, signal)[:3] == ["known", "two_month_sum", "two_month_sum"]
    assert panel["two_month_kg"].sel(signal=signal).values[2] == 150
    assert np.isnan(panel["kg"].sel(signal=signal).values[1:3]).all()


def test_both_offices_are_signals_of_one_unit_on_their_sides(release_log):
    panel = panel_of(release_log, row(), row(reporter="JPN", kg="110"))
    assert set(panel["signal_side"].values) == {"exporter", "importer"}
    assert set(panel["signal_unit"].values) == {"CHN.JPN.magnets"}


def test_a_figure_released_after_the_as_of_is_not_in_the_panel(release_log):
    panel = panel_of(release_log, row("2024-01"), row("2024-01", "999", at="2024-06-18"), as_of="2024-06-17")
    assert panel["kg"].values[0, 0] == 100
    assert panel["releases"].values[0, 0] == 1


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda p: p["kg"].values.__setitem__((0, 0), -1.0), "kg is negative; first at CHN.JPN.magnets:exporter:850511, 2024-01"),
        (lambda p: p["kg"].values.__setitem__((0, 1), np.nan), "kg is a figure just where absence says known; first at .*2024-02"),
        (lambda p: p["absence"].values.__setitem__((0, 0), 99), "absence is no code"),
        (lambda p: p["releases"].values.__setitem__((0, 0), 0), "a figure without a release"),
        (lambda p: p["lunar"].values.__setitem__((1, 1), 1.5), "lunar is no share; first at during, 2024-02"),
        (lambda p: p.attrs.__setitem__("horizon", 0), "a figure of a month after the as-of; first at .*2024-02"),
    ],
)
def test_a_panel_that_breaks_its_contract_is_refused_at_the_cell_at_fault(release_log, spoil, says):
    panel = panel_of(release_log, row("2024-01", "1"), row("2024-02", "2"))
    spoil(panel)
    with pytest.raises(PanelError, match=says):
        checked(panel)


def test_a_panel_says_in_what_it_is_and_where_from(release_log):
    panel = panel_of(release_log, row("2024-01", "1"))
    assert panel["kg"].attrs["units"] == "kg"
    assert panel.attrs["sources"] == "canonical"
    assert panel.attrs["log"] == release_log.fingerprint()


def test_a_panel_of_nothing_says_what_it_looked_for(release_log):
    with pytest.raises(LogError, match="850511"):
        panel_of(release_log, row(hs="260400"))


def test_the_fingerprint_moves_with_any_figure(release_log, tmp_path):
    from data.log import ReleaseLog

    one = panel_of(release_log, row())
    same = panel_of(ReleaseLog(tmp_path / "b"), row())
    other = panel_of(ReleaseLog(tmp_path / "c"), row(kg="101"))
    assert one.attrs["fingerprint"] == same.attrs["fingerprint"] != other.attrs["fingerprint"]


def test_the_sample_panel_has_the_demo_figures(sample_log, sample_watch):
    panel = read_panel(sample_log, sample_watch, DEMO_AS_OF)
    known = panel.sel(signal="CHN.JPN.rare_earths:exporter:990001")
    assert panel["period"].values[0] == np.datetime64("2018-01-01")
    assert int((known["absence"] == 0).sum()) == 84
    assert float(known["kg"].sel(period="2020-02-01")) == pytest.approx(526_000, rel=0.01)
    assert np.isfinite(panel["covariates"].sel(unit="CHN.JPN.rare_earths", period="2024-12-01")).all()


def test_a_covariate_of_an_importer_wins_over_one_of_all(release_log):
    header = "series,exporter,importer,family,period,value,released_at"
    rows = ["tension,CHN,,,2024-01,1,2024-02-02", "tension,CHN,JPN,,2024-01,5,2024-02-02"]
    release_log.ingest(csv(*rows, header=header), "c.csv")
    release_log.ingest(csv(row(), row(importer="USA"), header=HEADER), "f.csv")
    watch = Watch.model_validate(WATCH.model_dump() | {"covariates": {"transition": ("tension",)}})
    panel = read_panel(release_log, watch, datetime(2024, 6, 30, tzinfo=UTC))
    assert panel["covariates"].values[0, :, 0].tolist() == [5.0, 1.0]


def test_a_standing_covariate_holds_until_it_changes_and_was_nothing_before_its_first_row(release_log):
    header = "series,exporter,importer,family,period,value,released_at"
    rows = ["controls,CHN,JPN,,2024-03,1,2024-03-02", "controls,CHN,JPN,,2024-05,0,2024-05-02", "controls,CHN,USA,,2023-07,2,2023-07-04"]
    release_log.ingest(csv(*rows, header=header), "c.csv")
    release_log.ingest(csv(row(), row(importer="USA"), header=HEADER), "f.csv")
    watch = Watch.model_validate(WATCH.model_dump() | {"covariates": {"transition": ("controls",), "standing": ("controls",)}})
    panel = read_panel(release_log, watch, datetime(2024, 6, 30, tzinfo=UTC))
    assert panel["covariates"].values[0].tolist() == [[0, 0, 1, 1, 0, 0, 0, 0, 0], [2] * 9]


@pytest.mark.parametrize("year", [2018, 2020, 2024, 2026, 2033])
def test_lunar_windows_are_shared_out_whole_over_the_months(year):
    exposure = lunar_exposure(pd.period_range(f"{year - 1}-12", f"{year}-04", freq="M"))
    np.testing.assert_allclose(exposure.sum(1), 1)


def test_lunar_new_years_are_the_published_days():
    days = {2020: "2020-01-25", 2024: "2024-02-10", 2025: "2025-01-29", 2026: "2026-02-17"}
    assert {y: str(lunar_new_year(y)) for y in days} == days


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('exporter = "XXX"\nimporters = ["JPN"]\n[families.a]\ntitle="a"\nhs=["85"]', "ISO 3166"),
        ('exporter = "CHN"\nimporters = ["JPN"]\n[families.a]\ntitle="a"\nhs=["8x"]', "families.a.hs"),
        ('exporter = "CHN"\nimporters = ["JPN"]\ncolour="red"\n[families.a]\ntitle="a"\nhs=["85"]', "colour"),
        ('exporter = "CHN"\nimporters = ["JPN"]\n[families.a]\ntitle="a"\nhs=["85"]\n[covariates]\nstanding=["x"]', "x is not among"),
        ("exporter = ", "not TOML"),
    ],
)
def test_a_wrong_configuration_names_file_field_and_reason(tmp_path, text, says):
    path = tmp_path / "quietquota.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=says) as error:
        read_watch(path)
    assert "quietquota.toml" in str(error.value)
