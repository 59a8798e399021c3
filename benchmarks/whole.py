"""From nothing to the whole model's gradient, in a process of its own: python whole.py IMPORTERS [scan]; prints JSON."""

import time

BEGAN = time.perf_counter()

import json  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import problems  # noqa: E402
from measure import memory  # noqa: E402
from peers import jax_scan  # noqa: E402
from pytensor.link.jax.dispatch import jax_funcify  # noqa: E402

from model import fit as fitting  # noqa: E402
from model.adjoint import Gradient  # noqa: E402
from model.chain import RegimeChain  # noqa: E402
from model.kernel import INPUTS, layer  # noqa: E402

IMPORTED = time.perf_counter() - BEGAN


def scanned(op: Any, **kwargs: Any) -> Callable[..., Any]:
    """The kernel's Op as a JAX scan, all in one cell: what is summed is the same."""

    def predictive(*inputs: Any) -> Any:
        of = dict(zip(INPUTS, inputs, strict=True))
        shape = of["entry"].shape[0], of["x"].shape[1]
        constant = {n: np.zeros(np.shape(v)) if n in (*Gradient._fields, "kind") else np.asarray(v) for n, v in of.items() if n != "months"}
        moved = Gradient(*(jnp.asarray(of[n], jnp.float64) for n in Gradient._fields))
        total = jax_scan.log_likelihood(moved, layer(constant | {"months": np.array(shape[1])}), jnp.asarray(of["kind"]))
        return jnp.zeros(shape).at[0, 0].set(total), None, None

    return predictive


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    done = run()
    return time.perf_counter() - began, done


def main(importers: str, scan: str = "") -> None:
    if scan:
        jax_funcify.register(RegimeChain)(scanned)
    graph = problems.graph(problems.world(importers=int(importers)))
    data = graph.frame.data()
    traced, compiled = timed(lambda: fitting._compiled(graph.equations))
    at, call = fitting.anchor(graph), compiled._make_logp_func()

    def gradient() -> Any:
        given = compiled.with_data(**{n: jnp.asarray(v) for n, v in data.items() if n in compiled._shared_data})._shared_data
        return call(at, **given)

    first, _ = timed(gradient)
    month, _ = timed(gradient)
    given = compiled._shared_data
    best = min(timed(lambda: call(at, **given))[0] for _ in range(60))
    told = {"import": IMPORTED, "compiled": traced, "xla": first, "month": month, "gradient": best, "memory": memory()}
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
