"""States of a unit and of its family -> why less moves: the four causes, which sum to one.

``product_wide`` (a measure on all importers, in force against this one), ``targeted`` (in force against this importer and no such
measure), ``disrupted`` (no restriction, but a chain is disrupted), ``open``.
"""

from functools import cache

import numpy as np

from model.states import States

CAUSES = ("open", "disrupted", "targeted", "product_wide")


def cause_of(space: States) -> np.ndarray:
    """(state of the unit, state of the family, cause) 1 where the pair of states is the cause."""
    K = space.shift.size
    restricted, disrupted, parted = space.restricted > 0, space.disrupted > 0, space.parted > 0
    own = np.repeat(restricted[:, None], K, axis=1)
    # That one importer fares worse than others under a measure on all of them is no second measure.
    wide = restricted[None, :] & ~(space.exempt > 0)[:, None]
    targeted = own & ~wide
    shortfall = (disrupted[:, None] | parted[:, None] | disrupted[None, :] & ~(space.exempt > 0)[:, None]) & ~targeted & ~wide
    return np.stack([~targeted & ~wide & ~shortfall, shortfall, targeted, wide], axis=-1).astype(float)


@cache
def meanings(space: States) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(of a unit's states, of a family's, causes), each 0 or 1: (state, meaning), (state, meaning), (meaning of the unit, of the
    family, cause). States that mean the same whatever the other chain's are one meaning: severities are many, meanings few."""
    cause, of_unit = np.unique(cause_of(space), axis=0, return_inverse=True)
    cause, of_family = np.unique(cause, axis=1, return_inverse=True)
    return np.eye(len(cause))[of_unit], np.eye(cause.shape[1])[of_family], cause


def mixed(unit: np.ndarray, family: np.ndarray, cause: np.ndarray) -> np.ndarray:
    """(..., cause) from (..., meaning) probabilities of the two chains of one draw, which are independent."""
    given_family = (unit @ cause.reshape(len(cause), -1)).reshape(*unit.shape[:-1], *cause.shape[1:])
    mass = (given_family * family[..., None]).sum(-2)
    return np.asarray(mass / mass.sum(-1, keepdims=True))


def causes(unit: np.ndarray, family: np.ndarray, space: States) -> np.ndarray:
    """(..., 4) in the order of :data:`CAUSES`, from (..., state) probabilities of the two chains of one draw."""
    of_unit, of_family, cause = meanings(space)
    return mixed(unit @ of_unit, family @ of_family, cause)
