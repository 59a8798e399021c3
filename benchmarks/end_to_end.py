"""How many steps nutpie's warm-up makes of the whole model by a time, imports and compiling included: python end_to_end.py SECONDS [scan].

Prints JSON, and ends there and then: with the likelihood as a scan a fit would take hours.
"""

import time

BEGAN = time.perf_counter()

import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

import problems  # noqa: E402
from pytensor.link.jax.dispatch import jax_funcify  # noqa: E402
from whole import scanned  # noqa: E402

from model import fit as fitting  # noqa: E402
from model.chain import RegimeChain  # noqa: E402
from model.spec import Computation  # noqa: E402


def main(seconds: str, scan: str = "") -> None:
    if scan:
        jax_funcify.register(RegimeChain)(scanned)
    graph = problems.graph(problems.world())
    compiled = fitting._filled(graph)

    def told(steps: int, of: int) -> None:
        spent = time.perf_counter() - BEGAN
        if spent > float(seconds) or steps == of:
            print(json.dumps({"steps": steps, "of": of, "seconds": spent}), flush=True)
            os._exit(0)

    fitting._warmed_up(compiled, fitting.anchor(graph), Computation(), fitting.WATCHED, told)


if __name__ == "__main__":
    main(*sys.argv[1:])
