"""Monthly figures transcribed from news and analysts' pages: a source of last resort.

Columns ``series_id,exporter,importer,product,hs,reporting_side,statistical_source,period,period_type,value,
unit,kind,note,confidence,source_url``. Two news items have been seen to give 280 t and 411 t for one cell,
so every accepted row carries its page address as ``source`` and a *derived* figure (worked back from a
stated percentage) has status ``estimated``, which the model does not read. A derived figure could be known
only when the later month it was worked back from came out; which month that was is not recorded, so its
release is put thirteen months after the period, the latest that a year-on-year figure implies.

Release times are not in the file: they are rebuilt from the publishers' calendars and marked ``inferred``.
Spans and years are not months; they are rejected with that reason, never spread over months.
"""

import pandas as pd

from data.calendar import inferred_release
from data.observations import Parsed, parse_observations
from data.sources.canonical import read_text_table
from data.sources.rows import kept_aside

COLUMNS = ["series_id", "exporter", "importer", "hs", "reporting_side", "period", "period_type", "value", "unit", "kind"]
SERIES_CODES = {"JP_RE_FROM_CN": "990002", "JP_RE_FROM_WORLD": "990002"}
"""Series whose HS list the publisher does not state, under codes of chapter 99, which the Harmonized
System leaves to national use (WCO, HS Nomenclature, note to Section XXI): 990002 = the Japanese Ministry
of Finance's rare-earth aggregate."""
_KG = {"t": 1000.0, "kg": 1.0}


def recognises(raw: bytes, name: str) -> bool:
    return raw[:200].lstrip(b"\xef\xbb\xbf").startswith(b"series_id,exporter,importer")


def _released(reporter: str, period: str, kind: str) -> str:
    month = pd.Period(period, freq="M")
    return inferred_release(reporter, month + 13 if kind == "derived" else month).isoformat()


def parse(raw: bytes, name: str) -> Parsed:
    table = read_text_table(raw, name).reset_index(drop=True)
    line = pd.Series(range(2, len(table) + 2))
    reason = pd.Series("", index=table.index)
    code = table["series_id"].map(SERIES_CODES).fillna(table["hs"])
    reason = reason.mask(~code.str.fullmatch(r"[0-9]{2,10}|TOTAL"), "hs: is not one HS code, and the series has no code of its own")
    reason = reason.mask(~table["unit"].isin(list(_KG)), "unit: is not a weight that converts to kg")
    reason = reason.mask(table["period_type"] != "month", "period: is a span or a year, not a month")
    usable = reason == ""
    rows = table[usable]
    reporter = rows["exporter"].where(rows["reporting_side"] == "exporter", rows["importer"])
    kg = pd.to_numeric(rows["value"], errors="coerce") * rows["unit"].map(_KG)
    months = rows["period"].str.fullmatch(r"[0-9]{4}-[0-9]{2}")
    released = [_released(r, p, k) if ok else "" for r, p, k, ok in zip(reporter, rows["period"], rows["kind"], months, strict=True)]
    parsed = parse_observations(
        pd.DataFrame(
            {
                "reporter": reporter,
                "exporter": rows["exporter"],
                "importer": rows["importer"],
                "hs_code": code[usable],
                "period": rows["period"],
                "net_weight_kg": kg.map(lambda v: "" if v != v else format(v, ".12g")).where(kg.notna(), rows["value"]),
                "value_usd": "",
                "released_at": released,
                "source": "published:" + rows["series_id"] + " " + rows["source_url"],
                "status": rows["kind"].map({"derived": "estimated"}).fillna("reported"),
                "released_at_basis": "inferred",
            }
        ),
        line[usable],
    )
    return Parsed(parsed.accepted, pd.concat([kept_aside(table.assign(line=line), reason), parsed.rejected], ignore_index=True))
