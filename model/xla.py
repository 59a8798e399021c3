"""The kernels of :mod:`model.kernel` for XLA, which runs a model's graph while it is sampled.

nutpie has JAX compile the graph in seconds, where numba takes minutes for the several hundred small operations round the kernels
(docs/decisions/0014). The kernels themselves stay numba's: XLA calls their entries (:mod:`model.entry`) through its foreign
function interface.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from pytensor.link.jax.dispatch import jax_funcify

from model.chain import DIFFERENTIABLE, RegimeChain
from model.entry import entry
from model.kernel import CAMPAIGNS, INPUTS, INTEGERS

jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
# Of two chains' gradients an eighth, and of their densities a fifth, was handing the work to another thread and back.
jax.config.update("jax_cpu_enable_async_dispatch", False)  # type: ignore[no-untyped-call]


@cache
def _registered(name: str) -> str:
    """The name by which XLA knows an entry."""
    jax.ffi.register_ffi_target(f"quietquota_{name}", jax.ffi.pycapsule(entry(name)), platform="cpu")  # type: ignore[no-untyped-call]
    return f"quietquota_{name}"


def _of(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float64)  # type: ignore[no-untyped-call]


@jax.custom_vjp  # type: ignore[untyped-decorator]
def _predictive(given: tuple[Any, ...]) -> Any:
    return _run(given)[0]


def _run(given: tuple[Any, ...]) -> Any:
    of = dict(zip(INPUTS, given, strict=True))
    (chains, _), (groups, months), (states,) = of["entry"].shape, of["onset"].shape, of["shift"].shape
    results = _of(chains, months), _of(groups, months, CAMPAIGNS), _of(months, CAMPAIGNS * states * chains)
    return jax.ffi.ffi_call(_registered("forward"), results)(*given)


def _run_to_pull(given: tuple[Any, ...]) -> Any:
    predictive, campaign, state = _run(given)
    return predictive, (given, campaign, state)


def _pull(kept: Any, cotangent: Any) -> Any:
    given, campaign, state = kept
    results = tuple(_of(*v.shape) for name, v in zip(INPUTS, given, strict=True) if name in DIFFERENTIABLE)
    pulled = dict(zip(DIFFERENTIABLE, jax.ffi.ffi_call(_registered("adjoint"), results)(*given, campaign, state, cotangent), strict=True))
    return (tuple(pulled.get(name) for name in INPUTS),)


_predictive.defvjp(_run_to_pull, _pull)


@jax_funcify.register(RegimeChain)  # type: ignore[untyped-decorator]
def _regime_chain(op: Any, **kwargs: Any) -> Any:
    def regime_chain(*inputs: Any) -> Any:
        given = tuple(jnp.asarray(v, jnp.int64 if n in INTEGERS else jnp.float64) for n, v in zip(INPUTS, inputs, strict=True))
        return _predictive(given), None, None

    return regime_chain
