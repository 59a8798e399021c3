"""Calendars: lunar new year windows, and when a customs office publishes.

Sources
-------
Lunar new year dates: package ``lunardate`` (valid 1900-2099).
Windows: China's State Council holiday notices give seven to eight days off from new year's eve; plants
stop earlier and restart later, so a fortnight before and after are windows of their own.
Release days: GACC's notices where they are at hand (``calendars/gacc.csv``: 2020 and 2025), else as these do (until 2020 day 25, then
day 20; January and February come out together in March); Japan MOF day 27-30 of the next month; US Census about 35 days and Eurostat
about 45 days after the month ends. A calendar is a plan, not a record: what is rebuilt from it is marked ``inferred``.
"""

import csv
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from lunardate import LunarDate

CALENDARS = Path(__file__).parent / "calendars"

LUNAR_WINDOWS: dict[str, tuple[int, int]] = {"pre": (-14, -1), "during": (0, 7), "post": (8, 21)}
"""Window name -> (first, last) day relative to the lunar new year's day, both inclusive."""

EU_MEMBERS = frozenset(
    [
        "AUT",
        "BEL",
        "BGR",
        "CYP",
        "CZE",
        "DEU",
        "DNK",
        "ESP",
        "EST",
        "FIN",
        "FRA",
        "GRC",
        "HRV",
        "HUN",
        "IRL",
        "ITA",
        "LTU",
        "LUX",
        "LVA",
        "MLT",
        "NLD",
        "POL",
        "PRT",
        "ROU",
        "SVK",
        "SVN",
        "SWE",
    ]
)


def lunar_new_year(year: int) -> date:
    solar: date = LunarDate(year, 1, 1).to_solar_date()
    return solar


def lunar_exposure(periods: pd.PeriodIndex) -> np.ndarray:
    """Share of each lunar new year window that falls in each month.

    Returns
    -------
    array, shape (window, period), in the order of :data:`LUNAR_WINDOWS`; each year a window's shares add
    up to one, so an effect is "what one whole window does to a month's log volume".
    """
    exposure = np.zeros((len(LUNAR_WINDOWS), len(periods)))
    position = {period: t for t, period in enumerate(periods)}
    for year in range(periods[0].year, periods[-1].year + 1):
        new_year = lunar_new_year(year)
        for w, (first, last) in enumerate(LUNAR_WINDOWS.values()):
            for offset in range(first, last + 1):
                month = pd.Period(new_year + timedelta(days=offset), freq="M")
                if month in position:
                    exposure[w, position[month]] += 1 / (last - first + 1)
    return exposure


@cache
def _planned(office: str) -> dict[str, datetime]:
    """Period -> release, of the notices that are at hand."""
    with (CALENDARS / f"{office}.csv").open(newline="") as file:
        return {row["period"]: datetime.fromisoformat(row["released_on"]).replace(tzinfo=UTC) for row in csv.DictReader(file)}


def inferred_release(reporter: str, period: pd.Period) -> datetime:
    """When `reporter`'s figure for `period` was first known by its publisher's calendar (00:00 UTC).

    For China the January figure waits for February's, as GACC has done since 2020.
    """
    following = period + 1
    if reporter == "CHN":
        if planned := _planned("gacc").get(str(period)):
            return planned
        if period.month == 1 and period.year >= 2020:
            following += 1
        day = 20 if period.year >= 2021 else 25
        return datetime(following.year, following.month, day, tzinfo=UTC)
    if reporter == "JPN":
        day = min(28, following.days_in_month)
        return datetime(following.year, following.month, day, tzinfo=UTC)
    lag = 45 if reporter in EU_MEMBERS else 35
    end = period.end_time.date()
    return datetime(end.year, end.month, end.day, tzinfo=UTC) + timedelta(days=lag)
