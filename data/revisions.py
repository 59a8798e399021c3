"""How late figures come, and how much they change afterwards: by source and reporter, from the log alone."""

import numpy as np
import pandas as pd

from data.observations import OBSERVATION_KEY

ENOUGH = 30
LARGEST = 1.0
"""Log change beyond which a correction is of a mistake and says nothing about the others."""


def _changes(releases: pd.DataFrame) -> pd.DataFrame:
    """One row a cell: source, reporter, lag (days), stated, change (log), months."""
    rows = releases[(releases["net_weight_kg"] > 0) & (releases["status"] == "reported") & ~releases["period"].str.contains("/")]
    rows = rows.sort_values("released_at", kind="stable")
    first, last = (rows.drop_duplicates(OBSERVATION_KEY, keep=which).set_index(OBSERVATION_KEY) for which in ("first", "last"))
    last = last.reindex(first.index)
    codes, periods = pd.factorize(first.index.get_level_values("period"))
    ends = pd.PeriodIndex(periods, freq="M").to_timestamp(how="end").tz_localize("UTC")
    return pd.DataFrame(
        {
            "source": first["source"].str.split(r"[: ]", n=1, regex=True).str[0].to_numpy(),
            "reporter": first.index.get_level_values("reporter"),
            "lag": (first["released_at"].to_numpy() - ends[codes].to_numpy()) / np.timedelta64(1, "D"),
            "stated": (first["released_at_basis"] == "stated").to_numpy(),
            "change": np.log(last["net_weight_kg"].to_numpy() / first["net_weight_kg"].to_numpy()),
            "months": (last["released_at"] - first["released_at"]).dt.days.to_numpy() / 30.44,
        }
    )


def revisions(releases: pd.DataFrame) -> pd.DataFrame:
    """One row a (source, reporter) of `releases`, every release that was known (:meth:`data.log.ReleaseLog.releases`).

    ``cells`` · ``stated`` share whose first release was stated, not inferred from a calendar · ``lag_days`` median days from the month's
    end to the first release, ``lag_days_p90`` · ``revised`` share of the cells whose figure changed · of these ``size``, robust standard
    deviation of log(last / first), ``size_p90`` and ``months_to_last``, median months from the first release to the last.
    Only single months with a positive figure, first and last. Inferred lags are the calendar's, and tell of it and not of the office.
    """
    table = _changes(releases)

    def summary(of: pd.DataFrame) -> pd.Series:
        changed = of[of["change"] != 0]
        size = changed["change"].abs()
        return pd.Series(
            {
                "cells": len(of),
                "stated": of["stated"].mean(),
                "lag_days": of["lag"].median(),
                "lag_days_p90": of["lag"].quantile(0.9),
                "revised": len(changed) / len(of),
                "size": 1.4826 * size.median(),
                "size_p90": size.quantile(0.9),
                "months_to_last": changed["months"].median(),
            }
        )

    if table.empty:
        return pd.DataFrame(columns=["source", "reporter", "cells"])
    return pd.DataFrame(
        [
            {"source": source, "reporter": reporter} | summary(of).to_dict()
            for (source, reporter), of in table.groupby(["source", "reporter"])
        ]
    )


def spread(releases: pd.DataFrame) -> float | None:
    """Root mean square of log(last / first) over cells of sources that revise: at least :data:`ENOUGH` of theirs changed. None where no
    source is known to."""
    table = _changes(releases)
    revised = table.assign(changed=table["change"] != 0).groupby(["source", "reporter"])["changed"].transform("sum") >= ENOUGH
    change = table.loc[revised, "change"].clip(-LARGEST, LARGEST)
    return float(np.sqrt((change**2).mean())) if len(change) else None
