"""What the log survives: compaction cut short, flipped bits, two writers, kill -9."""

import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from support import csv

from data.log import LogBusy, LogError, ReleaseLog
from data.store import Folder

NOW = datetime(2030, 1, 1, tzinfo=UTC)
INSTANTS = [datetime(2024, month, 25, tzinfo=UTC) for month in (2, 6, 12)]


def batch(n, factor=1.0, at="20"):
    """Ten partners' figures of month n of 2024."""
    partners = ("JPN", "USA", "KOR", "DEU", "IND", "VNM", "TWN", "THA", "ITA", "FRA")
    return csv(*(f"CHN,CHN,{i},{850511 + k % 3},2024-{n:02},{1000 * factor + k},,2024-{n + 1:02}-{at}" for k, i in enumerate(partners)))


def filled(log, batches=8):
    for n in range(1, batches + 1):
        log.ingest(batch(n), f"{n}.csv", now=NOW)
    log.ingest(batch(2, factor=1.1, at="24"), "revision.csv", now=NOW)
    return log


def answers(log):
    return [log.as_of("observations", instant) for instant in INSTANTS]


def same(one, other):
    for a, b in zip(one, other, strict=True):
        pd.testing.assert_frame_equal(a, b)


def test_compaction_changes_no_answer_and_no_fingerprint(release_log):
    before = answers(filled(release_log))
    fingerprint = release_log.fingerprint()
    assert release_log.compact() == {"observations": 9, "covariates": 0}
    same(answers(release_log), before)
    assert release_log.fingerprint() == fingerprint
    assert len(list((release_log.store.root / "observations").glob("*.parquet"))) == 1
    assert release_log.verify() == 1
    assert release_log.compact()["observations"] == 1
    release_log.ingest(batch(9), "9.csv", now=NOW)
    assert release_log.compact()["observations"] == 2
    assert release_log.ingest(batch(3), "3.csv", now=NOW).known == 10


def test_a_compaction_that_stops_before_it_has_tidied_up_counts_nothing_twice(release_log, tmp_path):
    log = filled(release_log)
    before, files = answers(log), {p.name: p.read_bytes() for p in (log.store.root / "observations").glob("*.parquet")}
    log.compact()
    for name, content in list(files.items())[:4]:
        (log.store.root / "observations" / name).write_bytes(content)
    same(answers(log), before)
    merged = {p.name: p.read_bytes() for p in (log.store.root / "observations").glob("*.parquet") if p.name not in files}
    log.ingest(batch(9), "9.csv", now=NOW)
    log.compact()
    before = answers(log)
    for name, content in merged.items():
        (log.store.root / "observations" / name).write_bytes(content)
    same(answers(log), before)
    assert log.compact()["observations"] == 1
    assert len(list((log.store.root / "observations").glob("*.parquet"))) == 1


def test_only_the_codes_that_are_asked_for_are_read(release_log):
    log = filled(release_log)
    whole = log.as_of("observations", INSTANTS[2])
    part = log.as_of("observations", INSTANTS[2], ["850512"])
    pd.testing.assert_frame_equal(part, whole[whole["hs_code"] == "850512"].reset_index(drop=True))


@pytest.mark.parametrize("seed", range(8))
def test_verify_finds_every_flipped_bit_and_every_file_that_is_gone(release_log, seed):
    log = filled(release_log, batches=2)
    rng = random.Random(seed)
    path = rng.choice(sorted((log.store.root / "observations").glob("*.parquet")))
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    with pytest.raises(LogError, match="not what was written"):
        log.verify()
    path.unlink()
    with pytest.raises(LogError, match="a receipt names it"):
        log.verify()


@pytest.mark.parametrize("seed", range(5))
def test_a_flipped_bit_is_never_read_as_another_figure(release_log, seed):
    log, rng = filled(release_log), random.Random(seed)
    path = rng.choice(sorted((log.store.root / "observations").glob("*.parquet")))
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    with pytest.raises(LogError, match=f"{path.name}: its content is not what was written"):
        log.as_of("observations", INSTANTS[2])
    with pytest.raises(LogError, match="restore it"):
        log.ingest(batch(9), "9.csv", now=NOW)


class Stale(Folder):
    """A listing that does not yet know of the latest file, the first time it is asked."""

    asked = 0

    def names(self, folder):
        found = super().names(folder)
        self.asked += folder == "observations"
        return found[1:] if folder == "observations" and self.asked == 1 else found


