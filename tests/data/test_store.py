"""The same promises from a folder and from a bucket of a real server that speaks S3, a process of its own."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from data import store as stores
from data.store import Bucket, Folder, Locked, Unreachable, open_store


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def store(request, tmp_path):
    return open_store(tmp_path / "store" if request.param == "folder" else request.getfixturevalue("bucket"))


def test_what_was_written_is_read_and_listed_and_what_begins_with_a_dot_is_not(store):
    assert store.names("a") == []
    for name in ("a/2.txt", "a/1.txt", "a/deep/3.txt", "b/4.txt", ".hidden", "a/.partial"):
        store.write(name, name.encode())
    assert store.names("a") == ["a/1.txt", "a/2.txt", "a/deep/3.txt"]
    assert store.read("a/1.txt") == store.local("a/1.txt").read_bytes() == b"a/1.txt"
    store.write("a/1.txt", b"other")
    assert store.text("a/1.txt") == "other"
    store.delete("a/1.txt")
    assert not store.exists("a/1.txt")
    assert store.exists("a/2.txt")
    with pytest.raises(FileNotFoundError, match=r"a/1\.txt"):
        store.read("a/1.txt")


def test_of_two_who_want_the_lock_one_has_it_and_the_other_is_told_who(store):
    with store.lock(".lock", 0.0) as still_held:
        still_held()
        with pytest.raises(Locked, match=f"process {os.getpid()} on .+, since 20"), store.lock(".lock", 0.2):
            pass
    with store.lock(".lock", 0.0):
        pass


def test_who_waits_gets_the_lock_when_it_is_free(store):
    order, inside = [], threading.Event()

    def first():
        with store.lock(".lock", 0.0):
            inside.set()
            time.sleep(0.3)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    with open_store(store.url).lock(".lock", 10.0):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


HOLDER = """
import sys, time
from data import store as stores
stores.LEASE_SECONDS = float(sys.argv[2])
with stores.open_store(sys.argv[1]).lock(".lock", 0.0):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_taken_over(store, monkeypatch):
    monkeypatch.setattr(stores, "LEASE_SECONDS", 1.0)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, store.url, "1.0"], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert holder.stdout.readline() == "held\n"
    time.sleep(1.5)
    with pytest.raises(Locked), store.lock(".lock", 0.0):
        pass  # it lives, and has renewed it
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with store.lock(".lock", 5.0):
        pass


@pytest.mark.slow
def test_an_owner_whose_lock_another_took_is_told_before_it_does_what_must_not_happen_twice(bucket, monkeypatch):
    monkeypatch.setattr(stores, "LEASE_SECONDS", 0.4)
    store = Bucket(bucket)
    with store.lock(".lock", 0.0) as still_held:
        store.write(".lock", json.dumps({"host": "other", "pid": 1, "since": "now", "until": time.time() + 60}).encode())
        time.sleep(0.5)
        with pytest.raises(Locked, match="another process has taken it"):
            still_held()
    assert json.loads(store.read(".lock"))["host"] == "other"


@pytest.mark.slow
def test_of_eight_processes_that_find_a_dead_ones_lock_one_takes_it(bucket):
    store = Bucket(bucket)
    store.write(".lock", json.dumps({"until": 0.0}).encode())
    took, together = [], threading.Barrier(8)

    def take(n):
        mine = Bucket(bucket)
        together.wait()
        if mine._taken(".lock", {"pid": n}) is not None:
            took.append(n)

    threads = [threading.Thread(target=take, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took) == 1


@pytest.mark.slow
def test_a_bucket_that_is_not_there_or_does_not_answer_is_unreachable_and_says_so(bucket, monkeypatch):
    with pytest.raises(Unreachable, match="nobody/x: there is no such bucket"):
        Bucket("s3://nobody/x").write("file", b"")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(stores, "RETRIES", {"max_retries": 0})
    with pytest.raises(Unreachable, match="does not answer"):
        Bucket(bucket).read("file")


def test_what_is_no_store_is_refused_with_what_to_give_instead(tmp_path):
    with pytest.raises(ValueError, match=r"ftp://host/x: not a folder, file:// or a bucket's URL such as s3://bucket/prefix"):
        open_store("ftp://host/x")
    assert isinstance(open_store(f"file://{tmp_path}"), Folder)
    assert open_store(str(tmp_path)).root == tmp_path


def test_what_finds_no_room_says_where_and_how_much(tmp_path):
    """Of a process that may write files of so many bytes only."""
    code = "import resource, sys; from data.store import Folder; from pathlib import Path; import signal\n"
    code += "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    code += "try: Folder(Path(sys.argv[1])).write('deep/file.bin', bytes(123_456))\nexcept OSError as error: print(error)"
    said = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True).stdout
    assert "File too large, of 123,456 bytes to be written" in said and "deep/file.bin" in said
    assert list(tmp_path.rglob("*")) == [tmp_path / "deep"]
