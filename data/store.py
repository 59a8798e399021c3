"""Bytes by name, in a folder or in a bucket: whole or not at all, and there for good once written.

``open_store`` takes a folder, a ``file://`` URL, or what obstore speaks: ``s3://bucket/prefix``, ``gs://``, ``az://``; keys, region and
endpoint come from the environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ...), as that package documents. obstore, and not fsspec,
since a lock in a bucket needs writes that hold only if the object is still the one that was read (docs/decisions/0020).
"""

import json
import os
import secrets
import shutil
import socket
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import obstore
from filelock import FileLock, Timeout
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import from_url

from data.durable import files_below, make_folder, sync_folder, unless_gone, write_durably

LEASE_SECONDS = 120.0
"""How long a lock in a bucket outlives its owner; a living owner renews it four times as often."""
LOOK_SECONDS = 0.1
"""Between two looks at a lock that another holds."""
OWNER = ".owner"
RETRIES: dict[str, Any] = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
"""Of what fails for a moment, with waits that grow."""


class Unreachable(OSError):
    """The store does not answer; says what it answered instead."""


class Locked(RuntimeError):
    """Another process holds the lock; says which, and since when."""


class Store(ABC):
    """Names are relative, with ``/`` between folders. All raise Unreachable, and FileNotFoundError for a name that is not there."""

    url: str

    @abstractmethod
    def read(self, name: str) -> bytes: ...

    @abstractmethod
    def write(self, name: str, content: bytes) -> None: ...

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Of everything below `folder`, sorted, with the folder; not what begins with a dot."""

    @abstractmethod
    def exists(self, name: str) -> bool: ...

    @abstractmethod
    def delete(self, name: str) -> None: ...

    @abstractmethod
    def local(self, name: str, anew: bool = False) -> Path:
        """A file with the content of `name`, which must never change: named by its content, or part of something immutable. anew : whatever
        copy there is."""

    @abstractmethod
    def put_folder(self, folder: Path, name: str, last: str) -> None:
        """Every file below `folder`, under `name`, of which `last` makes it complete: until then nobody takes it for whole. `folder` may be
        gone afterwards."""

    @abstractmethod
    def lock(self, name: str, wait: float) -> "Any":
        """Context in which no other process holds the lock. wait : seconds. Raises Locked. It gives a function that raises Locked where
        the lock was lost meanwhile; call it before what must not happen twice."""

    def text(self, name: str) -> str:
        return self.read(name).decode()


def open_store(place: str | Path) -> Store:
    """Raises ValueError for what is no folder and no URL that is known."""
    parts = urlsplit(str(place))
    if isinstance(place, Path) or not parts.scheme or "://" not in str(place):
        return Folder(Path(place))
    if parts.scheme == "file":
        return Folder(Path(url2pathname(parts.path)))
    return Bucket(str(place))


def _owner() -> dict[str, Any]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": since, "token": secrets.token_hex(8)}


def _held(url: str, name: str, owner: dict[str, Any]) -> Locked:
    who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')}, since {owner.get('since', '?')}"
    return Locked(f"{url}: {who}, holds the lock {name}; try again when it is done")


class Folder(Store):
    def __init__(self, root: Path) -> None:
        self.root, self.url = root, str(root)

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        write_durably(self.root / name, content)

    def names(self, folder: str) -> list[str]:
        found = (path.relative_to(self.root).as_posix() for path in files_below(self.root / folder))
        return sorted(name for name in found if not any(part.startswith(".") for part in name.split("/")))

    def exists(self, name: str) -> bool:
        return (self.root / name).is_file()

    def delete(self, name: str) -> None:
        (self.root / name).unlink()

    def local(self, name: str, anew: bool = False) -> Path:
        return self.root / name

    def put_folder(self, folder: Path, name: str, last: str) -> None:
        target = self.root / name
        make_folder(target.parent)
        partial = target.with_name(f".partial-{os.getpid()}-{target.name}")
        try:
            folder.rename(partial)
        except OSError:  # of another disk
            shutil.copytree(folder, partial)
        for at, _, files in partial.walk(top_down=False, on_error=unless_gone):
            for file in files:
                with (at / file).open("rb") as handle:
                    os.fsync(handle.fileno())
            sync_folder(at)
        partial.rename(target)
        sync_folder(target.parent)

    @contextmanager
    def lock(self, name: str, wait: float) -> Iterator[Callable[[], None]]:
        """The operating system's: it ends with its process, however that ends."""
        make_folder(self.root)
        note = self.root / f"{name}{OWNER}"
        try:
            with FileLock(self.root / name, timeout=wait):
                note.write_text(json.dumps(_owner()))
                yield lambda: None
        except Timeout as error:
            owner = {}
            with suppress(OSError, ValueError):
                owner = json.loads(note.read_text())
            raise _held(self.url, name, owner) from error