def test_a_compaction_under_a_listing_that_lags_loses_no_release(release_log):
    log = filled(release_log)
    before = answers(log)
    lagging = ReleaseLog(log.store.root)
    lagging.store = Stale(log.store.root)
    lagging.compact()
    same(answers(log), before)
    log.compact()
    same(answers(log), before)
    assert log.verify() == 1


def test_a_log_whose_publishers_had_nothing_newer_speaks_of_the_time_until_then(release_log):
    log = filled(release_log)
    log.looked(datetime(2030, 1, 9, tzinfo=UTC))
    assert log.horizon() == datetime(2030, 1, 9, tzinfo=UTC)
    log.ingest(batch(9), "9.csv", now=datetime(2030, 1, 10, tzinfo=UTC))
    assert log.horizon() == datetime(2030, 1, 10, tzinfo=UTC)


def test_a_file_can_be_had_again_as_it_came_and_a_changed_one_is_refused(release_log):
    raw = batch(1)
    receipt = release_log.ingest(raw, "1.csv", now=NOW)
    assert release_log.raw(receipt.sha256) == release_log.raw(receipt.sha256[:16]) == raw
    with pytest.raises(LogError, match="no such file"):
        release_log.raw("0" * 64)
    kept = release_log.store.root / "raw" / f"{receipt.sha256[:16]}.zst"
    other = release_log.ingest(batch(2), "2.csv", now=NOW).sha256
    kept.write_bytes((release_log.store.root / "raw" / f"{other[:16]}.zst").read_bytes())
    with pytest.raises(LogError, match="not what came"):
        release_log.raw(receipt.sha256)


def test_of_two_writers_one_waits_and_then_says_that_the_other_writes(release_log, monkeypatch):
    filled(release_log, batches=1)
    monkeypatch.setattr("data.log.LOCK_SECONDS", 0.2)
    with release_log._locked(), pytest.raises(LogBusy, match="another ingest is writing"):
        ReleaseLog(release_log.store.root).ingest(batch(2), "2.csv", now=NOW)


WRITER = """
import sys
from datetime import datetime, UTC
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from data.log import ReleaseLog
from test_log_faults import NOW, batch
log = ReleaseLog(Path(sys.argv[1]))
print("ready", flush=True)
for n in range(1, 12):
    log.ingest(batch(n), f"{n}.csv", now=NOW)
    if n % 3 == 0:
        log.compact()
    print(n, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_writer_killed_at_any_moment_leaves_a_log_that_has_what_was_accepted_and_takes_the_rest(tmp_path, seed):
    paths = map(str, Path(__file__).parents[:3])
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "log"), *paths], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "ready\n"
    time.sleep(random.Random(seed).uniform(0, 0.9))
    writer.send_signal(signal.SIGKILL)
    said = writer.communicate()[0].split()
    accepted = int(said[-1]) if said else 0
    log = ReleaseLog(tmp_path / "log")
    log.verify()
    known = log.as_of("observations", NOW) if log.receipts() else pd.DataFrame()
    assert len(known) >= 10 * accepted, "what was said to be accepted is there"
    assert len(known) % 10 == 0, "a file is there as a whole or not at all"
    for n in range(1, 12):
        log.ingest(batch(n), f"{n}.csv", now=NOW)
    log.compact()
    whole = log.as_of("observations", NOW)
    assert (len(whole), set(whole["releases"])) == (110, {1})
    assert log.verify() == 1


@pytest.mark.slow
def test_a_log_in_a_bucket_answers_as_one_in_a_folder_does(bucket, release_log, monkeypatch):
    here, there = filled(release_log), filled(ReleaseLog(bucket))
    same(answers(there), answers(here))
    assert there.fingerprint() == here.fingerprint()
    there.compact()
    same(answers(ReleaseLog(bucket)), answers(here))
    assert there.verify() == 1
    receipt = there.ingest(batch(9), "9.csv", now=NOW)
    assert there.raw(receipt.sha256) == batch(9)
    monkeypatch.setattr("data.log.LOCK_SECONDS", 0.2)
    with there._locked(), pytest.raises(LogBusy, match=r"another ingest is writing .* process \d+ on"):
        ReleaseLog(bucket).ingest(batch(2), "2.csv", now=NOW)
