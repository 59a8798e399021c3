"""Eurostat Comext, bulk files ``full_v2`` (unpacked from .7z): CN8 by member state and partner, one month a file.

``REPORTER,PARTNER,TRADE_TYPE,PRODUCT_NC,...,FLOW,STAT_PROCEDURE,SUPPL_UNIT,PERIOD,VALUE_EUR,VALUE_NAC,QUANTITY_KG,QUANTITY_SUPPL_UNIT``, 18
columns or fewer, which are taken by name. Layout as in public code that reads these files; **no genuine file was at hand**.

- FLOW 1 imports, 2 exports; a cell has a row for each STAT_PROCEDURE, which are added up.
- TRADE_TYPE I (within the Union) is left out: it is another survey. Member states by ISO alpha-2, where Greece is GR or EL.
- 000TOTAL becomes TOTAL; a row that stands twice, word for word, as in files of 2017, counts once.
- Euros are no dollars: ``value_usd`` is empty. Release 45 days after the month's end, ``inferred``.
"""

import numpy as np
import pandas as pd
import pycountry

from data.observations import InputError, Parsed, parse_observations
from data.sources.canonical import read_text_table
from data.sources.rows import inferred_at, month_of, number_text

COLUMNS = ["REPORTER", "PARTNER", "PRODUCT_NC", "FLOW", "PERIOD", "QUANTITY_KG"]
_ALPHA2 = {"EL": "GRC", "UK": "GBR", "XK": "XKX"}


def recognises(raw: bytes, name: str) -> bool:
    header = raw[:400].lstrip(b"\xef\xbb\xbf").split(b"\n", 1)[0].strip().decode("ascii", "replace").split(",")
    return set(COLUMNS) <= set(header)


def _alpha3(code: str) -> str:
    found = pycountry.countries.get(alpha_2=code)
    return _ALPHA2.get(code) or (str(found.alpha_3) if found else code)


def parse(raw: bytes, name: str) -> Parsed:
    table = read_text_table(raw, name)
    if missing := [c for c in COLUMNS if c not in table]:
        raise InputError(f"{name}: no column {', '.join(missing)}")
    table["line"] = range(2, len(table) + 2)
    table = table.drop_duplicates([c for c in table if c != "line"])
    if "TRADE_TYPE" in table:
        table = table[table["TRADE_TYPE"] != "I"]
    if table.empty:
        raise InputError(f"{name}: only trade within the Union (TRADE_TYPE I)")
    if strange := sorted(set(table["FLOW"]) - {"1", "2"}):
        raise InputError(f"{name}: FLOW is {strange[0]!r}, which is neither 1 (imports) nor 2 (exports)")
    kg = pd.to_numeric(table["QUANTITY_KG"], errors="coerce")
    cell = ["REPORTER", "PARTNER", "PRODUCT_NC", "FLOW", "PERIOD"]
    counted_in = table["SUPPL_UNIT"].replace("NO_SU", "") if "SUPPL_UNIT" in table else pd.Series("", table.index)
    counted = (
        pd.to_numeric(table["QUANTITY_SUPPL_UNIT"], errors="coerce") if "QUANTITY_SUPPL_UNIT" in table else pd.Series(np.nan, table.index)
    )
    counted = counted.where(counted_in != "")
    cells = table[kg.notna()].assign(kg=kg, counted=counted, counted_in=counted_in).groupby(cell, as_index=False, sort=False)
    sums = cells[["kg", "counted"]].sum(min_count=1).merge(cells.agg(line=("line", "first"), counted_in=("counted_in", "max")))
    sums["kg"] = number_text(sums["kg"], sums["kg"].astype(str))
    sums["counted"] = number_text(sums["counted"], pd.Series("", sums.index))
    rows = pd.concat([sums, table[kg.isna()].assign(kg=table["QUANTITY_KG"], counted="", counted_in="")], ignore_index=True)
    reporter, partner = (rows[c].map({v: _alpha3(v) for v in rows[c].unique()}) for c in ("REPORTER", "PARTNER"))
    period = month_of(rows["PERIOD"])
    imports = rows["FLOW"] == "1"
    return parse_observations(
        pd.DataFrame(
            {
                "reporter": reporter,
                "exporter": partner.where(imports, reporter),
                "importer": reporter.where(imports, partner),
                "hs_code": rows["PRODUCT_NC"].replace("000TOTAL", "TOTAL"),
                "period": period,
                "net_weight_kg": rows["kg"],
                "value_usd": "",
                "released_at": inferred_at(reporter, period),
                "source": "comext",
                "status": "reported",
                "released_at_basis": "inferred",
                "supplementary_quantity": rows["counted"],
                "supplementary_unit": rows["counted_in"],
            }
        ),
        rows["line"],
    )
