"""The store: nothing half-written is seen, nothing altered is believed, the past stays."""

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from filelock import FileLock
from rich.console import Console

from data.store import Locked
from service import holder as holders
from service import tables
from service.holder import Holder
from service.snapshots import Damaged, NoSnapshot, SnapshotStore, StoreBusy

WHEN = datetime(2026, 11, 1, 2, tzinfo=UTC)
META = {"as_of": "2026-10-31T00:00:00+00:00", "data_through": {"CHN": "2026-09"}, "gate": "PASS"}


def snapshots_of(store):
    return store.store.root / "snapshots"


def answer(unit="CHN.JPN.magnets"):
    return {"unit": unit, "exporter": "CHN", "importer": "JPN", "family": "magnets", "current": None, "history": []}


def publish(store, *, text="one", now=WHEN):
    return store.publish(META, [answer()], lambda folder: (folder / "report.html").write_text(text), now)


@pytest.fixture
def store(tmp_path):
    return SnapshotStore(tmp_path / "var")


def test_a_published_snapshot_is_current_verified_and_complete(store):
    name = publish(store)
    assert store.current_id() == name
    assert store.verify(name) == 4
    loaded = store.load()
    assert (loaded.id, loaded.answers, loaded.published_at) == (name, [answer()], WHEN)


def test_an_empty_store_says_what_to_run(store):
    with pytest.raises(NoSnapshot, match="quietquota refresh"):
        store.load()


@pytest.mark.parametrize("file", ["answers.json", "history.json", "index.json", "report.html"])
@pytest.mark.parametrize("harm", ["flip", "truncate", "remove", "add"])
def test_any_altered_file_is_refused_and_named(store, file, harm):
    name = publish(store)
    path = snapshots_of(store) / name / file
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
    path = snapshots_of(store) / name / "answers.json"
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
    assert store.ids() == [first]
    publish(store, text="two", now=WHEN + timedelta(days=2))
    assert not list(snapshots_of(store).glob(".partial-*"))


def test_two_publishers_at_once_one_is_turned_away(store):
    snapshots_of(store).mkdir(parents=True)
    with FileLock(store.store.root / ".publish.lock"), pytest.raises(StoreBusy, match="another process is publishing"):
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
    holder = Holder(store, timedelta(days=9999))
    assert holder.current().snapshot.id == first
    second = publish(store, text="two", now=WHEN + timedelta(days=1))
    (snapshots_of(store) / second / "report.html").write_text("altered")
    assert holder.current().snapshot.id == first
    third = publish(store, text="three", now=WHEN + timedelta(days=2))
    assert holder.current().snapshot.id == third


def test_a_server_that_starts_on_a_damaged_snapshot_answers_from_the_last_good_one_until_it_is_put_right(store, monkeypatch):
    publish(store, text="zero", now=WHEN - timedelta(days=1))
    first, second = publish(store), publish(store, text="two", now=WHEN + timedelta(days=1))
    report = snapshots_of(store) / second / "report.html"
    report.write_text("altered")
    holder = Holder(store, timedelta(days=9999))
    assert holder.current().snapshot.id == first
    assert holder.stale() == f"snapshot {second} is refused: it is not as it was published"
    report.write_text("two")
    assert holder.current().snapshot.id == first, "it is not looked at with every request"
    monkeypatch.setattr(holders, "AGAIN_SECONDS", 0.0)
    assert holder.current().snapshot.id == second
    assert holder.stale() is None


def test_an_old_snapshot_that_a_refresh_has_found_to_hold_is_not_stale(store, monkeypatch):
    name = publish(store)
    holder = Holder(store, timedelta(days=4))
    holder.current()
    monkeypatch.setattr(holders, "LOOK_SECONDS", 0.0)
    assert holder.stale() == "nothing released after 2026-10-31T00:00:00+00:00 is in it"
    store.look(datetime.now(UTC))
    assert holder.stale() is None
    store.look(datetime.now(UTC) - timedelta(days=5))
    assert holder.stale().startswith("nothing released after") and "2026-10" not in holder.stale(), "who looks in vain is not heard"
    assert store.looked(name) is not None and store.looked("another") is None


