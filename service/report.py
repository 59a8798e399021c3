"""The analyst's page: one self-contained HTML file made from a snapshot, for a screen, for paper and for where there is no network."""

import base64
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import arviz_plots as azp
import arviz_stats as azs
import matplotlib as mpl
import numpy as np
import xarray as xr
from markupsafe import Markup, escape
from matplotlib import dates
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model.checks import SENSITIVE, power_scaling, replicated
from model.snapshot import Snapshot
from service.pages import templates

ATTENTION, RECENT, FEWEST, MOST = 0.2, 12, 8, 40
"""A unit has a page of its own where p(restricted) is or was at least so much in so many months; and so many units have one in any case,
the likeliest, and no more than so many."""
_MEAN, _EXPORTER, _IMPORTER, _BAND = "#1b1b1b", "#0072b2", "#d55e00", "#c6dbef"
_CAUSES = {"targeted": ("#b3470a", ""), "product_wide": ("#e69f00", "///"), "disrupted": ("#9a9a9a", "..."), "open": ("#eef3f7", "")}
_STYLE: Any = {
    "svg.hashsalt": "quietquota", "svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False, "font.size": 9,
    "hatch.linewidth": 0.5, "figure.max_open_warning": 0,
}  # fmt: skip


def render(snapshot: Snapshot, calibration: dict[str, Any] | None) -> str:
    """calibration : as ``calibration.json`` of the store has it, None where no backtest was published."""
    answering = [r for r in snapshot.rows if not r["abstention"]]
    answering.sort(key=lambda r: -r["current"]["probability"])
    health = health_of(snapshot.tree)
    style = files("service").joinpath("static/page.css").read_text(encoding="utf-8")
    with mpl.rc_context(_STYLE):
        return (
            templates()
            .get_template("report.html")
            .render(
                style=Markup(style),
                meta=snapshot.meta,
                rows=answering,
                worth=[r for r in answering if _worth_attention(r, answering)][:MOST],
                abstaining=[r for r in snapshot.rows if r["abstention"]],
                recent=recent,
                picture=lambda row: _of_unit(row, snapshot.contexts[row["unit"]]),
                others=lambda row: _others(row, answering),
                health=[] if health is None else _health(snapshot.tree, health),
                scaling=None if health is None else power_scaling(health),
                sensitive=SENSITIVE,
                calibration=calibration,
            )
        )


def recent(row: dict[str, Any], months: int = 24) -> list[float | None]:
    """Filtered p(restricted) of the last months with figures."""
    return [m["probability"] for m in row["history"] if m["kind"] == "filtered"][-months:]


def _worth_attention(row: dict[str, Any], answering: list[dict[str, Any]]) -> bool:
    return row in answering[:FEWEST] or max((p or 0.0) for p in recent(row, RECENT)) >= ATTENTION


def _image(draw: Callable[[], Figure], alt: str) -> Markup:
    """An SVG as an image: what is inside it cannot clash with the page, nor with another one."""
    sink = io.BytesIO()
    figure = draw()
    figure.savefig(sink, format="svg", metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)
    encoded = base64.b64encode(sink.getvalue()).decode()
    return Markup(f'<img src="data:image/svg+xml;base64,{encoded}" alt="{escape(alt)}">')


def _months(labels: list[str]) -> np.ndarray:
    return np.array(labels, "datetime64[M]").astype("datetime64[D]")


def _kg(values: list[float | None]) -> np.ndarray:
    """In tonnes."""
    return np.array([np.nan if v is None else v for v in values]) / 1e3


