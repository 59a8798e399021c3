"""The Panel: the one type the model reads, an as-of view of the log laid out on units and months.

An ``xarray.Dataset``:

===================  =========================  ========================================================
variable             dims                       meaning
===================  =========================  ========================================================
``kg``               signal, period             weight in kg, NaN where ``absence`` is not 0; a true zero is 0
``absence``          signal, period             why there is no figure, a code of :data:`ABSENCE`
``releases``         signal, period             how many releases of the cell there were by the as-of
``two_month_kg``     signal, period             weight of this month and the one before, published as one sum
``control_kg``       importer, side, period     weight of all goods of the pair (kg)
``covariates``       covariate, unit, period    last known value, NaN where none was known
``lunar``            window, period             share of each lunar new year window in the month
===================  =========================  ========================================================

Coordinates: ``period`` (month starts), ``unit`` with ``unit_importer`` and ``unit_family``, ``signal`` with
``signal_unit``, ``signal_side`` (``exporter`` or ``importer``: whose figure it is) and ``signal_hs``.
The last :data:`AHEAD` months lie after the as-of month. ``attrs``: ``as_of``, ``exporter``, ``horizon`` (index of the as-of month),
``sources`` (whose figures it holds), ``log`` (fingerprint of the log it was read from) and ``fingerprint`` (SHA-256 of all its figures).
Each variable has ``units``. :func:`checked` holds every panel to this; docs/data-structures.md walks through one.
"""

import hashlib
from datetime import datetime

import numpy as np
import pandas as pd
import xarray as xr

from data.calendar import LUNAR_WINDOWS, lunar_exposure
from data.config import Watch, successors
from data.log import LogError, ReleaseLog
from data.observations import OBSERVATION_KEY

AHEAD = 3
SIDES = ("exporter", "importer")
ABSENCE = ("known", "not_yet_published", "suppressed", "withdrawn", "two_month_sum", "estimated", "no_figure")
"""Codes 0..6. ``not_yet_published``: after the reporter's last figure; ``no_figure``: a gap before it."""
_BY_STATUS = {"suppressed": 2, "withdrawn": 3, "estimated": 5}
_WORST = ["reported", "estimated", "withdrawn", "suppressed"]
UNITS = {
    "kg": "kg", "absence": "1", "releases": "1", "two_month_kg": "kg", "control_kg": "kg", "covariates": "as the series", "lunar": "1",
}  # fmt: skip
DIMS = {
    "kg": ("signal", "period"), "absence": ("signal", "period"), "releases": ("signal", "period"), "two_month_kg": ("signal", "period"),
    "control_kg": ("importer", "side", "period"), "covariates": ("covariate", "unit", "period"), "lunar": ("window", "period"),
}  # fmt: skip
Panel = xr.Dataset


class PanelError(RuntimeError):
    """A panel that does not keep its contract: a fault of ours and not of the figures."""


def read_panel(log: ReleaseLog, watch: Watch, as_of: datetime) -> Panel:
    """The panel of `watch` as known at `as_of`. Raises LogError when nothing of it was known."""
    wanted = [code for family in watch.families.values() for hs in family.hs for code in (hs, *successors(hs))]
    wanted += [watch.control] if watch.control else []
    observations = log.as_of("observations", as_of, wanted)
    ours = observations[(observations["exporter"] == watch.exporter) & observations["importer"].isin(watch.importers)]
    goods = _of_families(ours, watch)
    if goods.empty:
        codes = sorted(hs for family in watch.families.values() for hs in family.hs)
        raise LogError(
            f"no figure of {watch.exporter} to {', '.join(watch.importers)} in {', '.join(codes)} was known at {as_of.isoformat()}"
        )
    figures = goods[goods["status"] == "reported"] if (goods["status"] == "reported").any() else goods
    first = pd.Period(figures["period"].str.slice(0, 7).min(), freq="M")
    last = pd.Period(as_of.strftime("%Y-%m"), freq="M")
    periods = pd.period_range(first, last + AHEAD, freq="M")
    units = watch.units()
    panel = xr.Dataset(
        coords={
            "period": periods.to_timestamp().as_unit("s"),
            "unit": [u for u, _, _ in units],
            "unit_importer": ("unit", [i for _, i, _ in units]),
            "unit_family": ("unit", [f for _, _, f in units]),
            "importer": [i for i in watch.importers if i != watch.exporter],
            "family": list(watch.families),
            "side": list(SIDES),
            "window": list(LUNAR_WINDOWS),
            "covariate": list(watch.covariates.transition),
        }
    )
    panel = panel.assign(_signals(goods, watch, periods))
    panel["control_kg"] = ("importer", "side", "period"), _control(ours, watch, panel, periods)
    panel["covariates"] = ("covariate", "unit", "period"), _covariates(log, watch, as_of, units, periods)
    panel["lunar"] = ("window", "period"), lunar_exposure(periods)
    for name, unit in UNITS.items():
        panel[name].attrs["units"] = unit
    sources = sorted(ours["source"].str.split(r"[: ]", n=1, regex=True).str[0].unique())
    panel.attrs = {
        "as_of": as_of.isoformat(),
        "exporter": watch.exporter,
        "horizon": len(periods) - 1 - AHEAD,
        "sources": ", ".join(name or "canonical" for name in sources),
        "log": log.fingerprint(),
        "fingerprint": fingerprint(panel),
    }
    return checked(panel)


