"""Series that move the odds of a restriction: geopolitical risk, policy uncertainty, announced controls.

``gpr``: Caldara & Iacoviello (2022, American Economic Review 112(4)), monthly: ``month`` (YYYY-MM), optionally ``vintage_last_month``,
and GPRC_XXX, the percent of articles that name country XXX. A country's index, not a pair's. Each becomes the series ``gpr`` of that
importer. A vintage is out on day 2 of the month after its last month. **Its newest month is revised** (Japan's of 2026-03 was 0.855,
then 0.941), so a month of a vintage that the log has with another value is a revision (``revised_at``).

``epu``: Baker, Bloom & Davis and followers, policyuncertainty.com: ``year,month`` and columns ``xx_epu``, ``xx_trade_pu`` or ``xx_tpu``,
xx a country by ISO alpha-2. Series ``epu`` and ``tpu`` of that importer; those of China itself are of all importers. Out a month later.

``control_events``: ``start,end,restricting,target,products,status,form,source_url,note``, one event a row. Announced ones (status
begins with ``declared``) become the standing series ``announced_controls``: how many are in force against the importer in the month.
Undeclared ones are what this service is to find: they are kept aside. A blank end is "not found": the control stands. Which HS codes a
control is about is not in the file, so it is one of all families; known from its first day, which is no sooner than its announcement.

All verified on the files as bundled or shared; release days are rules, marked ``inferred``.
"""

import numpy as np
import pandas as pd
import pycountry

from data.calendar import EU_MEMBERS
from data.observations import InputError, Parsed, parse_covariates
from data.sources.canonical import read_text_table
from data.sources.rows import MONTH, kept_aside

EXPORTER = "CHN"
EVENT_COLUMNS = ["start", "end", "restricting", "target", "products", "status", "source_url"]


def _header(raw: bytes) -> list[str]:
    return raw[:4000].lstrip(b"\xef\xbb\xbf").split(b"\n", 1)[0].strip().decode("utf-8", "replace").split(",")


def is_gpr(raw: bytes, name: str) -> bool:
    header = _header(raw)
    return "month" in header and any(c.startswith("GPRC_") for c in header)


def is_epu(raw: bytes, name: str) -> bool:
    header = _header(raw)
    return header[:2] == ["year", "month"] and any(c.endswith("_epu") for c in header)


def is_control_events(raw: bytes, name: str) -> bool:
    return set(EVENT_COLUMNS) <= set(_header(raw))


def _day(month: pd.PeriodIndex, later: int, day: int) -> np.ndarray:
    return (month + later).to_timestamp().strftime(f"%Y-%m-{day:02}").to_numpy()


def _months(text: pd.Series, name: str, column: str) -> pd.PeriodIndex:
    wrong = ~text.str.fullmatch(MONTH)
    if wrong.any():
        raise InputError(f"{name}: line {int(np.flatnonzero(wrong)[0]) + 2}: {column} {text[wrong].iloc[0]!r} is not a month YYYY-MM")
    return pd.PeriodIndex(text, freq="M")


def parse_gpr(raw: bytes, name: str) -> Parsed:
    table = read_text_table(raw, name)
    month = _months(table["month"], name, "month")
    if "vintage_last_month" in table:
        vintage = _months(table["vintage_last_month"], name, "vintage_last_month")
    else:
        vintage = pd.PeriodIndex([month.max()] * len(table), freq="M")
    countries = [c for c in map(str, table) if c.startswith("GPRC_")]
    # Oldest vintage first: what a later one says of the same month is a revision.
    order = np.argsort(vintage.asi8, kind="stable")
    parts = [
        pd.DataFrame(
            {
                "series": "gpr", "exporter": EXPORTER, "importer": c.removeprefix("GPRC_"), "family": "", "period": table["month"],
                "value": table[c], "released_at": _day(month, 1, 2), "source": "gpr:" + c + " vintage " + vintage.astype(str),
                "released_at_basis": "inferred", "revised_at": _day(vintage, 1, 2), "line": np.arange(2, len(table) + 2),
            }
        ).iloc[order]
        for c in countries if c != f"GPRC_{EXPORTER}"
    ]  # fmt: skip
    rows = pd.concat(parts, ignore_index=True)
    return parse_covariates(rows.drop(columns="line"), rows["line"])


