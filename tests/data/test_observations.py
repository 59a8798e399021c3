"""Every row of a file is taken or kept aside with its line, column, value and reason."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import OBSERVATION_HEADER, csv

from data.observations import InputError, parse_observations
from data.sources.canonical import parse_covariates_file, parse_observations_file, read_text_table

GOOD = "CHN,CHN,JPN,850511,2024-01,1000,5000,2024-02-20T00:00:00Z"
FIELDS = OBSERVATION_HEADER.split(",")


def with_field(name: str, value: str) -> str:
    return ",".join(value if f == name else v for f, v in zip(FIELDS, GOOD.split(","), strict=True))


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("reporter", "XXX", "ISO 3166"),
        ("reporter", "USA", "neither the exporter nor the importer"),
        ("importer", "CHN", "exporter itself"),
        ("hs_code", "85O511", "2-10 digits"),
        ("hs_code", "8", "2-10 digits"),
        ("period", "2024-13", "neither a month"),
        ("period", "2024", "neither a month"),
        ("period", "2024-01/2024-03", "two adjacent months"),
        ("net_weight_kg", "", "a zero is written 0"),
        ("net_weight_kg", "-1", "finite number >= 0"),
        ("net_weight_kg", "1e400", "finite number >= 0"),
        ("net_weight_kg", "nan", "finite number >= 0"),
        ("net_weight_kg", "1 000", "finite number >= 0"),
        ("net_weight_kg", "\u0661\u0662", "finite number >= 0"),
        ("value_usd", "abc", "finite number >= 0"),
        ("released_at", "yesterday", "ISO 8601"),
        ("released_at", "", "ISO 8601"),
    ],
)
def test_a_wrong_field_is_named_with_its_line_value_and_reason(column, value, reason):
    parsed = parse_observations_file(csv(GOOD, with_field(column, value)), "f.csv")
    assert len(parsed.accepted) == 1
    named = parsed.rejected[parsed.rejected["column"] == column]
    assert named["line"].tolist() == [3]
    assert named["value_found"].tolist() == [value]
    assert reason in named["reason"].iloc[0]


def test_a_row_with_two_faults_is_kept_aside_once_for_each():
    row = "CHN,CHN,JPN,x,2024-01,-5,,2024-02-20"
    parsed = parse_observations_file(csv(GOOD, row), "f.csv")
    assert sorted(parsed.rejected["column"]) == ["hs_code", "net_weight_kg"]
    assert parsed.rejected["line"].unique().tolist() == [3]


def test_a_suppressed_cell_needs_no_weight_and_is_not_a_zero():
    header = OBSERVATION_HEADER + ",status"
    parsed = parse_observations_file(csv(with_field("net_weight_kg", "") + ",suppressed", GOOD + ",", header=header), "f.csv")
    assert parsed.rejected.empty
    assert parsed.accepted["status"].tolist() == ["suppressed", "reported"]
    assert pd.isna(parsed.accepted["net_weight_kg"].iloc[0])


def test_leading_zeros_of_a_code_survive():
    assert parse_observations_file(csv(with_field("hs_code", "051199")), "f.csv").accepted["hs_code"].item() == "051199"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"\xff\xfe\x00bad", "not UTF-8"),
        (b"", "not a CSV"),
        (b"<html>\n<body>blocked</body></html>\n", "is missing"),
        (OBSERVATION_HEADER.encode() + b"\n", "no rows"),
        (b"PAR1garbage", "not a readable Parquet"),
    ],
)
def test_what_is_no_table_of_releases_is_refused_whole_with_the_file_named(raw, says):
    with pytest.raises(InputError, match=f"f.csv: .*{says}"):
        parse_observations_file(raw, "f.csv")


def test_parquet_and_csv_of_one_table_read_alike(tmp_path):
    rows = read_text_table(csv(GOOD, with_field("period", "2024-02")), "f.csv")
    typed = rows.assign(net_weight_kg=rows["net_weight_kg"].astype(float), released_at=pd.to_datetime(rows["released_at"]))
    typed.to_parquet(tmp_path / "f.parquet")
    from_parquet = parse_observations_file((tmp_path / "f.parquet").read_bytes(), "f.parquet")
    from_csv = parse_observations_file(csv(GOOD, with_field("period", "2024-02")), "f.csv")
    pd.testing.assert_frame_equal(from_parquet.accepted, from_csv.accepted)


def test_covariates_may_leave_out_the_family_column():
    parsed = parse_covariates_file(
        csv("tension,CHN,JPN,2024-01,0.5,2024-02-02", header="series,exporter,importer,period,value,released_at"), "c"
    )
    assert parsed.accepted["family"].tolist() == [""]


@given(st.lists(st.lists(st.text(max_size=8), min_size=8, max_size=8), min_size=1, max_size=6))
def test_no_row_is_ever_lost_whatever_it_holds(cells):
    text = pd.DataFrame(cells, columns=FIELDS, dtype=str)
    parsed = parse_observations(text)
    assert len(parsed.accepted) + parsed.rejected["line"].nunique() == len(text)
