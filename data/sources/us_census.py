"""US Census, International Trade API ``timeseries/intltrade/imports/hs``: HS10 by country and month, general imports.

A JSON array of arrays of text, the first of which is the header. Layout as in the API's documentation and in public code; **no genuine
answer was at hand**. Wanted are I_COMMODITY, CTY_CODE, time, GEN_VAL_MO (USD) and a shipping weight: AIR_WGT_MO and VES_WGT_MO in kg, added
up, or GEN_QY1_MO where UNIT_QY1 is KG.

- ``CTY_CODE`` "-" is the total of all countries and bears SUMMARY_LVL DET all the same; such rows, and those of a summary level
  (SUMMARY_LVL other than DET), would count trade 2-6 times and are left out, not rejected.
- Countries by Schedule C (``data/codes/schedule_c.csv``).
- What goes by land has no shipping weight: rows without any are rejected.
- Release: about 35 days after the month's end, ``inferred``.
"""

import json

import pandas as pd

from data.observations import InputError, Parsed, parse_observations
from data.sources.rows import MONTH, countries_of, inferred_at, number_text

USA = "USA"
_NEEDED = ("I_COMMODITY", "CTY_CODE", "time")


def recognises(raw: bytes, name: str) -> bool:
    head = raw[:400].lstrip()
    return head.startswith(b"[[") and b'"I_COMMODITY"' in head and b'"CTY_CODE"' in head


def parse(raw: bytes, name: str) -> Parsed:
    try:
        header, *rows = json.loads(raw)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{name}: not a JSON array of rows ({error}); the API answers 204 with nothing to codes joined by commas"
        ) from error
    if missing := [c for c in _NEEDED if c not in header]:
        raise InputError(f"{name}: no {', '.join(missing)} in the header {','.join(map(str, header))}")
    table = pd.DataFrame([["" if v is None else str(v) for v in row] for row in rows], columns=header)
    # The API repeats columns that are asked for and filtered by.
    table = table.loc[:, ~table.columns.duplicated()]
    table["line"] = range(2, len(table) + 2)
    detail = (table["CTY_CODE"] != "-") & (table.get("SUMMARY_LVL", "DET") == "DET")
    table = table[detail].reset_index(drop=True)
    if table.empty:
        raise InputError(f"{name}: only totals and summaries; ask for countries (CTY_CODE) at SUMMARY_LVL DET")
    weights = [table[c] for c in ("AIR_WGT_MO", "VES_WGT_MO") if c in table]
    if weights:
        shipped = pd.concat([pd.to_numeric(w, errors="coerce") for w in weights], axis=1)
        kg = shipped.sum(axis=1, min_count=1)
        seen = weights[0]
    elif {"GEN_QY1_MO", "UNIT_QY1"} <= set(table):
        seen = table["GEN_QY1_MO"] + " " + table["UNIT_QY1"]
        kg = pd.to_numeric(table["GEN_QY1_MO"], errors="coerce").where(table["UNIT_QY1"] == "KG")
    else:
        raise InputError(f"{name}: no weight; ask for AIR_WGT_MO and VES_WGT_MO, or GEN_QY1_MO with UNIT_QY1")
    none = pd.Series("", table.index)
    counted, counted_in = table.get("GEN_QY1_MO", none), table.get("UNIT_QY1", none)
    is_unit = ~counted_in.isin(["KG", "-", "X", ""])
    counted, counted_in = counted.where(is_unit, ""), counted_in.where(is_unit, "")
    months = table.loc[table["time"].str.fullmatch(MONTH), ["time"]].max()
    return parse_observations(
        pd.DataFrame(
            {
                "reporter": USA,
                "exporter": table["CTY_CODE"].map(countries_of("schedule_c")).fillna(table["CTY_CODE"]),
                "importer": USA,
                "hs_code": table["I_COMMODITY"],
                "period": table["time"],
                "net_weight_kg": number_text(kg, seen),
                "value_usd": table.get("GEN_VAL_MO", ""),
                "released_at": inferred_at(USA, table["time"]),
                "source": "us_census",
                "status": "reported",
                "released_at_basis": "inferred",
                "supplementary_quantity": counted,
                "supplementary_unit": counted_in,
                "revised_at": inferred_at(USA, months.fillna(""))[0],
            }
        ),
        table["line"],
    )
