"""What a release must look like, and what happens to one that does not.

Every row of a file ends in exactly one of two tables: accepted, with its types, or rejected, with the
column, value and reason, and the line it stood on. Nothing is dropped in between.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.compute as pc
import pycountry

STATUSES = ("reported", "suppressed", "withdrawn", "estimated")
WORLD = "WLD"
"""Not an ISO 3166 country: the sum over all partners, as customs offices and the World Bank code it."""

OBSERVATION_KEY = ["reporter", "exporter", "importer", "hs_code", "period"]
OBSERVATION_COLUMNS = [*OBSERVATION_KEY, "net_weight_kg", "value_usd", "released_at"]
OBSERVATION_OPTIONAL = {
    "source": "", "status": "reported", "released_at_basis": "stated", "revised_at": "",
    "supplementary_quantity": "", "supplementary_unit": "",
}  # fmt: skip
"""Supplementary: what the office counts beside the weight (pieces, litres, carats), as it says it; kept, and not read by the model."""
COVARIATE_KEY = ["series", "exporter", "importer", "family", "period"]
COVARIATE_COLUMNS = ["series", "exporter", "importer", "period", "value", "released_at"]
COVARIATE_OPTIONAL = {"family": "", "source": "", "released_at_basis": "stated", "revised_at": ""}

NUMBERS = ("net_weight_kg", "value_usd", "supplementary_quantity", "value")
"""Columns whose cells seldom repeat."""
_MONTH = r"(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])"
_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"


LARGEST = 1e14
"""Kilograms, or US dollars, that are more than all countries trade in a year (12 billion t by sea and 24 trillion USD in 2023: UNCTAD)."""


class InputError(ValueError):
    """A file that cannot be read as a table of releases at all (its rows are not judged)."""


@dataclass(frozen=True)
class Parsed:
    """One file after judgement.

    accepted : typed rows, in file order, with ``line`` (1-based line in the file, header = 1). ``revised_at`` : where the release
    was inferred from a calendar, when the file itself came out; should the log know another figure of the cell, this one is a revision
    of that day. NaT elsewhere.
    rejected : the original text of the other rows plus ``line``, ``column``, ``reason``; one row a failure.
    notes : what else is to be said of the file.
    """

    accepted: pd.DataFrame
    rejected: pd.DataFrame
    notes: tuple[str, ...] = ()


@cache
def countries() -> frozenset[str]:
    return frozenset(c.alpha_3 for c in pycountry.countries) | {WORLD}


def _is_country(s: pd.Series) -> pd.Series:
    return s.isin(countries())


def _is_empty_or_country(s: pd.Series) -> pd.Series:
    return s.isin(countries()) | (s == "")


def _numbers(s: pd.Series) -> np.ndarray:
    """Of texts that are a number, which; of others NaN."""
    texts = pyarrow.Array.from_pandas(s, type=pyarrow.string()).fill_null("")
    written = pc.match_substring_regex(texts, f"^(?:{_NUMBER})$")
    # Arrow reads no sign before a number that is not negative.
    return pc.cast(pc.utf8_ltrim(pc.if_else(written, texts, None), characters="+"), pyarrow.float64()).to_numpy(zero_copy_only=False)


def _is_number(s: pd.Series) -> pd.Series:
    return pd.Series(np.isfinite(_numbers(s)), s.index)


def _is_amount_or_empty(s: pd.Series) -> pd.Series:
    number = _numbers(s)
    return (s == "") | (np.isfinite(number) & (number >= 0))


def _is_possible(s: pd.Series) -> pd.Series:
    number = _numbers(s)
    return pd.Series(~(np.isfinite(number) & (number > LARGEST)), s.index)


def _is_period(s: pd.Series) -> pd.Series:
    return s.str.fullmatch(_MONTH) | s.map(is_two_months).astype(bool)


def is_two_months(text: str) -> bool:
    """Whether `text` names two adjacent months published as one sum, as ``2020-01/2020-02``."""
    first, slash, second = text.partition("/")
    if not (slash and re.fullmatch(_MONTH, first) and re.fullmatch(_MONTH, second)):
        return False
    return pd.Period(first, freq="M") + 1 == pd.Period(second, freq="M")


def _is_instant(s: pd.Series) -> pd.Series:
    dated = s.str.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
    return dated & pd.to_datetime(s.where(dated), utc=True, errors="coerce", format="ISO8601").notna()


@dataclass(frozen=True)
class Rule:
    """of : (texts of a column) -> whether each keeps it. reason : what is said of one that does not."""

    of: Callable[[pd.Series], pd.Series]
    reason: str


_COUNTRY = Rule(_is_country, "is not an ISO 3166 alpha-3 code (or WLD)")
_PERIOD = Rule(_is_period, "is neither a month YYYY-MM nor two adjacent months YYYY-MM/YYYY-MM")
_INSTANT = Rule(_is_instant, "is not an ISO 8601 instant or date")
_INSTANT_OR_EMPTY = Rule(lambda s: (s == "") | _is_instant(s), "is neither empty nor an ISO 8601 instant or date")
_POSSIBLE = Rule(_is_possible, f"is more than the world trades in a year ({LARGEST:.0e})")
_BASIS = Rule(lambda s: s.isin(["stated", "inferred"]), "is neither stated nor inferred")

_OBSERVATION_RULES = {
    "reporter": [_COUNTRY],
    "exporter": [_COUNTRY],
    "importer": [_COUNTRY],
    "hs_code": [Rule(lambda s: s.str.fullmatch(r"[0-9]{2,10}|TOTAL"), "is neither 2-10 digits nor TOTAL")],
    "period": [_PERIOD],
    "net_weight_kg": [Rule(_is_amount_or_empty, "is not a finite number >= 0 (kg)"), _POSSIBLE],
    "value_usd": [Rule(_is_amount_or_empty, "is not a finite number >= 0 (USD)"), _POSSIBLE],
    "supplementary_quantity": [Rule(_is_amount_or_empty, "is not a finite number >= 0")],
    "released_at": [_INSTANT],
    "status": [Rule(lambda s: s.isin(STATUSES), f"is not one of {', '.join(STATUSES)}")],
    "released_at_basis": [_BASIS],
    "revised_at": [_INSTANT_OR_EMPTY],
}
_COVARIATE_RULES = {
    "series": [Rule(lambda s: s.str.fullmatch(r"[a-z][a-z0-9_]*"), "is not a lower_case name")],
    "exporter": [Rule(_is_empty_or_country, "is neither empty nor an ISO 3166 alpha-3 code")],
    "importer": [Rule(_is_empty_or_country, "is neither empty nor an ISO 3166 alpha-3 code")],
    "period": [Rule(lambda s: s.str.fullmatch(_MONTH), "is not a month YYYY-MM")],
    "value": [Rule(_is_number, "is not a finite number")],
    "released_at": [_INSTANT],
    "released_at_basis": [_BASIS],
    "revised_at": [_INSTANT_OR_EMPTY],
}


def _rows(failures: dict[str, pd.Series]) -> list[tuple[int, str, str]]:
    """(row, column, reason) of every True in masks named ``column: reason``."""
    return [(int(i), name.split(": ", 1)[0], name.split(": ", 1)[1]) for name, mask in failures.items() for i in mask.index[mask]]


def _named(text: pd.DataFrame, rules: dict[str, list[Rule]]) -> list[tuple[int, str, str]]:
    """(row, column, reason) of every cell that does not keep a rule of its column."""
    # Seldom needed, and most of a second to import.
    import pandera.pandas as pa

    columns = {name: pa.Column(str, [pa.Check(rule.of, error=rule.reason) for rule in several]) for name, several in rules.items()}
    try:
        pa.DataFrameSchema(columns).validate(text, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases
        return [(int(i), str(c), str(r)) for i, c, r in zip(cases["index"], cases["column"], cases["check"], strict=True)]
    return []


def identities(frames: list[pd.DataFrame], columns: list[str]) -> list[np.ndarray]:
    """Of each frame's rows a number, the same where all `columns` are the same, in any of the frames; in the order of the columns."""
    number, size = np.zeros(sum(map(len, frames)), np.int64), 1
    for column in columns:
        codes, values = pd.factorize(pd.concat([f[column] for f in frames], ignore_index=True), sort=True)
        if size * (len(values) + 1) > np.iinfo(np.int64).max:
            number, seen = pd.factorize(number, sort=True)
            size = len(seen)
        number, size = number * (len(values) + 1) + codes + 1, size * (len(values) + 1)
    return np.split(number, np.cumsum([len(f) for f in frames])[:-1])


