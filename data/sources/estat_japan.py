"""Japan's customs (Ministry of Finance; e-Stat 00350300), files 品別国別表: HS9 by country, one row a year, months side by side.

``Exp or Imp,Year,HS,Country,Unit1,Unit2,Quantity1-Year,Quantity2-Year,Value-Year,Quantity1-Jan,...,Value-Dec``; 1 exports, 2 imports; HS
and sometimes more in apostrophes; April is ``Apl`` in old files; value in thousand yen, which are no dollars: ``value_usd`` is empty. A
weight stands where the unit is one, mostly Quantity2. Layout as in public code that reads these files and as a README shows it; **no
genuine file was at hand**, so nothing here is verified on one.

- Months after the file's last are 0 and not zeros: the file's last month is the last in which anything moved.
- Value above 0 with a quantity of 0 is less than a unit (customs.go.jp, FAQ 4-1): it is kept as ``estimated``, not as a zero.
- Stages: 9-digit imports are provisional for a month more than exports, and all of them for the year until March. The file does not
  say its stage. A month that has been seen with another figure is a revision, known since the file's own release (``revised_at``).
- Countries by the ministry's codes (``data/codes/mof_japan.csv``); a code that is not in it rejects its rows.
"""

import pandas as pd

from data.observations import InputError, Parsed, parse_observations
from data.sources.canonical import read_text_table
from data.sources.rows import countries_of, inferred_at, number_text

JAPAN = "JPN"
KG = {"KG": 1.0, "MT": 1000.0, "G": 0.001, "GR": 0.001}
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def recognises(raw: bytes, name: str) -> bool:
    return raw[:200].lstrip(b"\xef\xbb\xbf").replace(b'"', b"").startswith(b"Exp or Imp,Year,HS,Country")


def parse(raw: bytes, name: str) -> Parsed:
    wide = read_text_table(raw, name).rename(columns=lambda c: c.replace("-Apl", "-Apr")).apply(lambda c: c.str.strip(" '"))
    measures = ("Quantity1", "Quantity2", "Value")
    if missing := [f"{m}-{month}" for month in MONTHS for m in measures if f"{m}-{month}" not in wide]:
        raise InputError(f"{name}: no column {', '.join(missing)}")
    if strange := sorted(set(wide["Exp or Imp"]) - {"1", "2"}):
        raise InputError(f"{name}: 'Exp or Imp' is {strange[0]!r}, which is neither 1 (exports) nor 2 (imports)")
    wide["line"] = range(2, len(wide) + 2)
    parts = []
    for n, month in enumerate(MONTHS, 1):
        columns = wide[["Exp or Imp", "HS", "Country", "Unit1", "Unit2", "line"]]
        parts.append(columns.assign(period=wide["Year"] + f"-{n:02}", **{m: wide[f"{m}-{month}"] for m in measures}))
    table = pd.concat(parts, ignore_index=True)
    amounts = table[list(measures)].apply(pd.to_numeric, errors="coerce")
    moved = (amounts.fillna(1) != 0).any(axis=1)
    if not moved.any():
        raise InputError(f"{name}: nothing moved in any month; is this a file of a year that has not begun?")
    last = table.loc[moved, "period"].max()
    table, amounts = table[table["period"] <= last], amounts[table["period"] <= last]
    second = table["Unit2"].isin(KG)
    quantity, unit = table["Quantity1"].mask(second, table["Quantity2"]), table["Unit1"].mask(second, table["Unit2"])
    counted = table["Quantity2"].mask(second, table["Quantity1"])
    counted_in = table["Unit2"].mask(second, table["Unit1"])
    is_unit = ~counted_in.isin(KG) & (counted_in != "")
    kg = amounts["Quantity1"].mask(second, amounts["Quantity2"]) * unit.map(KG)
    below = (kg == 0) & (amounts["Value"] > 0)
    partner = table["Country"].map(countries_of("mof_japan")).fillna(table["Country"])
    imports = table["Exp or Imp"] == "2"
    rows = pd.DataFrame(
        {
            "reporter": JAPAN,
            "exporter": partner.where(imports, JAPAN),
            "importer": partner.where(~imports, JAPAN),
            "hs_code": table["HS"],
            "period": table["period"],
            "net_weight_kg": number_text(kg, quantity + " " + unit),
            "value_usd": "",
            "released_at": inferred_at(JAPAN, table["period"]),
            "source": "estat_japan",
            "status": below.map({True: "estimated", False: "reported"}),
            "released_at_basis": "inferred",
            "supplementary_quantity": counted.where(is_unit, ""),
            "supplementary_unit": counted_in.where(is_unit, ""),
            "revised_at": inferred_at(JAPAN, pd.Series([last]))[0],
        }
    )
    return parse_observations(rows, table["line"])
