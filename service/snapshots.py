"""The store of published snapshots: immutable, verified before they are believed, switched in one step.

In a folder or a bucket (:mod:`data.store`)::

    snapshots/<id>/manifest.json    facts, and the SHA-256 and size of every other file; written last
                   answers.json     one record a unit and line, serialised once, when published
                   history.json     its months, line by line the same units
                   index.json       of each unit what a list is chosen and sorted by: on a switch, no more is read than this
                   releases.json    the figures behind the answers, with both clocks
                   context.json     what is drawn beside the answers, line by line the same units
                   report.html      the analyst's page
                   posterior.zarr/  DataTree; zstd with checksums, so a flipped bit is an error and not a number
                   posterior.nc     the same as netCDF-4
                   what-if/         of each importer, what a what-if is answered from
                   pruned.json      files of the posterior that were removed on purpose, where some were
    switches/<instant>-<id>.json    every switch: when, from, to; their names tell what was current when
    current                         the id that is served; replaced in one step
    looked.json                     when a refresh last found that it still holds, and as of when
    calibration.json                scores of the last backtest that was published

A snapshot without a manifest does not exist. Reading needs neither PyMC nor ArviZ nor xarray.
"""

import bisect
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from data.durable import files_below, make_folder, sweep
from data.store import Folder, Locked, Store, open_store

MANIFEST = "manifest.json"
ANSWERS, HISTORY, INDEX = "answers.json", "history.json", "index.json"
CONTEXT = "context.json"
REPORT = "report.html"
POSTERIOR, NETCDF = "posterior.zarr", "posterior.nc"
RELEASES = "releases.json"
WHAT_IF = "what-if"
SHARDS = "shards"
CALIBRATION = "calibration.json"
LOOKED = "looked.json"
RECENT = 24
"""Months of filtered probabilities that the index has of each unit."""
PRUNED = "pruned.json"
A_DAY = timedelta(days=1)
PARTIAL = ".partial-"
_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
_SECOND, _SWITCH = "%Y%m%dT%H%M%SZ", "%Y%m%dT%H%M%S.%fZ"


class StoreError(RuntimeError):
    """The store cannot do what was asked."""


class NoSnapshot(StoreError):
    """No such snapshot, or none at all."""


class Damaged(StoreError):
    """A file of a snapshot is not what its manifest says."""


class StoreBusy(StoreError):
    """Another process is publishing."""


@dataclass(frozen=True)
class Published:
    """A verified snapshot: facts, and answers as they were serialised.

    index : of each unit ``unit exporter importer family title``, ``probability`` and ``shortfall_kg`` of its current month, null where it
    abstains, and ``recent``, filtered probabilities of its last :data:`RECENT` months with figures. records, histories : JSON of each unit,
    without the history, and of that.
    """

    id: str
    published_at: datetime
    meta: dict[str, Any]
    index: list[dict[str, Any]]
    records: dict[str, bytes]
    histories: dict[str, bytes]

    def row(self, unit: str) -> dict[str, Any]:
        """One unit's answer, whole."""
        return {**orjson.loads(self.records[unit]), "history": orjson.loads(self.histories[unit])}

    @cached_property
    def answers(self) -> list[dict[str, Any]]:
        return [self.row(entry["unit"]) for entry in self.index]


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    current = row.get("current") or {}
    known = {name: row.get(name) for name in ("unit", "exporter", "importer", "family", "title")}
    filtered = [m["probability"] for m in row.get("history", []) if m["kind"] == "filtered"]
    recent = [None if p is None else round(p, 3) for p in filtered[-RECENT:]]
    return known | {"probability": current.get("probability"), "shortfall_kg": current.get("shortfall_kg_mean"), "recent": recent}


def as_lines(values: Iterable[Any]) -> bytes:
    return b"[\n" + b",\n".join(map(orjson.dumps, values)) + b"\n]"


def _split(content: bytes) -> list[bytes]:
    """The values of what :func:`as_lines` wrote, as they stand there: in JSON no text has a line's end in it."""
    return content[2:-2].split(b",\n")


def _id(published: datetime, digest: str) -> str:
    return f"{published.astimezone(UTC).strftime(_SECOND)}-{digest[:8]}"


