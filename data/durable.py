"""Files that are all there or not there, also after a power cut."""

import os
from collections.abc import Buffer
from pathlib import Path


def make_folder(path: Path) -> None:
    """With those above it; each new one's name is on disk before anything is in it."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make renames within `path` survive a power cut."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sweep(folder: Path, before: float) -> None:
    """Remove what writers that were killed have left half written, of before an instant (seconds since 1970)."""
    for path in folder.rglob(".*.partial"):
        if path.stat().st_mtime < before:
            path.unlink(missing_ok=True)


def write_durably(path: Path, content: Buffer) -> None:
    """Temporary name, fsync, rename, fsync of the folder."""
    make_folder(path.parent)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
