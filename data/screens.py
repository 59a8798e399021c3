"""Screens: figures that parse, and that no one should believe before having looked.

Each screen is a function (fresh rows, history, usual levels) -> what it says and of which rows, a :class:`Finding`. A row that a
finding names is quarantined: it is not in the log until someone accepts the finding. ``history`` is the last release of every cell
of the same series that the log has within two years of the file; a *series* is one HS code of one exporter and importer as one
reporter has it. What is screened for has been met in published customs figures: weights in tonnes under a heading of kilograms, a zero for
every partner of a month that was not compiled, weights imputed from one unit value (China 2017), figures of two partners exchanged, and
dates that cannot be.

A fall to a thousandth is what a block looks like, so it is called a slip of units only where the value did not fall with it, or where most
of what one office tells of falls to a thousandth at once: a block does not take all partners to the same share.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

SERIES = ["reporter", "exporter", "importer", "hs_code"]
GOOD = ["reporter", "exporter", "hs_code"]
ENOUGH = 12
"""Known positive months from which a series has a usual level."""
SLIP = np.log(1000.0)
SLIP_WITHIN = np.log(4.0)
SWAP_APART, SWAP_WITHIN = np.log(8.0), np.log(2.0)
PARTNERS = 5
"""Partners from which a month of one reporter can be judged as a whole."""
MOST = 0.8
"""Share of an office's figures that have slipped together, from which it was not trade."""
NEAR = 1e-3
"""Relative distance of unit values that may be one, printed in whole kilograms."""
ONE_UNIT_VALUE = 0.5
"""Share of partners at one unit value above which it is an imputation."""


@dataclass(frozen=True)
class Finding:
    """id : of what was found, and not of when: the same rows found again have it too. rows : index into the fresh rows."""

    id: str
    screen: str
    says: str
    rows: tuple[int, ...]


Screen = Callable[[pd.DataFrame, pd.DataFrame, pd.DataFrame], Iterator[tuple[str, pd.Index]]]


def screened(fresh: pd.DataFrame, history: pd.DataFrame) -> list[Finding]:
    """What the screens find in `fresh`, typed rows of observations; a row may be in several findings."""
    found, usual = [], _usual(fresh, history)
    for name, screen in SCREENS.items():
        for says, rows in screen(fresh, history, usual):
            text = fresh.loc[rows].drop(columns="line", errors="ignore").to_csv(index=False)
            digest = hashlib.sha256(f"{name}\n{text}".encode()).hexdigest()[:12]
            found.append(Finding(f"{name}-{digest}", name, says, tuple(map(int, rows))))
    return found


def _together(fresh: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([history, fresh[history.columns.intersection(fresh.columns)]], ignore_index=True)


def _positive(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["net_weight_kg"] > 0) & rows["status"].isin(["reported", "estimated"]) & ~rows["period"].str.contains("/")]


