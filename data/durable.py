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


def unless_gone(error: OSError) -> None:
    """What is to be done of an error in a walk through folders: it is no reason to take part of the files for all of them."""
    if not isinstance(error, FileNotFoundError):
        raise error


def files_below(folder: Path) -> list[Path]:
    """Sorted; none where there is no such folder. Raises OSError where a folder cannot be read, which ``rglob`` passes over."""
    return sorted(at / file for at, _, files in folder.walk(on_error=unless_gone) for file in files)


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
    """Temporary name, fsync, rename, fsync of the folder. Raises OSError, which names the path and how many bytes were to be written."""
    make_folder(path.parent)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, f"{error.strerror}, of {memoryview(content).nbytes:,} bytes to be written", str(path)) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
