"""What a nightly refresh survives, counted: make faults -> docs/faults.md.

Every fault is a real one: signals, a full tmpfs, a limit of memory. A small panel is fitted once (var/bench/faults); each trial copies its
store, breaks a refresh in it, and asks after it: does what was served still load and verify, is the log whole, does the run's record say
what happened, does the next refresh succeed, is anything left lying about?
"""

import argparse
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import httpx
import poison
import reproducible
from measure import ROOT
from rich.console import Console

sys.path.insert(0, str(ROOT / "tests"))

import calls
from support import csv, simulated_csv

from data.log import ReleaseLog
from data.store import LEASE_SECONDS, open_store
from service.decision import FIT_EVERY
from service.runs import last
from service.snapshots import SnapshotStore

BASE = ROOT / "var" / "bench" / "faults"
CONFIG = """
exporter = "CHN"
importers = ["JPN", "USA", "KOR", "DEU"]
[families.magnets]
title = "Magnets"
hs = ["850511"]
"""
BEFORE, NOW = "2024-02-05", "2024-03-06"
KG = {"JPN": 24_000, "USA": 440_000, "KOR": 1_200_000, "DEU": 3_300_000}
DONE, NOTHING_NEW, BUSY, STORE = 0, 3, 6, 7
talk = Console(stderr=True)


def refresh(store: Path | str, *options: str, **how) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "service.cli",
        "refresh",
        "--as-of",
        NOW,
        "--config",
        str(BASE / "quietquota.toml"),
        "--store",
        str(store),
    ]
    return subprocess.Popen([*command, *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **how)


def base() -> Path:
    """A store with a fit of the figures to December, and January's figures in its log; made once."""
    store = BASE / "var"
    made = BASE / "made"
    if not made.exists() or time.time() - made.stat().st_mtime > FIT_EVERY.total_seconds() / 2:
        shutil.rmtree(BASE, ignore_errors=True)
        BASE.mkdir(parents=True)
        (BASE / "quietquota.toml").write_text(CONFIG)
        log = ReleaseLog(f"{store}/log")
        log.ingest(simulated_csv(), "a.csv")
        first = refresh(store, "--as-of", BEFORE, "--accept-review")
        said, _ = first.communicate()
        assert first.returncode == DONE, said
        of = {"CHN": "2024-02-20T00:00:00Z", "": "2024-02-28T00:00:00Z"}
        log.ingest(csv(*(f"{r or i},CHN,{i},850511,2024-01,{kg},,{at}" for i, kg in KG.items() for r, at in of.items())), "b.csv")
        made.touch()
    return store


class Trial:
    """A copy of the store, and what must hold of it whatever happens."""

    def __init__(self, place: Path | str) -> None:
        """place : a folder, or the URL of a place in a bucket."""
        self.place = place
        if isinstance(place, Path):
            shutil.copytree(base(), place, symlinks=True, dirs_exist_ok=True)
        else:
            there = open_store(place)
            for file in filter(Path.is_file, base().rglob("*")):
                if not file.name.startswith("."):
                    there.write(file.relative_to(base()).as_posix(), file.read_bytes())
        self.before, self.log = self.store().current_id(), ReleaseLog(f"{place}/log").fingerprint()

    def store(self) -> SnapshotStore:
        return SnapshotStore(self.place)

    def wrong(self, outcomes: tuple[str, ...]) -> list[str]:
        """What does not hold after the fault; then a refresh is made, and what does not hold after that."""
        found, store = [], self.store()
        try:
            served = store.load()
            if served.id != self.before and len(store.switches()) != 2:
                found.append(f"serves {served.id}")
            for name in store.ids():
                store.verify(name)
        except Exception as error:
            found.append(f"what is served: {error}")
        if ReleaseLog(f"{self.place}/log").fingerprint() != self.log:
            found.append("the log is another")
        record = last(store.store)
        if record is None or record["outcome"] not in outcomes:
            found.append(f"on record as {record and record['outcome']}")
        following = refresh(self.place, "--accept-review")
        said, _ = following.communicate()
        if following.returncode == BUSY and not isinstance(self.place, Path):
            time.sleep(LEASE_SECONDS)  # whoever could not reach the bucket could not give its lock back
            following = refresh(self.place, "--accept-review")
            said, _ = following.communicate()
        if following.returncode not in (DONE, NOTHING_NEW):
            found.append(f"the next refresh ends with {following.returncode}: {said[-300:]}")
        left = self.store().store.names("work")
        if isinstance(self.place, Path):
            left += [p.name for p in (self.place / "snapshots").glob(".*")]
        if left:
            found.append(f"left behind: {left}")
        if self.store().load().meta["as_of"][:10] != NOW:
            found.append("the next refresh did not publish")
        return found


def killed(rng: random.Random, length: float, *options: str, number: int = signal.SIGKILL) -> Callable[[Path], tuple[list[str], str]]:
    """A refresh that gets a signal after a random time of `length` seconds."""

    def trial(place: Path) -> tuple[list[str], str]:
        one = Trial(place)
        run = refresh(place, *options)
        time.sleep(rng.uniform(0.3, length))
        ended_before, record = run.poll() is not None, last(one.store().store)
        began = time.perf_counter()
        run.send_signal(number)
        said, _ = run.communicate()
        took = time.perf_counter() - began
        step = record.get("step") or "at its end"
        if ended_before or record["inputs"]["as_of"] is None or record["inputs"]["as_of"][:10] != NOW:
            step = "ended before" if ended_before else "before its record"
        wrong = []
        if number == signal.SIGTERM and not ended_before:
            if run.returncode not in (128 + number, -number):
                wrong.append(f"exit code {run.returncode}: {said[-200:]}")
            if took > 10:
                wrong.append(f"ended after {took:.0f} s")
        return wrong + one.wrong(("running", "stopped", "failed", "published")), step

    return trial


@contextmanager
def _tmpfs(size: str) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp())
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()