def _complete(text: pd.DataFrame, required: list[str], optional: dict[str, str]) -> pd.DataFrame:
    missing = [c for c in required if c not in text.columns]
    if missing:
        raise InputError(
            f"column {', '.join(missing)} is missing; expected the header {','.join(required)} "
            f"(optional: {', '.join(optional)}), got {','.join(map(str, text.columns))}"
        )
    complete = text.copy()
    for column, default in optional.items():
        if column not in complete:
            complete[column] = default
        complete[column] = complete[column].where(complete[column] != "", default)
    return complete.reset_index(drop=True)


def _unread(text: pd.DataFrame, columns: list[str]) -> tuple[str, ...]:
    extra = [str(c) for c in text.columns if c not in columns]
    return (f"no part of the format, and not read: column {', '.join(extra)}",) if extra else ()


def _split(
    text: pd.DataFrame, rules: dict[str, list[Rule]], further: dict[str, pd.Series], line: pd.Series
) -> tuple[pd.DataFrame, pd.DataFrame]:
    found = _rows(further)
    # Of a column's many cells few differ: each text is looked at once, and the schema then names what is wrong with the rows at fault.
    doubtful = np.zeros(len(text), bool)
    for name, several in rules.items():
        codes, texts = (slice(None), text[name]) if name in NUMBERS else pd.factorize(text[name])
        good = np.logical_and.reduce([np.asarray(rule.of(pd.Series(texts)), bool) for rule in several])
        doubtful |= ~good[codes]
    if doubtful.any():
        found += _named(text[doubtful], rules)
    failures = pd.DataFrame(found, columns=["row", "column", "reason"]).sort_values(["row", "column"], kind="stable")
    rejected = text.assign(line=line).loc[failures["row"]].reset_index(drop=True)
    value = [str(text.at[r, c]) if c in text else "" for r, c in zip(failures["row"], failures["column"], strict=True)]
    rejected = rejected.assign(column=failures["column"].to_numpy(), value_found=value, reason=failures["reason"].to_numpy())
    good = ~text.index.isin(failures["row"])
    whole = text.assign(line=line)
    return whole if good.all() else whole[good], rejected


