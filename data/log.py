"""The log of what was known when: append-only, two clocks, one writer at a time.

In a folder or a bucket (:mod:`data.store`)::

    observations/<sha>.parquet   new releases of one ingest, named by content, sorted by cell; or several such, compacted into one
    covariates/<sha>.parquet     the same for covariates
    raw/<sha>.zst                every file that was ingested, as it came, so that it can be parsed again
    rejected/<sha>.csv           the rows that were not taken, each with line, column, value and reason
    quarantine/<finding>.csv     rows that parse and that a screen (data.screens) does not believe, until someone accepts the finding
    receipts/<instant>-<sha>.json  one per ingest, also when nothing was new
    looked                       when publishers last had nothing newer

A release is identified by its cell and ``released_at``. The same release again changes nothing; a revision
is a new release; the same cell and instant with *another* figure is a contradiction and is rejected.
Publishers who do not say when a figure came out are dated by their calendars. A later file of theirs repeats older months: those that
the log knows with the same figure are no news, and those that changed are revisions of the day on which that file came out.
"""

import functools
import hashlib
import io
import json
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from data.observations import COVARIATE_KEY, OBSERVATION_KEY, Parsed, identities, parse_observations
from data.screens import SERIES, missing_months, screened
from data.sources import source_for
from data.sources.packed import unpacked
from data.store import Locked, Store, open_store

LOCK_SECONDS = 10.0
LOOKS = 3
FEW_CODES = 1000
"""HS codes in a file up to which only what the log has of them is read."""
NEAR = 24
"""Months around those of a file: what of the log it is set beside. What is usual is what was usual in these."""
LOOKED = "looked"
ACCEPTED = "accepted"
"""The source of a receipt by which a finding was accepted."""
_LOGS = {
    "observations": (OBSERVATION_KEY, ["net_weight_kg", "value_usd", "status"]),
    "covariates": (COVARIATE_KEY, ["value"]),
}
_CODE = {"observations": "hs_code", "covariates": "series"}
"""What a read of a part of the log is by, and what files are sorted by first."""
_MEMBERS, _CODES = b"quietquota.members", b"quietquota.codes"
SKIPPING = 64
"""Codes up to which a read looks for each by itself."""
ROW_GROUP = 65_536
"""Releases that are read, or skipped, together."""
_TEXT = pa.string()
_INSTANT = pa.timestamp("us", tz="UTC")
_SCHEMAS = {
    "observations": pa.schema(
        [(c, _TEXT) for c in OBSERVATION_KEY]
        + [("net_weight_kg", pa.float64()), ("value_usd", pa.float64()), ("released_at", _INSTANT)]
        + [("source", _TEXT), ("status", _TEXT), ("released_at_basis", _TEXT)]
        + [("supplementary_quantity", pa.float64()), ("supplementary_unit", _TEXT)]
    ),
    "covariates": pa.schema(
        [(c, _TEXT) for c in COVARIATE_KEY]
        + [("value", pa.float64()), ("released_at", _INSTANT), ("source", _TEXT), ("released_at_basis", _TEXT)]
    ),
}
_DICTIONARIES = {
    kind: pa.schema([f.with_type(pa.dictionary(pa.int32(), _TEXT)) if f.type == _TEXT else f for f in schema])
    for kind, schema in _SCHEMAS.items()
}
"""How it is read: of a text that is met a million times, numbers."""


class LogError(RuntimeError):
    """The log cannot answer or take what was asked."""


class LogBusy(LogError):
    """Another process is writing to the log."""


class LogDamaged(LogError):
    """A file of the log is gone, or not what was written."""


class PastHorizon(LogError):
    """An as-of later than anything the log has seen: it would have to guess."""


@dataclass(frozen=True)
class Receipt:
    """What became of one file. rows = new + known + rejected + quarantined, counted in releases.

    findings : of the screens, each with ``id``, ``screen``, ``says`` and the number of its ``rows``. notes : what else was noticed.
    """

    file: str
    sha256: str
    source: str
    kind: str
    ingested_at: str
    new: int
    known: int
    rejected: int
    rejected_file: str | None
    batch: str | None
    in_the_future: int
    quarantined: int = 0
    findings: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    last_release: str | None = None


