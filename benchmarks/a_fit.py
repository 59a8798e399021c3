"""One fit as a refresh makes it, compiled before, in a process of its own: python a_fit.py real|simulated; prints JSON."""

import json
import sys
import time

import problems

from model.checks import run_checks
from model.fit import fit
from model.frame import frame
from model.spec import Computation


def main(which: str) -> None:
    f = frame(problems.real(), problems.A) if which == "real" else problems.world().frame
    fit(f, problems.A, Computation(draws=2, tune=2))
    began = time.perf_counter()
    done = fit(f, problems.A, Computation())
    seconds = time.perf_counter() - began
    checks = {check.name: check.value for check in run_checks(done.posterior, done.free, [])}
    print(json.dumps({"seconds": seconds, "gradients": float(done.posterior["sample_stats"]["n_steps"].mean()), **checks}))


if __name__ == "__main__":
    main(*sys.argv[1:])