def parse_observations(text: pd.DataFrame, line: pd.Series | None = None) -> Parsed:
    """Judge rows of text (all columns ``str``, empty = absent) against the observation format.

    `line` says where each row stood in its file when that is not simply row + 2.
    """
    rows = _complete(text, OBSERVATION_COLUMNS, OBSERVATION_OPTIONAL)
    place = pd.Series(range(2, len(rows) + 2)) if line is None else line.reset_index(drop=True)
    figure_needed = rows["status"].isin(["reported", "estimated"]) & (rows["net_weight_kg"] == "")
    stranger = ~rows["reporter"].isin(countries()) | (rows["reporter"] == rows["exporter"])
    stranger |= rows["reporter"] == rows["importer"]
    further = {
        "net_weight_kg: is empty; a zero is written 0, an unknown weight has status suppressed or withdrawn": figure_needed,
        "reporter: is neither the exporter nor the importer": ~stranger,
        "importer: is the exporter itself": (rows["exporter"] == rows["importer"]) & rows["exporter"].isin(countries()),
    }
    good, rejected = _split(rows, _OBSERVATION_RULES, further, place)
    accepted = good.assign(
        net_weight_kg=_numbers(good["net_weight_kg"]),
        value_usd=_numbers(good["value_usd"]),
        supplementary_quantity=_numbers(good["supplementary_quantity"]),
        **_instants(good),
    )
    columns = [*OBSERVATION_COLUMNS, *OBSERVATION_OPTIONAL, "line"]
    return Parsed(accepted[columns].reset_index(drop=True), rejected, _unread(text, columns))


def _instants(rows: pd.DataFrame) -> dict[str, pd.Series]:
    return {
        c: pd.to_datetime(rows[c].replace("", None), utc=True, format="ISO8601").dt.as_unit("us") for c in ("released_at", "revised_at")
    }


def parse_covariates(text: pd.DataFrame, line: pd.Series | None = None) -> Parsed:
    """Judge rows of text against the covariate format; empty importer or family = all of them."""
    rows = _complete(text, COVARIATE_COLUMNS, COVARIATE_OPTIONAL)
    place = pd.Series(range(2, len(rows) + 2)) if line is None else line.reset_index(drop=True)
    good, rejected = _split(rows, _COVARIATE_RULES, {}, place)
    accepted = good.assign(
        value=_numbers(good["value"]),
        **_instants(good),
    )
    columns = [*COVARIATE_KEY, "value", "released_at", "source", "released_at_basis", "revised_at", "line"]
    return Parsed(accepted[columns].reset_index(drop=True), rejected, _unread(text, columns))