class ReleaseLog:
    def __init__(self, place: str | Path) -> None:
        """place : as :func:`data.store.open_store` takes it."""
        self.store: Store = open_store(place)

    def ingest(self, raw: bytes, name: str, source: str | None = None, now: datetime | None = None) -> Receipt:
        """Judge one file, append what is new, keep the rest aside. Raises InputError, LogBusy."""
        content = unpacked(raw, name)
        chosen = source_for(content, name, source)
        parsed = chosen.parse(content, name)
        moment = now or datetime.now(UTC)
        with self._locked():
            return self._append(chosen.kind, chosen.name, parsed, raw, name, moment)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with self.store.lock(".lock", LOCK_SECONDS):
                yield
        except Locked as error:
            raise LogBusy(f"another ingest is writing to this log. {error}") from error

    def _append(
        self, kind: str, source: str, parsed: Parsed, raw: bytes, name: str, now: datetime, accepting: dict[str, Any] | None = None
    ) -> Receipt:
        """accepting : the finding whose rows these are; they are not screened again."""
        key, figures = _LOGS[kind]
        codes = parsed.accepted[_CODE[kind]].unique()
        logged = self._all(kind, codes=list(codes) if len(codes) < FEW_CODES else None, periods=_around(parsed.accepted["period"]))
        accepted, repeated = _dated(parsed.accepted, logged, key, figures)
        fresh, known, contradictions = _compare(accepted, logged, [*key, "released_at"], figures)
        rejected = pd.concat([parsed.rejected, contradictions], ignore_index=True)
        rejected["line"] = rejected["line"].astype("Int64")
        held, findings = pd.DataFrame(), [accepting] if accepting else []
        if kind == "observations" and len(fresh) and not accepting:
            fresh, held, findings = self._quarantined(fresh.reset_index(drop=True), logged)
        digest = hashlib.sha256(raw).hexdigest()
        stamp = now.strftime("%Y%m%dT%H%M%S%fZ")
        kept = f"raw/{digest[:16]}.zst"
        if not self.store.exists(kept):
            self.store.write(kept, _compressed(raw))
        rejected_file = None
        if len(rejected):
            text = rejected.to_csv(index=False)
            rejected_file = f"rejected/{hashlib.sha256(text.encode()).hexdigest()[:16]}.csv"
            self.store.write(rejected_file, text.encode())
        batch = None
        if len(fresh):
            batch = self._write(kind, fresh, [])
        receipt = Receipt(
            file=name,
            sha256=digest,
            source=source,
            kind=kind,
            ingested_at=now.isoformat(),
            new=len(fresh),
            known=known + repeated,
            rejected=rejected["line"].nunique() if len(rejected) else 0,
            rejected_file=rejected_file,
            batch=batch,
            in_the_future=int((fresh["released_at"] > pd.Timestamp(now)).sum()),
            last_release=fresh["released_at"].max().isoformat() if len(fresh) else None,
            quarantined=len(held),
            findings=findings,
            notes=[*parsed.notes, *(missing_months(parsed.accepted) if kind == "observations" and len(parsed.accepted) else [])],
        )
        self.store.write(f"receipts/{stamp}-{digest[:8]}.json", json.dumps(asdict(receipt), indent=1).encode())
        return receipt

    def _quarantined(self, fresh: pd.DataFrame, logged: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, list[dict[str, Any]]]:
        """(rows to append, rows held back, the findings that hold them), of which none is one that was accepted."""
        accepted = self._accepted()
        series = pd.MultiIndex.from_frame(logged[SERIES]).isin(pd.MultiIndex.from_frame(fresh[SERIES].drop_duplicates()))
        history = logged[series].sort_values("released_at", kind="stable").drop_duplicates(OBSERVATION_KEY, keep="last")
        found = [finding for finding in screened(fresh, history) if finding.id not in accepted]
        for finding in found:
            text = fresh.loc[list(finding.rows)].to_csv(index=False, float_format="%.17g")
            self.store.write(f"quarantine/{finding.id}.csv", text.encode())
        rows = sorted({row for finding in found for row in finding.rows})
        told = [{"id": f.id, "screen": f.screen, "says": f.says, "rows": len(f.rows)} for f in found]
        return fresh.drop(index=rows) if rows else fresh, fresh.loc[rows], told

    def accept(self, finding: str, now: datetime | None = None) -> Receipt:
        """Append the rows that `finding` holds back: someone has looked. Rows that another finding holds as well are taken too.

        Raises LogError where there is no such finding, LogBusy.
        """
        held = [_stem(name) for name in self.store.names("quarantine")]
        if finding not in held:
            raise LogError(f"{finding}: no such finding; held back are {', '.join(held) or 'none'}")
        raw = self.store.read(f"quarantine/{finding}.csv")
        text = pd.read_csv(io.BytesIO(raw), dtype=str, keep_default_na=False)
        screen = {"id": finding, "screen": finding.rpartition("-")[0], "says": "accepted", "rows": len(text)}
        parsed, moment = parse_observations(text.drop(columns="line")), now or datetime.now(UTC)
        with self._locked():
            return self._append("observations", ACCEPTED, parsed, raw, finding, moment, screen)

    def pending(self) -> list[str]:
        """Findings that hold rows back, and that nobody has accepted."""
        held = {_stem(name) for name in self.store.names("quarantine")}
        # Receipts, which are many, are read only where there is something that they may have settled.
        return sorted(held - self._accepted()) if held else []

    def _accepted(self) -> set[str]:
        return {finding["id"] for r in self.receipts() if r.source == ACCEPTED for finding in r.findings}

    def raw(self, sha256: str) -> bytes:
        """A file as it was ingested. Raises LogError where there is none, LogDamaged where its content is not what came."""
        name = f"raw/{sha256[:16]}.zst"
        if not self.store.exists(name):
            raise LogError(f"{sha256}: no such file was ingested; the receipts name those that were")
        with pa.CompressedInputStream(pa.BufferReader(self.store.read(name)), "zstd") as stream:
            content = stream.read()
        if not hashlib.sha256(content).hexdigest().startswith(sha256):
            raise LogDamaged(f"{self.store.url}/{name}: its content is not what came; restore it from a copy")
        return bytes(content)

    def receipts(self) -> list[Receipt]:
        return [Receipt(**json.loads(self.store.local(name).read_bytes())) for name in self.store.names("receipts")]

    def _batches(self, kind: str) -> dict[str, Path]:
        """Files that count, by name: not those that a compaction has taken up and not yet removed."""
        return {name: path for name, (path, _) in _counting(self._listed(kind)).items()}

    def _listed(self, kind: str) -> dict[str, tuple[Path, frozenset[str]]]:
        """Every file, by name, and the batches it stands for."""
        files = {name: self._believed(name) for name in self.store.names(kind)}
        return {name: (path, frozenset(_members(path) or [_stem(name)])) for name, path in files.items()}

    def _believed(self, name: str) -> Path:
        """A file of releases whose content is what its name says. Raises LogDamaged."""
        for anew in (False, True):
            path = self.store.local(name, anew)
            if _digest(path, path.stat().st_mtime_ns, path.stat().st_size).startswith(_stem(name)):
                return path
        raise LogDamaged(f"{self.store.url}/{name}: its content is not what was written; restore it from a copy")

    def _table(
        self, kind: str, until: datetime | None = None, codes: Sequence[str] | None = None, periods: Sequence[str] | None = None
    ) -> pa.Table:
        """Releases known at `until`, of the HS codes (of covariates, the series) and periods given; texts as dictionaries."""
        return _settled(lambda: self._of_files(kind, [*self._batches(kind).values()], until, codes, periods))

    def _of_files(
        self, kind: str, files: list[Path], until: datetime | None = None, codes: Sequence[str] | None = None,
        periods: Sequence[str] | None = None,
    ) -> pa.Table:  # fmt: skip
        if not files:
            return _DICTIONARIES[kind].empty_table()
        conditions = [] if until is None else [pc.field("released_at") <= pa.scalar(pd.Timestamp(until), _INSTANT)]
        if codes is not None:
            # Files are sorted by code. Arrow leaves out what cannot hold an equal, and reads all for an ``isin``.
            field = pc.field(_CODE[kind])
            few = functools.reduce(operator.or_, (field == code for code in codes)) if 0 < len(codes) <= SKIPPING else None
            conditions.append(field.isin(pa.array(codes, _TEXT)) if few is None else few)
        conditions += [] if periods is None else [pc.field("period").isin(pa.array(periods, _TEXT))]
        paths, schema = [str(path) for path in files], _DICTIONARIES[kind]
        texts = [f.name for f in schema if pa.types.is_dictionary(f.type)]
        dataset = ds.dataset(paths, schema=schema, format=ds.ParquetFileFormat(dictionary_columns=texts))
        return dataset.to_table(filter=functools.reduce(operator.and_, conditions) if conditions else None)

    def _with_subdivisions(self, kind: str, codes: Sequence[str] | None) -> list[str] | None:
        """Codes that the log has, and that are one of `codes` or a customs office's subdivision of one."""
        if codes is None or kind != "observations":
            return None if codes is None else list(codes)
        known = _settled(lambda: {code for path in self._batches(kind).values() for code in _codes_in(path, kind)})
        return sorted(code for code in known if code.startswith(tuple(codes)))

    def _all(self, kind: str, codes: Sequence[str] | None = None, periods: Sequence[str] | None = None) -> pd.DataFrame:
        return _typed(self._table(kind, codes=codes, periods=periods), kind)

    def compact(self) -> dict[str, int]:
        """Merge batches into one a kind, sorted, so that a read of few codes skips the rest. {kind: batches merged}; answers stay.

        The merged file is there, whole, before one of its batches goes; in between it stands for them. What is merged and what goes are of
        one look at the folder: another might show less. Raises LogBusy.
        """
        merged = {}
        with self._locked():
            for kind in _LOGS:
                every = self._listed(kind)
                files = _counting(every)
                members = frozenset[str]().union(*(stands_for for _, stands_for in files.values()))
                kept = set(files)
                if len(files) > 1:
                    rows = _typed(self._of_files(kind, [path for path, _ in files.values()]), kind)
                    kept = {self._write(kind, rows, sorted(members))}
                # These, and what an interrupted compaction left.
                for name in set(every) - kept:
                    self.store.delete(name)
                merged[kind] = len(files)
        return merged

    def _write(self, kind: str, rows: pd.DataFrame, members: list[str]) -> str:
        """The name of one Parquet file, named by its content, sorted by cell; `members` are the batches it stands for."""
        key, _ = _LOGS[kind]
        rows = rows.sort_values([_CODE[kind], *(c for c in key if c != _CODE[kind]), "released_at"], kind="stable")
        codes = rows[_CODE[kind]].unique().tolist()
        schema = _SCHEMAS[kind].with_metadata({_MEMBERS: json.dumps(members).encode(), _CODES: json.dumps(codes).encode()})
        table = pa.Table.from_pandas(rows, schema=_SCHEMAS[kind], preserve_index=False).cast(schema)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True, row_group_size=ROW_GROUP)
        content = sink.getvalue().to_pybytes()
        name = f"{kind}/{hashlib.sha256(content).hexdigest()[:16]}.parquet"
        self.store.write(name, content)
        return name

    def verify(self) -> int:
        """Compare every batch with its name, which is its content's hash. Returns how many; raises LogDamaged."""
        count = 0
        for kind in _LOGS:
            for name in self.store.names(kind):
                if hashlib.sha256(self.store.read(name)).hexdigest()[:16] != _stem(name):
                    raise LogDamaged(f"{self.store.url}/{name}: its content is not what was written; restore it from a copy")
                count += 1
        written = self._names()
        for receipt in self.receipts():
            if receipt.batch and _stem(receipt.batch) not in written:
                raise LogDamaged(f"{self.store.url}/{receipt.batch}: a receipt names it, and it is gone; restore it from a copy")
        return count

    def _names(self) -> set[str]:
        """All batches that were ever written, merged or not."""
        return {m for kind in _LOGS for name, path in self._batches(kind).items() for m in (_members(path) or [_stem(name)])}

    def fingerprint(self) -> str:
        """Of everything logged, compacted or not: batches are named by their content."""
        return hashlib.sha256("\n".join(sorted(_settled(self._names))).encode()).hexdigest()[:16]

    def horizon(self) -> datetime:
        """The last instant the log can speak of: its last ingest, a release dated later still, or when publishers had nothing newer."""
        receipts = self.receipts()
        if not receipts:
            raise LogError(f"{self.store.url}: the log is empty; ingest a file first (quietquota ingest PATH)")
        told = [told for r in receipts for told in (r.ingested_at, r.last_release) if told]
        with suppress(FileNotFoundError):
            told.append(self.store.text(LOOKED))
        return max(map(datetime.fromisoformat, told))

    def latest(self) -> datetime:
        """Now, or its horizon where that is earlier: what nobody asked another instant of is told as of."""
        return min(datetime.now(UTC), self.horizon())

    def looked(self, now: datetime) -> None:
        """All publishers were asked, and what the log has by now is all they have."""
        self.store.write(LOOKED, now.isoformat().encode())

    def _ordered(self, kind: str, as_of: datetime, codes: Sequence[str] | None) -> tuple[pa.Table, np.ndarray]:
        """(every release known at `as_of`, a cell's together and oldest first; a number of each one's cell)."""
        horizon = self.horizon()
        if as_of > horizon:
            raise PastHorizon(
                f"as-of {as_of.isoformat()} lies past the log's horizon {horizon.isoformat()}: "
                "what is released in between is not known here; ingest newer files or ask for an earlier as-of"
            )
        known = self._table(kind, as_of, self._with_subdivisions(kind, codes))
        key, _ = _LOGS[kind]
        cell = _numbered(known, [_CODE[kind], *(c for c in key if c != _CODE[kind])])
        released = known["released_at"].to_numpy()
        # One compacted file is sorted already.
        if not ((cell[1:] > cell[:-1]) | ((cell[1:] == cell[:-1]) & (released[1:] >= released[:-1]))).all():
            order = np.lexsort((released, cell))
            known, cell = known.take(order), cell[order]
        return known, cell

    def releases(self, kind: str, as_of: datetime, codes: Sequence[str] | None = None) -> pd.DataFrame:
        """Every release known at `as_of`, a cell's together and oldest first. codes : only these HS codes and what offices
        divide them into (of covariates, series); what is asked for is what is read. Raises PastHorizon.
        """
        return _typed(self._ordered(kind, as_of, codes)[0], kind)

    def as_of(self, kind: str, as_of: datetime, codes: Sequence[str] | None = None) -> pd.DataFrame:
        """One row a cell: its last release known at `as_of`, with ``releases``, how many there were by then. codes : :meth:`releases`."""
        known, cell = self._ordered(kind, as_of, codes)
        ends = np.flatnonzero(np.r_[cell[1:] != cell[:-1], True][: len(cell)])
        last = _typed(known.take(ends), kind).assign(releases=np.diff(ends, prepend=-1))
        last.attrs["as_of"] = as_of.isoformat()
        return last


