"""The kernels of :mod:`model.kernel` as PyTensor Ops, so that they can stand in a model's graph with their exact gradient."""

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op

from model.adjoint import Gradient
from model.entry import adjoint, forward
from model.kernel import CAMPAIGNS, INPUTS, layer

_NDIM = (0, 2, 2, 2, 2, 0, 1, 1, 2, 2, 2, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
MONTHLY = ("x", "scale", "kind", "hurdle", "relief", "parting", "hold", "onset")
"""The inputs whose last axis is the month."""
DIFFERENTIABLE = Gradient._fields


class RegimeAdjoint(Op):
    """Cotangent of :class:`RegimeChain`'s predictive densities pulled back to its differentiable inputs."""

    __props__ = ()

    def make_node(self, *inputs: Variable) -> Apply:
        named = dict(zip(INPUTS, inputs, strict=False))
        return Apply(self, list(inputs), [named[name].type() for name in DIFFERENTIABLE])

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        given, rest = inputs[: len(INPUTS)], (np.ascontiguousarray(v) for v in inputs[len(INPUTS) :])
        for storage, value in zip(outputs, adjoint(layer(dict(zip(INPUTS, given, strict=True))), *rest), strict=True):
            storage[0] = np.asarray(value)


class RegimeChain(Op):
    """(predictive[C, T], campaign[G, T, Z], state[T, Z K C]) of :func:`model.entry.forward`; only ``predictive`` is differentiable."""

    __props__ = ()

    def make_node(self, *inputs: Any) -> Apply:
        variables = [pt.as_tensor_variable(v) for v in inputs]
        if tuple(v.ndim for v in variables) != _NDIM:
            raise TypeError(f"regime_chain: {INPUTS} have {[v.ndim for v in variables]} dimensions, not {list(_NDIM)}")
        return Apply(self, variables, [pt.tensor(dtype="float64", shape=(None,) * n) for n in (2, 3, 2)])

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        for storage, value in zip(outputs, forward(layer(dict(zip(INPUTS, inputs, strict=True)))), strict=True):
            storage[0] = value

    def infer_shape(self, node: Apply, shapes: Any) -> list[Any]:
        chains, months = shapes[INPUTS.index("entry")][0], shapes[INPUTS.index("x")][1]
        groups, states = shapes[INPUTS.index("onset")][0], shapes[INPUTS.index("shift")][0]
        return [(chains, months), (groups, months, CAMPAIGNS), (months, CAMPAIGNS * states * chains)]

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Variable]:
        from pytensor.gradient import disconnected_type

        _, campaign, state = outputs
        pulled = dict(zip(DIFFERENTIABLE, RegimeAdjoint()(*inputs, campaign, state, cotangents[0]), strict=True))
        return [pulled.get(name, disconnected_type()) for name in INPUTS]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[name in DIFFERENTIABLE, False, False] for name in INPUTS]


regime_chain = RegimeChain()
