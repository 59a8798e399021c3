"""Screens hold back what no one should believe unseen, and nothing else."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from support import csv

from data.config import SAMPLE
from data.log import LogError
from data.sources import SOURCES
from service.cli import SOURCE_NAMES

MONTHS = pd.period_range("2023-01", periods=24, freq="M")
PARTNERS = {"JPN": 2e5, "USA": 8e5, "KOR": 3e6, "DEU": 4e4, "IND": 1e4, "VNM": 6e3}
NOW = datetime(2025, 3, 1, tzinfo=UTC)


def figures(rng=None, **changed):
    """Both years' figures of six partners; `changed` maps ``JPN_3`` (importer, month number) to what it makes of (kg, usd), or a factor of
    both."""
    rng = rng or np.random.default_rng(1)
    rows = []
    for importer, usual in PARTNERS.items():
        for t, month in enumerate(MONTHS):
            kg = usual * np.exp(rng.normal(0, 0.3))
            usd = kg * 30 * np.exp(rng.normal(0, 0.1))
            told = changed.get(f"{importer}_{t}", 1.0)
            kg, usd = told(kg, usd) if callable(told) else (kg * told, usd * told)
            rows.append(f"CHN,CHN,{importer},850511,{month},{kg:.0f},{usd:.0f},{month + 1}-20")
    return rows


def ingested(log, **changed):
    return log.ingest(csv(*figures(**changed)), "f.csv", now=NOW)


def test_figures_that_are_only_noisy_or_blocked_are_all_taken(release_log):
    blocked = {f"JPN_{t}": 0.001 for t in range(18, 24)} | {"USA_20": 0.0}
    receipt = ingested(release_log, **blocked)
    assert (receipt.new, receipt.quarantined) == (len(PARTNERS) * len(MONTHS), 0), receipt.findings


def test_the_bundled_figures_pass_every_screen(release_log):
    for path in sorted(SAMPLE.glob("*.csv")):
        assert release_log.ingest(path.read_bytes(), path.name).quarantined == 0


def test_where_one_unit_value_is_the_rule_values_were_worked_out_from_weights(release_log):
    at_one_price = {f"{i}_{t}": lambda kg, usd: (kg, kg * 31) for i in PARTNERS for t in range(len(MONTHS))}
    assert ingested(release_log, **at_one_price).quarantined == 0


@pytest.mark.parametrize(
    ("changed", "screen", "rows", "says"),
    [
        ({"JPN_9": lambda kg, usd: (kg * 1000, usd)}, "unit_slip", 1, "850511 CHN to JPN by CHN, 2023-10"),
        ({"JPN_9": 1000.0}, "unit_slip", 1, "850511 CHN to JPN by CHN, 2023-10"),
        ({"JPN_9": lambda kg, usd: (kg / 1000, usd)}, "unit_slip", 1, "a thousand part of"),
        ({f"{i}_7": 0.0 for i in PARTNERS}, "empty_month", 6, "CHN, 2023-08: all of 6 series"),
        ({f"{i}_7": lambda kg, usd: (usd / 31, usd) for i in PARTNERS}, "imputed_weights", 6, "6 partners at one unit value"),
        ({"KOR_5": lambda kg, usd: (4e4, 1.2e6), "DEU_5": lambda kg, usd: (3e6, 9e7)}, "partner_swap", 2, "exchanged"),
    ],
)
def test_each_screen_holds_back_its_rows_and_says_why(release_log, changed, screen, rows, says):
    receipt = ingested(release_log, **changed)
    assert [f["screen"] for f in receipt.findings] == [screen]
    assert receipt.quarantined == receipt.findings[0]["rows"] == rows
    assert says in receipt.findings[0]["says"]
    assert receipt.new == len(PARTNERS) * len(MONTHS) - rows
    held = release_log.store.root / "quarantine" / f"{receipt.findings[0]['id']}.csv"
    assert len(held.read_text().splitlines()) == rows + 1


def test_weights_worked_out_from_values_are_all_held_back_however_large_one_partner_is(release_log):
    """Of a large one the unit value must be known better than a small one's whole kilograms tell it."""
    imputed = {f"{i}_{t}": lambda kg, usd: (usd / 31, usd) for i in PARTNERS for t in range(6, 12)}
    assert ingested(release_log, **imputed).quarantined == 6 * len(PARTNERS)


def both_offices(**changed):
    """The importers' offices have what China's has, a twentieth more."""
    return [row for one in figures(**changed) for row in (one, of_importer(one))]


def of_importer(row):
    _, exporter, importer, hs_code, period, kg, *rest = row.split(",")
    return ",".join([importer, exporter, importer, hs_code, period, f"{float(kg) * 1.05:.0f}", *rest])


