"""What publishing and its records survive: kill -9 anywhere, a full disk, errors in the middle."""

import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import calls
import httpx
import pytest
from answers import META, UNITS, filled

from data.store import Folder
from service import runs
from service.runs import on_record, records
from service.snapshots import SnapshotStore, StoreBusy

ROOT = Path(__file__).parents[2]
PUBLISHER = """
import sys
sys.path[:0] = [sys.argv[2], sys.argv[2] + "/tests"]
from answers import META, UNITS, filled
from service.snapshots import SnapshotStore
store = SnapshotStore(sys.argv[1])
print("ready", flush=True)
while True:
    store.publish(META, UNITS, filled)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_a_publisher_killed_at_any_moment_leaves_a_snapshot_that_verifies_and_the_next_one_publishes(tmp_path, seed):
    store = SnapshotStore(tmp_path / "var")
    first = store.publish(META, UNITS, filled)
    publisher = subprocess.Popen([sys.executable, "-c", PUBLISHER, store.store.url, str(ROOT)], stdout=subprocess.PIPE, text=True)
    assert publisher.stdout.readline() == "ready\n"
    time.sleep(random.Random(seed).uniform(0.0, 0.25))
    publisher.send_signal(signal.SIGKILL)
    publisher.wait()
    publisher.stdout.close()
    served = store.load()
    assert served.answers == UNITS
    assert {to for _, to in store.switches()} <= set(store.ids())
    for name in store.ids():
        store.verify(name)
    assert store.store.exists(f"snapshots/{first}/manifest.json")
    assert store.load(store.publish(META, UNITS, filled)).answers == UNITS
    assert not list((tmp_path / "var" / "snapshots").glob(".partial-*"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace, which puts faults into system calls, is not installed")
def test_a_publication_killed_at_or_failing_in_a_system_call_leaves_a_store_that_serves_and_takes_the_next(tmp_path):
    wrong, count = {}, 0
    for fault, several in calls.trials(quick=True):
        for where, trial in several:
            count += 1
            if found := trial():
                wrong[f"{fault}, {where}"] = found
    assert not wrong
    assert count >= 20


class Failing(Folder):
    """The Nth write fails, as on a full disk."""

    def __init__(self, root, at):
        super().__init__(root)
        self.left = at

    def _counted(self):
        self.left -= 1
        if self.left == 0:
            raise OSError(28, "No space left on device")

    def write(self, name, content):
        self._counted()
        super().write(name, content)

    def put_folder(self, folder, name, last):
        self._counted()
        super().put_folder(folder, name, last)


def test_whichever_write_fails_the_last_good_snapshot_answers_and_the_next_publication_succeeds(tmp_path):
    good = SnapshotStore(tmp_path / "var")
    first = good.publish(META, UNITS, filled)
    writes = 0
    for n in range(1, 20):
        store = SnapshotStore(tmp_path / "var")
        store.store = Failing(tmp_path / "var", n)
        before = good.current_id()
        try:
            store.publish(META, UNITS, filled)
        except OSError as error:
            assert "No space left" in str(error)
            assert good.current_id() == before
            assert good.load().answers == UNITS
            writes = n
        else:
            break
    assert writes == 3, "snapshot, switch, pointer"
    assert good.current_id() != first


def test_two_publishers_at_once_one_is_turned_away_and_told_by_whom(tmp_path):
    store = SnapshotStore(tmp_path / "var")
    with store.store.lock(".publish.lock", 0.0), pytest.raises(StoreBusy, match=r"process \d+ on"):
        store.publish(META, UNITS, filled)


def test_a_run_is_on_record_from_its_start_and_says_what_ended_it(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "KEPT", 3)
    store = Folder(tmp_path)
    with on_record(store, {"as_of": "2026-11-01"}) as run:
        with run.step("first"):
            assert (records(store)[-1]["outcome"], records(store)[-1]["step"]) == ("running", "first")
        run.know(panel="abc")
    assert (records(store)[-1]["outcome"], records(store)[-1]["panel"]) == ("done", "abc")
    with pytest.raises(ZeroDivisionError), on_record(store, {}) as run, run.step("second"):
        raise ZeroDivisionError("by nothing")
    assert (records(store)[-1]["outcome"], records(store)[-1]["why"]) == ("failed", "ZeroDivisionError: by nothing")
    with pytest.raises(KeyboardInterrupt), on_record(store, {}):
        raise KeyboardInterrupt
    assert records(store)[-1]["outcome"] == "stopped"
    for _ in range(3):
        with on_record(store, {}):
            pass
    assert len(records(store)) == 3


@pytest.mark.slow
def test_two_hundred_switches_under_load_give_no_failed_and_no_mixed_answer(tmp_path, served_at):
    store = SnapshotStore(tmp_path / "var")

    def publish(n):
        return store.publish(META | {"as_of": datetime.now(UTC).isoformat()}, [row | {"title": f"number {n}"} for row in UNITS], filled)

    order = [publish(0)]
    address, port = served_at(store)
    over, told = threading.Event(), []

    def read():
        seen = []
        with httpx.Client(base_url=f"http://{address}:{port}") as client:
            while not over.is_set():
                for path in ("/v1/regimes", "/v1/regimes/CHN.JPN.magnets"):
                    answer = client.get(path)
                    body = answer.json()
                    titles = {r["title"] for r in body.get("regimes", [body.get("regime")])}
                    seen.append((answer.status_code, body["snapshot"], body["stale"], len(titles), min(titles)))
        told.append(seen)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for n in range(1, 201):
        order.append(publish(n))
    over.set()
    for reader in readers:
        reader.join()
    assert len(told) == 4
    for seen in told:
        assert {(status, stale, titles) for status, _, stale, titles, _ in seen} == {(200, None, 1)}
        assert all(title == f"number {order.index(snapshot)}" for _, snapshot, _, _, title in seen)
        at = [order.index(snapshot) for _, snapshot, *_ in seen]
        assert at == sorted(at), "a reader never goes back"
    assert len({snapshot for seen in told for _, snapshot, *_ in seen}) > 20


def test_the_serving_process_needs_no_tool_that_fits(tmp_path):
    store = SnapshotStore(tmp_path / "var")
    store.publish(META, UNITS, filled)
    script = (
        "import sys; from service.app import create_app; from service.settings import Settings; from fastapi.testclient import TestClient\n"
        f"with TestClient(create_app(Settings(store={store.store.url!r}, stale_after_days=9999))) as client:\n"
        "    assert client.get('/v1/regimes').status_code == 200\n"
        "print(*[m for m in ('pymc', 'arviz', 'xarray', 'pandas', 'numba', 'matplotlib', 'jax', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
