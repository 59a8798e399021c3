"""How things are measured: one after the other in turns, so that what else the machine does falls on all alike."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
Run = Callable[[], Any]
PATH = os.pathsep.join(str(ROOT / folder) for folder in (".", "benchmarks", "tests", "tests/data"))
"""Of modules: the project, what measures it, and the figures and servers that its tests are made of."""


def in_turns(runs: Mapping[str, Run], seconds: float = 4.0) -> dict[str, float]:
    """{name: seconds of its fastest call}. The fastest of many is what the code costs; the rest is what the machine was doing."""
    best = {name: float("inf") for name in runs}
    for run in runs.values():
        run()
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def memory() -> float:
    """GB this process has held at most. Not getrusage's: that begins with what the process was started from."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1e6


def in_a_process(script: str, *arguments: str, **environment: str) -> dict[str, Any]:
    """The JSON that a script of this folder prints last, run by a Python of its own."""
    own = os.environ | {"PYTHONPATH": PATH, "OMP_NUM_THREADS": "1"} | environment
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    done = subprocess.run(command, env=own, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{script} {' '.join(arguments)}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))
