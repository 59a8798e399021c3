"""The log of what was known when: append-only, two clocks, one writer at a time.

On disk, below one folder::

    observations/<sha>.parquet   new releases of one ingest, content-named, never touched again
    covariates/<sha>.parquet     the same for covariates
    rejected/<sha>.csv           the rows that were not taken, each with line, column, value and reason
    quarantine/<finding>.csv     rows that parse and that a screen (data.screens) does not believe, until someone accepts the finding
    receipts/<instant>-<sha>.json  one per ingest, also when nothing was new

A release is identified by its cell and ``released_at``. The same release again changes nothing; a revision
is a new release; the same cell and instant with *another* figure is a contradiction and is rejected.
Publishers who do not say when a figure came out are dated by their calendars. A later file of theirs repeats older months: those that
the log knows with the same figure are no news, and those that changed are revisions of the day on which that file came out.
"""

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from data.durable import write_durably
from data.observations import COVARIATE_KEY, OBSERVATION_KEY, Parsed, parse_observations
from data.screens import SERIES, missing_months, screened
from data.sources import source_for

LOCK_SECONDS = 10
ACCEPTED = "accepted"
"""The source of a receipt by which a finding was accepted."""
_LOGS = {
    "observations": (OBSERVATION_KEY, ["net_weight_kg", "value_usd", "status"]),
    "covariates": (COVARIATE_KEY, ["value"]),
}
_TEXT = pa.string()
_INSTANT = pa.timestamp("us", tz="UTC")
_SCHEMAS = {
    "observations": pa.schema(
        [(c, _TEXT) for c in OBSERVATION_KEY]
        + [("net_weight_kg", pa.float64()), ("value_usd", pa.float64()), ("released_at", _INSTANT)]
        + [("source", _TEXT), ("status", _TEXT), ("released_at_basis", _TEXT)]
    ),
    "covariates": pa.schema(
        [(c, _TEXT) for c in COVARIATE_KEY]
        + [("value", pa.float64()), ("released_at", _INSTANT), ("source", _TEXT), ("released_at_basis", _TEXT)]
    ),
}


class LogError(RuntimeError):
    """The log cannot answer or take what was asked."""


class LogBusy(LogError):
    """Another process is writing to the log."""


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


