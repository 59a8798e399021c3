"""A notebook beside a copy of the posterior, for analysts who go on from the report: written, run, and kept with what it showed."""

from pathlib import Path
from textwrap import dedent
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

SECONDS = 600
"""A cell may take."""


def written(path: Path, posterior: bytes, meta: dict[str, Any]) -> list[Path]:
    """Write `path` (.ipynb), run, and the posterior as netCDF beside it; both. Raises RuntimeError where a cell fails."""
    data = path.with_suffix(".nc")
    data.write_bytes(posterior)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = new_notebook(cells=_cells(data.name, meta), metadata={"kernelspec": kernel})
    try:
        NotebookClient(book, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
    except CellExecutionError as error:
        raise RuntimeError(f"a cell of the notebook failed: {error.ename}: {error.evalue}") from error
    nbformat.write(book, path)
    return [path, data]


def _cells(data: str, meta: dict[str, Any]) -> list[Any]:
    told = [
        f"""\
        # quietquota, snapshot {meta["id"]}

        Figures as of **{meta["as_of"][:16]} UTC**; checks **{meta["gate"]}**. `filtered`: given figures to a month; `smoothed`: given all.
        Probabilities are of a *deliberate* restriction, any scope: `targeted` + `product_wide`. kg a month.
        """,
        f"""
        import arviz as az
        import matplotlib.pyplot as plt
        import numpy as np
        import xarray as xr

        tree = xr.open_datatree("{data}", engine="h5netcdf").load()
        tree
        """,
        "## Answers\n\nThe last month with figures of each unit, filtered.",
        """
        regimes = tree["regimes"].to_dataset()
        answering = regimes.sel(unit=regimes["abstention"] == "")
        last = answering["last_observed"]
        columns = ["severity_filtered", "observed_kg", "counterfactual_kg", "shortfall_kg"]
        table = answering[columns].isel(period=last).to_dataframe()[["period", *columns]]
        restricted = answering["filtered"].sel(cause=["targeted", "product_wide"]).sum("cause").isel(period=last)
        table.insert(1, "restricted", restricted.values)
        table.sort_values("restricted", ascending=False).style.format(precision=2, thousands=",", subset=table.columns[1:])
        """,
        "## One unit\n\nChange `unit` to see another.",
        """
        unit = table["restricted"].idxmax()
        of = answering.sel(unit=unit).isel(period=slice(0, int(answering.attrs["horizon"]) + 1))
        figure, (above, below) = plt.subplots(2, 1, figsize=(9, 5), sharex=True, height_ratios=[2, 1], layout="constrained")
        low, high = of["counterfactual_kg_interval"].values.T / 1e3
        above.fill_between(of["period"], low, high, color="#c6dbef", label="expected if open, 90 %")
        above.plot(of["period"], of["observed_kg"] / 1e3, color="#1b1b1b", lw=1.2, label="moved")
        above.set(title=unit, ylabel="t a month", ylim=(0, None))
        above.legend(frameon=False)
        causes = ["targeted", "product_wide", "disrupted"]
        shares = [of["filtered"].sel(cause=cause) for cause in causes]
        below.stackplot(of["period"], *shares, labels=causes, colors=["#b3470a", "#e69f00", "#9a9a9a"], step="mid")
        below.set(ylabel="p, filtered", ylim=(0, 1))
        below.legend(frameon=False, ncols=3);
        """,
        "## What speaks for and against\n\nLog Bayes factors of the last twelve months' figures; they add up to the change in log odds.",
        """
        if "evidence" in of:
            display(of["evidence"].to_series().round(2).to_frame())
        """,
    ]  # fmt: skip
    told += [_WEIGHED.format(**meta["fit"])] if "fit" in meta else _OF_FIT
    return [new_code_cell(text) if _is_code(text) else new_markdown_cell(text) for text in (dedent(t).strip() for t in told)]


def _is_code(text: str) -> bool:
    return not text.startswith("#")


_WEIGHED = """\
## Does the fit hold?

Nothing was fitted for this snapshot: the draws of the fit of {as_of} were weighed by what has become known since. Its chains are in
`tree["fit"]`; what it was compared with is in its own snapshot, {snapshot}.
"""
_OF_FIT = [
    "## Do the chains agree?",
    """
    health = xr.DataTree.from_dict({name: node.to_dataset() for name, node in tree["health"].children.items()})
    every = list(health["prior"].data_vars)
    summary = az.summary(tree, var_names=every)
    summary
    """,
    """
    az.plot_rank(tree, var_names=every[:4], backend="matplotlib");
    """,
    "## Does the model describe the figures?\n\nLOO-PIT inside the envelope; Pareto k: which unit-months move the fit alone.",
    """
    draw = health["posterior_predictive"]["draw"]
    replicated = xr.DataTree.from_dict({
        name: (node.to_dataset().sel(draw=draw) if "draw" in node.dims and name != "prior" else node.to_dataset())
        for name, node in health.children.items() if name not in ("prior", "log_prior")
    })
    az.plot_loo_pit(replicated, backend="matplotlib");
    """,
    """
    az.plot_khat(az.loo(health, var_name="log_flow", pointwise=True), backend="matplotlib");
    """,
    "## Do the priors decide?",
    """
    az.plot_prior_posterior(health, var_names=every[:8], backend="matplotlib");
    """,
]