def _usual(fresh: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """By series of enough known months: ``log_kg``, its median, ``spread``, its robust standard deviation, and ``log_unit_value``. Of the
    history alone where that is enough: what is judged must not have moved what it is judged by."""
    before, both = _positive(history), _positive(_together(fresh, history))
    seen = pd.MultiIndex.from_frame(both[SERIES])
    alone = seen.isin(_known_well(before))
    known = pd.concat([before[pd.MultiIndex.from_frame(before[SERIES]).isin(seen[alone])], both[~alone]], ignore_index=True)
    known = known.assign(log_kg=np.log(known["net_weight_kg"]), log_unit_value=_log_unit_value(known))
    by = known.groupby(SERIES)
    level = by[["log_kg", "log_unit_value"]].median()
    apart = (known["log_kg"] - level["log_kg"].reindex(pd.MultiIndex.from_frame(known[SERIES])).to_numpy()).abs()
    level["spread"] = 1.4826 * apart.groupby([known[c] for c in SERIES]).median()
    return level[by.size() >= ENOUGH]


def _known_well(rows: pd.DataFrame) -> pd.Index:
    """The series of which these are enough for a usual level."""
    months = rows.groupby(SERIES).size()
    return months[months >= ENOUGH].index


def _log_unit_value(rows: pd.DataFrame) -> pd.Series:
    with np.errstate(divide="ignore"):
        return pd.Series(np.log((rows["value_usd"] / rows["net_weight_kg"]).to_numpy()), rows.index).replace(-np.inf, np.nan)


def _beside_usual(rows: pd.DataFrame, usual: pd.DataFrame) -> pd.DataFrame:
    place = pd.MultiIndex.from_frame(rows[SERIES])
    beside = usual.reindex(place).set_axis(rows.index)
    return rows.assign(
        off=np.log(rows["net_weight_kg"]) - beside["log_kg"],
        spread=beside["spread"],
        unit_value_off=_log_unit_value(rows) - beside["log_unit_value"],
        usual=beside["log_kg"],
    )


def _named(row: pd.Series) -> str:
    return f"{row['hs_code']} {row['exporter']} to {row['importer']} by {row['reporter']}, {row['period']}"


def _unit_slips(fresh: pd.DataFrame, history: pd.DataFrame, usual: pd.DataFrame) -> Iterator[tuple[str, pd.Index]]:
    """About 1,000 times the usual, where no other office says so too; or a thousandth, at about 1,000 times the usual unit value or with
    nearly all else of that office; or either beside what was published of the same month, where that was nearer to the usual."""
    rows = _beside_usual(_positive(fresh), usual)
    up = ((rows["off"] - SLIP).abs() < SLIP_WITHIN) & (rows["off"] > 6 * rows["spread"])
    fallen = ((rows["off"] + SLIP).abs() < SLIP_WITHIN) & (rows["off"] < -6 * rows["spread"])
    down = ((rows["off"] + SLIP).abs() < SLIP_WITHIN) & ((rows["unit_value_off"] - SLIP).abs() < SLIP_WITHIN)
    judged = rows[rows["off"].notna()]
    month = [judged["reporter"], judged["period"]]
    fell = fallen[judged.index].groupby(month, sort=False).transform("mean") >= MOST
    many = judged.groupby(month, sort=False)["off"].transform("size") >= PARTNERS
    down |= fallen & (fell & many).reindex(rows.index, fill_value=False)
    # A whole file in other units has both offices in it.
    rose = up[judged.index].groupby(judged["period"], sort=False).transform("mean") >= MOST
    alone = up & ~rose.reindex(rows.index, fill_value=False)
    if alone.any():
        up[_told_twice(rows[alone], rows, history)] = False
    for mask, what in ((up, "times"), (down, "part of")):
        for _, one in rows[mask].groupby(SERIES, sort=False):
            first = one.iloc[0]
            yield (
                f"{_named(first)}: {first['net_weight_kg']:,.0f} kg is about a thousand {what} its usual {np.exp(first['usual']):,.0f} kg: "
                "tonnes, kilograms or grams in one another's place?",
                one.index,
            )
    # However little is known of what is usual: a month that was published is not revised by so much.
    log_kg = np.log(rows["net_weight_kg"])
    step = log_kg - _last_known(rows, history)
    known = pd.MultiIndex.from_frame(rows[SERIES]).isin(_known_well(_positive(history)))
    farther = ~(known & (rows["off"].abs() < (rows["off"] - step).abs()))
    for _, one in rows[((step.abs() - SLIP).abs() < SLIP_WITHIN) & farther & ~up & ~down].groupby(SERIES, sort=False):
        first = one.iloc[0]
        was = np.exp(log_kg[one.index[0]] - step[one.index[0]])
        yield (
            f"{_named(first)}: {first['net_weight_kg']:,.0f} kg, where {was:,.0f} kg had been published: tonnes, kilograms or grams in one "
            "another's place?",
            one.index,
        )


def _told_twice(some: pd.DataFrame, rows: pd.DataFrame, history: pd.DataFrame) -> pd.Index:
    """Those of `some` of whose goods (HS6) and month another office has about as much, among `rows` or the history."""
    flow = ["exporter", "importer", "hs6", "period"]
    every = _together(rows, _positive(history)).drop_duplicates([*SERIES, "period"], keep="last")
    every, asked = (of.assign(hs6=of["hs_code"].str.slice(0, 6)) for of in (every, some))
    offices = every.groupby([*flow, "reporter"], sort=False, as_index=False)["net_weight_kg"].sum()
    beside = asked.reset_index()[["index", *flow, "reporter"]].merge(offices, on=flow, suffixes=("", "_other"))
    own = beside["reporter"] == beside["reporter_other"]
    kg = beside["index"].map(beside[own].set_index("index")["net_weight_kg"])
    return pd.Index(beside.loc[~own & (np.abs(np.log(beside["net_weight_kg"] / kg)) < SLIP_WITHIN), "index"].unique())


def _last_known(rows: pd.DataFrame, history: pd.DataFrame) -> pd.Series:
    """Log kg that the log has of each row's month; NaN where it has none."""
    cell = [*SERIES, "period"]
    known = _positive(history).set_index(cell)["net_weight_kg"]
    return pd.Series(np.log(known.reindex(pd.MultiIndex.from_frame(rows[cell])).to_numpy()), rows.index)


def _impossible_dates(fresh: pd.DataFrame, history: pd.DataFrame, usual: pd.DataFrame) -> Iterator[tuple[str, pd.Index]]:
    codes, periods = pd.factorize(fresh["period"])
    end = (pd.PeriodIndex(periods.str.slice(-7), freq="M") + 1).to_timestamp()
    rows = fresh[fresh["released_at"].dt.tz_localize(None).to_numpy() < end.to_numpy()[codes]]
    if len(rows):
        first = rows.iloc[0]
        yield f"{_named(first)}: released on {first['released_at']:%Y-%m-%d}, before the month had ended", rows.index


def _empty_months(fresh: pd.DataFrame, history: pd.DataFrame, usual: pd.DataFrame) -> Iterator[tuple[str, pd.Index]]:
    """A month that is zero for all of many series which are seldom zero."""
    everything = _together(fresh, history)
    share = everything.assign(some=everything["net_weight_kg"] > 0).groupby(SERIES)["some"].agg(["mean", "size"])
    regular = share[(share["mean"] > 0.8) & (share["size"] >= ENOUGH)].index
    seldom = fresh[pd.MultiIndex.from_frame(fresh[SERIES]).isin(regular) & (fresh["status"] == "reported")]
    for (reporter, period), one in seldom.groupby(["reporter", "period"], sort=False):
        if len(one) >= PARTNERS and (one["net_weight_kg"] == 0).all():
            yield f"{reporter}, {period}: all of {len(one)} series that are seldom zero are zero: was the month not compiled?", one.index


def _one_unit_value(rows: pd.DataFrame) -> pd.Series:
    """Whether each row's weight is its value at the month's usual unit value; rows of months of few partners are False."""
    month = [rows[c] for c in (*GOOD, "period")]
    # Weights are printed in whole kilograms. The median partner's may be few, so that its unit value is not known as well as a large one's
    # must be; those near it know it together, to half a kilogram for each of them.
    ratio = rows["value_usd"] / rows["net_weight_kg"]
    near = (ratio / ratio.groupby(month, sort=False).transform("median") - 1).abs() <= NEAR + 1 / rows["net_weight_kg"]
    together = rows[["value_usd", "net_weight_kg"]].where(near).assign(near=near).groupby(month, sort=False).transform("sum")
    unit_value = together["value_usd"] / together["net_weight_kg"]
    within = 1 + 0.5 * together["near"] * rows["net_weight_kg"] / together["net_weight_kg"]
    same = (rows["value_usd"] / unit_value - rows["net_weight_kg"]).abs() <= within
    partners = same.groupby(month, sort=False)
    return same & (partners.transform("mean") > ONE_UNIT_VALUE) & (partners.transform("size") >= PARTNERS)


def _imputed_weights(fresh: pd.DataFrame, history: pd.DataFrame, usual: pd.DataFrame) -> Iterator[tuple[str, pd.Index]]:
    """Most partners at one unit value in a month, where that is not the rule: where it is, values were worked out from weights."""
    every = _positive(_together(fresh.assign(fresh=fresh.index), history.assign(fresh=np.nan)))
    every = every[(every["status"] == "reported") & (every["value_usd"] > 0)]
    every = every.assign(same=_one_unit_value(every))
    rule = every.groupby(GOOD, sort=False)["same"].transform("mean") > ONE_UNIT_VALUE
    for (reporter, exporter, hs_code, period), one in every[every["same"] & ~rule].groupby([*GOOD, "period"], sort=False):
        rows = one["fresh"].dropna().astype(int)
        if len(rows):
            what = f"{hs_code} of {exporter} by {reporter}, {period}"
            yield f"{what}: {len(one)} partners at one unit value: weights worked out from values?", pd.Index(rows)


def _lost_zeros(fresh: pd.DataFrame, history: pd.DataFrame, usual: pd.DataFrame) -> Iterator[tuple[str, pd.Index]]:
    """Codes of 3, 5 or 7 digits: no office has such (2, 4, 6, 8 or 10; Japan 9), and a spreadsheet drops the zero they begin with."""
    for code, one in fresh[fresh["hs_code"].str.fullmatch(r"\d{3}|\d{5}|\d{7}")].groupby("hs_code", sort=False):
        yield f"{code}: a code of {len(str(code))} digits: 0{code}, opened and saved by a spreadsheet?", one.index


def _partner_swaps(fresh: pd.DataFrame, history: pd.DataFrame, usual: pd.DataFrame) -> Iterator[tuple[str, pd.Index]]:
    """Two partners of which each has the other's usual figure."""
    rows = _beside_usual(_positive(fresh), usual).dropna(subset="usual")
    rows = rows[(rows["off"].abs() > SWAP_APART) & (rows["off"].abs() > 6 * rows["spread"])]
    for _, one in rows.groupby([*GOOD, "period"], sort=False):
        for n, a in enumerate(one.index):
            for b in one.index[n + 1 :]:
                crossed = [one.at[x, "usual"] + one.at[x, "off"] - one.at[y, "usual"] for x, y in ((a, b), (b, a))]
                if max(map(abs, crossed)) < SWAP_WITHIN:
                    other = one.at[b, "importer"]
                    yield f"{_named(one.loc[a])}: the usual figure of {other}, which has this one's: exchanged?", pd.Index([a, b])


SCREENS: dict[str, Screen] = {
    "unit_slip": _unit_slips,
    "impossible_date": _impossible_dates,
    "empty_month": _empty_months,
    "imputed_weights": _imputed_weights,
    "partner_swap": _partner_swaps,
    "lost_zero": _lost_zeros,
}


def missing_months(rows: pd.DataFrame) -> list[str]:
    """Reporters' months without any row, between others that have some. There is nothing to quarantine: it is said."""
    said = []
    for reporter, one in rows.groupby("reporter", sort=False):
        months = pd.PeriodIndex(sorted({m for p in one["period"].unique() for m in str(p).split("/")}), freq="M")
        gaps = pd.period_range(months[0], months[-1], freq="M").difference(months)
        if len(gaps) and len(months) > len(gaps):
            named = ", ".join(map(str, gaps[:6])) + (" and more" if len(gaps) > 6 else "")
            said.append(f"{reporter}: no figure of {named}, between months that have some")
    return said
