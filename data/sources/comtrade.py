"""China's monthly mineral exports by partner, as pulled from UN Comtrade (reporter 156, flow X, freq M).

Two tables of the shape of `qennis/ChinaCriticalMineralComtrade` (``period_dt, partner_name, val, qty, uv``
and either ``hs6`` or ``broad_group``); ``val`` USD, ``qty`` kg. No release times: GACC's calendar, marked
``inferred``. Three traps, each met here:

- **2017 weights are imputed** from one standard unit value: months in which most rows share one unit value
  are status ``estimated``, which the model does not read.
- **An absent row of a complete partner-month query is a zero**, otherwise unknown: a partner that appears
  anywhere in the file, in a month in which any partner appears, was queried, and is given an explicit 0.
  Months in which no partner appears stay unknown.
- The group "Rare Earths" is a sum over 280530, 284690 and 850511 that cannot be undone; it stands under
  990001, in the chapter that the Harmonized System leaves to national use.
"""

import numpy as np
import pandas as pd
import pycountry

from data.observations import InputError, Parsed, parse_observations
from data.sources.canonical import read_text_table
from data.sources.rows import absent, inferred_at

EXPORTER = "CHN"
GROUP_CODES = {"Rare Earths": "990001"}
PARTNERS = {"UAE": "ARE", "USA": "USA", "South Korea": "KOR", "Taiwan": "TWN", "Vietnam": "VNM", "Russia": "RUS", "Hong Kong": "HKG"}
"""Partner names that are not pycountry's own; Comtrade's "Other Asia, nes" (490) is Taiwan."""
_SHARED_UNIT_VALUE = 0.5


def recognises(raw: bytes, name: str) -> bool:
    header = set(raw[:200].lstrip(b"\xef\xbb\xbf").split(b"\n", 1)[0].strip().split(b","))
    return {b"period_dt", b"partner_name", b"val", b"qty"} <= header


def _alpha3(name: str) -> str:
    if name in PARTNERS:
        return PARTNERS[name]
    try:
        return str(pycountry.countries.lookup(name).alpha_3)
    except LookupError:
        return name


def _imputed_months(table: pd.DataFrame) -> set[str]:
    """Months in which more than half of the rows share one unit value, or all weights are zero."""
    unit_value = pd.to_numeric(table["uv"], errors="coerce").replace([np.inf, -np.inf], np.nan).round(6)
    weight = pd.to_numeric(table["qty"], errors="coerce")

    def imputed(rows: pd.Index) -> bool:
        shared = unit_value[rows].value_counts(normalize=True)
        return bool((weight[rows] == 0).all() or (len(rows) > 2 and shared.iloc[0] > _SHARED_UNIT_VALUE))

    return {str(month) for month, rows in table.groupby("month").groups.items() if imputed(rows)}


def parse(raw: bytes, name: str) -> Parsed:
    table = read_text_table(raw, name).reset_index(drop=True)
    if "hs6" in table:
        table["hs_code"] = table["hs6"]
    elif "broad_group" in table:
        table["hs_code"] = table["broad_group"].map(GROUP_CODES).fillna(table["broad_group"])
    else:
        raise InputError(f"{name}: neither hs6 nor broad_group is among its columns")
    table["line"] = np.arange(2, len(table) + 2)
    table["month"] = table["period_dt"].str.slice(0, 7)
    table["importer"] = table["partner_name"].map(_alpha3)
    table["status"] = "reported"
    imputed = _imputed_months(table) | {m for m in table["month"] if m.startswith("2017")}
    table = pd.concat([table, _absent_rows(table)], ignore_index=True)
    table.loc[table["month"].isin(imputed), "status"] = "estimated"
    rows = pd.DataFrame(
        {
            "reporter": EXPORTER,
            "exporter": EXPORTER,
            "importer": table["importer"],
            "hs_code": table["hs_code"],
            "period": table["month"],
            "net_weight_kg": table["qty"],
            "value_usd": table["val"],
            "released_at": inferred_at(EXPORTER, table["month"]),
            "source": "comtrade",
            "status": table["status"],
            "released_at_basis": "inferred",
            "revised_at": inferred_at(EXPORTER, pd.Series([table["month"].max()]))[0],
        }
    )
    return parse_observations(rows, table["line"].astype(int))


def _absent_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Zeros for the partner-months of the query that have no row; they carry the line of the header."""
    zeros = [absent(rows, ["importer", "hs_code"], "month") for _, rows in table.groupby("hs_code")]
    return pd.concat(zeros, ignore_index=True).assign(qty="0", val="0", line=1, status="reported") if zeros else table.iloc[:0]
