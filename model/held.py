"""What a snapshot holds of its draws, so that a what-if (:mod:`model.what_if`) can be answered without the graph they were drawn from."""

import numpy as np

from data.panel import Panel
from model.causes import meanings
from model.drivers import measured
from model.filtering import filtered
from model.graph import Graph
from model.layers import evaluated
from model.reading import REFERENCE_LOG_KG
from model.spec import Assumptions
from model.states import states

DRAWS = 64
"""Draws that are held: enough for a probability to 0.02 beside its own spread, few enough to be filtered in tens of milliseconds."""
AS_DRAWN = ("rho", "spare", "relief", "parting", "hold", "pace", "entry", "exit", "move", "slope")
"""Arguments of the kernel that no figure enters."""


def held(draws: dict[str, np.ndarray], graph: Graph, panel: Panel, a: Assumptions) -> dict[str, dict[str, np.ndarray]]:
    """{importer: arrays}; what each is stands in :class:`model.what_if.Held`. draws : {free variable: (sample, ...)}."""
    f, (_, of_family, _) = graph.frame, meanings(states(a))
    samples, months = len(draws["family_course"]), f.periods
    unseen = ~f.family_seen[f.family_of]
    parts: dict[str, list[np.ndarray]] = {}
    free = {name: draws.get(name, np.zeros((samples, 1))) ** 2 for name in ("reporting_exporter", "reporting_importer", "preliminary")}
    free = {name: v.reshape(samples) for name, v in free.items()}
    if "reporting_importer" not in draws:
        free["reporting_importer"] = np.ones(samples)  # of an office that has reported nothing
    for s, draw in enumerate(evaluated(graph, draws)):
        kernel, own_variance = draw.unit, free["reporting_exporter"][s] + free["preliminary"][s] * f.preliminary[:, 0]
        # In a month in which no destination shows the family's course, what it may be is noise.
        course = (draw.family["scale"][:, 0] ** 2 / (1 - draw.family["rho"] ** 2))[f.family_of][:, None] * unseen
        each = {name: kernel[name] for name in AS_DRAWN} | {
            "plain": draw.parts["log_plain"],
            "carried": draw.parts["carried"],
            "process": draw.parts["exporter_scale"] ** 2 - own_variance + course,
            "own_hurdle": kernel["hurdle"][:, 0] + kernel["slope"] * (draw.parts["log_expected"][:, 0] - REFERENCE_LOG_KG),
            "wide": filtered(draw.family)[f.family] @ of_family,
        }
        for name, value in each.items():
            parts.setdefault(name, []).append(np.asarray(value))
    every = {name: np.stack(values) for name, values in parts.items()}
    of_series, of_unit = ("plain", "carried", "process", "own_hurdle", "rho", "spare"), ("wide", "relief", "parting", "hold", "entry")
    importers = f.coords["importer"]
    bias, transit = draws.get("bias"), draws.get("transit")
    out = {}
    for i, importer in enumerate(importers):
        units, rows = np.flatnonzero(f.importer == i), np.flatnonzero(f.importer[f.unit] == i)
        per_draw = {n: every[n][:, rows] for n in of_series} | {n: every[n][:, units] for n in of_unit}
        per_draw |= {n: every[n] for n in ("pace", "exit", "move", "slope")}
        per_draw |= {
            "bias": np.zeros((samples, len(rows))) if bias is None else bias[:, rows],
            "transit": np.zeros(samples) if transit is None else transit[:, i],
            "frontload": draws["frontload"].reshape(samples),
            **free,
        }
        out[importer] = {n: v.astype(np.float32) for n, v in per_draw.items()} | {
            "exporter": np.array(panel.attrs["exporter"]),
            "importer": np.array(importer),
            "unit": np.array([f.coords["unit"][u] for u in units]),
            "hs": np.array([f.flows.hs[r] for r in rows]),
            "chain": np.searchsorted(units, f.unit[rows]),
            "period": np.array(f.coords["period"][:months]),
            "log_kg": f.flows.log_kg[rows],
            "kind": f.flows.kind[rows],
            "summed": f.summed[rows],
            "first_release": f.preliminary[rows],
            "offices": np.array(2 if transit is not None else int(bias is not None)),
            "horizon": np.array(int(panel.attrs["horizon"])),
        } | _covariates(draws, graph, panel, units, i)  # fmt: skip
    return out


def _covariates(draws: dict[str, np.ndarray], graph: Graph, panel: Panel, units: np.ndarray, importer: int) -> dict[str, np.ndarray]:
    """The importer's covariates as they were known, what they are measured by, and what each draw makes of them."""
    f, samples = graph.frame, len(draws["family_course"])
    every = panel["covariates"].values[:, f.fitted]
    measures = np.stack([measured(c) for c in every], axis=1) if len(every) else np.zeros((2, 0, len(f.fitted)))
    odds = draws["campaign"].reshape(samples) + draws["campaign_importer"][:, importer] * draws["entry_spread"].reshape(samples)
    led = np.zeros((samples, 0, len(f.coords["lead"])))
    if len(f.drivers):
        led = draws["covariate_effect"][:, :, None] * draws["covariate_effect_lead"]
    return {
        "covariate": np.array([str(v) for v in panel["covariate"].values], dtype=str),
        "covariates": every[:, units],
        "measures": measures[:, :, units],
        "odds": odds.astype(np.float32),
        "led_effect": led.astype(np.float32),
    }
