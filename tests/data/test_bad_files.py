"""Bad files, as they come: refused whole with what is wrong, or row by row; and what is good in them gets in."""

import gzip
import io
import zipfile
from datetime import UTC, datetime

import pandas as pd
import pytest
from support import OBSERVATION_HEADER, csv

from data.calendar import inferred_release
from data.log import ReleaseLog
from data.observations import InputError
from data.sources import packed

NOW = datetime(2030, 1, 1, tzinfo=UTC)
MONTHS = [f"2023-{n:02}" for n in range(1, 13)]


def line(period="2023-05", kg="1000", usd="", hs="850511", importer="JPN", at="2023-08-20"):
    return f"CHN,CHN,{importer},{hs},{period},{kg},{usd},{at}"


GOOD = [line(period, at=at) for period, at in zip(MONTHS, [*(f"{m}-28" for m in MONTHS[1:]), "2024-01-28"], strict=True)]
FILE = csv(*GOOD)


def zipped(*contents: bytes, folder: str = "") -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for n, content in enumerate(contents):
            archive.writestr(f"{folder}{n}.csv", content)
    return sink.getvalue()


def bomb(size: int = 1 << 26) -> bytes:
    return gzip.compress(b"0" * size)


PACKED = gzip.compress(FILE)
REFUSED = {
    "gzip cut off": (PACKED[:-20], "its gzip is cut off after"),
    "gzip cut in its head": (PACKED[:7], "its gzip is cut off after 0 bytes"),
    "gzip with a flipped byte": (PACKED[:40] + bytes([PACKED[40] ^ 255]) + PACKED[41:], "its gzip is (damaged|cut off)"),
    "gzip of nothing": (gzip.compress(b""), "is empty"),
    "zip of two files": (zipped(FILE, FILE), "a zip of 2 files; unpack it"),
    "zip cut off": (zipped(FILE)[:-30], "its zip is damaged"),
    "zip with a flipped byte": ((z := zipped(FILE))[:60] + bytes([z[60] ^ 255]) + z[61:], "its zip is damaged"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + b"\0" * 40, "a 7z archive; unpack it first"),
    "UTF-16": (FILE.decode().encode("utf-16"), "no source recognises its header"),
    "Latin-1 in a text column": (FILE.replace(b"850511", b"85\xe9511"), "not UTF-8 at byte"),
    "web page saved as CSV": (b"<!DOCTYPE html>\n<html><body>Login</body></html>\n", "a web page"),
    "web page with a mark before it": (b"\xef\xbb\xbf\r\n  <HTML>x</HTML>", "a web page"),
    "header alone": (csv(), "has a header but no rows"),
    "header in another language": (FILE.replace(b"reporter", b"Melder"), "no source recognises its header"),
    "semicolons": (FILE.replace(b",", b";"), "no source recognises its header"),
    "tabs": (FILE.replace(b",", b"\t"), "no source recognises its header"),
    "a row with more fields than the header": (csv(*GOOD, GOOD[0] + ",x,y"), "not a CSV table .*line 14"),
    "an open quote": (csv(GOOD[0], '"CHN,CHN'), "not a CSV table"),
    "nothing": (b"", "is empty"),
    "zeros, as after a power cut": (b"\0" * 400, "no source recognises"),
    "a Parquet file cut off": (b"PAR1" + b"\0" * 50, "no source recognises its header"),
    "an Excel workbook": (zipped(FILE, folder="xl/"), "an Excel workbook; save the sheet as CSV"),
}
ROWS = {
    "two-digit year": (line(period="23-05"), "period", "23-05", "neither a month YYYY-MM"),
    "American month": (line(period="05/2023"), "period", "05/2023", "neither a month YYYY-MM"),
    "month as a spreadsheet writes it": (line(period="May-23"), "period", "May-23", "neither a month YYYY-MM"),
    "code as a spreadsheet writes it": (line(hs="8.50511E+05"), "hs_code", "8.50511E+05", "neither 2-10 digits"),
    "code with a dot": (line(hs="8505.11"), "hs_code", "8505.11", "neither 2-10 digits"),
    "weight as text": (line(kg="n/a"), "net_weight_kg", "n/a", "is not a finite number"),
    "decimal comma": (line(kg='"1000,5"'), "net_weight_kg", "1000,5", "is not a finite number"),
    "thousands": (line(kg='"1,000"'), "net_weight_kg", "1,000", "is not a finite number"),
    "Swiss thousands": (line(kg="1'000"), "net_weight_kg", "1'000", "is not a finite number"),
    "full-width digits": (line(kg="\uff11\uff10"), "net_weight_kg", "\uff11\uff10", "is not a finite number"),
    "NaN": (line(kg="NaN"), "net_weight_kg", "NaN", "is not a finite number"),
    "inf": (line(kg="inf"), "net_weight_kg", "inf", "is not a finite number"),
    "minus": (line(kg="-7"), "net_weight_kg", "-7", "is not a finite number"),
    "1e300": (line(kg="1e300"), "net_weight_kg", "1e300", "more than the world trades"),
    "1e400": (line(kg="1e400"), "net_weight_kg", "1e400", "is not a finite number"),
    "hexadecimal": (line(kg="0x10"), "net_weight_kg", "0x10", "is not a finite number"),
    "a formula": (line(kg="=SUM(A1:A9)"), "net_weight_kg", "=SUM(A1:A9)", "is not a finite number"),
    "dollars beyond the world's": (line(usd="1e200"), "value_usd", "1e200", "more than the world trades"),
    "country by two letters": (line(importer="JP"), "importer", "JP", "ISO 3166"),
    "country in words": (line(importer="Japan"), "importer", "Japan", "ISO 3166"),
    "country in small letters": (line(importer="jpn"), "importer", "jpn", "ISO 3166"),
    "day first": (line(at="20/08/2023"), "released_at", "20/08/2023", "ISO 8601"),
    "30 February": (line(at="2023-02-30"), "released_at", "2023-02-30", "ISO 8601"),
    "cut off": ("CHN,CHN,JPN,8505", "released_at", "", "ISO 8601"),
    "blank": (",,,,,,,", "reporter", "", "ISO 3166"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_table_is_refused_whole_with_file_and_reason_and_the_log_stays_as_it_was(release_log, name):
    raw, says = REFUSED[name]
    release_log.ingest(FILE, "before.csv", now=NOW)
    before = release_log.store.names("")
    with pytest.raises(InputError, match=f"^bad.csv: .*(?:{says})"):
        release_log.ingest(raw, "bad.csv", now=NOW)
    assert release_log.store.names("") == before


@pytest.mark.parametrize("name", ROWS)
def test_a_bad_row_is_kept_aside_with_line_column_value_and_reason_and_the_others_get_in(release_log, name):
    bad, column, value, reason = ROWS[name]
    receipt = release_log.ingest(csv(*GOOD[:3], bad, *GOOD[3:]), "f.csv", now=NOW)
    assert (receipt.new, receipt.rejected) == (len(GOOD), 1)
    aside = pd.read_csv(io.BytesIO(release_log.store.read(receipt.rejected_file)), dtype=str, keep_default_na=False)
    told = aside[aside["column"] == column].iloc[0]
    assert (told["line"], told["value_found"]) == ("5", value)
    assert reason in told["reason"]


@pytest.mark.parametrize("raw", [PACKED, PACKED[: len(PACKED)] + gzip.compress(b""), zipped(FILE)], ids=["gzip", "gzip in parts", "zip"])
def test_a_packed_file_is_read_and_kept_as_it_came(release_log, raw):
    receipt = release_log.ingest(raw, "f.csv.gz", now=NOW)
    assert receipt.new == len(GOOD)
    assert release_log.raw(receipt.sha256) == raw


def test_what_unpacks_without_end_is_refused(monkeypatch, release_log):
    monkeypatch.setattr(packed, "LARGEST", 1 << 20)
    for raw in (bomb(), zipped(b"0" * (1 << 26))):
        with pytest.raises(InputError, match="unpacks to more than 1,048,576 bytes"):
            release_log.ingest(raw, "bomb.gz", now=NOW)


def test_columns_that_are_not_of_the_format_are_said_and_not_read(release_log):
    receipt = release_log.ingest(csv(*(f"{g},x" for g in GOOD), header=OBSERVATION_HEADER + ",colour"), "f.csv", now=NOW)
    assert receipt.new == len(GOOD)
    assert receipt.notes == ["no part of the format, and not read: column colour"]


def test_a_code_that_lost_its_zero_is_held_back_and_can_be_taken_after_all(release_log):
    receipt = release_log.ingest(csv(*GOOD, line(hs="1012100")), "f.csv", now=NOW)
    assert (receipt.new, receipt.quarantined) == (len(GOOD), 1)
    [finding] = receipt.findings
    assert "01012100, opened and saved by a spreadsheet?" in finding["says"]
    assert release_log.accept(finding["id"], now=NOW).new == 1


def test_the_same_file_packed_or_not_is_no_news(release_log):
    release_log.ingest(FILE, "f.csv", now=NOW)
    assert release_log.ingest(PACKED, "f.csv.gz", now=NOW).known == len(GOOD)


def test_a_release_of_the_future_counts_from_its_day_on(release_log):
    later = line(period="2029-12", at="2030-02-20")
    assert release_log.ingest(csv(*GOOD, later), "f.csv", now=NOW).in_the_future == 1
    assert len(release_log.as_of("observations", NOW)) == len(GOOD)
    assert len(release_log.as_of("observations", datetime(2030, 2, 20, tzinfo=UTC))) == len(GOOD) + 1


@pytest.mark.parametrize(
    ("period", "day"),
    [
        ("2025-02", "2025-03-20"),  # the notice of 2025
        ("2025-01", "2025-03-20"),
        ("2019-12", "2020-01-31"),  # that of 2020
        ("2020-01", "2020-03-25"),  # planned for 25 February, and not done
        ("2022-05", "2022-06-20"),  # no notice at hand: the rule
        ("2018-07", "2018-08-25"),
    ],
)
def test_chinas_figures_are_dated_by_its_notices_and_where_there_is_none_by_their_rule(period, day):
    assert f"{inferred_release('CHN', pd.Period(period, freq='M')):%Y-%m-%d}" == day


def test_a_log_of_bad_files_only_is_empty(release_log: ReleaseLog):
    for raw, _ in REFUSED.values():
        with pytest.raises(InputError):
            release_log.ingest(raw, "bad.csv")
    assert release_log.receipts() == []