def _of_unit(row: dict[str, Any], context: dict[str, Any]) -> Markup:
    """On one time axis: both offices' figures over what an open month would have brought, the competing explanations, the covariates."""
    filtered = [m for m in row["history"] if m["kind"] in ("filtered", "nowcast")]
    when = _months([m["period"] for m in filtered])
    known = {name: v for name, v in context["covariates"].items() if any(x is not None for x in v)}

    def draw() -> Figure:
        figure = Figure(figsize=(9, 5.2 + 0.5 * bool(known)), layout="constrained")
        heights = [3, 1.6, *[0.9] * bool(known)]
        above, middle, *below = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        seen = np.array([m["observed_kg"] is not None for m in filtered])
        low, high = (_kg([m["counterfactual_kg_interval"][n] for m in filtered]) for n in (0, 1))
        above.fill_between(when, low, high, where=seen, color=_BAND, lw=0, label="expected if open, 90 %")
        _offices(above, context)
        top = np.nanmax(
            np.concatenate([_kg(context["exporter_kg"]), _kg(context["importer_kg"]), _kg([m["observed_kg"] for m in filtered])])
        )
        above.set_ylim(bottom=0, top=1.35 * np.nanmax([top, np.nanquantile(high, 0.9)]))
        above.set_ylabel("t a month")
        above.legend(frameon=False, ncols=2, loc="upper left", fontsize=8)
        _explanations(middle, when, filtered)
        for axes in below:
            for name, values in known.items():
                v = np.array([np.nan if x is None else x for x in values])
                axes.plot(_months(context["period"]), v / max(np.nanmax(np.abs(v)), 1e-9), lw=1.1, label=name)
            axes.set_ylabel("of its\nlargest")
            axes.legend(frameon=False, ncols=4, loc="upper left", fontsize=8)
        return figure

    c = row["current"]
    alt = (
        f"{row['unit']}: monthly volume by both customs offices in tonnes with the range expected in the open regime, the filtered "
        f"probabilities of the four explanations, and the covariates. In {c['period']} p(restricted) is {c['probability']:.2f}."
    )
    return _image(draw, alt)


def _offices(axes: Axes, context: dict[str, Any]) -> None:
    when = _months(context["period"])
    for name, colour, style in (("exporter", _EXPORTER, "-"), ("importer", _IMPORTER, "--")):
        kg = _kg(context[f"{name}_kg"])
        if np.isfinite(kg).any():
            axes.plot(when, kg, style, color=colour, lw=1.1, label=f"{name}'s office")
            revised = np.isin(context["period"], context["revised"]) & np.isfinite(kg)
            if revised.any():
                axes.plot(when[revised], kg[revised], "^", color=colour, ms=3.5, lw=0, label=f"revised, {name}'s")


def _explanations(axes: Axes, when: np.ndarray, months: list[dict[str, Any]]) -> None:
    """Stacked, the deliberate ones at the bottom: the top of them is p(restricted)."""
    shares = {name: np.array([m["causes"][name] if m["causes"] else np.nan for m in months], float) for name in _CAUSES}
    bottom = np.zeros(len(when))
    for name, (colour, hatch) in _CAUSES.items():
        top = bottom + np.nan_to_num(shares[name])
        axes.fill_between(
            when, bottom, top, step="mid", facecolor=colour, hatch=hatch, edgecolor="#444", lw=0.2, label=name.replace("_", "-")
        )
        bottom = top
    axes.set_ylim(0, 1)
    axes.set_ylabel("p, filtered")
    axes.legend(ncols=4, loc="upper left", fontsize=8, framealpha=0.85, edgecolor="none")


