r"""The regime chain: its likelihood, exact over all state paths, as one numba kernel and a PyTensor Op.

C independent chains, T months, K states. Chain c at month t is seen through ``x`` (log flow minus its
open-regime expectation) or not at all. With shift :math:`m_k = \log(1 - \text{severity}_k) \le 0`:

.. math::
    P(s_1 = k) &= \text{initial}_k, \qquad
    P(s_t = k \mid s_{t-1} = j) = \text{base}_{jk} + \text{entry}_{ct}\,\text{tilt}_{jk} \\
    P(\text{zero} \mid s_t = k) &= \sigma(\text{hurdle}_{ct} - \text{slope}\; m_k) \\
    x_t - m_{s_t} &= \rho_c\,(x_{t-1} - m_{s_{t-1}}) + \text{scale}_{ct}\;\varepsilon_t, \quad
    \varepsilon_t \sim t_\nu

so the emission sits on the pair :math:`(s_{t-1}, s_t)` (Hamilton 1989, Econometrica 57(2), 357-384). Where the
month before has no positive flow the residual has its stationary scale. ``kind`` says what month t shows:
:data:`MISSING`, :data:`ZERO` or :data:`POSITIVE`. The degrees of freedom are the odd constant :data:`NU`, for
which the Student-t density is a rational function: no logarithm and no power in the inner loop.

``predictive[c, t]`` = log p(y_t | y_1..y_{t-1}); its sum over t is the log likelihood. ``filtered[c, t, k]`` =
p(s_t = k | y_1..y_t). The gradient is the exact adjoint of the scaled forward recursion, for any cotangent.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytensor.tensor as pt
from jaxtyping import Float, Int8
from numba import njit
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

MISSING, ZERO, POSITIVE = 0, 1, 2
NU = 5.0
NEVER_ZERO = -800.0
"""A hurdle at which no state can show a zero."""
_POWER = 3  # (NU + 1) / 2
_NORMAL = 8 / (3 * np.pi * np.sqrt(5))  # Gamma(3) / (Gamma(5/2) sqrt(5 pi)): t_5 at zero, unit scale
_TINY = 1e-300

_VERSION = int(hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:15], 16)
"""Goes into PyTensor's compile cache key, which does not look into the kernels: an upgrade must not run yesterday's."""

Chains = Float[np.ndarray, "chain period"]
PerState = Float[np.ndarray, "chain period state"]


@njit(cache=True, error_model="numpy")
def _silence(kind, hurdle, lift, out):  # type: ignore[no-untyped-def]
    """out[k] = p(zero | k), 0 where nothing was seen. lift[k] = exp(slope * shift[k]), so that a cell costs one exp."""
    calm = np.exp(-hurdle)
    for k in range(lift.size):
        out[k] = 1.0 / (1.0 + calm * lift[k]) if kind != MISSING else 0.0


@njit(cache=True, error_model="numpy")
def _density(x, before, paired, scale, rho, shift, f):  # type: ignore[no-untyped-def]
    """f[j, k] = density of x given states j before and k now."""
    K = shift.size
    s = scale if paired else scale / np.sqrt(1.0 - rho * rho)
    inverse = 1.0 / (NU * s * s)
    front = _NORMAL / s
    for j in range(K if paired else 1):
        offset = x - (rho * (before - shift[j]) if paired else 0.0)
        for k in range(K):
            e = offset - shift[k]
            d = 1.0 / (1.0 + e * e * inverse)
            f[j, k] = front * d * d * d
    if not paired:
        for j in range(1, K):
            for k in range(K):
                f[j, k] = f[0, k]


@njit(cache=True, error_model="numpy")
def forward(x, scale, kind, hurdle, slope, rho, entry, base, tilt, initial, shift):  # type: ignore[no-untyped-def]
    """(predictive[C, T], filtered[C, T, K]); see the module for the recursion."""
    C, T = x.shape
    K = shift.size
    predictive = np.empty((C, T))
    filtered = np.empty((C, T, K))
    f, silent, lift = np.empty((K, K)), np.empty(K), np.exp(slope * shift)
    for c in range(C):
        for t in range(T):
            seen = kind[c, t]
            paired = t > 0 and seen == POSITIVE and kind[c, t - 1] == POSITIVE
            _silence(seen, hurdle[c, t], lift, silent)
            if seen == POSITIVE:
                _density(x[c, t], x[c, t - 1] if paired else 0.0, paired, scale[c, t], rho[c], shift, f)
            mass = filtered[c, t]
            mass[:] = 0.0
            if t == 0:
                for k in range(K):
                    mass[k] = initial[k] * (f[0, k] if seen == POSITIVE else 1.0)
            else:
                e = entry[c, t]
                for j in range(K):
                    before = filtered[c, t - 1, j]
                    if seen == POSITIVE:
                        for k in range(K):
                            mass[k] += before * (base[j, k] + e * tilt[j, k]) * f[j, k]
                    else:
                        for k in range(K):
                            mass[k] += before * (base[j, k] + e * tilt[j, k])
            total = 0.0
            for k in range(K):
                mass[k] *= silent[k] if seen == ZERO else 1.0 - silent[k]
                total += mass[k]
            total = max(total, _TINY)
            for k in range(K):
                filtered[c, t, k] /= total
            predictive[c, t] = np.log(total)
    return predictive, filtered


@njit(cache=True, error_model="numpy")
def adjoint(x, scale, kind, hurdle, slope, rho, entry, base, tilt, initial, shift, predictive, filtered, weight):  # type: ignore[no-untyped-def]
    """Gradients of sum(weight * predictive) by x, scale, hurdle, slope, rho, entry, base, tilt (in this order)."""
    C, T = x.shape
    K = shift.size
    g_x, g_scale, g_hurdle = np.zeros((C, T)), np.zeros((C, T)), np.zeros((C, T))
    g_entry, g_rho, g_slope = np.zeros((C, T)), np.zeros(C), 0.0
    g_base, g_tilt = np.zeros((K, K)), np.zeros((K, K))
    f, silent, lift = np.empty((K, K)), np.empty(K), np.exp(slope * shift)
    later, earlier, gamma = np.empty(K), np.empty(K), np.empty(K)
    for c in range(C):
        later[:] = 0.0
        for t in range(T - 1, -1, -1):
            seen = kind[c, t]
            paired = t > 0 and seen == POSITIVE and kind[c, t - 1] == POSITIVE
            _silence(seen, hurdle[c, t], lift, silent)
            if seen == POSITIVE:
                _density(x[c, t], x[c, t - 1] if paired else 0.0, paired, scale[c, t], rho[c], shift, f)
            norm = np.exp(-predictive[c, t])
            mean = 0.0
            for k in range(K):
                mean += later[k] * filtered[c, t, k]
            for k in range(K):
                seen_as = 1.0 if seen == MISSING else (silent[k] if seen == ZERO else 1.0 - silent[k])
                gamma[k] = (weight[c, t] + later[k] - mean) * norm * seen_as
                mass = gamma[k] / max(seen_as, _TINY) * filtered[c, t, k] / norm
                slant = 0.0 if seen == MISSING else (1.0 - silent[k] if seen == ZERO else -silent[k])
                g_hurdle[c, t] += mass * slant
                g_slope -= mass * slant * shift[k]
            s = scale[c, t] if paired else scale[c, t] / np.sqrt(1.0 - rho[c] * rho[c])
            inverse = 1.0 / (NU * s * s)
            g_s, g_e = 0.0, 0.0
            rate = entry[c, t]
            for j in range(K if t > 0 else 1):
                before = filtered[c, t - 1, j] if t > 0 else 1.0
                reach, by_rate = 0.0, 0.0
                if seen == POSITIVE:
                    lag = x[c, t - 1] - shift[j] if paired else 0.0
                    offset = x[c, t] - rho[c] * lag
                    g_before, g_scale_j = 0.0, 0.0
                    for k in range(K):
                        flow = f[j, k] * gamma[k]
                        step = base[j, k] + rate * tilt[j, k] if t > 0 else initial[k]
                        e = offset - shift[k]
                        pull = e * inverse / (1.0 + e * e * inverse)
                        reach += step * flow
                        by_rate += tilt[j, k] * flow
                        g_before += step * flow * pull
                        g_scale_j += step * flow * (2 * _POWER * e * pull - 1.0)
                        if t > 0:
                            g_base[j, k] += before * flow
                            g_tilt[j, k] += before * flow * rate
                    g_before *= -2 * _POWER * before
                    g_s += before * g_scale_j / s
                    g_x[c, t] += g_before
                    if paired:
                        g_x[c, t - 1] -= rho[c] * g_before
                        g_rho[c] -= lag * g_before
                else:
                    for k in range(K):
                        reach += (base[j, k] + rate * tilt[j, k]) * gamma[k]
                        by_rate += tilt[j, k] * gamma[k]
                        if t > 0:
                            g_base[j, k] += before * gamma[k]
                            g_tilt[j, k] += before * gamma[k] * rate
                earlier[j] = reach
                if t > 0:
                    g_e += before * by_rate
            g_entry[c, t] = g_e
            if seen == POSITIVE:
                if paired:
                    g_scale[c, t] += g_s
                else:
                    g_scale[c, t] += g_s * s / scale[c, t]
                    g_rho[c] += g_s * s * rho[c] / (1.0 - rho[c] * rho[c])
            later[:] = earlier
    return g_x, g_scale, g_hurdle, np.array(g_slope), g_rho, g_entry, g_base, g_tilt


@njit(cache=True, error_model="numpy")
def smooth(x, scale, kind, hurdle, slope, rho, entry, base, tilt, initial, shift, predictive, filtered):  # type: ignore[no-untyped-def]
    """smoothed[C, T, K] = p(s_t = k | all of y), from the filter's output."""
    C, T = x.shape
    K = shift.size
    smoothed = np.empty((C, T, K))
    f, silent, lift = np.ones((K, K)), np.empty(K), np.exp(slope * shift)
    after, before = np.empty(K), np.empty(K)
    for c in range(C):
        after[:] = 1.0
        smoothed[c, T - 1] = filtered[c, T - 1]
        for t in range(T - 1, 0, -1):
            seen = kind[c, t]
            paired = seen == POSITIVE and kind[c, t - 1] == POSITIVE
            _silence(seen, hurdle[c, t], lift, silent)
            if seen == POSITIVE:
                _density(x[c, t], x[c, t - 1] if paired else 0.0, paired, scale[c, t], rho[c], shift, f)
            norm = np.exp(-predictive[c, t])
            total = 0.0
            for j in range(K):
                before[j] = 0.0
                for k in range(K):
                    seen_as = silent[k] if seen == ZERO else 1.0 - silent[k]
                    density = f[j, k] if seen == POSITIVE else 1.0
                    before[j] += (base[j, k] + entry[c, t] * tilt[j, k]) * density * seen_as * after[k] * norm
                smoothed[c, t - 1, j] = filtered[c, t - 1, j] * before[j]
                total += smoothed[c, t - 1, j]
            for j in range(K):
                smoothed[c, t - 1, j] /= total
            after[:] = before
    return smoothed


