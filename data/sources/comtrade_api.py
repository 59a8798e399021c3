"""UN Comtrade v1, monthly records as its API and its maintained client ``comtradeapicall`` give them: JSON or CSV.

Field names are verified on records that public code keeps; no answer of the API itself was at hand. ``{"data": [...]}`` as the API
answers, a bare array, or a CSV of the same 47 columns. What is met here:

- Rows double unless partner2Code is 0, motCode 0 and customsCode C00: others are details of these, and left out.
- ``isNetWgtEstimated`` is no measurement: status ``estimated``. China's weights of 2017 are imputed without saying so: the same.
- A CSV whose values stand one column left of their names, as when a reader took the first for an index, is refused.
- Countries are M49 numbers, as pycountry has them; 842 is the USA and 490, "Other Asia, not elsewhere specified", is Taiwan.
- The records do not say when they came out: the reporter's own calendar, and for revisions that of the file's newest month.
"""

import json

import pandas as pd
import pycountry

from data.observations import InputError, Parsed, parse_observations
from data.sources.canonical import read_text_table
from data.sources.rows import inferred_at, month_of, number_text

COLUMNS = ["period", "reporterCode", "flowCode", "partnerCode", "cmdCode", "netWgt"]
_M49 = {"842": "USA", "490": "TWN", "0": "WLD", "757": "CHE", "699": "IND", "251": "FRA", "579": "NOR"}
"""Comtrade's own numbers where they are not ISO's."""


def recognises(raw: bytes, name: str) -> bool:
    head = raw[:3000]
    return all(column.encode() in head for column in COLUMNS)


def _alpha3(code: str) -> str:
    found = pycountry.countries.get(numeric=code.zfill(3))
    return _M49.get(code) or (str(found.alpha_3) if found else code)


def m49(alpha3: str) -> str:
    """Comtrade's number of a country. Raises InputError."""
    if (own := {name: code for code, name in _M49.items()}.get(alpha3)) is not None:
        return own
    if (found := pycountry.countries.get(alpha_3=alpha3)) is None:
        raise InputError(f"{alpha3!r} is no ISO 3166 alpha-3 country, such as CHN")
    return str(int(found.numeric))


def _table(raw: bytes, name: str) -> pd.DataFrame:
    if raw.lstrip()[:1] not in (b"{", b"["):
        return read_text_table(raw, name)
    try:
        told = json.loads(raw)
    except ValueError as error:
        raise InputError(f"{name}: not JSON ({error}); was the download cut off?") from error
    records = told.get("data") if isinstance(told, dict) else told
    if not records:
        why = told.get("error") if isinstance(told, dict) else ""
        raise InputError(f"{name}: no records{f' ({why})' if why else ''}")
    return pd.DataFrame(records).map(lambda v: "" if v is None or v != v else str(v))


def parse(raw: bytes, name: str) -> Parsed:
    table = _table(raw, name)
    if missing := [c for c in COLUMNS if c not in table]:
        raise InputError(f"{name}: no {', '.join(missing)} among its fields")
    if "typeCode" in table and not table["typeCode"].isin(["C", ""]).all():
        raise InputError(f"{name}: typeCode is {table['typeCode'].iloc[0]!r} and not C: values stand one column off their names")
    table["line"] = range(2, len(table) + 2)
    for column, whole in (("partner2Code", "0"), ("motCode", "0"), ("customsCode", "C00")):
        if column in table:
            table = table[table[column].isin([whole, ""])]
    table = table[table["flowCode"].isin(["X", "M"])].reset_index(drop=True)
    if table.empty:
        raise InputError(f"{name}: no row of all partners' modes and procedures (motCode 0, customsCode C00) with flow X or M")
    reporter, partner = (table[c].map({v: _alpha3(v) for v in table[c].unique()}) for c in ("reporterCode", "partnerCode"))
    exports, period = table["flowCode"] == "X", month_of(table["period"])
    said = table.get("isNetWgtEstimated", pd.Series("", table.index)).str.lower() == "true"
    estimated = said | ((reporter == "CHN") & period.str.startswith("2017"))
    none = pd.Series("", table.index)
    kg, usd = (pd.to_numeric(table.get(c, none), errors="coerce") for c in ("netWgt", "primaryValue"))
    newest = {r: inferred_at(r, pd.Series([period[reporter == r].max()]))[0] for r in reporter.unique()}
    return parse_observations(
        pd.DataFrame(
            {
                "reporter": reporter,
                "exporter": reporter.where(exports, partner),
                "importer": partner.where(exports, reporter),
                "hs_code": table["cmdCode"],
                "period": period,
                "net_weight_kg": number_text(kg, table["netWgt"]),
                "value_usd": number_text(usd, none),
                "released_at": inferred_at(reporter, period),
                "source": "comtrade_api",
                "status": estimated.map({True: "estimated", False: "reported"}),
                "released_at_basis": "inferred",
                "revised_at": reporter.map(newest),
            }
        ),
        table["line"],
    )
