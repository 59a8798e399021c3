"""A publication stopped at, or failing in, each system call by which it reaches the disk: strace takes hold of a process that is about to
publish, and kills it at the Nth call of a kind, or has that call fail.

Calls of a kind are counted first, in a publication that nothing befalls. After each fault: is what was served, or what was to be, whole;
does the record of the run say how it ended; does the next publication succeed, and leave nothing lying about?
"""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from answers import META, UNITS, filled

from service.runs import last
from service.snapshots import SnapshotStore

ROOT = Path(__file__).parent.parent
CALLS = ["openat", "write", "fsync", "rename", "mkdir", "unlink", "rmdir", "sendfile", "copy_file_range", "fcntl", "flock"]
ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EACCES")
PUBLISHER = """
import sys
sys.path[:0] = [sys.argv[2], sys.argv[2] + "/tests"]
from answers import META, UNITS, filled
from service.runs import on_record
from service.snapshots import SnapshotStore
store = SnapshotStore(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
with on_record(store.store, {}) as run, run.step("publishing"):
    store.publish(META, UNITS, filled)
"""


def _publish(place: Path, *inject: str) -> tuple[int, str]:
    """(exit code, strace's account) of a publication to the store at `place`."""
    command = [sys.executable, "-B", "-c", PUBLISHER, str(place), str(ROOT)]
    publisher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert publisher.stdin and publisher.stdout
    assert publisher.stdout.readline() == "ready\n"
    account = place.parent / "account"
    options = [f"--trace={','.join(CALLS)}", *(f"--inject={one}" for one in inject)]
    tracer = subprocess.Popen(["strace", "-f", "-o", str(account), *options, "-p", str(publisher.pid)], stderr=subprocess.PIPE, text=True)
    assert tracer.stderr and "attached" in tracer.stderr.readline()
    publisher.stdin.close()
    code = publisher.wait(60)
    tracer.wait(60)
    publisher.stdout.close()
    tracer.stderr.close()
    return code, account.read_text()


def _fresh(scratch: Path) -> tuple[SnapshotStore, str]:
    store = SnapshotStore(scratch / "var")
    return store, store.publish(META, UNITS, filled)


def counted() -> Counter[str]:
    """How often a publication makes each call."""
    with tempfile.TemporaryDirectory() as scratch:
        store, _ = _fresh(Path(scratch))
        code, account = _publish(store.store.root)  # type: ignore[attr-defined]
    assert code == 0, account
    return Counter(re.findall(r"^\d+ +(\w+)\(", account, re.M))


def _wrong(store: SnapshotStore, before: str, outcomes: tuple[str | None, ...]) -> list[str]:
    found = []
    try:
        served = store.load()
        if served.answers != UNITS:
            found.append(f"{served.id} is served torn")
        for name in store.ids():
            store.verify(name)
        if not {to for _, to in store.switches()} <= set(store.ids()):
            found.append("a switch to a snapshot that is not there")
        record = last(store.store)
        if (record and record["outcome"]) not in outcomes:
            found.append(f"on record as {record and record['outcome']}")
        store.load(before)
        if store.load(store.publish(META, UNITS, filled)).answers != UNITS:
            found.append("the next publication is not served")
    except Exception as error:
        found.append(f"{type(error).__name__}: {error}")
    left = [path.name for path in (store.store.root / "snapshots").glob(".*")]  # type: ignore[attr-defined]
    return found + ([f"left behind: {left}"] if left else [])


def killed(call: str, n: int) -> list[str]:
    with tempfile.TemporaryDirectory() as scratch:
        store, before = _fresh(Path(scratch))
        code, _ = _publish(store.store.root, f"{call}:signal=KILL:when={n}")  # type: ignore[attr-defined]
        return ([] if code == -9 else [f"exit code {code}"]) + _wrong(store, before, (None, "running", "done"))


def failing(call: str, n: int, error: str) -> list[str]:
    """A call that fails where nothing hangs on it (something is looked for, or tidied up) may end well."""
    with tempfile.TemporaryDirectory() as scratch:
        store, before = _fresh(Path(scratch))
        code, account = _publish(store.store.root, f"{call}:error={error}:when={n}")  # type: ignore[attr-defined]
        reached = [] if "(INJECTED)" in account else ["was not reached"]
        served = store.current_id()
        said = [] if code or served != before else ["ended well, and publishes nothing"]
        return reached + said + _wrong(store, before, (None, "running", "failed", "done"))


def trials(quick: bool) -> Iterator[tuple[str, list[tuple[str, Callable[[], list[str]]]]]]:
    """(fault, of each of its trials where, and what tells what is wrong after it)."""
    times = counted()
    some = [(call, n) for call in CALLS for n in range(1, times[call] + 1)][:: 11 if quick else 1]
    yield "kill -9 of a publication at a system call", [(f"{call} {n}", lambda c=call, n=n: killed(c, n)) for call, n in some]
    named = [(call, n, ERRORS[i % len(ERRORS)]) for i, (call, n) in enumerate(some)]
    yield (
        "a system call of a publication that fails: EIO, ENOSPC, EDQUOT or EACCES",
        [(f"{call} {n}", lambda c=call, n=n, e=error: failing(c, n, e)) for call, n, error in named],
    )
