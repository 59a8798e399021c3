"""The store of published snapshots: immutable, verified before they are believed, switched in one step.

::

    snapshots/<id>/manifest.json    facts, and the SHA-256 and size of every other file; written last
                   answers.json     one record a unit, serialised once, when published
                   report.html      the analyst's page
                   posterior.zarr/  DataTree; zstd with checksums, so a flipped bit is an error and not a number
    current                         the id that is served; replaced by rename
    switches.jsonl                  every switch: when, from, to

A snapshot without a manifest does not exist. What is being written lies below ``.partial-*`` and is swept by the
next publisher. Reading needs neither PyMC nor ArviZ nor xarray.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from filelock import FileLock, Timeout

from data.durable import sync_folder, write_durably

MANIFEST = "manifest.json"
ANSWERS = "answers.json"
REPORT = "report.html"
POSTERIOR = "posterior.zarr"


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
    """A verified snapshot as the server holds it: facts and ready-made bytes."""

    id: str
    published_at: datetime
    meta: dict[str, Any]
    answers: list[dict[str, Any]]
    path: Path


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / MANIFEST)


class SnapshotStore:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.snapshots = root / "snapshots"

    def publish(
        self, meta: dict[str, Any], answers: list[dict[str, Any]], fill: Callable[[Path], None], now: datetime | None = None
    ) -> str:
        """Write a snapshot and make it current. `fill` writes the large files into the folder it is given.

        The id is time and content: two publications differ in it even with equal content. Raises StoreBusy.
        """
        moment = (now or datetime.now(UTC)).astimezone(UTC)
        self.snapshots.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.root / ".publish.lock", timeout=0):
                for left in self.snapshots.glob(".partial-*"):
                    shutil.rmtree(left)
                return self._publish(meta, answers, fill, moment)
        except Timeout as error:
            raise StoreBusy(f"{self.root}: another process is publishing to this store") from error

    def _publish(self, meta: dict[str, Any], answers: list[dict[str, Any]], fill: Callable[[Path], None], now: datetime) -> str:
        partial = self.snapshots / f".partial-{os.getpid()}"
        partial.mkdir()
        fill(partial)
        (partial / ANSWERS).write_bytes(orjson.dumps(answers))
        files = _files(partial)
        for path in files:
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
        hashes = {str(p.relative_to(partial)): {"sha256": _digest(p), "bytes": p.stat().st_size} for p in files}
        content = hashlib.sha256(orjson.dumps([hashes, meta], option=orjson.OPT_SORT_KEYS)).hexdigest()
        name = f"{now.strftime('%Y%m%dT%H%M%SZ')}-{content[:8]}"
        manifest = {"id": name, "published_at": now.isoformat(), **meta, "files": hashes}
        write_durably(partial / MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        for folder in {p.parent for p in files}:
            sync_folder(folder)
        partial.rename(self.snapshots / name)
        sync_folder(self.snapshots)
        self.switch(name, now)
        return name

    def switch(self, name: str, now: datetime | None = None) -> None:
        """Make `name` the current snapshot after verifying it. Raises NoSnapshot, Damaged."""
        self.verify(name)
        before = self.current_id()
        moment = (now or datetime.now(UTC)).isoformat()
        with (self.root / "switches.jsonl").open("ab") as log:
            log.write(orjson.dumps({"at": moment, "from": before, "to": name}) + b"\n")
            log.flush()
            os.fsync(log.fileno())
        write_durably(self.root / "current", name.encode())

    def current_id(self) -> str | None:
        try:
            return (self.root / "current").read_text().strip()
        except FileNotFoundError:
            return None

    def list(self) -> list[dict[str, Any]]:
        """Manifests, oldest first."""
        return [self.manifest(p.name) for p in sorted(self.snapshots.glob("[0-9]*"))]

    def manifest(self, name: str) -> dict[str, Any]:
        path = self.snapshots / name / MANIFEST
        if "/" in name or name.startswith(".") or not path.is_file():
            raise NoSnapshot(f"{self.root}: no snapshot {name!r}; see quietquota snapshots list")
        try:
            manifest: dict[str, Any] = json.loads(path.read_bytes())
        except ValueError as error:
            raise Damaged(f"{path}: not JSON ({error})") from error
        return manifest

    def verify(self, name: str) -> int:
        """Compare every file with the manifest; how many there are. Raises Damaged naming the first that differs."""
        folder, manifest = self.snapshots / name, self.manifest(name)
        for relative, expected in manifest["files"].items():
            path = folder / relative
            if not path.is_file():
                raise Damaged(f"{path}: missing")
            if path.stat().st_size != expected["bytes"] or _digest(path) != expected["sha256"]:
                raise Damaged(f"{path}: its content is not what the manifest says (SHA-256 {expected['sha256'][:12]}...)")
        extra = {str(p.relative_to(folder)) for p in _files(folder)} - set(manifest["files"])
        if extra:
            raise Damaged(f"{folder / min(extra)}: not in the manifest")
        return len(manifest["files"])

    def load(self, name: str | None = None) -> Published:
        """A snapshot, the current one by default, after verifying it. Raises NoSnapshot, Damaged."""
        wanted = name or self.current_id()
        if wanted is None:
            raise NoSnapshot(f"{self.root}: nothing has been published yet; run quietquota refresh")
        self.verify(wanted)
        meta = self.manifest(wanted)
        answers = orjson.loads((self.snapshots / wanted / ANSWERS).read_bytes())
        published = datetime.fromisoformat(meta["published_at"])
        return Published(wanted, published, meta, answers, self.snapshots / wanted)

    def current_at(self, instant: datetime) -> str:
        """The id that was current at `instant`. Raises NoSnapshot when that is before the first publication."""
        found = None
        try:
            lines = (self.root / "switches.jsonl").read_bytes().splitlines()
        except FileNotFoundError:
            lines = []
        for line in lines:
            switch = json.loads(line)
            if datetime.fromisoformat(switch["at"]) <= instant:
                found = switch["to"]
        if found is None:
            raise NoSnapshot(f"nothing had been published at {instant.isoformat()}")
        return str(found)