def checked(panel: Panel) -> Panel:
    """`panel`, if it keeps its contract. Raises PanelError, which names the variable and the first cell at fault."""

    def must(good: xr.DataArray, says: str) -> None:
        if not bool(good.all()):
            bad = np.unravel_index(int(np.argmin(good.values)), good.shape)
            cell = ", ".join(str(good[d].values[i]) if d in good.coords else str(i) for d, i in zip(good.dims, bad, strict=True))
            raise PanelError(f"panel: {says}; first at {cell}")

    missing = [name for name in UNITS if name not in panel]
    if missing:
        raise PanelError(f"panel: no variable {', '.join(missing)}")
    for name, dims in DIMS.items():
        if panel[name].dims != dims:
            raise PanelError(f"panel: {name} has the dimensions {panel[name].dims} and not {dims}")
    for name in ("period", "unit", "signal"):
        if not panel.indexes[name].is_unique:
            raise PanelError(f"panel: two {name}s of one name")
    if not (np.diff(panel["period"].values.astype("M8[M]")) == np.timedelta64(1, "M")).all():
        raise PanelError("panel: period does not go month by month")
    known = panel["absence"] == ABSENCE.index("known")
    must((panel["absence"] >= 0) & (panel["absence"] < len(ABSENCE)), "absence is no code of ABSENCE")
    must(np.isfinite(panel["kg"]) == known, "kg is a figure just where absence says known")
    must(~(panel["kg"] < 0), "kg is negative")
    must(~(panel["two_month_kg"] < 0), "two_month_kg is negative")
    must(~known | (panel["releases"] >= 1), "a figure without a release")
    must(panel["signal_unit"].isin(panel["unit"]), "a signal of a unit that is not there")
    must(panel["signal_side"].isin(SIDES), "a signal of neither side")
    must((panel["lunar"] >= 0) & (panel["lunar"] <= 1), "lunar is no share")
    after = panel["period"] > panel["period"][panel.attrs["horizon"]]
    must(~(known & after), "a figure of a month after the as-of")
    return panel


def _of_families(rows: pd.DataFrame, watch: Watch) -> pd.DataFrame:
    """Rows of the families' codes, with ``family``. Where an office has no figure under a code, but under its own subdivisions of it
    (85051110 and 85051190 of 850511), these are added up, so that a subdivision which is divided anew is no stop: of nested ones the
    coarsest of a cell; a code that is part of two families' codes is of the narrower one. What a later edition of the Harmonized System
    took out of a code is added as well. A sum is as good as the worst of its parts: suppressed if one of them is.
    """
    families = {hs: name for name, family in watch.families.items() for hs in family.hs}
    branches = {branch: hs for hs in families for branch in (hs, *successors(hs)) if branch == hs or branch not in families}
    of_code = {code: max((b for b in branches if code.startswith(b)), key=len, default="") for code in rows["hs_code"].unique()}
    rows = rows.assign(depth=rows["hs_code"].str.len(), branch=rows["hs_code"].map(of_code))
    rows = rows[rows["branch"] != ""]
    rows = rows.assign(hs_code=rows["branch"].map(branches))
    rows = rows[rows["depth"] == rows.groupby([*OBSERVATION_KEY, "branch"], sort=False)["depth"].transform("min")]
    rows = rows.assign(rank=rows["status"].map(_WORST.index), family=rows["hs_code"].map(families))
    several = rows.duplicated(OBSERVATION_KEY, keep=False)
    cells = rows[several].groupby([*OBSERVATION_KEY, "family"], as_index=False, sort=False)
    sums = cells.agg({"net_weight_kg": "sum", "rank": "max", "releases": "max"})
    sums = sums.assign(status=sums["rank"].map(dict(enumerate(_WORST))))
    return pd.concat([rows[~several], sums], ignore_index=True)


def _grid(rows: pd.DataFrame, periods: pd.PeriodIndex) -> pd.DataFrame:
    """Rows of single months with their position on the period axis; months off the axis are left out."""
    single = rows[~rows["period"].str.contains("/")]
    at = periods.get_indexer(pd.PeriodIndex(single["period"], freq="M"))
    return single.assign(at=at)[at >= 0]


