"""The kernels of :mod:`model.kernel` as PyTensor Ops, so that a model can be sampled with their exact gradient."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytensor.tensor as pt
from numba import njit
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

from model import kernel
from model.kernel import CAMPAIGNS, INPUTS, adjoint, forward

_SOURCE = Path(kernel.__file__).read_bytes() + Path(__file__).read_bytes()
_VERSION = int(hashlib.sha256(_SOURCE).hexdigest()[:15], 16)
"""Goes into PyTensor's compile cache key, which does not look into the kernels: an upgrade must not run yesterday's."""

_NDIM = (2, 2, 2, 2, 0, 1, 1, 2, 2, 2, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
_CONSTANT = ("kind", "chain", "group", "initial", "shift", "role", "own_course", "before", "now", "begun")
MONTHLY = ("x", "scale", "kind", "hurdle", "relief", "parting", "hold", "onset")
"""The inputs whose last axis is the month."""
DIFFERENTIABLE = tuple(name for name in INPUTS if name not in _CONSTANT)


class RegimeAdjoint(Op):
    """Cotangent of :class:`RegimeChain`'s predictive densities pulled back to its differentiable inputs."""

    __props__ = ()

    def make_node(self, *inputs: Variable) -> Apply:
        named = dict(zip(INPUTS, inputs, strict=False))
        return Apply(self, list(inputs), [named[name].type() for name in DIFFERENTIABLE])

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        for storage, value in zip(outputs, adjoint(*inputs), strict=True):
            storage[0] = np.asarray(value)


class RegimeChain(Op):
    """(predictive[C, T], campaign[G, T, Z], state[T, Z, K, C]) of :func:`forward`; only ``predictive`` is differentiable."""

    __props__ = ()

    def make_node(self, *inputs: Any) -> Apply:
        variables = [pt.as_tensor_variable(v) for v in inputs]
        if tuple(v.ndim for v in variables) != _NDIM:
            raise TypeError(f"regime_chain: {INPUTS} have {[v.ndim for v in variables]} dimensions, not {list(_NDIM)}")
        return Apply(self, variables, [pt.tensor(dtype="float64", shape=(None,) * n) for n in (2, 3, 4)])

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        for storage, value in zip(outputs, forward(*inputs), strict=True):
            storage[0] = value

    def infer_shape(self, node: Apply, shapes: Any) -> list[Any]:
        chains, months = shapes[INPUTS.index("entry")][0], shapes[0][1]
        groups, states = shapes[INPUTS.index("onset")][0], shapes[INPUTS.index("shift")][0]
        return [(chains, months), (groups, months, CAMPAIGNS), (months, CAMPAIGNS, states, chains)]

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Variable]:
        from pytensor.gradient import disconnected_type

        _, campaign, state = outputs
        pulled = dict(zip(DIFFERENTIABLE, RegimeAdjoint()(*inputs, campaign, state, cotangents[0]), strict=True))
        return [pulled.get(name, disconnected_type()) for name in INPUTS]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[name not in _CONSTANT, False, False] for name in INPUTS]


# numba compiles a kernel anew for each type of its arguments, read-only and strided arrays among them; `_own` makes one of all. It
# specialises neither on keyword nor on star arguments here, so they are written out; a 0-d slope becomes a number.


@njit
def _own(floats):
    return floats.astype(np.float64)


@njit
def _own_int(integers):
    return integers.astype(np.int64)


@register_funcify_default_op_cache_key(RegimeChain)  # type: ignore[untyped-decorator]
def _numba_regime_chain(op: Op, node: Apply, **kwargs: Any) -> Any:
    @njit
    def regime_chain(x, scale, kind, hurdle, slope, rho, spare, relief, parting, hold, onset, pace, entry, exit, move, chain, group,
        initial, shift, role, own_course, before, now, begun):  # fmt: skip
        return forward(
            _own(x), _own(scale), _own_int(kind), _own(hurdle), np.float64(slope.item()), _own(rho), _own(spare), _own(relief),
            _own(parting), _own(hold), _own(onset), _own(pace), _own(entry), _own(exit), _own(move), _own_int(chain), _own_int(group),
            _own(initial), _own(shift), _own_int(role), _own(own_course), _own_int(before), _own_int(now), _own(begun),
        )  # fmt: skip

    return regime_chain, _VERSION


@register_funcify_default_op_cache_key(RegimeAdjoint)  # type: ignore[untyped-decorator]
def _numba_regime_adjoint(op: Op, node: Apply, **kwargs: Any) -> Any:
    @njit
    def regime_adjoint(x, scale, kind, hurdle, slope, rho, spare, relief, parting, hold, onset, pace, entry, exit, move, chain, group,
        initial, shift, role, own_course, before, now, begun, campaign, state, weight):  # fmt: skip
        return adjoint(
            _own(x), _own(scale), _own_int(kind), _own(hurdle), np.float64(slope.item()), _own(rho), _own(spare), _own(relief),
            _own(parting), _own(hold), _own(onset), _own(pace), _own(entry), _own(exit), _own(move), _own_int(chain), _own_int(group),
            _own(initial), _own(shift), _own_int(role), _own(own_course), _own_int(before), _own_int(now), _own(begun),
            _own(campaign), _own(state), _own(weight),
        )  # fmt: skip

    return regime_adjoint, _VERSION


regime_chain = RegimeChain()
