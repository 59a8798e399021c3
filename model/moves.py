"""How campaigns begin and end, and how states follow each other: the odds of both layers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from model.expectation import Data
from model.frame import Frame
from model.spec import Assumptions
from model.states import ENTRIES, ENTRY_OF_MOVE, EXIT_OF_MOVE, EXITS, transitions

WIDE_ENTRY = {"lone": 0.0, "join": 0.9, "late": 0.02}
"""A measure on a product is its own campaign: the family chain follows it at once."""


@dataclass(frozen=True)
class Moves:
    """How one layer's campaigns and chains move: the kernel's arguments of the same names, and ``onset_plain``, the onset were
    every covariate at its mean."""

    onset: Any
    pace: Any
    entry: Any
    exit: Any
    move: Any
    onset_plain: Any


def moves(a: Assumptions, f: Frame, data: Data) -> tuple[Moves, Moves]:
    """(targeted, product-wide): groups are importers, and families."""
    rates = {n: pm.Beta(n, *getattr(a, n)) for n in ("surge_entry", "surge_exit", "exempt_entry", "exempt_exit")}
    disruption = {n: pm.Beta(n, *getattr(a, n)) for n in ("disruption_entry", "disruption_exit")}
    disruption_wide = {n: pm.Beta(f"{n}_wide", *getattr(a, f"{n}_wide")) for n in disruption}
    targeted = transitions(a, rates | disruption)
    # A family has nothing to be exempt from.
    wide = transitions(a, rates | disruption_wide | {"exempt_entry": 0.0}, a.disruption_depth_wide)
    alpha, beta = np.array(a.restriction_exit).T
    exit = pm.Beta("restriction_exit", alpha, beta, dims="exit")[[EXITS.index(name) for name in EXIT_OF_MOVE]]

    spread = pm.HalfNormal("entry_spread", a.entry_spread)
    odds = pm.Normal("campaign", *a.campaign) + pm.Normal("campaign_importer", 0, 1, dims="importer") * spread
    onset, plain = _onset(a, f, odds[:, None], "covariate_effect", data["led"])
    every = pm.Normal("product_wide", *a.product_wide) + pt.zeros((len(f.coords["family"]), 1))
    onset_wide, plain_wide = _onset(a, f, every, "covariate_effect_wide", data["led_wide"])

    alpha, beta = np.array(a.campaign_pace).T
    pace = pm.Beta("campaign_pace", alpha, beta, shape=2)
    by_family = pm.Normal("entry_family", 0, 1, dims="family") * spread
    entry = {name: pm.Normal(f"entry_{name}", *getattr(a, f"entry_{name}")) for name in ENTRIES}
    per_move = pt.stack([entry[name] for name in ENTRY_OF_MOVE])
    of_unit = pm.math.sigmoid(per_move[None, :] + by_family[f.family][:, None])
    of_family = np.tile([WIDE_ENTRY[name] for name in ENTRY_OF_MOVE], (len(f.coords["family"]), 1))
    return Moves(onset, pace, of_unit, exit, targeted, plain), Moves(onset_wide, pace, pt.constant(of_family), exit, wide, plain_wide)


def _onset(a: Assumptions, f: Frame, odds: Any, effect_name: str, led: Any) -> tuple[Any, Any]:
    """(group, period) probability that a campaign begins, and the same were every driver at its mean."""
    plain = pm.math.sigmoid(odds) + pt.zeros((1, f.capacity))
    if not len(f.drivers):
        return plain, plain
    effect = pm.TruncatedNormal(effect_name, *a.covariate_effect, lower=0, dims="driver")
    lead = pm.Dirichlet(f"{effect_name}_lead", np.ones(a.covariate_leads + 1), dims=("driver", "lead"))
    return pm.math.sigmoid(odds + pt.tensordot(effect[:, None] * lead, led, axes=2)), plain
