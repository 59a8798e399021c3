"""Disks (a small tmpfs) that are full, or read-only."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import ROOT
from support import simulated_csv
from trials import DONE, STORE, Told, Trial, Trying, refresh

from data.log import ReleaseLog


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


def disk_full(free: int) -> Trying:
    """A disk with so many bytes left when the refresh begins."""

    def trial(_: Path) -> Told:
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


def full_at_ingest(free: int) -> Trying:
    """A disk with so many bytes left when a file is ingested: all of it is in the log or nothing, and the same file makes it whole."""

    def trial(place: Path) -> Told:
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


def read_only(_: Path) -> Told:
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