class Bucket(Store):
    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        try:
            plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
            self._store = from_url(self.url, client_options={"allow_http": plain, "timeout": "30s"}, retry_config=RETRIES)  # type: ignore[call-overload]
        except BaseError as error:
            raise ValueError(f"{url}: not a folder, file:// or a bucket's URL such as s3://bucket/prefix ({_first_line(error)})") from error
        cache = os.environ.get("QUIETQUOTA_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "quietquota"
        self._cache = Path(cache) / sha256(self.url.encode()).hexdigest()[:16]

    @contextmanager
    def _asked(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{self.url}/{name}: not there") from error
        except (AlreadyExistsError, PreconditionError):
            raise
        except BaseError as error:
            raise Unreachable(f"{self.url}/{name}: the store does not answer as it should ({_first_line(error)})") from error

    def read(self, name: str) -> bytes:
        with self._asked(name):
            return bytes(obstore.get(self._store, name).bytes())

    def write(self, name: str, content: bytes) -> None:
        try:
            with self._asked(name):
                obstore.put(self._store, name, content)
        except FileNotFoundError as error:
            raise Unreachable(f"{self.url}: there is no such bucket") from error

    def names(self, folder: str) -> list[str]:
        with self._asked(folder):
            found = [meta["path"] for part in obstore.list(self._store, prefix=folder) for meta in part]
        return sorted(name for name in found if not any(part.startswith(".") for part in name.split("/")))

    def exists(self, name: str) -> bool:
        try:
            with self._asked(name):
                obstore.head(self._store, name)
        except FileNotFoundError:
            return False
        return True

    def delete(self, name: str) -> None:
        with self._asked(name):
            obstore.delete(self._store, name)

    def local(self, name: str, anew: bool = False) -> Path:
        path = self._cache / name
        if anew or not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as handle:
                handle.write(self.read(name))
            Path(handle.name).replace(path)
        return path

    def put_folder(self, folder: Path, name: str, last: str) -> None:
        files = [at.relative_to(folder).as_posix() for at in files_below(folder)]
        for file in sorted(files, key=lambda f: (f == last, f)):
            self.write(f"{name}/{file}", (folder / file).read_bytes())

    @contextmanager
    def lock(self, name: str, wait: float) -> Iterator[Callable[[], None]]:
        """An object that says who holds it and until when. A dead owner's lapses after :data:`LEASE_SECONDS`; clocks of hosts that share
        a store must not differ by as much."""
        deadline, owner = time.monotonic() + wait, _owner()
        while (tag := self._taken(name, owner)) is None:
            if time.monotonic() > deadline:
                raise _held(self.url, name, self._holder(name)[0])
            time.sleep(LOOK_SECONDS)
        lease = _Lease(self, name, owner, tag)
        try:
            yield lease.check
        finally:
            lease.end()

    def _holder(self, name: str) -> tuple[dict[str, Any], str | None]:
        with self._asked(name):
            got = obstore.get(self._store, name)
            content, tag = bytes(got.bytes()), got.meta["e_tag"]
        try:
            owner: dict[str, Any] = json.loads(content)
        except ValueError:
            owner = {}
        return owner, tag

    def _taken(self, name: str, owner: dict[str, Any]) -> str | None:
        """The tag of the lock if it is ours now."""
        try:
            return self._claim(name, owner, None, LEASE_SECONDS)
        except AlreadyExistsError:
            pass
        try:
            holder, tag = self._holder(name)
            if holder.get("until", 0.0) > time.time():
                return None
            return self._claim(name, owner, tag, LEASE_SECONDS)
        except (FileNotFoundError, PreconditionError):
            return None

    def _claim(self, name: str, owner: dict[str, Any], tag: str | None, seconds: float) -> str:
        """Write the lock if it is still the one of `tag`, or where there is none. Raises AlreadyExistsError, PreconditionError."""
        content = json.dumps(owner | {"until": time.time() + seconds}).encode()
        with self._asked(name):
            put = obstore.put(self._store, name, content, mode="create" if tag is None else {"e_tag": tag})
        return str(put["e_tag"])


class _Lease:
    """A lock in a bucket, renewed by a thread for as long as it is held."""

    def __init__(self, bucket: Bucket, name: str, owner: dict[str, Any], tag: str) -> None:
        self._bucket, self._name, self._owner, self._tag = bucket, name, owner, tag
        self._lost: str | None = None
        self._renewed, self._over = time.monotonic(), threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=f"lease {name}", daemon=True)
        self._keeper.start()

    def _keep(self) -> None:
        while not self._over.wait(LEASE_SECONDS / 4):
            try:
                self._tag = self._bucket._claim(self._name, self._owner, self._tag, LEASE_SECONDS)
                self._renewed = time.monotonic()
            except (PreconditionError, FileNotFoundError):
                if not self._still_ours():
                    self._lost = "another process has taken it"
                    return
            except Unreachable:
                continue

    def _still_ours(self) -> bool:
        """Whether the lock is as a renewal left it of whose success no answer came."""
        try:
            holder, tag = self._bucket._holder(self._name)
        except OSError:
            return False
        if ours := holder.get("token") == self._owner["token"] and tag is not None:
            self._tag, self._renewed = str(tag), time.monotonic()
        return ours

    def check(self) -> None:
        if self._lost is None and time.monotonic() - self._renewed > LEASE_SECONDS:
            self._lost = "it could not be renewed in time"
        if self._lost:
            raise Locked(f"{self._bucket.url}: the lock {self._name} was lost: {self._lost}")

    def end(self) -> None:
        self._over.set()
        self._keeper.join()
        if self._lost is None:
            # Where the store is gone, the lease lapses by itself.
            with suppress(PreconditionError, OSError):
                self._bucket._claim(self._name, self._owner, self._tag, 0.0)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
