"""Sources on the genuine bytes that are bundled."""

import pytest
from support import csv

from data.config import SAMPLE
from data.observations import InputError
from data.sources import SOURCES, comtrade, published, source_for


@pytest.fixture(scope="module")
def rare_earths():
    name = "comtrade_rare_earths_by_partner.csv"
    return comtrade.parse((SAMPLE / name).read_bytes(), name)


def test_comtrade_figures_are_the_files_to_the_kilogram(rare_earths):
    cell = rare_earths.accepted.query("importer == 'JPN' and period == '2020-02'")
    assert cell["net_weight_kg"].item() == pytest.approx(526_352.0, abs=1500)
    assert (cell["reporter"].item(), cell["hs_code"].item(), cell["source"].item()) == ("CHN", "990001", "comtrade")
    assert len(rare_earths.accepted) == 768
    assert rare_earths.rejected.empty


def test_the_imputed_weights_of_2017_are_marked_and_no_other_year_is(rare_earths):
    estimated = rare_earths.accepted.query("status == 'estimated'")
    assert set(estimated["period"].str.slice(0, 4)) == {"2017"}
    assert len(estimated) == 96


def test_an_absent_row_is_a_zero_in_a_month_that_was_queried_and_unknown_otherwise():
    rows = ["2019-01-01,Japan,811292,10,5,2", "2019-01-01,USA,811292,10,4,2.5", "2019-03-01,Japan,811292,10,7,1.4"]
    accepted = comtrade.parse(csv(*rows, header="period_dt,partner_name,hs6,val,qty,uv"), "f").accepted
    usa = accepted.query("importer == 'USA'").set_index("period")["net_weight_kg"]
    assert usa["2019-03"] == 0
    assert "2019-02" not in usa.index


def test_chinas_january_waits_for_february_in_the_inferred_calendar(rare_earths):
    released = rare_earths.accepted.query("importer == 'JPN'").set_index("period")["released_at"]
    assert str(released["2024-01"]) == str(released["2024-02"]) == "2024-03-20 00:00:00+00:00"
    assert str(released["2019-02"]) == "2019-03-25 00:00:00+00:00"
    assert set(rare_earths.accepted["released_at_basis"]) == {"inferred"}


def test_published_figures_name_their_page_and_spans_are_kept_aside():
    raw = (SAMPLE / "published_figures.csv").read_bytes()
    parsed = published.parse(raw, "published_figures.csv")
    cell = parsed.accepted.query("hs_code == '990002' and importer == 'JPN' and period == '2010-11'")
    assert cell["net_weight_kg"].item() == 634_000
    assert "http" in cell["source"].item()
    assert len(parsed.accepted) + parsed.rejected["line"].nunique() == raw.count(b"\n") - 1
    assert parsed.rejected["reason"].str.contains("span or a year").all()
    derived = parsed.accepted.query("hs_code == '85051110' and importer == 'JPN' and period == '2024-09'")
    assert derived["status"].item() == "estimated"
    assert str(derived["released_at"].item())[:7] == "2025-11"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("comtrade_rare_earths_by_partner.csv", "comtrade"), ("published_figures.csv", "published"), ("covariates.csv", "covariates")],
)
def test_each_bundled_file_is_recognised_by_one_source_only(name, kind):
    raw = (SAMPLE / name).read_bytes()
    assert [s.name for s in SOURCES.values() if s.recognises(raw, name)] == [kind]


def test_an_unknown_header_is_refused_with_the_names_of_the_sources():
    with pytest.raises(InputError, match="canonical"):
        source_for(b"a,b\n1,2\n", "f.csv")
