"""Two clocks, append only: what was known on a day stays what was known on that day."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import csv

from data.log import LogBusy, LogError, PastHorizon, ReleaseLog

FIRST = "CHN,CHN,JPN,850511,2024-02,1000,,2024-03-20"
REVISED = "CHN,CHN,JPN,850511,2024-02,1200,,2024-06-18"


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def figures(log: ReleaseLog, when: str) -> list[float]:
    return log.as_of("observations", day(when))["net_weight_kg"].tolist()


def test_an_as_of_read_sees_the_last_release_by_then_and_nothing_later(release_log):
    release_log.ingest(csv(REVISED, FIRST), "f.csv")
    assert figures(release_log, "2024-03-19") == []
    assert figures(release_log, "2024-03-20") == [1000]
    assert figures(release_log, "2024-06-17T23:59:59") == [1000]
    assert figures(release_log, "2024-06-18") == [1200]
    assert release_log.as_of("observations", day("2024-07-01"))["releases"].tolist() == [2]


def test_the_same_file_again_changes_nothing(release_log):
    first = release_log.ingest(csv(FIRST, REVISED), "f.csv")
    files = sorted(p.name for p in (release_log.store.root / "observations").iterdir())
    again = release_log.ingest(csv(REVISED, FIRST, FIRST), "other-name.csv")
    assert (first.new, again.new, again.known, again.rejected) == (2, 0, 3, 0)
    assert sorted(p.name for p in (release_log.store.root / "observations").iterdir()) == files


def test_another_figure_for_the_same_release_is_a_contradiction_kept_aside(release_log):
    release_log.ingest(csv(FIRST), "a.csv")
    receipt = release_log.ingest(csv(FIRST.replace("1000", "999")), "b.csv")
    assert (receipt.new, receipt.rejected) == (0, 1)
    aside = pd.read_csv(release_log.store.root / receipt.rejected_file)
    assert "a revision needs a released_at of its own" in aside["reason"].item()
    assert figures(release_log, "2024-04-01") == [1000]


def test_two_figures_for_one_release_in_one_file_are_both_kept_aside(release_log):
    receipt = release_log.ingest(csv(FIRST, FIRST.replace("1000", "999"), REVISED), "a.csv")
    assert (receipt.new, receipt.rejected) == (1, 2)


def test_a_read_past_the_horizon_is_refused(release_log):
    release_log.ingest(csv(FIRST), "f.csv", now=day("2024-04-01"))
    with pytest.raises(PastHorizon, match="2024-04-01"):
        release_log.as_of("observations", day("2024-04-02"))


def test_an_empty_log_says_what_to_do(release_log):
    with pytest.raises(LogError, match="ingest a file first"):
        release_log.as_of("observations", day("2024-04-02"))


def test_a_second_writer_is_turned_away(release_log, monkeypatch):
    release_log.store.root.mkdir(parents=True)
    monkeypatch.setattr("data.log.LOCK_SECONDS", 0)
    with FileLock(release_log.store.root / ".lock"), pytest.raises(LogBusy, match="another ingest"):
        release_log.ingest(csv(FIRST), "f.csv")


def test_a_withdrawn_release_takes_the_figure_back_from_its_day_on(release_log):
    header = "reporter,exporter,importer,hs_code,period,net_weight_kg,value_usd,released_at,status"
    release_log.ingest(csv(FIRST + ",", "CHN,CHN,JPN,850511,2024-02,,,2024-05-01,withdrawn", header=header), "f.csv")
    assert release_log.as_of("observations", day("2024-04-01"))["status"].tolist() == ["reported"]
    assert release_log.as_of("observations", day("2024-05-01"))["status"].tolist() == ["withdrawn"]


release = st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 5))


def as_rows(releases) -> list[str]:
    start = day("2024-03-01")
    return [f"CHN,CHN,JPN,8505{code}0,2024-01,{kg * 10},,{(start + timedelta(days=d)).isoformat()}" for code, d, kg in releases]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(release, min_size=1, max_size=8), st.lists(release, min_size=1, max_size=8), st.integers(0, 31))
def test_later_ingests_of_later_releases_never_change_an_earlier_as_of(tmp_path_factory, early, late, cut):
    log = ReleaseLog(tmp_path_factory.mktemp("log"))
    when = day("2024-03-01") + timedelta(days=cut)
    log.ingest(csv(*as_rows(early)), "early.csv")
    before = log.as_of("observations", when)
    log.ingest(csv(*as_rows([(c, d + cut + 1, k) for c, d, k in late])), "late.csv")
    after = log.as_of("observations", when)
    pd.testing.assert_frame_equal(before, after)
    assert (after["released_at"] <= when).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(release, min_size=1, max_size=10, unique_by=lambda r: r[:2]), st.randoms())
def test_the_order_and_split_of_files_does_not_matter(tmp_path_factory, releases, random):
    whole, parts = ReleaseLog(tmp_path_factory.mktemp("whole")), ReleaseLog(tmp_path_factory.mktemp("parts"))
    whole.ingest(csv(*as_rows(releases)), "whole.csv")
    shuffled = list(releases)
    random.shuffle(shuffled)
    for n, one in enumerate(shuffled):
        parts.ingest(csv(*as_rows([one])), f"{n}.csv")
    when = day("2024-05-01")
    pd.testing.assert_frame_equal(whole.as_of("observations", when), parts.as_of("observations", when))
