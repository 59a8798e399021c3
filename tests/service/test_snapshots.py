"""The store: nothing half-written is seen, nothing altered is believed, the past stays."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from filelock import FileLock

from service.holder import Holder
from service.snapshots import Damaged, NoSnapshot, SnapshotStore, StoreBusy

WHEN = datetime(2026, 11, 1, 2, tzinfo=UTC)
META = {"as_of": "2026-10-31T00:00:00+00:00", "data_through": {"CHN": "2026-09"}, "gate": "PASS"}


def answer(unit="CHN.JPN.magnets"):
    return {"unit": unit, "importer": "JPN", "family": "magnets", "current": None, "history": []}


def publish(store, *, text="one", now=WHEN):
    return store.publish(META, [answer()], lambda folder: (folder / "report.html").write_text(text), now)


@pytest.fixture
def store(tmp_path):
    return SnapshotStore(tmp_path / "var")


def test_a_published_snapshot_is_current_verified_and_complete(store):
    name = publish(store)
    assert store.current_id() == name
    assert store.verify(name) == 2
    loaded = store.load()
    assert (loaded.id, loaded.answers, loaded.published_at) == (name, [answer()], WHEN)


def test_an_empty_store_says_what_to_run(store):
    with pytest.raises(NoSnapshot, match="quietquota refresh"):
        store.load()


@pytest.mark.parametrize("file", ["answers.json", "report.html"])
@pytest.mark.parametrize("harm", ["flip", "truncate", "remove", "add"])
def test_any_altered_file_is_refused_and_named(store, file, harm):
    name = publish(store)
    path = store.snapshots / name / file
    content = bytearray(path.read_bytes())
    if harm == "remove":
        path.unlink()
    elif harm == "add":
        path = path.with_name("extra.bin")
        path.write_bytes(b"x")
    else:
        content[0] ^= 1
        path.write_bytes(content[:-1] if harm == "truncate" else content)
    with pytest.raises(Damaged, match=path.name):
        store.load()


def test_every_single_bit_of_the_answers_is_guarded(store):
    name = publish(store)
    path = store.snapshots / name / "answers.json"
    good = path.read_bytes()
    for bit in range(0, len(good) * 8, 7):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(bad)
        with pytest.raises(Damaged):
            store.verify(name)


def test_a_failure_while_writing_leaves_the_last_good_snapshot_and_is_swept(store):
    first = publish(store)

    def fails(folder):
        (folder / "half").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        store.publish(META, [answer()], fails, WHEN + timedelta(days=1))
    assert store.current_id() == first
    assert [m["id"] for m in store.list()] == [first]
    publish(store, text="two", now=WHEN + timedelta(days=2))
    assert not list(store.snapshots.glob(".partial-*"))


def test_two_publishers_at_once_one_is_turned_away(store):
    store.snapshots.mkdir(parents=True)
    with FileLock(store.root / ".publish.lock"), pytest.raises(StoreBusy):
        publish(store)


def test_what_was_current_at_an_instant_can_be_had_again(store):
    first, second = publish(store), publish(store, text="two", now=WHEN + timedelta(days=1))
    assert store.current_at(WHEN) == store.current_at(WHEN + timedelta(hours=23)) == first
    assert store.current_at(WHEN + timedelta(days=1)) == second
    with pytest.raises(NoSnapshot, match="nothing had been published"):
        store.current_at(WHEN - timedelta(seconds=1))


@pytest.mark.parametrize("name", ["../var", ".partial-1", "", "20260101T000000Z-00000000"])
def test_a_name_that_is_no_snapshot_is_not_looked_up(store, name):
    publish(store)
    with pytest.raises(NoSnapshot):
        store.manifest(name)


def test_the_server_keeps_the_last_good_snapshot_when_a_new_one_is_damaged(store):
    first = publish(store)
    holder = Holder(store)
    assert holder.current().snapshot.id == first
    second = publish(store, text="two", now=WHEN + timedelta(days=1))
    (store.snapshots / second / "report.html").write_text("altered")
    assert holder.current().snapshot.id == first
    third = publish(store, text="three", now=WHEN + timedelta(days=2))
    assert holder.current().snapshot.id == third


def test_switches_are_recorded(store):
    first, second = publish(store), publish(store, text="two", now=WHEN + timedelta(days=1))
    switches = [json.loads(line) for line in (store.root / "switches.jsonl").read_text().splitlines()]
    assert [(s["from"], s["to"]) for s in switches] == [(None, first), (first, second)]
