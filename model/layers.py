"""Draws -> the two layers of regime chains, run: what every answer is computed from.

A *layer* is the targeted chains (one a unit, grouped by importer) or the product-wide chains (one a family, each its own group).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import batched

import numpy as np
import xarray as xr

from model.chain import MONTHLY
from model.filtering import Kernel
from model.frame import Frame
from model.graph import Graph
from model.kernel import INPUTS


@dataclass(frozen=True)
class Draw:
    """One draw's arguments of the kernel for both layers, and (unit, period) arrays beside them.

    parts : ``log_expected``, ``control`` and what the offices' figures say apart (:meth:`model.graph.Graph.parts`).
    """

    unit: Kernel
    family: Kernel
    parts: dict[str, np.ndarray]

    def alone(self) -> "Draw":
        """Each unit a group of its own: nothing is concluded from other families of its importer."""
        onset, group = self.unit["onset"], self.unit["group"]
        return replace(self, unit=self.unit | {"onset": onset[group], "group": np.arange(len(group))})


def draws_of(posterior: xr.Dataset, wanted: int | None = None) -> dict[str, np.ndarray]:
    """{free variable: (sample, ...)}; `wanted` samples spread evenly over all chains and draws."""
    stacked = posterior.stack(sample=("chain", "draw"), create_index=False)
    total = stacked.sizes["sample"]
    chosen = np.unique(np.linspace(0, total - 1, min(total, wanted or total)).round().astype(int))
    return {str(name): v.transpose("sample", ...).values[chosen] for name, v in stacked.data_vars.items()}


BATCH, CELLS = 16, 100_000
"""Draws whose equations are worked out at once, and figures (series times months) that they may have together: of hundreds of small
operations most is the calling of them."""


def evaluated(graph: Graph, draws: Mapping[str, np.ndarray]) -> Iterator[Draw]:
    """Each draw of {free variable: (sample, ...)}, over the months of the graph's frame. `draws` are read a batch at a time."""
    f, names = graph.frame, [v.name for v in graph.model.free_RVs]
    data, total = f.data(), len(draws[names[0]])
    given = [data[v.name] for v in graph.model.data_vars]
    batch = 1 if total == 1 else int(np.clip(CELLS // (len(f.kind) * f.capacity), 1, BATCH))
    for first in range(0, total, batch):
        # A last batch that is not full is filled up: another size is compiled anew.
        chosen = np.minimum(np.arange(first, first + batch), total - 1)
        arrays = [np.array(v, order="C") for v in graph.equations.function(*(draws[name][chosen] for name in names), *given)]
        for k in range(min(batch, total - first)):
            yield _draw([v[k] for v in arrays], f, list(graph.equations.parts))


def _draw(arrays: list[np.ndarray], f: Frame, parts: list[str]) -> Draw:
    unit, family = (dict(zip(INPUTS, arrays[i : i + len(INPUTS)], strict=True)) for i in (0, len(INPUTS)))
    for kernel in (unit, family):
        kernel["months"] = np.array(f.periods)
        for name in MONTHLY:
            kernel[name] = kernel[name][:, : f.periods]
    monthly = (v[:, : f.periods] for v in arrays[2 * len(INPUTS) :])
    return Draw(unit, family, dict(zip(parts, monthly, strict=True)))


def side_by_side[A, B](work: Callable[[A], B], given: Iterable[A], cores: int) -> Iterator[B]:
    """`work` of each, in their order, on several cores: the kernels let go of Python's lock. Few are held at a time."""
    with ThreadPoolExecutor(cores) as pool:
        for some in batched(given, 2 * cores):
            yield from pool.map(work, some)


def evaluator(graph: Graph) -> Callable[[Mapping[str, np.ndarray]], Draw]:
    """{free variable: value} -> :class:`Draw`."""
    return lambda values: next(evaluated(graph, {name: np.asarray(v, float)[None] for name, v in values.items()}))
