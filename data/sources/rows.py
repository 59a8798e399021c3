"""What several publishers' files need on their way to rows: text of numbers, months, release days, zeros nobody prints."""

import csv
from functools import cache
from pathlib import Path

import pandas as pd

from data.calendar import inferred_release

CODES = Path(__file__).parents[1] / "codes"
_YEAR, _OF_YEAR = "(?:19|20)[0-9]{2}", "(?:0[1-9]|1[0-2])"
MONTH = f"{_YEAR}-{_OF_YEAR}"


@cache
def countries_of(office: str) -> dict[str, str]:
    """An office's country code -> ISO alpha-3, of ``data/codes``, whose SOURCE.md says where from."""
    with (CODES / f"{office}.csv").open(newline="", encoding="utf-8") as file:
        return {row["code"]: row["iso3"] for row in csv.DictReader(file)}


def number_text(value: pd.Series, seen: pd.Series) -> pd.Series:
    """Numbers as text without loss; what was `seen` in the file where there is none, so that a rejection shows it."""
    return value.map(lambda v: format(v, ".15g"), na_action="ignore").where(value.notna(), seen)


def month_of(digits: pd.Series) -> pd.Series:
    """YYYYMM -> YYYY-MM; anything else as it is."""
    good = digits.str.fullmatch(_YEAR + _OF_YEAR)
    return (digits.str.slice(0, 4) + "-" + digits.str.slice(4)).where(good, digits)


def inferred_at(reporter: pd.Series | str, period: pd.Series) -> list[str]:
    """Release of each period by its reporter's calendar; empty where the period is no month."""
    reporters = [reporter] * len(period) if isinstance(reporter, str) else reporter
    good = period.str.fullmatch(MONTH)
    return [inferred_release(r, pd.Period(p, freq="M")).isoformat() if ok else "" for r, p, ok in zip(reporters, period, good, strict=True)]


def kept_aside(table: pd.DataFrame, reason: pd.Series) -> pd.DataFrame:
    """Rows whose ``column: reason`` is not empty, as rejected rows: with column, value and reason. `table` has ``line``."""
    kept = table[reason != ""].copy()
    parts = reason[kept.index].str.split(": ", n=1)
    kept["column"], kept["reason"] = parts.str[0], parts.str[1]
    kept["value_found"] = [str(table.at[i, c]) for i, c in zip(kept.index, kept["column"], strict=True)]
    return kept


def absent(table: pd.DataFrame, flow: list[str], month: str) -> pd.DataFrame:
    """The (flow, month) that have no row, of every flow and every month that have one somewhere in the table: they were asked for, and
    publishers of queries leave out what is zero. A month in which no flow has a row stays unknown.
    """
    every = table[flow].drop_duplicates().merge(table[[month]].drop_duplicates(), how="cross")
    found = every.merge(table[[*flow, month]].drop_duplicates(), how="left", indicator=True)
    return found.loc[found["_merge"] == "left_only", [*flow, month]].reset_index(drop=True)