class RegimeAdjoint(Op):
    """Cotangent of :class:`RegimeChain`'s predictive densities pulled back to its differentiable inputs."""

    __props__ = ()

    def make_node(self, *inputs: Variable) -> Apply:
        x, scale, _, hurdle, slope, rho, entry, base, tilt = inputs[:9]
        return Apply(self, list(inputs), [v.type() for v in (x, scale, hurdle, slope, rho, entry, base, tilt)])

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        for storage, value in zip(outputs, adjoint(*inputs), strict=True):
            storage[0] = np.asarray(value)


class RegimeChain(Op):
    """(predictive[C, T], filtered[C, T, K]) of the regime chains; only ``predictive`` is differentiable."""

    __props__ = ()

    def make_node(self, *inputs: Any) -> Apply:
        x, scale, kind, hurdle, slope, rho, entry, base, tilt, initial, shift = map(pt.as_tensor_variable, inputs)
        variables = [x, scale, kind, hurdle, slope, rho, entry, base, tilt, initial, shift]
        if [v.ndim for v in variables] != [2, 2, 2, 2, 0, 1, 2, 2, 2, 1, 1]:
            raise TypeError(f"regime_chain: inputs have {[v.ndim for v in variables]} dimensions")
        return Apply(self, variables, [pt.matrix(dtype="float64"), pt.tensor3(dtype="float64")])

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        outputs[0][0], outputs[1][0] = forward(*inputs)

    def infer_shape(self, node: Apply, shapes: Any) -> list[Any]:
        chains, months = shapes[0]
        return [(chains, months), (chains, months, shapes[10][0])]

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Variable]:
        from pytensor.gradient import disconnected_type

        predictive, filtered = outputs
        pulled = RegimeAdjoint()(*inputs, predictive, filtered, cotangents[0])
        g_x, g_scale, g_hurdle, g_slope, g_rho, g_entry, g_base, g_tilt = pulled
        stop = disconnected_type
        return [g_x, g_scale, stop(), g_hurdle, g_slope, g_rho, g_entry, g_base, g_tilt, stop(), stop()]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        fixed = {2, 9, 10}
        return [[i not in fixed, False] for i in range(11)]