def test_pruning_and_listing_go_on_past_a_damaged_snapshot_and_a_prune_that_was_stopped_is_ended(store, capsys):
    def fill(folder):
        (folder / "posterior.nc").write_bytes(b"x" * 1000)

    names = [store.publish(META, [answer()], fill, WHEN + timedelta(days=n)) for n in range(4)]
    (snapshots_of(store) / names[0] / "manifest.json").write_text("{}")
    store.store.write(f"snapshots/{names[1]}/pruned.json", b'["posterior.nc"]')
    freed = store.prune(timedelta(days=0), WHEN + timedelta(days=9))
    assert freed == {names[1]: 1000, names[2]: 1000}
    assert [store.store.exists(f"snapshots/{name}/posterior.nc") for name in names] == [True, False, False, True]
    assert store.verify(names[1]) == 3
    tables.snapshots(store, Console(width=100))
    assert "damaged" in capsys.readouterr().out


def test_switches_are_recorded(store):
    first, second = publish(store), publish(store, text="two", now=WHEN + timedelta(days=1))
    switches = [json.loads(store.store.read(name)) for name in store.store.names("switches")]
    assert [(s["from"], s["to"]) for s in switches] == [(None, first), (first, second)]


def test_a_switch_that_was_stopped_before_it_was_made_has_not_happened(store):
    first, second = publish(store), publish(store, text="two", now=WHEN + timedelta(days=1))
    store.store.write("current", first.encode())
    assert [to for _, to in store.switches()] == [first]
    assert store.current_at(WHEN + timedelta(days=2)) == first
    third = publish(store, text="three", now=WHEN + timedelta(days=3))
    assert [to for _, to in store.switches()] == [first, third]
    assert store.current_at(WHEN + timedelta(days=2)) == first, "the second was never served"
    store.switch(second, WHEN + timedelta(days=4))
    assert [to for _, to in store.switches()] == [first, third, second]


def test_a_publisher_whom_another_has_overtaken_switches_nothing(store):
    first = publish(store)

    def overtaken():
        raise Locked("the lock was lost")

    with pytest.raises(StoreBusy, match="the lock was lost"):
        store.publish(META, [answer()], lambda folder: None, WHEN + timedelta(days=1), sure=overtaken)
    assert store.current_id() == first
    assert [to for _, to in store.switches()] == [first]


def test_a_clock_that_was_set_back_does_not_reorder_what_was_said(store):
    first, second = publish(store), publish(store, text="two", now=WHEN - timedelta(days=300))
    assert store.current_id() == second
    assert store.current_at(WHEN) == first
    assert store.current_at(WHEN + timedelta(seconds=1)) == second


def test_a_rollback_serves_the_earlier_one_again_and_the_past_stays_as_it_was_said(store):
    first, second = publish(store), publish(store, text="two", now=WHEN + timedelta(days=1))
    store.switch(first, WHEN + timedelta(days=2))
    assert store.current_id() == first
    assert store.current_at(WHEN + timedelta(days=1, hours=1)) == second
    with pytest.raises(NoSnapshot):
        store.switch("20260101T000000Z-00000000")


@pytest.mark.parametrize("field", ["as_of", "gate", "published_at", "id", "files"])
def test_a_manifest_that_was_altered_is_refused(store, field):
    name = publish(store)
    path = snapshots_of(store) / name / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest[field] = {"answers.json": {"sha256": "0" * 64, "bytes": 1}} if field == "files" else "2026-11-02T00:00:00+00:00"
    path.write_text(json.dumps(manifest))
    with pytest.raises(Damaged, match=r"manifest\.json"):
        store.manifest(name)


def test_every_single_bit_of_a_manifest_is_guarded(store):
    name = publish(store)
    path = snapshots_of(store) / name / "manifest.json"
    whole = path.read_bytes()
    for at in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            with pytest.raises(Damaged):
                store.manifest(name)


def test_all_that_was_ever_served_is_looked_for_and_so_is_what_says_when(store):
    first, second = publish(store), publish(store, text="two", now=WHEN + timedelta(days=1))
    assert dict(store.verify_all()) == {first: 4, second: 4}
    (snapshots_of(store) / first / "manifest.json").unlink()
    record = next((store.store.root / "switches").glob(f"*{second}.json"))
    record.write_bytes(record.read_bytes().replace(b'"to"', b'"no"'))
    found = dict(store.verify_all())
    assert "missing, and it was served" in str(found[first])
    assert "does not say what its name says" in str(found[f"switches/{record.name}"])
    (store.store.root / "current").write_bytes(b"x")
    assert "names no snapshot" in str(dict(store.verify_all())["current"])


def test_the_last_good_snapshot_is_the_one_served_last_of_those_that_can_be_believed(store):
    with pytest.raises(NoSnapshot):
        store.last_good()
    first, second = publish(store), publish(store, text="two", now=WHEN + timedelta(days=1))
    assert store.last_good().id == second
    (snapshots_of(store) / second / "answers.json").write_bytes(b"x")
    assert store.last_good().id == first
    (snapshots_of(store) / first / "answers.json").write_bytes(b"x")
    with pytest.raises(Damaged):
        store.last_good()


