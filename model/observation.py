"""What two customs offices make of one flow."""

from dataclasses import dataclass
from typing import Any

import pymc as pm
import pytensor.tensor as pt

from model.expectation import Data
from model.frame import Frame
from model.kernel import NU
from model.reading import read
from model.spec import Assumptions


@dataclass(frozen=True)
class Views:
    """What the two offices' figures make of one flow, each (series, period).

    adjustment : added to the primary figure to read the flow off both. variance : of that reading's reporting error (log
    squared), to be added to the process noise. mirror : log density of the offices' difference, which the regime does not enter.
    difference : the importer's reading less the exporter's, and spread : its scale, where both are, else 0. variances : of each office
    alone.
    """

    adjustment: Any
    variance: Any
    mirror: Any
    difference: Any
    spread: Any
    variances: tuple[Any, Any]


def two_views(a: Assumptions, f: Frame, data: Data) -> Views:
    none = pt.zeros((len(f.unit), f.capacity))
    extra = pm.HalfNormal("preliminary", a.preliminary) ** 2 if f.preliminary.any() else 0.0
    extra_exporter, extra_importer = (none + extra * data[f"preliminary_{side}"] for side in ("exporter", "importer"))
    if not f.flows.positive[:, 1].any():
        # One office alone cannot tell its own error from the flow's noise.
        return Views(none, extra_exporter, none, none, none, (extra_exporter, extra_exporter))
    var_exporter = pm.HalfNormal("reporting_exporter", a.reporting_exporter) ** 2 + extra_exporter
    var_importer = pm.HalfNormal("reporting_importer", a.reporting_importer) ** 2 + extra_importer
    bias = pm.Normal("bias", 0, pm.LogNormal("bias_spread", *a.reporter_bias), dims="series")[:, None]
    sees_exporter, sees_importer = pt.eq(data["sees_exporter"], 1), pt.eq(data["sees_importer"], 1)
    if not f.flows.positive.all(1).any():
        alone = sees_importer & ~sees_exporter
        return Views(-bias * alone, pt.where(alone, var_importer, var_exporter), none, none, none, (var_exporter, var_importer))
    share = pm.Beta("transit", *a.transit, dims="importer")[f.importer][f.unit][:, None]
    zero = pt.eq(data["exporter_zero"], 1)
    told = read(
        pt, data["exporter_log_kg"], data["importer_log_kg"], sees_exporter, sees_importer, zero, bias, share, var_exporter, var_importer
    )
    spread = pt.sqrt(var_exporter + var_importer)
    mirror = pm.logp(pm.StudentT.dist(nu=NU, mu=0, sigma=spread), told.difference)
    seen = pt.where(told.both, mirror, 0.0)
    return Views(told.adjustment, told.variance, seen, told.difference, pt.where(told.both, spread, 0.0), (var_exporter, var_importer))


def spared(a: Assumptions, f: Frame) -> Any:
    """(series,) probability that a measure on the family leaves the series' code out; 0 where it is the only one."""
    if not f.several.any():
        return pt.zeros(len(f.unit))
    families = f.coords["family"]
    code = [f.coords["code"].index(f"{families[g]}:{hs}") for g, hs in zip(f.family_of, f.flows.hs, strict=True)]
    return pm.Beta("spare", *a.spare, dims="code")[code] * f.several