@register_funcify_default_op_cache_key(RegimeChain)
def _numba_regime_chain(op, node, **kwargs):  # type: ignore[no-untyped-def]
    @njit
    def regime_chain(x, scale, kind, hurdle, slope, rho, entry, base, tilt, initial, shift):  # type: ignore[no-untyped-def]
        return forward(x, scale, kind, hurdle, slope.item(), rho, entry, base, tilt, initial, shift)

    return regime_chain, _VERSION


@register_funcify_default_op_cache_key(RegimeAdjoint)
def _numba_regime_adjoint(op, node, **kwargs):  # type: ignore[no-untyped-def]
    @njit
    def regime_adjoint(x, scale, kind, hurdle, slope, rho, entry, base, tilt, initial, shift, predictive, filtered, weight):  # type: ignore[no-untyped-def]
        return adjoint(x, scale, kind, hurdle, slope.item(), rho, entry, base, tilt, initial, shift, predictive, filtered, weight)

    return regime_adjoint, _VERSION


regime_chain = RegimeChain()


def regime_probabilities(
    x: Chains,
    scale: Chains,
    kind: Int8[np.ndarray, "chain period"],
    hurdle: Chains,
    slope: float,
    rho: Float[np.ndarray, " chain"],
    entry: Chains,
    base: Float[np.ndarray, "state state"],
    tilt: Float[np.ndarray, "state state"],
    initial: Float[np.ndarray, " state"],
    shift: Float[np.ndarray, " state"],
) -> tuple[PerState, PerState]:
    """(filtered, smoothed) for one draw of the parameters. In a month with nothing seen, filtered is the nowcast."""
    inputs = (x, scale, kind, hurdle, slope, rho, entry, base, tilt, initial, shift)
    predictive, filtered = forward(*inputs)
    return filtered, smooth(*inputs, predictive, filtered)
