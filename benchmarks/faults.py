"""What a nightly refresh survives, counted: make faults -> docs/faults.md.

Every fault is a real one: signals, a full tmpfs, a limit of memory. A small panel is fitted once (var/bench/faults); each trial copies its
store, breaks a refresh in it, and asks after it: does what was served still load and verify, is the log whole, does the run's record say
what happened, does the next refresh succeed, is anything left lying about?
"""

import argparse
import random
import re
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import calls
import poison
import reproducible
from buckets import silent, slow
from disks import disk_full, full_at_ingest, read_only
from measure import ROOT
from processes import at_once, damaged, killed, memory
from rich.console import Console
from trials import DONE, Told, Trial, Trying, base, refresh

talk = Console(stderr=True)


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


def _in_a_place_of_its_own(trial: Trying) -> Told:
    with tempfile.TemporaryDirectory() as scratch:
        return trial(Path(scratch) / "var")


def _row(name: str, trials: Iterable[Told], count: int) -> str:
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
    kinds: list[tuple[str, int, Trying]] = [
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