def _fill(disk: Path, free: int) -> None:
    left = os.statvfs(disk)
    (disk / "filler").write_bytes(b"\0" * max(left.f_bavail * left.f_frsize - free, 0))


def disk_full(free: int) -> Callable[[Path], tuple[list[str], str]]:
    """A disk with so many bytes left when the refresh begins."""

    def trial(_: Path) -> tuple[list[str], str]:
        with _tmpfs("256m") as disk:
            one = Trial(disk / "var")
            _fill(disk, free)
            run = refresh(one.place)
            said, _ = run.communicate()
            wrong = [] if run.returncode == STORE else [f"exit code {run.returncode}"]
            if "No space left on device" not in said:
                wrong.append(f"says {said[-300:]!r}")
            (disk / "filler").unlink()
            # Where not a byte is left there is no place for a record either.
            return wrong + one.wrong(("running", "failed") if free else ("published",)), f"{free >> 10} kB left"

    return trial


def full_at_ingest(free: int) -> Callable[[Path], tuple[list[str], str]]:
    """A disk with so many bytes left when a file is ingested: all of it is in the log or nothing, and the same file makes it whole."""

    def trial(place: Path) -> tuple[list[str], str]:
        figures = place.parent / "figures.csv"
        figures.write_bytes(simulated_csv(seed=9, codes=("280530", "284690", "811292")))
        log = Trial(place).place / "log"
        ReleaseLog(log).ingest(figures.read_bytes(), figures.name)
        whole = ReleaseLog(log).fingerprint()
        with _tmpfs("256m") as disk:
            one = Trial(disk / "var")
            command = [sys.executable, "-m", "service.cli", "ingest", str(figures), "--store", str(one.place)]
            _fill(disk, free)
            run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            said = run.stdout + run.stderr
            wrong = [] if run.returncode == STORE and "No space left" in said else [f"exit code {run.returncode}: {said[-300:]}"]
            (disk / "filler").unlink()
            ReleaseLog(f"{one.place}/log").verify()
            if ReleaseLog(f"{one.place}/log").fingerprint() != one.log:
                wrong.append("half of it is in the log")
            again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            wrong += [] if again.returncode == DONE else [f"then exit code {again.returncode}"]
            one.log = whole
            return wrong + one.wrong(("published",)), f"{free >> 10} kB left"

    return trial


def read_only(_: Path) -> tuple[list[str], str]:
    with _tmpfs("256m") as disk:
        one = Trial(disk / "var")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        run = refresh(one.place)
        said, _ = run.communicate()
        wrong = [] if run.returncode == STORE and "Read-only" in said else [f"exit code {run.returncode}: {said[-300:]}"]
        served = one.store().load().id
        wrong += [] if served == one.before else [f"serves {served}"]
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        return wrong + one.wrong(("published",)), "every write"


