"""The analyst's page: one self-contained HTML file made from a snapshot."""

import io
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from model.snapshot import Snapshot

_FLOW, _BAND, _RIBBON = "#1b1b1b", "#9ecae1", "#d95f0e"  # tell apart in grey and with any colour vision
_STYLE: Any = {"svg.hashsalt": "quietquota", "svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False}


def render(snapshot: Snapshot) -> str:
    regimes = snapshot.tree["regimes"].to_dataset()
    answering = [r for r in snapshot.rows if not r["abstention"]]
    answering.sort(key=lambda r: -r["current"]["probability"])
    environment = Environment(loader=PackageLoader("service"), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("report.html").render(
        meta=snapshot.meta,
        rows=answering,
        abstaining=[r for r in snapshot.rows if r["abstention"]],
        pictures={r["unit"]: Markup(_picture(regimes, r)) for r in answering},
    )


def _picture(regimes: xr.Dataset, row: dict[str, Any]) -> str:
    """Volume with its counterfactual above, p(restricted) below, on one time axis, as SVG."""
    unit = regimes.sel(unit=row["unit"]).isel(period=slice(0, int(regimes.attrs["horizon"]) + 1))
    months = unit["period"].values
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        low, high = unit["counterfactual_kg_interval"].values.T / 1e3
        seen = unit["is_observed"].values
        above.fill_between(months, low, high, where=seen, color=_BAND, lw=0, label="expected if open, 90 %")
        above.plot(months, unit["observed_kg"] / 1e3, color=_FLOW, lw=1.2, label="observed")
        above.set_ylabel("t a month")
        above.set_ylim(bottom=0, top=1.3 * np.nanmax([np.nanmax(unit["observed_kg"] / 1e3), np.nanquantile(high, 0.9)]))
        above.legend(frameon=False, ncols=2, loc="upper left", fontsize=8)
        restricted = unit["filtered"].sel(cause=["targeted", "product_wide"]).sum("cause", skipna=False)
        low, high = unit["filtered_interval"].values.T
        below.fill_between(months, low, high, color=_RIBBON, alpha=0.25, lw=0)
        below.plot(months, restricted, color=_RIBBON, lw=1.5)
        below.set_ylim(-0.02, 1.02)
        below.set_ylabel("p(restricted)\nfiltered")
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
