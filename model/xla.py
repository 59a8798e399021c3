"""The kernels of :mod:`model.kernel` for XLA, which runs a model's graph while it is sampled.

nutpie has JAX compile the graph in seconds, where numba takes minutes for the several hundred small operations round the kernels
(docs/decisions/0014). The kernels themselves stay numba's: XLA calls them through its foreign function interface, by pointers to the
arrays. What it hands over is laid out as in ``xla/ffi/api/c_api.h``, which jaxlib ships.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from numba import carray, cfunc, njit, types
from numba.extending import intrinsic
from pytensor.link.jax.dispatch import jax_funcify

from model.chain import DIFFERENTIABLE, RegimeChain
from model.kernel import CAMPAIGNS, INPUTS, INTEGERS, Layer, adjoint, forward

jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]

# In words of eight bytes. A call frame: 1 its extension, 9 the arguments, 14 the results. A buffer: 3 its data, 5 its dimensions.
_EXTENSION, _ARGUMENTS, _RESULTS, _DATA, _DIMENSIONS = 1, 9, 14, 3, 5
_VERSION_AT = 24
"""Bytes into the metadata that the interface asks for on registration."""
_MAJOR, _MINOR = 0, 1


def _pointer_to(element: Any) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def pointer(typing_context: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(element)(types.int64), codegen

    return pointer


_words, _halves, _floats = _pointer_to(types.int64), _pointer_to(types.int32), _pointer_to(types.float64)


@njit
def _only_asked(frame):  # type: ignore[no-untyped-def]
    """Whether the call only asks which version of the interface this is, which it is then told."""
    if frame[_EXTENSION] == 0:
        return False
    version = carray(_halves(carray(_words(frame[_EXTENSION]), 4)[3] + _VERSION_AT), 2)
    version[0], version[1] = _MAJOR, _MINOR
    return True


@njit
def _data(buffer):  # type: ignore[no-untyped-def]
    return carray(_words(buffer), 6)[_DATA]


@njit
def _size(buffer, axis):  # type: ignore[no-untyped-def]
    return carray(_words(carray(_words(buffer), 6)[_DIMENSIONS]), axis + 1)[axis]


@njit
def _i0(buffer):  # type: ignore[no-untyped-def]
    return carray(_words(_data(buffer)), 1)[0]


@njit
def _i1(buffer):  # type: ignore[no-untyped-def]
    return carray(_words(_data(buffer)), (_size(buffer, 0),))


@njit
def _i2(buffer):  # type: ignore[no-untyped-def]
    return carray(_words(_data(buffer)), (_size(buffer, 0), _size(buffer, 1)))


@njit
def _f0(buffer):  # type: ignore[no-untyped-def]
    return carray(_floats(_data(buffer)), 1)[0]


@njit
def _f1(buffer):  # type: ignore[no-untyped-def]
    return carray(_floats(_data(buffer)), (_size(buffer, 0),))


@njit
def _f2(buffer):  # type: ignore[no-untyped-def]
    return carray(_floats(_data(buffer)), (_size(buffer, 0), _size(buffer, 1)))


@njit
def _f3(buffer):  # type: ignore[no-untyped-def]
    return carray(_floats(_data(buffer)), (_size(buffer, 0), _size(buffer, 1), _size(buffer, 2)))


@njit
def _f4(buffer):  # type: ignore[no-untyped-def]
    return carray(_floats(_data(buffer)), (_size(buffer, 0), _size(buffer, 1), _size(buffer, 2), _size(buffer, 3)))


@njit
def _layer(a):  # type: ignore[no-untyped-def]
    return Layer(  # type: ignore[call-arg]
        _i0(a[0]), _f2(a[1]), _f2(a[2]), _i2(a[3]), _f2(a[4]), _f0(a[5]), _f1(a[6]), _f1(a[7]), _f2(a[8]), _f2(a[9]), _f2(a[10]),
        _f2(a[11]), _f1(a[12]), _f2(a[13]), _f1(a[14]), _f1(a[15]), _i1(a[16]), _i1(a[17]), _f1(a[18]), _f1(a[19]), _i1(a[20]),
        _f1(a[21]), _i1(a[22]), _i1(a[23]), _f1(a[24]),
    )  # fmt: skip


def _forward(address):  # type: ignore[no-untyped-def]
    frame = carray(_words(address), 15)
    if _only_asked(frame):
        return 0
    predictive, campaign, state = forward(_layer(carray(_words(frame[_ARGUMENTS]), 25)))
    out = carray(_words(frame[_RESULTS]), 3)
    _f2(out[0])[:] = predictive
    _f3(out[1])[:] = campaign
    _f4(out[2])[:] = state
    return 0


def _adjoint(address):  # type: ignore[no-untyped-def]
    frame = carray(_words(address), 15)
    if _only_asked(frame):
        return 0
    given = carray(_words(frame[_ARGUMENTS]), 28)
    pulled = adjoint(_layer(given), _f3(given[25]), _f4(given[26]), _f2(given[27]))
    out = carray(_words(frame[_RESULTS]), 14)
    x, scale, hurdle, slope, rho, spare, relief, parting, hold, onset, pace, entry, exit, move = pulled
    _f2(out[0])[:] = x
    _f2(out[1])[:] = scale
    _f2(out[2])[:] = hurdle
    carray(_floats(_data(out[3])), 1)[0] = slope.item()
    _f1(out[4])[:] = rho
    _f1(out[5])[:] = spare
    _f2(out[6])[:] = relief
    _f2(out[7])[:] = parting
    _f2(out[8])[:] = hold
    _f2(out[9])[:] = onset
    _f1(out[10])[:] = pace
    _f2(out[11])[:] = entry
    _f1(out[12])[:] = exit
    _f1(out[13])[:] = move
    return 0


@cache
def _registered() -> tuple[str, str]:
    """Names of the two kernels, compiled and known to XLA."""
    names = "quietquota_forward", "quietquota_adjoint"
    for name, kernel in zip(names, (_forward, _adjoint), strict=True):
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(cfunc("int64(int64)", cache=True)(kernel).ctypes), platform="cpu")  # type: ignore[no-untyped-call]
    return names


def _of(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float64)  # type: ignore[no-untyped-call]


@jax.custom_vjp  # type: ignore[untyped-decorator]
def _predictive(given: tuple[Any, ...]) -> Any:
    return _run(given)[0]


def _run(given: tuple[Any, ...]) -> Any:
    of = dict(zip(INPUTS, given, strict=True))
    (chains, _), (groups, months), (states,) = of["entry"].shape, of["onset"].shape, of["shift"].shape
    results = _of(chains, months), _of(groups, months, CAMPAIGNS), _of(months, CAMPAIGNS, states, chains)
    return jax.ffi.ffi_call(_registered()[0], results)(*given)


def _run_to_pull(given: tuple[Any, ...]) -> Any:
    predictive, campaign, state = _run(given)
    return predictive, (given, campaign, state)


def _pull(kept: Any, cotangent: Any) -> Any:
    given, campaign, state = kept
    results = tuple(_of(*v.shape) for name, v in zip(INPUTS, given, strict=True) if name in DIFFERENTIABLE)
    pulled = dict(zip(DIFFERENTIABLE, jax.ffi.ffi_call(_registered()[1], results)(*given, campaign, state, cotangent), strict=True))
    return (tuple(pulled.get(name) for name in INPUTS),)


_predictive.defvjp(_run_to_pull, _pull)


@jax_funcify.register(RegimeChain)  # type: ignore[untyped-decorator]
def _regime_chain(op: Any, **kwargs: Any) -> Any:
    def regime_chain(*inputs: Any) -> Any:
        given = tuple(jnp.asarray(v, jnp.int64 if n in INTEGERS else jnp.float64) for n, v in zip(INPUTS, inputs, strict=True))
        return _predictive(given), None, None

    return regime_chain
