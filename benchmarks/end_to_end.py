"""How many steps of warm-up two chains make of the whole model by a time, imports and compiling included: python end_to_end.py SECONDS BY.

BY : nutpie, with the kernels; nutpie-scan and numpyro-scan, with the likelihood as a JAX scan, by nutpie and by NumPyro's NUTS.
Prints JSON, and ends there and then: with a scan a fit would take hours.
"""

import time

BEGAN = time.perf_counter()

import itertools  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402
from typing import Any  # noqa: E402

import jax  # noqa: E402
import problems  # noqa: E402
from pytensor.link.jax.dispatch import jax_funcify  # noqa: E402
from whole import scanned  # noqa: E402

from model import fit as fitting  # noqa: E402
from model.chain import RegimeChain  # noqa: E402
from model.spec import Computation  # noqa: E402

Told = Callable[[int, int], None]


def by_numpyro(compiled: Any, start: Any, c: Computation, told: Told) -> None:
    """NumPyro's NUTS, of the same target acceptance and no deeper trees, a step at a time, so that the clock can be read."""
    from numpyro.infer import NUTS

    data, count, of = fitting._given(compiled), itertools.count(1), c.chains * (c.tune + fitting.WATCHED)
    limits = {"target_accept_prob": c.target_accept, "max_tree_depth": fitting.DEEPEST}
    kernel = NUTS(potential_fn=lambda x: -compiled._raw_logp_fn(x, *data)[0], **limits)

    def chain(seed: int) -> None:
        state = kernel.init(jax.random.key(seed), c.tune, start, (), {})
        step = jax.jit(kernel.sample)
        while True:
            state = jax.block_until_ready(step(state, (), {}))
            told(next(count), of)

    with ThreadPoolExecutor(c.chains) as pool:
        list(pool.map(chain, range(c.chains)))


def main(seconds: str, by: str) -> None:
    sampler, _, scan = by.partition("-")
    if scan:
        jax_funcify.register(RegimeChain)(scanned)
    graph, c = problems.graph(problems.world()), Computation()
    compiled, start = fitting._filled(graph), fitting.anchor(graph)

    def told(steps: int, of: int) -> None:
        spent = time.perf_counter() - BEGAN
        if spent > float(seconds) or steps == of:
            print(json.dumps({"steps": steps, "of": of, "seconds": spent}), flush=True)
            os._exit(0)

    if sampler == "numpyro":
        by_numpyro(compiled, start, c, told)
    else:
        fitting._warmed_up(compiled, start, c, fitting.WATCHED, told)


if __name__ == "__main__":
    main(*sys.argv[1:])
