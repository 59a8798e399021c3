"""What the kernels say of states: filtered, and smoothed."""

from typing import Any

import numpy as np

from model.entry import forward
from model.kernel import by_chain, layer
from model.smoother import smooth

Kernel = dict[str, Any]
"""A layer's arguments by the names in :data:`model.kernel.INPUTS`."""


def over_states(campaign: np.ndarray, state: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(chain, period, state) from the filter's or the smoother's p(z) and p(s | z)."""
    return np.einsum("ctz,tzkc->ctk", campaign[group], by_chain(group, len(campaign), state))


def filtered(kernel: Kernel) -> np.ndarray:
    """(chain, period, state) p(s_t | y_1..t). In a month with nothing seen, that is the nowcast."""
    _, campaign, state = forward(layer(kernel))
    return over_states(campaign, state, kernel["group"])


def filtered_and_smoothed(kernel: Kernel) -> tuple[np.ndarray, np.ndarray]:
    given, group = layer(kernel), kernel["group"]
    _, campaign, state = forward(given)
    smoothed_campaign, smoothed = smooth(given, campaign, state)
    return over_states(campaign, state, group), over_states(smoothed_campaign, smoothed, group)
