"""How late and how large revisions are, counted by hand on a few cells."""

from datetime import UTC, datetime

import numpy as np
import pytest
from support import csv

from data.revisions import ENOUGH, revisions, spread


def test_lag_share_and_size_are_those_of_the_cells(release_log):
    rows = [f"CHN,CHN,JPN,850511,2024-0{m},100,,2024-0{m + 1}-20T00:00:00Z" for m in range(1, 6)]
    rows += ["CHN,CHN,JPN,850511,2024-01,110,,2024-06-20T00:00:00Z", "CHN,CHN,JPN,850511,2024-02,80,,2024-07-20T00:00:00Z"]
    rows += ["CHN,CHN,JPN,850511,2024-03,100,,2024-07-20T00:00:00Z", "JPN,CHN,JPN,850511,2024-01,90,,2024-02-28T00:00:00Z"]
    release_log.ingest(csv(*rows), "f.csv")
    known = release_log.releases("observations", datetime(2024, 8, 1, tzinfo=UTC))
    table = revisions(known).set_index("reporter")
    china = table.loc["CHN"]
    assert (china["cells"], china["stated"], china["revised"]) == (5, 1, 0.4)
    assert china["lag_days"] == pytest.approx(19, abs=0.01)
    assert china["size"] == pytest.approx(1.4826 * np.median(np.abs(np.log([1.1, 0.8]))))
    assert table.loc["JPN", "revised"] == 0
    early = release_log.releases("observations", datetime(2024, 6, 1, tzinfo=UTC))
    assert revisions(early).set_index("reporter").loc["CHN", "revised"] == 0, "what was revised later was not known then"


def test_a_log_without_a_positive_figure_has_no_revisions(release_log):
    release_log.ingest(csv("CHN,CHN,JPN,850511,2024-01,0,,2024-02-20"), "f.csv")
    assert revisions(release_log.releases("observations", datetime(2024, 8, 1, tzinfo=UTC))).empty


def test_the_spread_of_revisions_is_told_from_sources_that_revise_and_of_a_log_without_vintages_nothing(release_log):
    months = [f"20{20 + n // 12}-{n % 12 + 1:02}" for n in range(2 * ENOUGH)]
    rows = [f"CHN,CHN,JPN,850511,{m},100,,2027-01-20" for m in months]
    # Another office, whose figures never change, does not make the first look better.
    rows += [f"JPN,CHN,JPN,850511,{m},100,,2027-01-20" for m in months]
    release_log.ingest(csv(*rows), "first.csv", now=datetime(2028, 1, 1, tzinfo=UTC))
    assert spread(release_log.releases("observations", datetime(2027, 6, 1, tzinfo=UTC))) is None
    revised = [f"CHN,CHN,JPN,850511,{m},{110 if n % 2 else 90},,2027-07-20" for n, m in enumerate(months[: ENOUGH + 6])]
    release_log.ingest(csv(*revised), "second.csv", now=datetime(2028, 1, 1, tzinfo=UTC))
    measured = spread(release_log.releases("observations", datetime(2027, 8, 1, tzinfo=UTC)))
    half = (ENOUGH + 6) / 2
    assert measured == pytest.approx(np.sqrt((half * np.log(1.1) ** 2 + half * np.log(0.9) ** 2) / (2 * ENOUGH)))
