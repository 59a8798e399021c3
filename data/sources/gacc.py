"""China customs (GACC), files of the query page stats.customs.gov.cn: HS8 by partner and month.

Verified on genuine files (``tests/data/genuine``): GB18030; every field quoted; thousands commas in the value only; a trailing comma
that makes an empty last column; second unit ``?`` where there is none; **no row for a month without trade**. Which columns there are
depends on the query. Not verified on a file: value in 美元 in the place of 人民币, the column 贸易方式 (rows of one cell are added up).

- A file does not say whether it is of exports or imports: its name must, by ``export``, ``out`` or 出口, or ``import``, ``in`` or 进口.
- A flow and a month that both occur in the file were asked for: where they have no row together, there is a zero, which carries the
  line of the header.
- Partners are matched by their Chinese names in Unicode's CLDR; the codes (502, 402, ...) are GACC's own.
- No release time: the release calendar's, marked ``inferred`` (:func:`data.calendar.inferred_release`).
- Yuan are no dollars: ``value_usd`` is empty unless the file is in 美元.
"""

import csv
import io
import re
from functools import cache

import pandas as pd
import pycountry
from babel import Locale

from data.observations import InputError, Parsed, parse_observations
from data.sources.rows import absent, inferred_at, month_of, number_text

CHINA = "CHN"
COLUMNS = {"数据年月": "month", "贸易伙伴名称": "partner", "商品编码": "hs_code", "第一数量": "quantity_1", "第一计量单位": "unit_1"}
FURTHER = {"第二数量": "quantity_2", "第二计量单位": "unit_2", "美元": "usd"}
KG = {"千克": 1.0, "吨": 1000.0, "克": 0.001}
"""Weights among the units of GACC; all others are counts, lengths or volumes."""
NAMES = {"中国台湾": "TWN", "台澎金马关税区": "TWN", "中国香港": "HKG", "中国澳门": "MAC", "阿联酋": "ARE", "波黑": "BIH"}
"""What GACC calls a customs territory where CLDR's Chinese name is another."""
_FLOWS = {"exports": r"export|(?<![a-z])out|出口", "imports": r"import|(?<![a-z])in(?![a-z])|进口"}


@cache
def partners() -> dict[str, str]:
    """Chinese name -> ISO alpha-3."""
    named = Locale("zh").territories
    known = {named[c.alpha_2]: c.alpha_3 for c in pycountry.countries if c.alpha_2 in named}
    return known | NAMES


def _decoded(raw: bytes) -> str:
    # GB18030 reads most bytes as something: UTF-8, which is strict, is tried first.
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("gb18030")


def recognises(raw: bytes, name: str) -> bool:
    try:
        header = _decoded(raw.split(b"\n", 1)[0])
    except UnicodeDecodeError:
        return False
    return all(column in header for column in COLUMNS)


def flow_of(name: str) -> str:
    """``exports`` or ``imports``. Raises InputError where the name says neither or both."""
    said = [flow for flow, pattern in _FLOWS.items() if re.search(pattern, name.rsplit("/", 1)[-1].lower())]
    if len(said) != 1:
        raise InputError(
            f"{name}: customs does not say in the file whether it is of exports or imports; put exports or imports in its name"
        )
    return said[0]


def parse(raw: bytes, name: str) -> Parsed:
    flow = flow_of(name)
    try:
        text = _decoded(raw)
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: neither GB18030 nor UTF-8 at byte {error.start}") from error
    header, *rows = list(csv.reader(io.StringIO(text)))
    if missing := [c for c in COLUMNS if c not in header]:
        raise InputError(f"{name}: no column {', '.join(missing)} in the header {','.join(header)}")
    if not rows:
        raise InputError(f"{name}: has a header but no rows")
    for line, row in enumerate(rows, 2):
        if len(row) < len(header) - 1:
            raise InputError(f"{name}: line {line} has {len(row)} fields of {len(header)}: the file is cut off; download it again")
    named = {c: n for c, n in (COLUMNS | FURTHER).items() if c in header}
    table = pd.DataFrame([[row[header.index(c)].strip() for c in named] for row in rows], columns=list(named.values()))
    table["line"] = range(2, len(table) + 2)
    table = table.reindex(columns=[*(COLUMNS | FURTHER).values(), "line"], fill_value="")
    second = ~table["unit_1"].isin(KG) & table["unit_2"].isin(KG)
    counted, of = (table[f"{what}_2"].mask(second, table[f"{what}_1"]) for what in ("quantity", "unit"))
    table["counted"], table["counted_in"] = counted.where(_is_unit(of), ""), of.where(_is_unit(of), "")
    weight, unit = (table[f"{what}_1"].mask(second, table[f"{what}_2"]) for what in ("quantity", "unit"))
    table["usd"] = table["usd"].str.replace(",", "")
    table["partner_code"] = table["partner"].map(partners()).fillna(table["partner"])
    table["kg"] = number_text(pd.to_numeric(weight, errors="coerce") * unit.map(KG), weight + " " + unit)
    key = ["partner_code", "hs_code", "month"]
    table = _added_up(table, key)
    table = pd.concat([table, absent(table, key[:2], "month").assign(kg="0", usd="", counted="", counted_in="", line=1)], ignore_index=True)
    period = month_of(table["month"])
    exporter, importer = (CHINA, table["partner_code"]) if flow == "exports" else (table["partner_code"], CHINA)
    rows_of = pd.DataFrame(
        {
            "reporter": CHINA, "exporter": exporter, "importer": importer, "hs_code": table["hs_code"], "period": period,
            "net_weight_kg": table["kg"], "value_usd": table["usd"], "released_at": inferred_at(CHINA, period),
            "source": "gacc", "status": "reported", "released_at_basis": "inferred",
            "supplementary_quantity": table["counted"], "supplementary_unit": table["counted_in"],
            "revised_at": inferred_at(CHINA, pd.Series([period.max()]))[0],
        }
    )  # fmt: skip
    return parse_observations(rows_of, table["line"])


def _is_unit(unit: pd.Series) -> pd.Series:
    """Whether it is one, and no weight."""
    return ~unit.isin(KG) & ~unit.isin(["", "?"])


def _added_up(table: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """One row a cell: a query by customs regime or place has several. Those that cannot be added stay as they are, to be rejected."""
    several = table.duplicated(key, keep=False) & pd.to_numeric(table["kg"], errors="coerce").notna()
    if not several.any():
        return table
    sums = ["kg", "usd", "counted"]
    parts = table[several].assign(**{c: pd.to_numeric(table.loc[several, c], errors="coerce") for c in sums})
    cells = parts.groupby(key, as_index=False, sort=False)
    added = cells[sums].sum(min_count=1).merge(cells.agg(line=("line", "first"), counted_in=("counted_in", "max")))
    return pd.concat(
        [table[~several], added.assign(**{c: number_text(added[c], pd.Series("", added.index)) for c in sums})], ignore_index=True
    )
