"""A small panel that is fitted once (var/bench/faults), and copies of its store in which refreshes are broken."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from measure import ROOT
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
Told = tuple[list[str], str]
"""What was wrong after a trial, and where it struck."""
Trying = Callable[[Path], Told]
"""What is done in a place of its own."""


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
