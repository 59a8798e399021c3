"""Publishers' files: what each becomes, on genuine bytes where there are any, and what is said of broken ones."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import csv

from data.observations import InputError, Parsed
from data.sources import SOURCES, comext, comtrade_api, covariates, estat_japan, gacc, source_for, us_census

GENUINE = Path(__file__).parent / "genuine"


def of(parsed: Parsed, **cell: str) -> pd.Series:
    rows = parsed.accepted
    for column, value in cell.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1, (cell, len(rows))
    return rows.iloc[0]


@pytest.fixture(scope="module")
def imports():
    name = "gacc_2025_imports.csv"
    return gacc.parse((GENUINE / name).read_bytes(), name)


def test_chinas_customs_say_what_their_page_said(imports):
    brazil = of(imports, exporter="BRA", hs_code="12019019", period="2025-09")
    assert brazil["net_weight_kg"] == pytest.approx(10.96e9, rel=0.001)  # Reuters, 20 Oct 2025
    assert (brazil["reporter"], brazil["importer"], str(brazil["released_at"])[:10]) == ("CHN", "CHN", "2025-10-20")
    assert pd.isna(brazil["value_usd"]), "yuan are no dollars"
    assert imports.rejected.empty


def test_a_month_of_no_trade_has_no_row_and_is_a_zero(imports):
    usa = imports.accepted.query("exporter == 'USA' and hs_code == '12019019'").set_index("period")["net_weight_kg"]
    assert usa[["2025-09", "2025-10"]].tolist() == [0, 0]  # Reuters, 20 Oct 2025: none in September
    assert (usa[:"2025-08"] > 0).all()


def test_january_and_february_come_out_together(imports):
    argentina = imports.accepted.query("exporter == 'ARG' and hs_code == '12019019'").set_index("period")["released_at"]
    assert argentina["2025-01"] == argentina["2025-02"] == pd.Timestamp("2025-03-20", tz="UTC")


def test_exports_and_imports_are_told_apart_by_the_files_name_only():
    raw = (GENUINE / "gacc_2025_exports.csv").read_bytes()
    assert set(gacc.parse(raw, "gacc_2025_exports.csv").accepted["exporter"]) == {"CHN"}
    assert set(gacc.parse(raw, "大豆出口.csv").accepted["exporter"]) == {"CHN"}
    for name in ("soybeans.csv", "imports_and_exports.csv"):
        with pytest.raises(InputError, match="exports or imports"):
            gacc.parse(raw, name)


def a_query(*rows: str) -> bytes:
    header = '"数据年月","贸易伙伴编码","贸易伙伴名称","商品编码","商品名称","第一数量","第一计量单位","第二数量","第二计量单位","美元",'
    return "\n".join([header, *rows]).encode("gb18030")


def test_a_count_is_no_weight_and_rows_of_one_cell_are_added_up():
    raw = a_query(
        '"202401","116","日本","85051110","磁铁","7","个","1.5","吨","1,234",',
        '"202401","116","日本","85051110","磁铁","500","克","0","?","1",',
        '"202401","133","韩国","85051110","磁铁","7","个","0","?","9",',
    )
    parsed = gacc.parse(raw, "exports.csv")
    cell = of(parsed, importer="JPN")
    assert (cell["net_weight_kg"], cell["value_usd"]) == (1500.5, 1235)
    assert (cell["supplementary_quantity"], cell["supplementary_unit"]) == (7, "个")
    assert parsed.rejected[["line", "column", "value_found"]].to_numpy().tolist() == [[4, "net_weight_kg", "7 个"]]


def test_a_file_that_is_cut_off_or_of_a_stranger_is_refused_by_its_name():
    raw = (GENUINE / "gacc_2025_exports.csv").read_bytes()
    with pytest.raises(InputError, match=r"exports\.csv: line \d+ has \d+ fields of 11: the file is cut off"):
        gacc.parse(raw[: len(raw) - 40], "exports.csv")
    broken = gacc.parse(a_query('"202413","116","阿特兰蒂斯","850511","磁铁","7","千克","0","?","1",'), "exports.csv").rejected
    found = dict(zip(broken["column"], broken["value_found"], strict=True))
    assert found == {"importer": "阿特兰蒂斯", "period": "202413", "released_at": ""}


@given(st.integers(min_value=0, max_value=2000))
def test_wherever_a_file_is_cut_nothing_but_whole_rows_gets_in(cut):
    raw = (GENUINE / "gacc_2025_exports.csv").read_bytes()
    whole = gacc.parse(raw, "exports.csv").accepted
    try:
        part = gacc.parse(raw[: cut % len(raw)], "exports.csv").accepted
    except (InputError, ValueError):
        return
    figures = part[part["line"] > 1].merge(whole, on=["importer", "hs_code", "period", "net_weight_kg"])
    assert len(figures) == (part["line"] > 1).sum()


def japans(*rows: str, april: str = "Apr") -> bytes:
    months = ("Jan", "Feb", "Mar", april, "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    measures = [f"{m}-{month}" for month in months for m in ("Quantity1", "Quantity2", "Value")]
    return csv(*rows, header=",".join(["Exp or Imp,Year,HS,Country,Unit1,Unit2,Quantity1-Year,Quantity2-Year,Value-Year", *measures]))


def year_of(*months: tuple[int, int]) -> str:
    return ",".join(f"0,{kg},{value}" for kg, value in [*months, *[(0, 0)] * (12 - len(months))])


@pytest.mark.parametrize("april", ["Apr", "Apl"])
def test_japans_months_stand_side_by_side_and_end_with_the_last_that_moved(april):
    raw = japans(f"2,2026,'850511000',105,,KG,0,0,0,{year_of((500, 9), (0, 0), (0, 3), (70, 1))}", april=april)
    parsed = estat_japan.parse(raw, "f.csv")
    cells = parsed.accepted.set_index("period")
    assert cells["net_weight_kg"].tolist() == [500, 0, 0, 70]
    assert cells["status"].tolist() == ["reported", "reported", "estimated", "reported"], "a value without a quantity is no zero"
    assert cells.loc["2026-01", ["reporter", "exporter", "importer", "hs_code"]].tolist() == ["JPN", "CHN", "JPN", "850511000"]
    assert str(cells["released_at"]["2026-02"])[:10] == "2026-03-28"


def test_a_later_file_of_japans_is_news_only_where_it_differs(release_log):
    first = japans(f"2,2026,'850511000',105,,KG,0,0,0,{year_of((500, 9), (400, 8))}")
    second = japans(f"2,2026,'850511000',105,,KG,0,0,0,{year_of((500, 9), (420, 8), (300, 7))}")
    now = datetime(2026, 6, 1, tzinfo=UTC)
    assert release_log.ingest(first, "a.csv", now=now).new == 2
    again = release_log.ingest(second, "b.csv", now=now)
    assert (again.new, again.known, again.rejected) == (2, 1, 0)
    assert release_log.ingest(second, "b.csv", now=now).new == 0

    def known(month, day):
        cells = release_log.as_of("observations", datetime(2026, month, day, tzinfo=UTC)).set_index("period")["net_weight_kg"]
        return cells.to_dict()

    assert known(4, 1) == {"2026-01": 500, "2026-02": 400}
    assert known(5, 1) == {"2026-01": 500, "2026-02": 420, "2026-03": 300}


def test_a_year_that_has_not_begun_and_a_country_nobody_knows():
    with pytest.raises(InputError, match="nothing moved"):
        estat_japan.parse(japans(f"2,2027,'850511000',105,,KG,0,0,0,{year_of()}"), "f.csv")
    unknown = estat_japan.parse(japans(f"2,2026,'850511000',999,,KG,0,0,0,{year_of((5, 1))}"), "f.csv")
    assert unknown.rejected[["column", "value_found"]].to_numpy().tolist() == [["exporter", "999"]]


CENSUS = ["I_COMMODITY", "CTY_CODE", "SUMMARY_LVL", "time", "GEN_VAL_MO", "AIR_WGT_MO", "VES_WGT_MO", "CTY_CODE"]


def test_the_census_total_of_all_countries_is_not_counted():
    rows = [
        CENSUS,
        ["8505110000", "5700", "DET", "2026-03", "900", "20", "80", "5700"],
        ["8505110000", "-", "DET", "2026-03", "9000", "200", "800", "-"],
        ["8505110000", "5XXX", "CGP", "2026-03", "9000", "200", "800", "5XXX"],
    ]
    parsed = us_census.parse(json.dumps(rows).encode(), "f.json")
    cell = parsed.accepted.iloc[0]
    assert len(parsed.accepted) == 1
    assert (cell["exporter"], cell["importer"], cell["net_weight_kg"], cell["value_usd"]) == ("CHN", "USA", 100, 900)
    assert parsed.rejected.empty
    with pytest.raises(InputError, match="only totals"):
        us_census.parse(json.dumps(rows[:1] + rows[2:]).encode(), "f.json")
    with pytest.raises(InputError, match="not a JSON array"):
        us_census.parse(b"", "f.json")


COMEXT = (
    "REPORTER,PARTNER,TRADE_TYPE,PRODUCT_NC,PRODUCT_SITC,PRODUCT_CPA21,PRODUCT_CPA22,PRODUCT_BEC,PRODUCT_BEC5,PRODUCT_SECTION,FLOW,"
    "STAT_PROCEDURE,SUPPL_UNIT,PERIOD,VALUE_EUR,VALUE_NAC,QUANTITY_KG,QUANTITY_SUPPL_UNIT"
)


def test_eurostats_procedures_are_added_up_and_doubled_rows_count_once():
    inward = "DE,CN,E,85051110,7,1,1,1,....,16,1,5,p/st,202603,10,10,30,5"
    rows = [
        "DE,CN,E,85051110,7,1,1,1,....,16,1,1,p/st,202603,10,10,70,9",
        inward,
        inward,
        "EL,CN,E,000TOTAL,,,,,,,1,1,NO_SU,202603,9,9,5,0",
    ]
    rows += ["DE,FR,I,85051110,7,1,1,1,....,16,1,1,NO_SU,202603,10,10,70,0", "DE,QQ,E,85051110,7,1,1,1,....,16,2,1,NO_SU,202603,1,1,x,0"]
    parsed = comext.parse(csv(*rows, header=COMEXT), "f.dat")
    assert of(parsed, importer="DEU")["net_weight_kg"] == 100
    assert (of(parsed, importer="DEU")["supplementary_quantity"], of(parsed, importer="DEU")["supplementary_unit"]) == (14, "p/st")
    assert of(parsed, importer="GRC")["hs_code"] == "TOTAL"
    assert str(of(parsed, importer="DEU")["released_at"])[:10] == "2026-05-15"
    assert sorted(parsed.rejected["column"]) == ["importer", "net_weight_kg"]


def a_record(**changed):
    record = {"typeCode": "C", "period": "202301", "reporterCode": 704, "flowCode": "X", "partnerCode": 392, "partner2Code": 0}
    record |= {"cmdCode": "090111", "motCode": 0, "customsCode": "C00", "primaryValue": 10127757.599, "netWgt": 5024600.0}
    record["isNetWgtEstimated"] = False
    return record | changed


def test_comtrades_details_are_not_counted_beside_their_sum_and_estimates_are_marked():
    records = [
        a_record(),
        a_record(motCode=1000, netWgt=1.0),
        a_record(partnerCode=490, isNetWgtEstimated=True),
        a_record(netWgt=None, period="202302"),
    ]
    parsed = comtrade_api.parse(json.dumps({"data": records}).encode(), "f.json")
    assert of(parsed, importer="JPN")[["reporter", "exporter", "net_weight_kg", "status"]].tolist() == ["VNM", "VNM", 5024600.0, "reported"]
    assert of(parsed, importer="TWN")["status"] == "estimated"
    assert parsed.rejected["column"].tolist() == ["net_weight_kg"]
    china = comtrade_api.parse(json.dumps([a_record(reporterCode=156, period="201705")]).encode(), "f.json")
    assert china.accepted["status"].tolist() == ["estimated"]


def test_a_comtrade_answer_without_records_or_off_by_a_column_is_refused():
    for told, why in (({"data": [], "error": "quota"}, "quota"), ([a_record(typeCode="A")], "one column off")):
        with pytest.raises(InputError, match=why):
            comtrade_api.parse(json.dumps(told).encode(), "f.json")
    with pytest.raises(InputError, match="cut off"):
        comtrade_api.parse(json.dumps({"data": [a_record()]}).encode()[:-9], "f.json")


def test_the_risk_of_march_2026_was_lower_when_it_first_came_out(release_log):
    release_log.ingest((GENUINE / "gpr_vintages.csv").read_bytes(), "gpr_vintages.csv", now=datetime(2026, 9, 1, tzinfo=UTC))

    def march(month):
        known = release_log.as_of("covariates", datetime(2026, month, 20, tzinfo=UTC))
        return known[(known["importer"] == "JPN") & (known["period"] == "2026-03")]["value"].round(3).tolist()

    assert (march(3), march(4), march(5)) == ([], [0.855], [0.941])
    assert "CHN" not in set(release_log.as_of("covariates", datetime(2026, 8, 1, tzinfo=UTC))["importer"])


def test_trade_policy_uncertainty_is_a_series_of_its_importer():
    parsed = covariates.parse_epu((GENUINE / "japan_epu.csv").read_bytes(), "japan_epu.csv")
    assert sorted(set(parsed.accepted["series"])) == ["epu", "tpu"]
    assert set(parsed.accepted["importer"]) == {"JPN"}
    assert len(parsed.accepted) == 24


def test_announced_controls_stand_and_undeclared_ones_are_kept_aside():
    parsed = covariates.parse_control_events((GENUINE / "control_events.csv").read_bytes(), "control_events.csv")
    level = parsed.accepted.pivot_table(index="period", columns="importer", values="value").ffill()
    assert level.loc["2023-08", ""] == level.loc["2023-08", "JPN"] == level.loc["2021-10", "JPN"] + 1
    assert level.loc["2026-02", "JPN"] == level.loc["2026-02", ""] + 2, "MOFCOM's notices against Japan of January and February 2026"
    known = of(parsed, importer="JPN", period="2026-02")
    assert str(known["released_at"])[:10] == "2026-02-24"
    reasons = parsed.rejected.drop_duplicates("line").set_index("line")["reason"]
    assert reasons.str.contains("declared").sum() + reasons.str.contains("not CHN").sum() == len(reasons) == 8


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("gacc_2025_imports.csv", "gacc"), ("gacc_2025_exports.csv", "gacc"), ("control_events.csv", "control_events"),
        ("gpr_vintages.csv", "gpr"), ("japan_epu.csv", "epu"),
    ],
)  # fmt: skip
def test_each_publishers_file_is_recognised_by_its_source_only(name, source):
    raw = (GENUINE / name).read_bytes()
    assert [s.name for s in SOURCES.values() if s.recognises(raw, name)] == [source]
    assert source_for(raw, name).name == source