class ReleaseLog:
    def __init__(self, root: Path) -> None:
        self.root = root

    def ingest(self, raw: bytes, name: str, source: str | None = None, now: datetime | None = None) -> Receipt:
        """Judge one file, append what is new, keep the rest aside. Raises InputError, LogBusy."""
        chosen = source_for(raw, name, source)
        parsed = chosen.parse(raw, name)
        moment = now or datetime.now(UTC)
        with self._locked():
            return self._append(chosen.kind, chosen.name, parsed, raw, name, moment)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.root / ".lock", timeout=LOCK_SECONDS):
                yield
        except Timeout as error:
            raise LogBusy(f"{self.root}: another ingest is writing to this log; try again when it is done") from error

    def _append(
        self, kind: str, source: str, parsed: Parsed, raw: bytes, name: str, now: datetime, accepting: dict[str, Any] | None = None
    ) -> Receipt:
        """accepting : the finding whose rows these are; they are not screened again."""
        key, figures = _LOGS[kind]
        logged = self._all(kind)
        accepted, repeated = _dated(parsed.accepted, logged, key, figures)
        fresh, known, contradictions = _compare(accepted, logged, [*key, "released_at"], figures)
        rejected = pd.concat([parsed.rejected, contradictions], ignore_index=True)
        rejected["line"] = rejected["line"].astype("Int64")
        held, findings = pd.DataFrame(), [accepting] if accepting else []
        if kind == "observations" and len(fresh) and not accepting:
            fresh, held, findings = self._quarantined(fresh.reset_index(drop=True), logged)
        digest = hashlib.sha256(raw).hexdigest()
        stamp = now.strftime("%Y%m%dT%H%M%S%fZ")
        rejected_file = None
        if len(rejected):
            text = rejected.to_csv(index=False)
            rejected_file = f"rejected/{hashlib.sha256(text.encode()).hexdigest()[:16]}.csv"
            write_durably(self.root / rejected_file, text.encode())
        batch = None
        if len(fresh):
            table = pa.Table.from_pandas(fresh, schema=_SCHEMAS[kind], preserve_index=False)
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
            content = sink.getvalue().to_pybytes()
            batch = f"{kind}/{hashlib.sha256(content).hexdigest()[:16]}.parquet"
            write_durably(self.root / batch, content)
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
            quarantined=len(held),
            findings=findings,
            notes=missing_months(parsed.accepted) if kind == "observations" and len(parsed.accepted) else [],
        )
        content = json.dumps(asdict(receipt), indent=1).encode()
        write_durably(self.root / "receipts" / f"{stamp}-{digest[:8]}.json", content)
        return receipt

    def _quarantined(self, fresh: pd.DataFrame, logged: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, list[dict[str, Any]]]:
        """(rows to append, rows held back, the findings that hold them), of which none is one that was accepted."""
        accepted = {finding["id"] for r in self.receipts() if r.source == ACCEPTED for finding in r.findings}
        series = pd.MultiIndex.from_frame(logged[SERIES]).isin(pd.MultiIndex.from_frame(fresh[SERIES].drop_duplicates()))
        history = logged[series].sort_values("released_at", kind="stable").drop_duplicates(OBSERVATION_KEY, keep="last")
        found = [finding for finding in screened(fresh, history) if finding.id not in accepted]
        for finding in found:
            text = fresh.loc[list(finding.rows)].to_csv(index=False, float_format="%.17g")
            write_durably(self.root / "quarantine" / f"{finding.id}.csv", text.encode())
        rows = sorted({row for finding in found for row in finding.rows})
        told = [{"id": f.id, "screen": f.screen, "says": f.says, "rows": len(f.rows)} for f in found]
        return fresh.drop(index=rows), fresh.loc[rows], told

    def accept(self, finding: str, now: datetime | None = None) -> Receipt:
        """Append the rows that `finding` holds back: someone has looked. Rows that another finding holds as well are taken too.

        Raises LogError where there is no such finding, LogBusy.
        """
        path = self.root / "quarantine" / f"{finding}.csv"
        if Path(finding).name != finding or not path.is_file():
            held = sorted(p.stem for p in (self.root / "quarantine").glob("*.csv"))
            raise LogError(f"{finding}: no such finding; held back are {', '.join(held) or 'none'}")
        raw = path.read_bytes()
        text = pd.read_csv(io.BytesIO(raw), dtype=str, keep_default_na=False)
        screen = {"id": finding, "screen": finding.rpartition("-")[0], "says": "accepted", "rows": len(text)}
        parsed, moment = parse_observations(text.drop(columns="line")), now or datetime.now(UTC)
        with self._locked():
            return self._append("observations", ACCEPTED, parsed, raw, finding, moment, screen)

    def receipts(self) -> list[Receipt]:
        return [Receipt(**json.loads(p.read_text())) for p in sorted((self.root / "receipts").glob("*.json"))]

    def _all(self, kind: str) -> pd.DataFrame:
        files = sorted((self.root / kind).glob("*.parquet"))
        if not files:
            return _SCHEMAS[kind].empty_table().to_pandas()
        return ds.dataset([str(f) for f in files], schema=_SCHEMAS[kind]).to_table().to_pandas()

    def fingerprint(self) -> str:
        """Of everything logged: batches are named by their content."""
        names = sorted(p.relative_to(self.root).as_posix() for kind in _LOGS for p in (self.root / kind).glob("*.parquet"))
        return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]

    def horizon(self) -> datetime:
        """The last instant the log can speak of: its last ingest, or a release dated later still."""
        seen = [datetime.fromisoformat(r.ingested_at) for r in self.receipts()]
        if not seen:
            raise LogError(f"{self.root}: the log is empty; ingest a file first (quietquota ingest PATH)")
        released = self._all("observations")["released_at"].max()
        return max([*seen, released.to_pydatetime()] if released is not pd.NaT else seen)

    def releases(self, kind: str, as_of: datetime) -> pd.DataFrame:
        """Every release known at `as_of`, oldest first. Raises PastHorizon."""
        horizon = self.horizon()
        if as_of > horizon:
            raise PastHorizon(
                f"as-of {as_of.isoformat()} lies past the log's horizon {horizon.isoformat()}: "
                "what is released in between is not known here; ingest newer files or ask for an earlier as-of"
            )
        known = self._all(kind)
        known = known[known["released_at"] <= pd.Timestamp(as_of)]
        key, _ = _LOGS[kind]
        return known.sort_values(["released_at", *key], kind="stable").reset_index(drop=True)

    def as_of(self, kind: str, as_of: datetime) -> pd.DataFrame:
        """One row a cell: its last release known at `as_of`, with ``releases``, how many there were by then."""
        known = self.releases(kind, as_of)
        key, _ = _LOGS[kind]
        count = known.groupby(key, sort=False)["released_at"].transform("size")
        last = known.assign(releases=count).drop_duplicates(key, keep="last").reset_index(drop=True)
        last.attrs["as_of"] = as_of.isoformat()
        return last


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
    unique = rows.drop_duplicates([*identity, *figures])
    repeated = len(rows) - len(unique)
    torn = unique.duplicated(identity, keep=False)
    inside = _contradiction(unique[torn], figures, "another row of this file has a different figure for the same cell and released_at")
    unique = unique[~torn]
    merged = unique.merge(logged[[*identity, *figures]], on=identity, how="left", suffixes=("", "_logged"), indicator=True)
    merged.index = unique.index
    known = merged["_merge"] == "both"
    same = pd.Series(True, index=merged.index)
    for column in figures:
        old = merged[f"{column}_logged"]
        same &= (merged[column] == old) | (merged[column].isna() & old.isna())
    against = _contradiction(
        unique[known & ~same],
        figures,
        "the log has a different figure for this cell and released_at; a revision needs a released_at of its own",
    )
    return unique[~known], repeated + int((known & same).sum()), pd.concat([inside, against], ignore_index=True)


def _contradiction(rows: pd.DataFrame, figures: list[str], reason: str) -> pd.DataFrame:
    return rows.assign(column=figures[0], value_found=rows[figures[0]].astype(str), reason=reason)