@contextmanager
def _bucket() -> Iterator[tuple[str, subprocess.Popen]]:
    """URL of a place in a bucket, and the server that speaks S3; the environment has what clients need."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as cache:
        server = subprocess.Popen([ROOT / ".tools/s3/bin/moto_server", "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL)
        address = f"http://127.0.0.1:{port}"
        for name, value in {"ENDPOINT_URL": address, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "us-east-1"}.items():
            os.environ[f"AWS_{name}"] = value
        os.environ["QUIETQUOTA_CACHE"] = cache
        try:
            while True:
                try:
                    httpx.put(f"{address}/figures")
                    break
                except httpx.TransportError:
                    assert server.poll() is None, "the server ended; scripts/install s3 .tools/s3"
                    time.sleep(0.1)
            yield "s3://figures/var", server
        finally:
            server.kill()
            server.wait()


def slow(_: Path) -> tuple[list[str], str]:
    """A bucket that answers for a tenth of a second in every half."""
    with _bucket() as (url, server):
        one = Trial(url)
        run = refresh(url, "--accept-review")
        while run.poll() is None:
            server.send_signal(signal.SIGSTOP)
            time.sleep(0.4)
            server.send_signal(signal.SIGCONT)
            time.sleep(0.1)
        said, _ = run.communicate()
        return ([] if run.returncode == DONE else [f"exit code {run.returncode}: {said[-300:]}"]) + one.wrong(("published",)), "throughout"


def silent(rng: random.Random, length: float) -> Callable[[Path], tuple[list[str], str]]:
    """A bucket that stops answering after a random time of `length` seconds, and takes up what was asked when the refresh has given up."""

    def trial(_: Path) -> tuple[list[str], str]:
        with _bucket() as (url, server):
            one = Trial(url)
            run = refresh(url, "--accept-review")
            time.sleep(rng.uniform(3, length))
            ended_before = run.poll() is not None
            step = "ended before" if ended_before else (last(one.store().store) or {}).get("step") or "before its record"
            server.send_signal(signal.SIGSTOP)
            began = time.perf_counter()
            said, _ = run.communicate()
            took = time.perf_counter() - began
            server.send_signal(signal.SIGCONT)
            wrong = [] if ended_before or run.returncode == STORE else [f"exit code {run.returncode}: {said[-300:]}"]
            return wrong + one.wrong(("running", "failed", "published")), f"{step}, given up after {took:.0f} s"

    return trial


def memory(megabytes: int) -> Callable[[Path], tuple[list[str], str]]:
    """A refresh that may not have more address space than so much."""

    def trial(place: Path) -> tuple[list[str], str]:
        one = Trial(place)
        limit = megabytes << 20
        run = refresh(place, "--full", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        try:
            run.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            run.kill()
            run.communicate()
        wrong = [] if run.returncode not in (DONE, NOTHING_NEW) else [f"exit code {run.returncode}"]
        return wrong + one.wrong(("running", "failed", "stopped", "published")), f"{megabytes} MB: exit code {run.returncode}"

    return trial


def at_once(count: int) -> Callable[[Path], tuple[list[str], str]]:
    """So many refreshes at the same moment."""

    def trial(place: Path) -> tuple[list[str], str]:
        one = Trial(place)
        runs = [refresh(place, "--accept-review") for _ in range(count)]
        codes = sorted((run.communicate(), run.returncode)[1] for run in runs)
        # One that came when the first was done finds nothing new.
        good = codes.count(DONE) == 1 and set(codes) <= {DONE, NOTHING_NEW, BUSY}
        return ([] if good else [f"exit codes {codes}"]) + one.wrong(("published", "nothing new")), f"exit codes {codes}"

    return trial


def damaged(rng: random.Random) -> Callable[[Path], tuple[list[str], str]]:
    """A bit of the current snapshot's posterior has flipped: its draws are not weighed; what is served is another file's."""

    def trial(place: Path) -> tuple[list[str], str]:
        one = Trial(place)
        file = place / "snapshots" / str(one.before) / "posterior.nc"
        content = bytearray(file.read_bytes())
        at = rng.randrange(len(content))
        content[at] ^= 1 << rng.randrange(8)
        file.write_bytes(content)
        run, decision = refresh(place), dict[str, str]()
        while run.poll() is None and decision.get("kind") != "fit":
            time.sleep(0.2)
            record = last(one.store().store) or {}
            decision = (record.get("decision") or {}) if record.get("pid") == run.pid else {}
        why = decision.get("why", "")
        run.kill()
        run.communicate()
        file.write_bytes(base().joinpath("snapshots", str(one.before), "posterior.nc").read_bytes())
        return ([] if "its content is not what the manifest says" in why else [f"decides {why!r}"]) + one.wrong(("running",)), f"byte {at}"

    return trial


def _whole_one() -> float:
    """Seconds that a refresh takes which nothing befalls."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "whole"
        Trial(place)
        began = time.perf_counter()
        run = refresh(place, "--accept-review")
        said, _ = run.communicate()
        assert run.returncode == DONE, said
        return time.perf_counter() - began