def test_what_both_offices_have_is_no_slip_of_one_of_them_unless_all_they_have_is(release_log):
    surge = release_log.ingest(csv(*both_offices(JPN_9=1000.0)), "f.csv", now=NOW)
    assert (surge.new, surge.quarantined) == (2 * len(PARTNERS) * len(MONTHS), 0), surge.findings
    slipped = both_offices(**{f"{i}_23": 1000.0 for i in PARTNERS})
    later = [row.rpartition(",")[0] + ",2025-02-25" for row in slipped if f",{MONTHS[23]}," in row]
    assert release_log.ingest(csv(*later), "slip.csv", now=NOW).quarantined == 2 * len(PARTNERS)


@pytest.mark.parametrize("times", [1000.0, 0.001])
@pytest.mark.parametrize("months", [range(24), range(23, 24)], ids=["all sent again", "the last month"])
def test_a_file_whose_figures_are_all_a_thousand_times_what_they_were_changes_nothing(release_log, times, months):
    known = [row for row in figures() if months != range(23, 24) or f",{MONTHS[23]}," not in row]
    release_log.ingest(csv(*known), "f.csv", now=NOW)
    before = release_log.as_of("observations", NOW)
    slipped = [row.rpartition(",")[0] + ",2025-02-20" for row in figures(**{f"{i}_{t}": times for i in PARTNERS for t in months})]
    receipt = release_log.ingest(csv(*(r for r in slipped if any(f",{MONTHS[t]}," in r for t in months))), "slip.csv", now=NOW)
    assert (receipt.new, receipt.quarantined) == (0, len(PARTNERS) * len(months)), receipt.findings
    pd.testing.assert_frame_equal(release_log.as_of("observations", NOW), before)


@pytest.mark.parametrize("times", [1000.0, 0.001])
def test_a_month_that_was_published_is_not_revised_a_thousandfold_whatever_is_usual(release_log, times):
    """Half of the months are cut to a seventh, so that nearly anything is usual; and of another partner little is known."""
    cut = {f"JPN_{t}": 0.15 for t in range(12, 24)}
    known = [row for row in figures(**cut) if ",JPN," in row or (",USA," in row and row.split(",")[4] >= "2024-06")]
    release_log.ingest(csv(*known), "f.csv", now=NOW)
    before = release_log.as_of("observations", NOW)

    def revised(share):
        cells = [row.split(",") for row in known]
        return csv(*(",".join([*row[:5], f"{float(row[5]) * share:.0f}", row[6], "2025-02-20"]) for row in cells))

    receipt = release_log.ingest(revised(times), "slip.csv", now=NOW)
    assert (receipt.new, receipt.quarantined) == (0, len(known)), receipt.findings
    pd.testing.assert_frame_equal(release_log.as_of("observations", NOW), before)
    taken = release_log.ingest(revised(1.4), "revised.csv", now=NOW)
    assert (taken.new, taken.quarantined) == (len(known), 0), "what offices do revise is taken"


def test_a_slip_that_came_first_may_be_put_right(release_log):
    """A year of usual figures, and one that was accepted a thousandfold."""
    ingested(release_log, JPN_20=1000.0)
    [held] = release_log.pending()
    release_log.accept(held, now=NOW)
    assert release_log.pending() == []
    right = [",".join([*row.split(",")[:7], "2025-02-25"]) for row in figures() if f",JPN,850511,{MONTHS[20]}" in row]
    assert release_log.ingest(csv(*right), "right.csv", now=NOW).quarantined == 0


def test_a_figure_released_before_its_month_had_ended_is_held_back(release_log):
    receipt = release_log.ingest(csv("CHN,CHN,JPN,850511,2024-03,5,,2024-03-20", "CHN,CHN,JPN,850511,2024-02,5,,2024-03-20"), "f.csv")
    assert (receipt.new, receipt.quarantined, receipt.findings[0]["screen"]) == (1, 1, "impossible_date")


def test_an_accepted_finding_is_taken_to_the_gram_once_and_stays_accepted(release_log):
    slip = {"JPN_9": lambda kg, usd: (kg * 1000 + 0.123, usd)}
    finding = ingested(release_log, **slip).findings[0]["id"]
    again = ingested(release_log, **slip)
    assert (again.new, again.quarantined) == (0, 1), "held back, found again, and in nobody's way"
    taken = release_log.accept(finding, now=NOW)
    assert (taken.new, taken.source, taken.findings[0]["id"]) == (1, "accepted", finding)
    assert release_log.accept(finding, now=NOW).new == 0
    assert ingested(release_log, **slip).quarantined == 0
    known = release_log.as_of("observations", NOW).query("importer == 'JPN' and period == '2023-10'")
    assert known["net_weight_kg"].item() > 5e7
    with pytest.raises(LogError, match="no such finding"):
        release_log.accept("../unit_slip-000000000000")


def test_a_month_without_a_row_between_others_is_said_and_holds_nothing_back(release_log):
    rows = [r for r in figures() if f",{MONTHS[6]}," not in r]
    receipt = release_log.ingest(csv(*rows), "f.csv", now=NOW)
    assert receipt.notes == ["CHN: no figure of 2023-07, between months that have some"]
    assert receipt.quarantined == 0


def test_help_names_every_source():
    assert tuple(SOURCES) == SOURCE_NAMES
