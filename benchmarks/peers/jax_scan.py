"""The kernel's likelihood as a JAX ``lax.scan`` over months, gradient by JAX: how one would write it without a kernel."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from model.adjoint import Gradient
from model.kernel import CAMPAIGN_START, MISSING, MOVES, NU, POSITIVE, ZERO

jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
_FROM, _TO = np.array(MOVES).T
_INTO = np.eye(3)[_TO].T
"""(campaign, move): 1 where the move leads there."""


def log_likelihood(moved: Any, p: Any, kind: Any) -> Any:
    """moved : :data:`Gradient` of the inputs that parameters move. kind : of the figures. p : the kernel's layer, for all else."""
    before, now, role = (np.asarray(v) for v in (p.before, p.now, p.role))
    chains, states, months, groups = p.entry.shape[0], len(p.shift), p.months, p.onset.shape[0]
    into = np.eye(states)[now]
    shift_now = np.log1p(-p.begun * (1 - np.exp(p.shift[now])))
    measured = np.maximum(role[before], role[now]) > 0

    def emission(t: Any) -> Any:
        """(series, pair) log density."""
        relief = moved.relief[p.chain]
        here, there = relief[:, t, None], relief[:, t - 1, None]
        multiple = p.shift + p.own_course * here
        silent = jax.nn.sigmoid(moved.hurdle[:, t, None] - moved.slope * multiple)
        paired = ((t > 0) & (kind[:, t - 1] == POSITIVE))[:, None]
        rho = moved.rho[:, None]
        carried = jnp.where(paired, rho, 0.0)
        scale = moved.scale[:, t, None] / jnp.where(paired, 1.0, jnp.sqrt(1 - rho**2))
        plain = moved.x[:, t, None] - carried * moved.x[:, t - 1, None]
        e = plain + carried * (p.shift[before] + p.own_course[before] * there) - (shift_now + p.own_course[now] * here)
        scalar = 8 / (3 * np.pi * np.sqrt(5)) / scale
        density = scalar * (1 + e**2 / (NU * scale**2)) ** -3 * (1 - silent[:, now])
        left_out = scalar * (1 + plain**2 / (NU * scale**2)) ** -3 * (1 - jax.nn.sigmoid(moved.hurdle[:, t, None]))
        shown = kind[:, t, None]
        main = jnp.where(shown == ZERO, silent[:, now], density)
        spared = jnp.where(shown == ZERO, jax.nn.sigmoid(moved.hurdle[:, t, None]), left_out)
        q = moved.spare[:, None] * measured
        return jnp.where(shown == MISSING, 0.0, jnp.log((1 - q) * main + q * spared))

    def step(carry: Any, t: Any) -> Any:
        campaign, state = carry
        f = jnp.exp(jnp.zeros((chains, len(now))).at[p.chain].add(emission(t)))
        e, u, q, h = moved.entry[:, :, None], moved.exit[None, :, None], moved.parting[:, t, None, None], moved.hold[:, t, None, None]
        one = jnp.ones_like(e * u)
        rows = (
            jnp.concatenate([(1 - q) * (1 - e), (1 - q) * e, q * one], -1),
            jnp.concatenate([u * (1 - h), (1 - u) * one, u * h], -1),
            jnp.concatenate([(1 - h) * one, (1 - h) * one, h * one], -1),
        )
        odds = jnp.stack(rows, -2)[:, :, role[before], role[now]]
        joint = (state[:, _FROM][:, :, before] * moved.move * odds * f[:, None]) @ into
        evidence = joint.sum(-1) + 1e-300
        o, pace = moved.onset[:, t], moved.pace
        leave = jnp.stack([1 - o, o, 0 * o + 1 - pace[0], 0 * o + pace[0], 0 * o + 1 - pace[1], 0 * o + pace[1]], -1)
        weight = jnp.log(campaign[:, _FROM] * leave) + jnp.zeros((groups, 6)).at[p.group].add(jnp.log(evidence))
        total = jax.nn.logsumexp(weight, axis=1)
        weight = jnp.exp(weight - total[:, None])
        arrived = weight @ _INTO.T
        share = (weight / arrived[:, _TO])[p.group] / evidence
        return (arrived, jnp.einsum("zp,cpk->czk", _INTO, share[:, :, None] * joint)), total.sum()

    start = jnp.tile(jnp.array(CAMPAIGN_START), (groups, 1)), jnp.tile(jnp.asarray(p.initial), (chains, 3, 1))
    return jax.lax.scan(step, start, jnp.arange(months))[1].sum()


def value_and_gradient(p: Any) -> Callable[[], Any]:
    moved = Gradient(*(jnp.asarray(getattr(p, name)) for name in Gradient._fields))
    both = jax.jit(jax.value_and_grad(lambda moved: log_likelihood(moved, p, jnp.asarray(p.kind))))
    return lambda: jax.block_until_ready(both(moved))  # type: ignore[no-untyped-call]
