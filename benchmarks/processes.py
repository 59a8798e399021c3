"""Refreshes that are killed, told to stop, short of memory, many at a time, or given a posterior that is not what was written."""

import random
import resource
import signal
import subprocess
import time
from pathlib import Path

from trials import BUSY, DONE, NOTHING_NEW, NOW, Told, Trial, Trying, base, refresh

from service.runs import last


def killed(rng: random.Random, length: float, *options: str, number: int = signal.SIGKILL) -> Trying:
    """A refresh that gets a signal after a random time of `length` seconds."""

    def trial(place: Path) -> Told:
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


def memory(megabytes: int) -> Trying:
    """A refresh that may not have more address space than so much."""

    def trial(place: Path) -> Told:
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


def at_once(count: int) -> Trying:
    """So many refreshes at the same moment."""

    def trial(place: Path) -> Told:
        one = Trial(place)
        runs = [refresh(place, "--accept-review") for _ in range(count)]
        codes = sorted((run.communicate(), run.returncode)[1] for run in runs)
        # One that came when the first was done finds nothing new.
        good = codes.count(DONE) == 1 and set(codes) <= {DONE, NOTHING_NEW, BUSY}
        return ([] if good else [f"exit codes {codes}"]) + one.wrong(("published", "nothing new")), f"exit codes {codes}"

    return trial


def damaged(rng: random.Random) -> Trying:
    """A bit of the current snapshot's posterior has flipped: its draws are not weighed; what is served is another file's."""

    def trial(place: Path) -> Told:
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
