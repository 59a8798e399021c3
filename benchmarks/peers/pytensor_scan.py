"""The kernel's likelihood as a PyTensor ``scan`` over months, gradient by PyTensor: how one would write it in a PyMC model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt

from model.adjoint import Gradient
from model.kernel import CAMPAIGN_START, CAMPAIGNS, MISSING, MOVES, NU, POSITIVE, ZERO

_FROM, _TO = np.array(MOVES).T
_INTO = np.eye(CAMPAIGNS)[_TO].T


def log_likelihood(moved: Any, p: Any) -> Any:
    """moved : :data:`Gradient` of variables. p : the kernel's layer, for all else."""
    before, now, role = p.before, p.now, p.role
    chains, states, months, groups = p.entry.shape[0], len(p.shift), p.months, p.onset.shape[0]
    into, of_chain, of_group = np.eye(states)[now], np.eye(chains)[p.chain].T, np.eye(groups)[p.group].T
    shift_now = np.log1p(-p.begun * (1 - np.exp(p.shift[now])))
    measured = (np.maximum(role[before], role[now]) > 0).astype(float)
    kind = pt.constant(p.kind)
    paired = pt.constant(np.pad(p.kind[:, :-1] == POSITIVE, ((0, 0), (1, 0))).astype(float))
    rho = moved.rho[:, None]

    def emission(t: Any) -> Any:
        """(series, pair) log density."""
        relief, here_paired, shown = moved.relief[p.chain], paired[:, t][:, None], kind[:, t][:, None]
        here, there = relief[:, t][:, None], relief[:, t - 1][:, None]
        silent = pt.sigmoid(moved.hurdle[:, t][:, None] - moved.slope * (p.shift + p.own_course * here))
        carried = here_paired * rho
        scale = moved.scale[:, t][:, None] / pt.sqrt(1 - (1 - here_paired) * rho**2)
        plain = moved.x[:, t][:, None] - carried * moved.x[:, t - 1][:, None]
        e = plain + carried * (p.shift[before] + p.own_course[before] * there) - (shift_now + p.own_course[now] * here)
        front, spoken = 8 / (3 * np.pi * np.sqrt(5)) / scale, pt.sigmoid(moved.hurdle[:, t][:, None])
        density = front * (1 + e**2 / (NU * scale**2)) ** -3 * (1 - silent[:, now])
        left_out = front * (1 + plain**2 / (NU * scale**2)) ** -3 * (1 - spoken)
        main, spared = pt.where(pt.eq(shown, ZERO), silent[:, now], density), pt.where(pt.eq(shown, ZERO), spoken, left_out)
        q = moved.spare[:, None] * measured
        return pt.where(pt.eq(shown, MISSING), 0.0, pt.log((1 - q) * main + q * spared))

    def step(t: Any, campaign: Any, state: Any) -> Any:
        f = pt.exp(pt.dot(of_chain, emission(t)))
        e, u = moved.entry[:, :, None], moved.exit[None, :, None]
        q, h = moved.parting[:, t][:, None, None], moved.hold[:, t][:, None, None]
        one = pt.ones_like(e * u)
        rows = (
            pt.concatenate([(1 - q) * (1 - e), (1 - q) * e, q * one], -1),
            pt.concatenate([u * (1 - h), (1 - u) * one, u * h], -1),
            pt.concatenate([(1 - h) * one, (1 - h) * one, h * one], -1),
        )
        odds = pt.stack(rows, -2)[:, :, role[before], role[now]]
        joint = pt.dot(state[:, _FROM][:, :, before] * moved.move * odds * f[:, None], into)
        evidence = joint.sum(-1) + 1e-300
        o, pace = moved.onset[:, t], moved.pace
        leave = pt.stack([1 - o, o, 0 * o + 1 - pace[0], 0 * o + pace[0], 0 * o + 1 - pace[1], 0 * o + pace[1]], -1)
        weight = pt.log(campaign[:, _FROM] * leave) + pt.dot(of_group, pt.log(evidence))
        total = pt.logsumexp(weight, axis=1)
        weight = pt.exp(weight - total[:, None])
        arrived = pt.dot(weight, _INTO.T)
        share = (weight / arrived[:, _TO])[p.group] / evidence
        return arrived, (_INTO[None, :, :, None] * (share[:, :, None] * joint)[:, None]).sum(2), total.sum()

    start = pt.constant(np.tile(CAMPAIGN_START, (groups, 1))), pt.constant(np.tile(p.initial, (chains, CAMPAIGNS, 1)))
    _, _, total = pytensor.scan(step, sequences=[pt.arange(months)], outputs_info=[*start, None], return_updates=False)
    return total.sum()


def value_and_gradient(p: Any) -> Callable[[], Any]:
    values = [np.asarray(getattr(p, name), float) for name in Gradient._fields]
    moved = Gradient(*(pt.tensor(name, dtype="float64", shape=v.shape) for name, v in zip(Gradient._fields, values, strict=True)))
    total = log_likelihood(moved, p)
    both = pytensor.function(list(moved), [total, *pytensor.grad(total, list(moved))])
    return lambda: both(*values)
