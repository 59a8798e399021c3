"""Nights as they come, each a command of its own: python nights.py real|simulated; prints JSON.

A fit of the figures up to a month, the same again, and a month later with its figures.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import problems
from measure import ROOT

from data.log import ReleaseLog
from data.store import open_store
from service.runs import last
from service.worlds import write_world

FITS = "compiling and sampling"
NIGHTS = {
    "real": ("2023-12-28", "2024-01-28"),
    "simulated": ("2026-11-28", "2026-12-28"),
}


def night(store: Path, config: Path, *options: str) -> dict[str, Any]:
    """One refresh, watched from outside."""
    asked = ["refresh", "--accept-review", "--unchanged-is-success", "--config", str(config), "--store", str(store), *options]
    command = [sys.executable, "-m", "service.cli", *asked]
    began, memory = time.perf_counter(), 0
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while run.poll() is None:
        for line in Path(f"/proc/{run.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                memory = max(memory, int(line.split()[1]))
        time.sleep(0.02)
    if run.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {run.returncode}")
    record = last(open_store(store)) or {}
    kind = (record.get("decision") or {}).get("kind", "nothing")
    attempts = [(a["began"], a["gate"]) for a in record.get("attempts") or ()]
    steps = record.get("seconds", {})
    return {
        "seconds": time.perf_counter() - began, "memory": memory / 1e6, "decision": kind, "steps": steps,
        "sampling": steps.get(FITS, 0.0), "began": "; ".join(f"{how}: {gate}" for how, gate in attempts),
    }  # fmt: skip


def main(which: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder, store = Path(scratch) / "figures", Path(scratch) / "var"
        files, config = sorted(problems.SAMPLE.glob("*.csv")), problems.SAMPLE_CONFIG
        if which == "simulated":
            write_world(problems.world(), folder, 1)
            files, config = [folder / "observations.csv", folder / "covariates.csv"], folder / "quietquota.toml"
        log = ReleaseLog(f"{store}/log")
        for file in files:
            log.ingest(file.read_bytes(), file.name)
        first, second = NIGHTS[which]
        told = {}
        for name, options in {
            "a fit": ("--as-of", first),
            "nothing new": ("--as-of", first),
            "a month later": ("--as-of", second),
        }.items():
            told[name] = night(store, config, *options)
            print(name, told[name], file=sys.stderr, flush=True)
        print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