def _in_a_place_of_its_own(trial: Callable[[Path], tuple[list[str], str]]) -> tuple[list[str], str]:
    with tempfile.TemporaryDirectory() as scratch:
        return trial(Path(scratch) / "var")


def _row(name: str, trials: Iterable[tuple[list[str], str]], count: int) -> str:
    """One line of the table. trials : what was wrong after each, and where it struck."""
    survived, places, faults = 0, Counter[str](), []
    for n, (wrong, where) in enumerate(trials, 1):
        survived += not wrong
        places[re.sub(r" \d+$", "", where)] += 1
        faults += [f"{where}: {one}" for one in wrong]
        talk.print(f"{name} {n}/{count}: {where}{': ' + '; '.join(wrong) if wrong else ''}", highlight=False, markup=False)
    told = "; ".join(f"{where} ({n})" if n > 1 else where for where, n in sorted(places.items()))
    return f"| {name} | {count} | {survived} | {told} | {'; '.join(faults) or '-'} |"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="a few of each")
    quick, rng = options.parse_args().quick, random.Random(5)
    if shutil.which("strace") is None:
        raise SystemExit("faults are put into system calls by strace: install it (Debian: apt-get install strace)")
    base()
    length = 0.8 * min(_whole_one() for _ in range(2))
    few = (lambda n: max(1, n // 10)) if quick else (lambda n: n)
    kinds: list[tuple[str, int, Callable[[Path], tuple[list[str], str]]]] = [
        ("kill -9 of a refresh that weighs", few(30), killed(rng, length)),
        ("kill -9 of a refresh that fits", few(6), killed(rng, 60, "--full")),
        ("SIGTERM of a refresh that fits: exit code 143 within 10 s", few(6), killed(rng, 60, "--full", number=signal.SIGTERM)),
        *((f"disk full, {kb} kB left", 1, disk_full(kb << 10)) for kb in (0, 64, 1024)),
        *((f"disk full at an ingest, {kb} kB left", 1, full_at_ingest(kb << 10)) for kb in (0, 8)),
        ("store read-only", 1, read_only),
        ("store in a bucket, slow", 1, slow),
        ("store in a bucket, that stops answering", few(4), silent(rng, length)),
        *((f"memory limit of {mb} MB", 1, memory(mb)) for mb in (600, 1500)),
        ("eight refreshes at once", few(3), at_once(8)),
        ("a bit flipped in the posterior that is to be weighed", few(5), damaged(rng)),
    ]
    rows = [_row(name, (_in_a_place_of_its_own(trial) for _ in range(count)), count) for name, count, trial in kinds]
    bytes_ = {
        "bad figures: refused, or kept aside, and all else taken": poison.bad(1),
        "clean figures, one partner cut or none: nothing held back": poison.clean(2),
        "the same figures shuffled, split, sent again: the same answers": poison.in_any_order(3),
        "files of a snapshot changed on disk: refused": poison.damaged(base(), 4),
    }
    for name, told in bytes_.items():
        several = list(islice(told, 20) if quick else told)
        rows.append(_row(name, several, len(several)))
    for name, several in calls.trials(quick):
        rows.append(_row(name, ((one(), where) for where, one in several), len(several)))
    if not quick:
        drawn = dict(reproducible.told())
        mine, *_ = drawn.values()
        same, other = ([how for how, one in drawn.items() if (one == mine) is alike] for alike in (True, False))
        rows.append(
            f"| the same figures and seed give the same draws, bit for bit | {len(drawn)} | {len(same)} | {'; '.join(same)} | "
            f"{'; '.join(other) or '-'} |"
        )
    table = "\n".join(["| fault | trials | survived | where | what was wrong |", "|---|---|---|---|---|", *rows])
    about = (__doc__ or "").partition("\n\n")[2].strip()
    note = f"Kills of a refresh that weighs come within its first {length:.0f} s."
    text = f"# Faults\n\nGenerated by `make faults`. {about}\n\n{note}\n\n{table}\n"
    print(text)
    if not quick:
        (ROOT / "docs" / "faults.md").write_text(text)


if __name__ == "__main__":
    main()