def _settled[T](look: Callable[[], T]) -> T:
    """A compaction by another process may remove a file between the look at the list and the look into it; then another look."""
    for _ in range(LOOKS):
        with suppress(FileNotFoundError):
            return look()
    return look()


def _numbered(table: pa.Table, columns: list[str]) -> np.ndarray:
    """Each row a number, the same where all `columns`, dictionaries, are the same, in the order of the columns' texts."""
    number, size = np.zeros(len(table), np.int64), 1
    for column in columns:
        one = table[column].unify_dictionaries().combine_chunks() if len(table) else pa.array([], pa.dictionary(pa.int32(), _TEXT))
        texts = one.dictionary.to_numpy(zero_copy_only=False)
        rank = np.empty(len(texts), np.int64)
        rank[np.argsort(texts, kind="stable")] = np.arange(len(texts))
        if size * (len(texts) + 1) > np.iinfo(np.int64).max:
            number, seen = pd.factorize(number, sort=True)
            size = len(seen)
        number, size = number * (len(texts) + 1) + rank[one.indices.to_numpy()], size * (len(texts) + 1)
    return number


def _typed(table: pa.Table, kind: str) -> pd.DataFrame:
    return table.cast(_SCHEMAS[kind]).to_pandas()


def _around(periods: pd.Series) -> list[str]:
    """All periods, months and two-month sums, within :data:`NEAR` months of those given."""
    if not len(periods):
        return []
    told = periods.unique()
    first, last = (pd.Period(month, "M") for month in (min(p[:7] for p in told), max(p[-7:] for p in told)))
    months = pd.period_range(first - NEAR, last + NEAR, freq="M").strftime("%Y-%m").tolist()
    return [*months, *(f"{a}/{b}" for a, b in pairwise(months))]


