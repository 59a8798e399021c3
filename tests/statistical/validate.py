"""Runs the validation, or what of it is not done yet, and writes docs/validation.md: python tests/statistical/validate.py"""

import argparse
import hashlib
import os
from concurrent.futures import as_completed
from pathlib import Path

import ahead
import calibration
import document
import real
from rich.console import Console

from service.decision import versions
from service.progress import counted
from service.workers import processes

ROOT = Path(__file__).parent.parent.parent


def digest() -> str:
    """What the results depend on: the assumptions, the design, how it is computed, and the code that does."""
    source = "".join(path.read_text() for path in (Path(calibration.__file__), Path(ahead.__file__), Path(real.__file__)))
    return hashlib.sha256(f"{calibration.A.digest()}{versions()}{source}".encode()).hexdigest()[:12]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--worlds", type=int, default=22, help="worlds fitted for calibration")
    options.add_argument("--parts", type=int, default=4, help="worlds on which the model less each part is judged")
    options.add_argument("--ahead", type=int, default=12, help="worlds whose last year is judged by what was learnt before it")
    options.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options.add_argument("--folder", type=Path, default=ROOT / "var" / "validation", help="where finished pieces lie")
    given = options.parse_args()
    folder = given.folder / digest()
    folder.mkdir(parents=True, exist_ok=True)
    with processes(given.jobs) as pool, counted(Console(stderr=True), "validation") as told:
        # The longest first, so that no core waits for another at the end.
        todo = [pool.submit(real.describe, folder)]
        todo += [pool.submit(calibration.weigh_parts, seed, folder) for seed in range(given.parts)]
        todo += [pool.submit(ahead.look_ahead, seed, folder) for seed in range(given.ahead)]
        todo += [pool.submit(calibration.calibrate, seed, folder) for seed in range(given.worlds)]
        told(0, len(todo), f"finished pieces are kept in {folder}")
        for done, future in enumerate(as_completed(todo), 1):
            future.result()
            told(done, len(todo), "")
    document.write(folder, ROOT / "docs")


if __name__ == "__main__":
    main()