@pytest.mark.parametrize("pointer", [b"", b"\xff\xfe", b"../../etc/passwd", b"20261101T020000Z-0000000"])
def test_a_damaged_pointer_is_said_and_the_answer_at_hand_stays(store, pointer):
    first = publish(store)
    holder = Holder(store, timedelta(days=9999))
    holder.current()
    (store.store.root / "current").write_bytes(pointer)
    assert holder.current().snapshot.id == first
    assert holder.stale() == "the store's pointer to the current snapshot is damaged"
    started = Holder(store, timedelta(days=9999))
    assert started.current().snapshot.id == first, "one that starts now answers from what was served last"
    assert started.stale() == "the store's pointer to the current snapshot is damaged"
    store.switch(first, WHEN + timedelta(days=1)) if pointer == b"" else (store.store.root / "current").write_text(first)
    assert holder.current().snapshot.id == first
    assert holder.stale() is None


def test_when_the_store_is_gone_the_snapshot_at_hand_answers_and_says_so(store):
    first = publish(store)
    holder = Holder(store, timedelta(days=9999))
    holder.current()
    shutil.rmtree(snapshots_of(store))
    (store.store.root / "current").write_text("20270101T000000Z-00000000")
    assert holder.current().snapshot.id == first
    assert holder.stale() == "snapshot 20270101T000000Z-00000000 is refused: it is not as it was published"
    shutil.rmtree(store.store.root)
    store.store.root.write_text("a file where the folder was")
    assert holder.current().snapshot.id == first
    assert holder.stale() == "store unreachable"


def test_pruning_leaves_every_answer_that_was_ever_given(store):
    def fill(folder):
        (folder / "report.html").write_text("page")
        (folder / "posterior.zarr").mkdir()
        (folder / "posterior.zarr" / "c").write_bytes(b"x" * 1000)

    names = [store.publish(META, [answer(f"CHN.JPN.f{n}")], fill, WHEN + timedelta(days=n)) for n in range(3)]
    said = [store.load(store.current_at(WHEN + timedelta(days=n))).answers for n in range(3)]
    orphan = store.publish(META, [answer("CHN.JPN.never")], fill, WHEN + timedelta(hours=1))
    for name in store.store.names("switches"):
        if orphan in name:
            store.store.delete(name)
    store.store.write("current", names[2].encode())
    freed = store.prune(timedelta(days=1), WHEN + timedelta(days=2, hours=1))
    assert (set(freed), freed[names[0]]) == ({names[0], names[1], orphan}, 1000)
    assert store.ids() == names
    assert [store.load(store.current_at(WHEN + timedelta(days=n))).answers for n in range(3)] == said
    with pytest.raises(NoSnapshot, match="it was pruned"):
        store.read(names[0], "posterior.zarr/c")
    assert store.read(names[2], "posterior.zarr/c") == b"x" * 1000
    assert store.prune(timedelta(days=1), WHEN + timedelta(days=2, hours=1)) == {}
    (snapshots_of(store) / names[0] / "answers.json").unlink()
    with pytest.raises(Damaged, match=r"answers\.json: missing"):
        store.verify(names[0])


def test_an_earlier_view_that_is_published_now_is_old_all_the_same(store):
    publish(store, now=datetime.now(UTC))
    holder = Holder(store, timedelta(days=4))
    holder.current()
    assert holder.stale() == "nothing released after 2026-10-31T00:00:00+00:00 is in it"


@pytest.mark.slow
def test_a_store_in_a_bucket_keeps_the_same_promises(bucket, monkeypatch):
    store = SnapshotStore(bucket)
    first = publish(store)
    second = publish(store, text="two", now=WHEN + timedelta(days=1))
    assert (store.current_id(), store.ids(), store.verify(second)) == (second, [first, second], 4)
    assert store.current_at(WHEN + timedelta(hours=1)) == first
    store.store.write(f"snapshots/{second}/report.html", b"altered")
    with pytest.raises(Damaged, match=r"report\.html"):
        store.load()
    with SnapshotStore(bucket)._locked(), pytest.raises(StoreBusy):
        publish(store)
    monkeypatch.setattr(holders, "LOOK_SECONDS", 0.0)
    store.switch(first, WHEN + timedelta(days=2))
    holder = Holder(SnapshotStore(bucket), timedelta(days=9999))
    assert holder.current().snapshot.id == first
