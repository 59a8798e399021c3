"""quietquota's own CSV and Parquet: one release a row (README, "Formats")."""

import csv
import io
from collections.abc import Callable

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.observations import (
    COVARIATE_COLUMNS,
    OBSERVATION_COLUMNS,
    InputError,
    Parsed,
    parse_covariates,
    parse_observations,
)

_PARQUET = b"PAR1"


def read_text_table(raw: bytes, name: str) -> pd.DataFrame:
    """The file's cells as text, so that a wrong one can be shown as it was written."""
    if raw[:4] == _PARQUET:
        try:
            table = pq.read_table(io.BytesIO(raw))
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{name}: not a readable Parquet file ({error})") from error
        return pd.DataFrame({column: _as_text(table[column]) for column in table.column_names})
    try:
        content = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 at byte {error.start}; convert it, or name its source") from error
    try:
        frame = pd.read_csv(io.StringIO(content), dtype=str, keep_default_na=False, index_col=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{name}: not a CSV table ({str(error).strip()})") from error
    if frame.empty:
        raise InputError(f"{name}: has a header but no rows")
    return frame.fillna("")


def _as_text(column: pa.ChunkedArray) -> pd.Series:
    """Cells as they would be written; what is null or not a number, as nothing."""
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    elif pa.types.is_timestamp(column.type):
        zone = "Z" if column.type.tz else ""
        column = pc.strftime(pc.assume_timezone(column, "UTC") if not zone else column, format="%Y-%m-%dT%H:%M:%S" + zone)
    elif pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.string()).fill_null("").to_pandas().astype(str)


def _has(raw: bytes, name: str, columns: list[str]) -> bool:
    try:
        if raw[:4] == _PARQUET:
            return set(columns) <= set(pq.read_schema(io.BytesIO(raw)).names)
        header = raw.split(b"\n", 1)[0].decode("utf-8-sig")
        return set(columns) <= set(next(csv.reader([header.rstrip("\r")]), []))
    except (UnicodeDecodeError, pa.ArrowException, OSError, csv.Error):
        return False


def is_observations(raw: bytes, name: str) -> bool:
    return _has(raw, name, OBSERVATION_COLUMNS)


def is_covariates(raw: bytes, name: str) -> bool:
    return _has(raw, name, COVARIATE_COLUMNS)


def _named(judge: Callable[[pd.DataFrame], Parsed], raw: bytes, name: str) -> Parsed:
    table = read_text_table(raw, name)
    try:
        return judge(table)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def parse_observations_file(raw: bytes, name: str) -> Parsed:
    return _named(parse_observations, raw, name)


def parse_covariates_file(raw: bytes, name: str) -> Parsed:
    return _named(parse_covariates, raw, name)