def _published(name: str) -> datetime:
    """When, by its id."""
    return datetime.strptime(name.partition("-")[0], _SECOND).replace(tzinfo=UTC)


def _of_posterior(file: str) -> bool:
    return file == NETCDF or file.startswith((f"{POSTERIOR}/", f"{SHARDS}/"))


def what_if_file(manifest: dict[str, Any], importer: str, family: str) -> str:
    """Where that is held from which a what-if of a unit is answered."""
    shard = next((f"{name}-" for name, told in manifest.get("shards", {}).items() if family in told["families"]), "")
    return f"{WHAT_IF}/{shard}{importer}.npz"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _hashed(content: bytes) -> dict[str, Any]:
    return {"sha256": _digest(content), "bytes": len(content)}


def current_among(switches: list[tuple[datetime, str]], instant: datetime) -> str:
    """The id that was current at `instant`. Raises NoSnapshot when that is before the first of `switches`."""
    found = bisect.bisect_right(switches, instant, key=lambda switch: switch[0])
    if not found:
        first = f"; the first was on {switches[0][0].isoformat(timespec='seconds')}" if switches else ""
        raise NoSnapshot(f"nothing had been published at {instant.isoformat()}{first}")
    return switches[found - 1][1]


class SnapshotStore:
    def __init__(self, place: str | Path) -> None:
        """place : as :func:`data.store.open_store` takes it."""
        self.store: Store = open_store(place)

    def publish(
        self, meta: dict[str, Any], answers: list[dict[str, Any]], fill: Callable[[Path], None], now: datetime | None = None,
        sure: Callable[[], None] = lambda: None,
    ) -> str:  # fmt: skip
        """Write a snapshot and make it current. `fill` writes the large files into the folder it is given. sure : called just before it is
        made current; raises Locked where that would be wrong by now.

        The id is time and content: two publications differ in it even with equal content. Raises StoreBusy.
        """
        moment = (now or datetime.now(UTC)).astimezone(UTC)
        with self._locked() as still_held, self._room() as partial:
            folder = Path(partial)
            fill(folder)
            (folder / ANSWERS).write_bytes(as_lines({k: v for k, v in row.items() if k != "history"} for row in answers))
            (folder / HISTORY).write_bytes(as_lines(row.get("history", []) for row in answers))
            (folder / INDEX).write_bytes(orjson.dumps([_entry(row) for row in answers]))
            # One after the other: of a large panel all together are gigabytes.
            hashes = {p.relative_to(folder).as_posix(): _hashed(p.read_bytes()) for p in files_below(folder)}
            digest = _digest(orjson.dumps([hashes, meta], option=orjson.OPT_SORT_KEYS))
            while self.store.exists(f"snapshots/{(name := _id(moment, digest))}/{MANIFEST}"):
                moment += timedelta(seconds=1)
            # To the second, which the id says too: of a fraction nothing would tell that a bit of it was flipped.
            manifest = {"id": name, "published_at": moment.replace(microsecond=0).isoformat(), **meta, "files": hashes}
            (folder / MANIFEST).write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
            self.store.put_folder(folder, f"snapshots/{name}", MANIFEST)

            def both() -> None:
                sure()
                still_held()

            self._switch(name, moment, both)
        return name

    def _room(self) -> tempfile.TemporaryDirectory[str]:
        """A folder to write a snapshot in before it is one; what a writer that was killed has left there is swept by the next."""
        if isinstance(self.store, Folder):
            make_folder(self.store.root / "snapshots")
            return tempfile.TemporaryDirectory(prefix=PARTIAL, dir=self.store.root / "snapshots")
        for left in Path(tempfile.gettempdir()).glob(f"{PARTIAL}quietquota-*"):
            with suppress(OSError):  # another's, or gone
                if left.stat().st_mtime < (datetime.now(UTC) - A_DAY).timestamp():
                    shutil.rmtree(left)
        return tempfile.TemporaryDirectory(prefix=f"{PARTIAL}quietquota-")

    @contextmanager
    def _locked(self) -> Iterator[Callable[[], None]]:
        try:
            with self.store.lock(".publish.lock", 0.0) as still_held:
                if isinstance(self.store, Folder):
                    for left in (self.store.root / "snapshots").glob(f"{PARTIAL}*"):
                        shutil.rmtree(left)
                yield still_held
        except Locked as error:
            raise StoreBusy(f"another process is publishing to this store. {error}") from error

    def switch(self, name: str, now: datetime | None = None) -> None:
        """Make `name` the current snapshot after verifying it; what was said in between stays on the record. Raises NoSnapshot, Damaged,
        StoreBusy."""
        with self._locked() as still_held:
            self._switch(name, (now or datetime.now(UTC)).astimezone(UTC), still_held)

    def _switch(self, name: str, moment: datetime, sure: Callable[[], None]) -> None:
        self.verify(name)
        listed, switches = self._listed(), self.switches()
        if len(listed) > len(switches):
            # It was written, and its snapshot never served.
            self.store.delete(listed[-1][2])
        before = switches[-1][1] if switches else None
        if switches:
            # A clock that was set back must not reorder what was said.
            moment = max(moment, switches[-1][0] + timedelta(microseconds=1))
        record = {"at": moment.isoformat(), "from": before, "to": name}
        sure()
        self.store.write(f"switches/{moment.strftime(_SWITCH)}-{name}.json", orjson.dumps(record))
        self.store.write("current", name.encode())

    def switches(self) -> list[tuple[datetime, str]]:
        """(when, to which snapshot), oldest first. A last one that is written while what was current before still is
        has not happened: it is about to, or was stopped."""
        found = self._listed()
        if found:
            with suppress(Damaged):
                before = found[-2][1] if len(found) > 1 else None
                if before != found[-1][1] and self.current_id() == before:
                    found.pop()
        return [(at, to) for at, to, _ in found]

    def _listed(self) -> list[tuple[datetime, str, str]]:
        """Of every switch on record when, to which snapshot, and the record's name."""
        found = []
        for name in self.store.names("switches"):
            at, _, to = name.removeprefix("switches/").removesuffix(".json").partition("Z-")
            found.append((datetime.strptime(f"{at}Z", _SWITCH).replace(tzinfo=UTC), to, name))
        return found

    def current_id(self) -> str | None:
        """Raises Damaged where the pointer is no id."""
        try:
            name = self.store.read("current").decode(errors="replace").strip()
        except FileNotFoundError:
            return None
        if not _ID.fullmatch(name):
            raise Damaged(f"{self.store.url}/current: names no snapshot ({name[:40]!r}); quietquota snapshots rollback ID puts it right")
        return name

    def look(self, as_of: datetime, now: datetime | None = None) -> None:
        """Put on record that what is current still holds at `as_of`."""
        told = {"snapshot": self.current_id(), "at": (now or datetime.now(UTC)).isoformat(), "as_of": as_of.isoformat()}
        self.store.write(LOOKED, orjson.dumps(told))

    def looked(self, name: str) -> datetime | None:
        """Until when, by the last refresh that looked, snapshot `name` still held; None where none has. Not when it looked: that says
        nothing where publishers did not answer, or nobody ingests."""
        try:
            told = orjson.loads(self.store.read(LOOKED))
            return datetime.fromisoformat(told["as_of"]) if told["snapshot"] == name else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def ids(self) -> list[str]:
        """Of all snapshots, oldest first."""
        return sorted(name.split("/")[1] for name in self.store.names("snapshots") if name.endswith(f"/{MANIFEST}"))

    def read(self, name: str, file: str) -> bytes:
        """A file of a snapshot, compared with its manifest. Raises NoSnapshot, Damaged."""
        return self._read(name, file, self.manifest(name)["files"].get(file))

    def _read(self, name: str, file: str, expected: dict[str, Any] | None) -> bytes:
        place = f"{self.store.url}/snapshots/{name}/{file}"
        if expected is None or file in self._pruned(name):
            raise NoSnapshot(f"snapshot {name} has no file {file}{'' if expected is None else ' any more: it was pruned'}")
        try:
            content = self.store.read(f"snapshots/{name}/{file}")
        except FileNotFoundError as error:
            raise Damaged(f"{place}: missing") from error
        if len(content) != expected["bytes"] or _digest(content) != expected["sha256"]:
            raise Damaged(f"{place}: its content is not what the manifest says (SHA-256 {expected['sha256'][:12]}...)")
        return content

    def manifest(self, name: str) -> dict[str, Any]:
        """Raises NoSnapshot, and Damaged where it is not the one that was published."""
        missing = NoSnapshot(f"{self.store.url}: no snapshot {name!r}; see quietquota snapshots list")
        if not _ID.fullmatch(name):
            raise missing
        try:
            manifest: dict[str, Any] = json.loads(self.store.read(f"snapshots/{name}/{MANIFEST}"))
            meta = {k: v for k, v in manifest.items() if k not in ("id", "published_at", "files")}
            digest = _digest(orjson.dumps([manifest["files"], meta], option=orjson.OPT_SORT_KEYS))
            published = datetime.fromisoformat(manifest["published_at"])
        except FileNotFoundError as error:
            raise missing from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Damaged(f"{self.store.url}/snapshots/{name}/{MANIFEST}: not a manifest ({error})") from error
        if (manifest.get("id"), _id(published, digest), manifest["published_at"]) != (name, name, published.isoformat()):
            raise Damaged(f"{self.store.url}/snapshots/{name}/{MANIFEST}: its content is not what was published")
        return manifest

    def verify(self, name: str) -> int:
        """Compare every file with the manifest, and it with the id; how many files there are. Raises Damaged naming the first that
        differs."""
        manifest = self.manifest(name)
        gone = set(filter(_of_posterior, self._pruned(name)))
        for file, expected in manifest["files"].items():
            if file not in gone:
                self._read(name, file, expected)
        under = f"snapshots/{name}/"
        extra = {n.removeprefix(under) for n in self.store.names(under.rstrip("/"))} - set(manifest["files"]) - {MANIFEST, PRUNED}
        if extra:
            raise Damaged(f"{self.store.url}/{under}{min(extra)}: not in the manifest")
        return len(manifest["files"]) - len(gone)

    def verify_all(self) -> Iterator[tuple[str, int | Damaged]]:
        """Every snapshot that is there or was ever served, and how many files it has, or what is wrong; and what says which is current."""
        try:
            served, pointer = {to for _, to in self.switches()}, self.current_id()
        except Damaged as error:
            served, pointer = {to for _, to, _ in self._listed()}, None
            yield "current", error
        for name in sorted({*self.ids(), *served} | ({pointer} if pointer else set())):
            try:
                yield name, self.verify(name)
            except Damaged as error:
                yield name, error
            except NoSnapshot:
                yield name, Damaged(f"{self.store.url}/snapshots/{name}/{MANIFEST}: missing, and it was served")
        for at, to, place in self._listed():
            try:
                told = orjson.loads(self.store.read(place))
                same = datetime.fromisoformat(told["at"]) == at and told["to"] == to
            except (ValueError, KeyError, TypeError):
                same = False
            if not same:
                yield place, Damaged(f"{self.store.url}/{place}: does not say what its name says")

    def prune(self, older_than: timedelta, now: datetime | None = None) -> dict[str, int]:
        """Remove what no question needs: of snapshots published before, and not current, the posterior; and snapshots that were never
        current, whole. {id: bytes freed}. Every answer that was ever given can still be had; a damaged snapshot is left as it is. Raises
        StoreBusy."""
        before, freed = (now or datetime.now(UTC)) - older_than, {}
        with self._locked():
            if isinstance(self.store, Folder):
                sweep(self.store.root, (datetime.now(UTC) - A_DAY).timestamp())
            current, ever, held = self.current_id(), {to for _, to in self.switches()}, dict[str, list[str]]()
            for place in self.store.names("snapshots"):
                _, name, file = place.split("/", 2)
                held.setdefault(name, []).append(file)
            for name, there in held.items():
                orphan = MANIFEST not in there and _ID.fullmatch(name) and _published(name) < before
                if orphan and not self.store.exists(f"snapshots/{name}/{MANIFEST}"):
                    # Of a publisher, or of a prune, that was stopped in a bucket.
                    for file in there:
                        self.store.delete(f"snapshots/{name}/{file}")
                # Of years of nights nearly all have nothing left to remove, and are not looked into.
                if MANIFEST not in there or (name in ever and not any(map(_of_posterior, there))):
                    continue
                try:
                    manifest, gone = self.manifest(name), self._pruned(name)
                except Damaged:
                    continue
                if name == current or datetime.fromisoformat(manifest["published_at"]) >= before:
                    continue
                files = {f: told["bytes"] for f, told in manifest["files"].items() if f in there}
                if name not in ever:
                    # Without its manifest it does not exist, whatever becomes of the rest.
                    for file in (MANIFEST, *files):
                        self.store.delete(f"snapshots/{name}/{file}")
                elif files := {f: size for f, size in files.items() if _of_posterior(f)}:
                    self.store.write(f"snapshots/{name}/{PRUNED}", orjson.dumps(sorted({*gone, *files})))
                    for file in files:
                        self.store.delete(f"snapshots/{name}/{file}")
                if files:
                    freed[name] = sum(files.values())
        return freed

    def _pruned(self, name: str) -> list[str]:
        """Files of a snapshot that were removed on purpose."""
        try:
            return list(orjson.loads(self.store.read(f"snapshots/{name}/{PRUNED}")))
        except FileNotFoundError:
            return []
        except ValueError as error:
            raise Damaged(f"{self.store.url}/snapshots/{name}/{PRUNED}: not a list of files ({error})") from error

    def load(self, name: str | None = None) -> Published:
        """A snapshot, the current one by default, after verifying it. Raises NoSnapshot, Damaged."""
        wanted = name or self.current_id()
        if wanted is None:
            raise NoSnapshot(f"{self.store.url}: nothing has been published yet; run quietquota refresh")
        self.verify(wanted)
        meta = self.manifest(wanted)
        index = orjson.loads(self._read(wanted, INDEX, meta["files"][INDEX]))
        units = [entry["unit"] for entry in index]
        read = [_split(self._read(wanted, file, meta["files"][file])) if units else [] for file in (ANSWERS, HISTORY)]
        records, histories = (dict(zip(units, lines, strict=True)) for lines in read)
        return Published(wanted, datetime.fromisoformat(meta["published_at"]), meta, index, records, histories)

    def last_good(self) -> Published:
        """The current snapshot; where that cannot be believed, or nobody can say which it is, the one served last of those that can. Raises
        NoSnapshot where none was ever published, Damaged where none can be believed."""
        try:
            return self.load()
        except (Damaged, NoSnapshot) as error:
            for name in (served := dict.fromkeys(to for _, to in reversed(self.switches()))):
                with suppress(Damaged, NoSnapshot, KeyError, TypeError, ValueError):
                    return self.load(name)
            if served:
                raise Damaged(str(error)) from error
            raise

    def calibration(self) -> dict[str, Any] | None:
        """The scores of the last backtest that was published to the store."""
        try:
            return dict(orjson.loads(self.store.read(CALIBRATION)))
        except FileNotFoundError:
            return None

    def context(self, name: str, unit: str) -> dict[str, Any] | None:
        """What is drawn beside a unit's answers; None where the snapshot has it not. Raises NoSnapshot, Damaged."""
        if CONTEXT not in self.manifest(name)["files"]:
            return None
        units = [entry["unit"] for entry in orjson.loads(self.read(name, INDEX))]
        return dict(orjson.loads(_split(self.read(name, CONTEXT))[units.index(unit)])) if unit in units else None

    def said(self, name: str, unit: str) -> dict[str, Any] | None:
        """What a snapshot said of a unit, without its history; None where it has no such unit. Raises NoSnapshot, Damaged."""
        at = next((n for n, entry in enumerate(orjson.loads(self.read(name, INDEX))) if entry["unit"] == unit), None)
        return None if at is None else dict(orjson.loads(_split(self.read(name, ANSWERS))[at]))

    def current_at(self, instant: datetime) -> str:
        """The id that was current at `instant`. Raises NoSnapshot when that is before the first publication."""
        return current_among(self.switches(), instant)