def _signals(goods: pd.DataFrame, watch: Watch, periods: pd.PeriodIndex) -> dict[str, tuple]:
    goods = goods.assign(
        unit=goods["exporter"] + "." + goods["importer"] + "." + goods["family"],
        side=np.where(goods["reporter"] == watch.exporter, *SIDES),
    )
    # Every HS code of a unit is a signal on each side that ever reported on the unit, so that a code that
    # has not been published yet is a gap in the sum and not a smaller sum.
    reported = goods[["unit", "side"]].drop_duplicates()
    signals = [
        (unit, side, hs)
        for unit, _, family in watch.units()
        for side in SIDES
        if ((reported["unit"] == unit) & (reported["side"] == side)).any()
        for hs in watch.families[family].hs
        if ((goods["unit"] == unit) & (goods["side"] == side) & (goods["hs_code"] == hs)).any()
    ]
    index = pd.MultiIndex.from_tuples(signals)
    shape = (len(signals), len(periods))
    kg, two_month, releases = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, np.int16)
    absence = np.full(shape, ABSENCE.index("no_figure"), np.int8)

    def row(frame: pd.DataFrame) -> np.ndarray:
        return index.get_indexer(pd.MultiIndex.from_frame(frame[["unit", "side", "hs_code"]]))

    single = _grid(goods, periods)
    s, t = row(single), single["at"].to_numpy()
    code = single["status"].map(_BY_STATUS).fillna(0).to_numpy(np.int8)
    absence[s, t] = code
    kg[s, t] = np.where(code == 0, single["net_weight_kg"], np.nan)
    releases[s, t] = single["releases"]

    sums = goods[goods["period"].str.contains("/") & (goods["status"] == "reported")]
    t = periods.get_indexer(pd.PeriodIndex(sums["period"].str.slice(8), freq="M"))
    s = row(sums)
    two_month[s, t] = sums["net_weight_kg"]
    for k, (i, j) in enumerate(zip(s, t, strict=True)):
        for month in (j - 1, j):
            if np.isnan(kg[i, month]):
                absence[i, month] = ABSENCE.index("two_month_sum")
                releases[i, month] = sums["releases"].iloc[k]

    published = absence != ABSENCE.index("no_figure")
    last = np.where(published.any(1), shape[1] - 1 - published[:, ::-1].argmax(1), -1)
    absence[~published & (np.arange(shape[1]) > last[:, None])] = ABSENCE.index("not_yet_published")
    return {
        "kg": (("signal", "period"), kg),
        "absence": (("signal", "period"), absence),
        "releases": (("signal", "period"), releases),
        "two_month_kg": (("signal", "period"), two_month),
        "signal": ("signal", [f"{u}:{side}:{hs}" for u, side, hs in signals]),
        "signal_unit": ("signal", [u for u, _, _ in signals]),
        "signal_side": ("signal", [side for _, side, _ in signals]),
        "signal_hs": ("signal", [hs for _, _, hs in signals]),
    }


def _control(ours: pd.DataFrame, watch: Watch, panel: Panel, periods: pd.PeriodIndex) -> np.ndarray:
    control = np.full((panel.sizes["importer"], len(SIDES), len(periods)), np.nan)
    rows = _grid(ours[(ours["hs_code"] == watch.control) & (ours["status"] == "reported")], periods)
    i = panel.indexes["importer"].get_indexer(pd.Index(rows["importer"]))
    side = (rows["reporter"] != watch.exporter).to_numpy(int)
    control[i, side, rows["at"]] = rows["net_weight_kg"]
    return control


def _covariates(log: ReleaseLog, watch: Watch, as_of: datetime, units: list[tuple[str, str, str]], periods: pd.PeriodIndex) -> np.ndarray:
    """Values matched from the general to the particular: a row that names the importer or family wins."""
    names = watch.covariates.transition
    value = np.full((len(names), len(units), len(periods)), np.nan)
    if not names:
        return value
    rows = log.as_of("covariates", as_of, names)
    stands = rows["series"].isin(watch.covariates.standing)
    # What stands since before the first month stands in it.
    earlier = rows[stands & (rows["period"] < str(periods[0]))].sort_values("period").assign(at=0)
    known = pd.concat([earlier, _grid(rows, periods)])
    known = known[known["series"].isin(names) & known["exporter"].isin([watch.exporter, ""])]
    known = known.assign(detail=(known["importer"] != "").astype(int) + (known["family"] != "")).sort_values("detail", kind="stable")
    for u, (_, importer, family) in enumerate(units):
        rows = known[known["importer"].isin([importer, ""]) & known["family"].isin([family, ""])]
        value[rows["series"].map(names.index).to_numpy(int), u, rows["at"].to_numpy(int)] = rows["value"]
    for name in watch.covariates.standing:
        n = names.index(name)
        value[n] = pd.DataFrame(value[n]).ffill(axis=1).fillna(0.0)
    return value


def fingerprint(panel: Panel) -> str:
    digest = hashlib.sha256()
    for name in sorted(map(str, panel.variables)):
        values = panel[name].to_numpy()
        content = values.tobytes() if values.dtype.kind in "biufM" else "\0".join(map(str, values.ravel())).encode()
        digest.update(f"{name}{panel[name].dims}{values.shape}{values.dtype.kind}".encode() + content)
    return digest.hexdigest()
