"""Draws -> the two layers of regime chains, run: what every answer is computed from.

A *layer* is the targeted chains (one a unit, grouped by importer) or the product-wide chains (one a family, each its own group).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from model.chain import MONTHLY
from model.filtering import Kernel
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


Evaluate = Callable[[Mapping[str, np.ndarray]], Draw]


def evaluator(graph: Graph) -> Evaluate:
    """{free variable: value} -> :class:`Draw`, over the months of the graph's frame."""
    f, parts, data = graph.frame, list(graph.equations.parts), graph.frame.data()
    given = [data[v.name] for v in graph.model.data_vars]

    def evaluate(values: Mapping[str, np.ndarray]) -> Draw:
        arrays = [np.array(v, order="C") for v in graph.equations.function(*(values[v.name] for v in graph.model.free_RVs), *given)]
        unit, family = (dict(zip(INPUTS, arrays[i : i + len(INPUTS)], strict=True)) for i in (0, len(INPUTS)))
        for kernel in (unit, family):
            kernel["months"] = np.array(f.periods)
            for name in MONTHLY:
                kernel[name] = kernel[name][:, : f.periods]
        monthly = (v[:, : f.periods] for v in arrays[2 * len(INPUTS) :])
        return Draw(unit, family, dict(zip(parts, monthly, strict=True)))

    return evaluate


def evaluated(graph: Graph, draws: Mapping[str, np.ndarray]) -> Iterator[Draw]:
    evaluate = evaluator(graph)
    for s in range(len(next(iter(draws.values())))):
        yield evaluate({name: v[s] for name, v in draws.items()})