def _counting(listed: dict[str, tuple[Path, frozenset[str]]]) -> dict[str, tuple[Path, frozenset[str]]]:
    """Of files and the batches they stand for, those that no other stands for."""
    return {name: of for name, of in listed.items() if not any(of[1] < other for _, other in listed.values())}


@functools.lru_cache(maxsize=4096)
def _digest(path: Path, changed: int, size: int) -> str:
    """SHA-256 of a file, looked at anew where it has changed."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _compressed(raw: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(raw)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _members(path: Path) -> list[str]:
    """The batches that a file stands for; none, if it is one."""
    told = pq.read_schema(path).metadata or {}
    return list(json.loads(told.get(_MEMBERS, b"[]")))


def _codes_in(path: Path, kind: str) -> list[str]:
    told = (pq.read_schema(path).metadata or {}).get(_CODES)
    if told is None:
        return list(pq.read_table(path, columns=[_CODE[kind]])[_CODE[kind]].unique().to_pylist())
    return list(json.loads(told))


def _dated(rows: pd.DataFrame, logged: pd.DataFrame, key: list[str], figures: list[str]) -> tuple[pd.DataFrame, int]:
    """(rows with the day on which each was news, how many were none), of rows that bear ``revised_at``; the others as they are.

    Rows of one file follow each other: of a cell that stands in it several times, each is set against the one before.
    """
    dated = rows["revised_at"].notna()
    if not dated.any():
        return rows, 0
    last = logged.sort_values("released_at", kind="stable").drop_duplicates(key, keep="last")
    chain = pd.concat([last[[*key, *figures, "released_at"]].assign(_at=-1), rows[dated].assign(_at=range(int(dated.sum())))])
    chain = chain.sort_values("_at", kind="stable").reset_index(drop=True)
    cells = chain.groupby(key, sort=False)
    before, seen = cells[figures].shift(1), cells.cumcount() > 0
    same = seen & pd.concat([(chain[c] == before[c]) | (chain[c].isna() & before[c].isna()) for c in figures], axis=1).all(axis=1)
    ours = chain["_at"] >= 0
    chain["released_at"] = chain["released_at"].mask(ours & seen, chain["revised_at"])
    return pd.concat([rows[~dated], chain.loc[ours & ~same, rows.columns]], ignore_index=True), int((ours & same).sum())


def _compare(rows: pd.DataFrame, logged: pd.DataFrame, identity: list[str], figures: list[str]) -> tuple[pd.DataFrame, int, pd.DataFrame]:
    """(new releases, how many were known already, contradictions with their reason)."""
    ours, theirs = identities([rows, logged], identity)
    several = pd.Series(ours).duplicated(keep=False).to_numpy()
    twice = rows[several]
    unique = twice.drop_duplicates([*identity, *figures])
    repeated = len(twice) - len(unique)
    torn = unique.duplicated(identity, keep=False)
    inside = _contradiction(unique[torn], figures, "another row of this file has a different figure for the same cell and released_at")
    kept = ~several
    kept[rows.index.get_indexer(unique.index[~torn])] = True
    rows, ours = rows[kept], ours[kept]
    at = pd.Index(theirs).get_indexer(ours)
    known, same = at >= 0, np.ones(len(rows), bool)
    for column in figures:
        new, old = rows[column].to_numpy()[known], logged[column].to_numpy()[at[known]]
        same[known] &= (new == old) | (pd.isna(new) & pd.isna(old))
    against = _contradiction(
        rows[known & ~same],
        figures,
        "the log has a different figure for this cell and released_at; a revision needs a released_at of its own",
    )
    return rows[~known], repeated + int((known & same).sum()), pd.concat([inside, against], ignore_index=True)


def _contradiction(rows: pd.DataFrame, figures: list[str], reason: str) -> pd.DataFrame:
    return rows.assign(column=figures[0], value_found=rows[figures[0]].astype(str), reason=reason)