def parse_epu(raw: bytes, name: str) -> Parsed:
    table = read_text_table(raw, name)
    period = table["year"] + "-" + table["month"].str.zfill(2)
    month = _months(period, name, "year, month")
    parts = []
    for column in table.columns[2:]:
        code, _, what = column.partition("_")
        series = {"epu": "epu", "tpu": "tpu", "trade_pu": "tpu"}.get(what)
        country = pycountry.countries.get(alpha_2=code.upper())
        if series is None or country is None:
            continue
        importer = "" if country.alpha_3 == EXPORTER else country.alpha_3
        parts.append(
            pd.DataFrame(
                {
                    "series": series, "exporter": EXPORTER, "importer": importer, "family": "",
                    "period": period, "value": table[column], "released_at": _day(month, 2, 1), "source": f"epu:{column}",
                    "released_at_basis": "inferred", "line": np.arange(2, len(table) + 2),
                }
            )
        )  # fmt: skip
    if not parts:
        raise InputError(f"{name}: none of its columns is xx_epu, xx_tpu or xx_trade_pu of a country xx")
    rows = pd.concat(parts, ignore_index=True)
    return parse_covariates(rows.drop(columns="line"), rows["line"])


def _targets(text: str) -> list[str]:
    """Importers named; [""] for all."""
    named = text.partition("(")[0].strip()
    if named == "ALL":
        return [""]
    return [code for part in named.split(";") for code in (sorted(EU_MEMBERS) if part.strip() == "EU" else (part.strip(),))]


def _steps(first: str, last: str) -> list[tuple[pd.Period, str, int]]:
    """(month, day it is known from, change) of a control in force from `first` to `last`, days or months; the latter may be blank."""
    steps = [(pd.Period(first[:7], "M"), first, 1)]
    if last:
        steps.append((pd.Period(last[:7], "M") + 1, last, -1))
    return [(month, day if len(day) > 7 else str(pd.Period(day, "M").end_time.date()), step) for month, day, step in steps]


def parse_control_events(raw: bytes, name: str) -> Parsed:
    table = read_text_table(raw, name)
    table["line"] = range(2, len(table) + 2)
    start, end = table["start"].str.slice(0, 7), table["end"].str.slice(0, 7)
    aside = pd.Series("", index=table.index)
    aside = aside.mask(~table["status"].str.startswith("declared"), "status: is not declared, and what nobody announced is to be inferred")
    aside = aside.mask(table["restricting"] != EXPORTER, f"restricting: is not {EXPORTER}")
    for column, text in (("start", start), ("end", end)):
        good = text.str.fullmatch(MONTH) | ((column == "end") & (text == ""))
        aside = aside.mask(~good, f"{column}: is not a day YYYY-MM-DD or a month YYYY-MM")
    used = table[aside == ""]
    steps = [
        (target, str(when), known, step, line)
        for first, last, named, line in zip(used["start"], used["end"], used["target"], used["line"], strict=True)
        for target in _targets(named)
        for when, known, step in _steps(first, last)
    ]
    changes = pd.DataFrame(steps, columns=["importer", "period", "known", "step", "line"])
    levels = []
    for importer in sorted({"", *changes["importer"]}):
        own = (
            changes[changes["importer"].isin(["", importer])]
            .groupby("period")
            .agg(step=("step", "sum"), known=("known", "max"), line=("line", "max"))
        )
        levels.append(own.assign(importer=importer, value=own["step"].cumsum()).reset_index())
    made = pd.concat(levels, ignore_index=True)
    accepted = parse_covariates(
        pd.DataFrame(
            {
                "series": "announced_controls", "exporter": EXPORTER, "importer": made["importer"], "family": "", "period": made["period"],
                "value": made["value"].astype(str), "released_at": made["known"], "source": "control_events",
                "released_at_basis": "inferred",
            }
        ),
        made["line"],
    )  # fmt: skip
    return Parsed(accepted.accepted, pd.concat([kept_aside(table, aside), accepted.rejected], ignore_index=True))
