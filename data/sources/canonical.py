"""quietquota's own CSV and Parquet: one release a row (README, "Formats")."""

import io
from collections.abc import Callable

import pandas as pd
import pyarrow as pa
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


def read_text_table(raw: bytes, name: str, *, require_rows: bool = True) -> pd.DataFrame:
    """The file's cells as text, so that a wrong one can be shown as it was written."""
    if raw[:4] == _PARQUET:
        try:
            table = pq.read_table(io.BytesIO(raw)).to_pandas()
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{name}: not a readable Parquet file ({error})") from error
        return table.map(_as_text)
    try:
        content = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 at byte {error.start}; convert it, or name its source") from error
    try:
        frame = pd.read_csv(io.StringIO(content), dtype=str, keep_default_na=False, index_col=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{name}: not a CSV table ({str(error).strip()})") from error
    if require_rows and frame.empty:
        raise InputError(f"{name}: has a header but no rows")
    return frame.fillna("")


def _as_text(cell: object) -> str:
    if cell is None or cell is pd.NaT or (isinstance(cell, float) and cell != cell):
        return ""
    return cell.isoformat() if isinstance(cell, pd.Timestamp) else str(cell)


def _has(raw: bytes, name: str, columns: list[str]) -> bool:
    try:
        return set(columns) <= set(read_text_table(raw, name, require_rows=False).columns)
    except InputError:
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
