"""Two fits as a refresh makes them, compiled before, in a process of their own: python a_fit.py real|simulated; prints JSON.

The first begins afresh, without the last month, and compiles what only jumps ask, half a second from a cache; the second carries its
chains on to the whole panel.
"""

import json
import sys
import time

import problems

from model.checks import run_checks
from model.fit import Fit, Left, continued, fit
from model.frame import Frame, frame
from model.spec import Computation


def timed(f: Frame, after: Left | None = None) -> tuple[Fit, dict[str, float]]:
    began = time.perf_counter()
    done = fit(f, problems.A, Computation(), after=after)
    told = {"seconds": time.perf_counter() - began, "gradients": float(done.posterior["sample_stats"]["n_steps"].mean())}
    told["draws"] = done.posterior["posterior"].sizes["draw"]
    return done, told | {check.name: check.value for check in run_checks(done.posterior, done.free, [])}


def main(which: str) -> None:
    f = frame(problems.real(), problems.A) if which == "real" else problems.world().frame
    fit(f, problems.A, Computation(draws=2, tune=2, chains=1))
    first, afresh = timed(f.until(f.periods - 1))
    after = continued(first, f)
    assert after is not None
    _, carried = timed(f, after)
    print(json.dumps({"begun afresh": afresh, "carried on": carried}))


if __name__ == "__main__":
    main(*sys.argv[1:])