def _others(row: dict[str, Any], answering: list[dict[str, Any]]) -> Markup:
    """The same goods to other destinations, each on its own scale; shaded where p(restricted) >= 0.5."""
    mates = [r for r in answering if r["family"] == row["family"] and r["unit"] != row["unit"]][:12]
    if not mates:
        return Markup("")

    def draw() -> Figure:
        columns = min(4, len(mates))
        rows = -(-len(mates) // columns)
        figure = Figure(figsize=(9, 1.45 * rows + 0.2), layout="constrained")
        every = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
        for axes, mate in zip(every, mates, strict=False):
            months = [m for m in mate["history"] if m["kind"] == "filtered"]
            when, kg = _months([m["period"] for m in months]), _kg([m["observed_kg"] for m in months])
            axes.fill_between(
                when, 0, np.nanmax(kg), where=[(m["probability"] or 0) >= 0.5 for m in months], color="#f2c6a0", lw=0, step="mid"
            )
            axes.plot(when, kg, color=_MEAN, lw=0.9)
            axes.set_ylim(bottom=0)
            axes.set_title(f"{mate['importer']}  p {mate['current']['probability']:.2f}", fontsize=8, loc="left")
            axes.tick_params(labelsize=6)
        for axes in every[len(mates) :]:
            axes.set_visible(False)
        for axes in every:
            axes.xaxis.set_major_locator(dates.YearLocator(2))  # type: ignore[no-untyped-call]
            axes.xaxis.set_major_formatter(dates.DateFormatter("%y"))  # type: ignore[no-untyped-call]
        return figure

    told = ", ".join(f"{m['importer']} {m['current']['probability']:.2f}" for m in mates)
    return _image(draw, f"Monthly volume of the same goods to other destinations, in tonnes; p(restricted): {told}.")


@contextmanager
def _calm() -> Iterator[None]:
    """What ArviZ warns of (large k, few draws in a tail) stands in the gate and in the pictures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def health_of(tree: xr.DataTree) -> xr.DataTree | None:
    """What the fit was compared with, where that was kept."""
    found = tree.children.get("health")
    return None if found is None else xr.DataTree.from_dict({name: node.to_dataset() for name, node in found.children.items()})


def _health(tree: xr.DataTree, health: xr.DataTree) -> list[tuple[str, Markup]]:
    """(caption, picture) of the fit, by arviz-plots."""
    draws = tree["posterior"].to_dataset()
    whole = xr.DataTree.from_dict({"posterior": draws, "sample_stats": tree["sample_stats"].to_dataset()})
    every = [str(name) for name in health["prior"].data_vars]
    rhat = {name: float(azs.rhat(draws[[name]])[name]) for name in every}
    worst = sorted(every, key=lambda n: -rhat[n])[:4]
    learnt = ["noise", "drift", "season_sd", "residual", "campaign", "product_wide", "surge_entry", "disruption_entry"]
    pictures: list[tuple[str, str, Callable[[], Any]]] = [
        (
            "Rank plots of the four worst parameters by R-hat: chains that agree keep inside the envelope.",
            f"Rank plots of {', '.join(worst)}.",
            lambda: azp.plot_rank(whole, var_names=worst, backend="matplotlib"),
        ),
        (
            "R-hat and effective draws of all parameters that stand for the whole panel.",
            "Distributions of R-hat and of bulk and tail effective sample size.",
            lambda: azp.plot_convergence_dist(whole, var_names=every, backend="matplotlib"),
        ),
        (
            "Effective draws as the chains grow: a straight rise is a chain that explores.",
            f"Effective sample size of {worst[0]} against draws.",
            lambda: azp.plot_ess_evolution(whole, var_names=worst[:2], backend="matplotlib"),
        ),
        (
            "Energy: where the two overlap, the sampler moves through the posterior's whole range.",
            "Marginal energy and energy transitions.",
            lambda: azp.plot_energy(whole, backend="matplotlib"),
        ),
        (
            "Posterior predictive: log kg as it was, and as drawn anew month by month given the months before.",
            "Density of observed log kg over densities of replicates.",
            lambda: azp.plot_ppc_dist(health, num_samples=40, backend="matplotlib"),
        ),
        (
            "LOO-PIT: inside the envelope, what is said of a left-out month is neither too sure nor too timid.",
            "Difference of the empirical distribution of LOO-PIT values from uniform.",
            lambda: azp.plot_loo_pit(replicated(health), backend="matplotlib"),
        ),
        (
            "Pareto k of leaving out each unit-month: beyond the line, that month alone moves the fit.",
            "Pareto shape k by unit-month.",
            lambda: azp.plot_khat(azs.loo(health, var_name="log_flow", pointwise=True), backend="matplotlib"),
        ),
        (
            "Prior and posterior of what was learnt: equal curves say that the figures are silent.",
            f"Prior and posterior densities of {', '.join(learnt)}.",
            lambda: azp.plot_prior_posterior(health, var_names=learnt, backend="matplotlib"),
        ),
    ]
    with _calm():
        return [(caption, _image(_figure_of(plot), alt)) for caption, alt, plot in pictures]


def _figure_of(plot: Callable[[], Any]) -> Callable[[], Figure]:
    def draw() -> Figure:
        figure = plot().viz["figure"].item()
        wide, high = figure.get_size_inches()
        # A page is nine inches wide.
        figure.set_size_inches(9, min(max(9 * high / wide, 2.5), 6))
        return figure  # type: ignore[no-any-return]

    return draw
