"""The power fails at any moment of a publication or an ingest, and what was not synced is lost, or half of it, in any order."""

from itertools import count

import pytest
from answers import META, UNITS, filled
from power import Disk, cuts
from support import simulated_csv

from data.log import ReleaseLog
from service.snapshots import NoSnapshot, SnapshotStore, StoreError

EACH = 8
"""Cuts at every moment that something was written at."""


def published(root, title):
    return SnapshotStore(root).publish(META, [row | {"title": title} for row in UNITS], filled)


def served(root):
    try:
        return SnapshotStore(root).load().id
    except NoSnapshot:
        return None


@pytest.mark.parametrize("before", [0, 1])
def test_after_a_power_cut_the_snapshot_before_or_the_one_after_is_served_whole_and_the_next_is_published(tmp_path, monkeypatch, before):
    root, scratch = tmp_path / "var", (tmp_path / str(n) for n in count())
    root.mkdir()
    old = published(root, "before") if before else None
    disk = Disk(root)
    with disk.recorded(monkeypatch):
        new = published(root, "after")
    chosen, found = cuts(disk, EACH, seed=1), []
    for moment, rng in chosen:
        place = next(scratch)
        disk.after_a_cut(moment, rng, place)
        found.append(served(place))
        store = SnapshotStore(place)
        for name in store.ids():
            store.verify(name)
        assert {to for _, to in store.switches()} <= set(store.ids())
        assert store.load(published(place, "next")).answers[0]["title"] == "next"
    assert found[0] == new, "what was said to be published is lost"
    assert set(found) == {old, new}
    assert len(chosen) > 250


def test_after_a_power_cut_the_log_has_all_of_an_ingest_or_nothing_and_the_same_file_makes_it_whole(tmp_path, monkeypatch):
    root, scratch = tmp_path / "log", (tmp_path / str(n) for n in count())
    root.mkdir()
    first, second = (simulated_csv(months=n, importers=("JPN",)) for n in (6, 7))
    ReleaseLog(root).ingest(first, "first.csv")
    old = ReleaseLog(root).fingerprint()
    disk = Disk(root)
    with disk.recorded(monkeypatch):
        ReleaseLog(root).ingest(second, "second.csv")
        new = ReleaseLog(root).fingerprint()
    found = []
    for moment, rng in cuts(disk, EACH, seed=2):
        place = next(scratch)
        disk.after_a_cut(moment, rng, place)
        log = ReleaseLog(place)
        found.append(log.fingerprint())
        log.verify()
        log.ingest(second, "second.csv")
        assert log.fingerprint() == new
    assert found[0] == new, "what was said to be in the log is lost"
    assert set(found) == {old, new}


def test_on_a_disk_that_does_not_sync_the_same_publication_is_torn(tmp_path, monkeypatch):
    root = tmp_path / "var"
    root.mkdir()
    published(root, "before")
    disk = Disk(root)
    with disk.recorded(monkeypatch, believed=False):
        published(root, "after")
    torn = 0
    for n, (moment, rng) in enumerate(cuts(disk, EACH, seed=3)):
        place = tmp_path / str(n)
        disk.after_a_cut(moment, rng, place)
        try:
            SnapshotStore(place).load()
        except StoreError:
            torn += 1
    assert torn
