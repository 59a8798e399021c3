"""What all commands share: where they print, options, and errors as one sentence with an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from data.store import Locked
from service.settings import SettingsError
from service.snapshots import Damaged, NoSnapshot, StoreBusy, StoreError

EXIT_USAGE, EXIT_NOTHING_NEW, EXIT_GATE, EXIT_QUARANTINE, EXIT_BUSY, EXIT_STORE = 2, 3, 4, 5, 6, 7
EPILOG = (
    "Exit codes: 0 done · 1 an error that nobody foresaw · 2 wrong usage or input · 3 nothing new · "
    "4 the model's checks kept the snapshot back · "
    "5 rows were rejected or held back, or no publisher could be asked · 6 another process holds the lock · "
    "7 store empty, damaged or unreachable · 143 told to stop (SIGTERM)."
)
talk = Console(stderr=True)
out = Console(soft_wrap=True)

ConfigOption = Annotated[
    Path | None, typer.Option(envvar="QUIETQUOTA_CONFIG", help="quietquota.toml. Default: ./quietquota.toml, else the bundled sample's.")
]
StoreOption = Annotated[str, typer.Option(envvar="QUIETQUOTA_STORE", help="Folder, file:// or bucket's URL (s3://...) of the store.")]
AsOfOption = Annotated[
    str | None, typer.Option(help="ISO date (00:00 UTC) or instant. Default: now; of what reads the log, the latest it can speak of.")
]
FormatOption = Annotated[str, typer.Option("--format", help="table, json or csv.")]


class Stopped(SystemExit):
    """Told to end by whoever runs this process."""


def stop(number: int, frame: object) -> None:
    raise Stopped(128 + number)


def failure(code: int, message: str) -> typer.Exit:
    talk.print(f"quietquota: {message}", style="bold red", markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(code)


@contextmanager
def explained() -> Iterator[None]:
    """Errors that a user can do something about, as one sentence and an exit code."""
    try:
        yield
    except (typer.Exit, BrokenPipeError):
        raise
    except (StoreBusy, Locked) as error:
        raise failure(EXIT_BUSY, str(error)) from error
    except (NoSnapshot, Damaged, StoreError, OSError) as error:
        raise failure(EXIT_STORE, str(error)) from error
    except MemoryError as error:
        raise failure(
            EXIT_USAGE, f"out of memory{f' ({error})' if str(error) else ''}; see docs/scaling.md for what a panel needs"
        ) from error
    except ModuleNotFoundError as error:
        extra = "notebook" if error.name in ("nbclient", "nbformat") else "refresh"
        raise failure(EXIT_USAGE, f"{error.name} is not installed; this command needs the extra '{extra}'") from error
    except (SettingsError, ValueError, RuntimeError) as error:
        # By name, since --help need not import what reads the log.
        code = {"LogBusy": EXIT_BUSY, "LogDamaged": EXIT_STORE}.get(type(error).__name__, EXIT_USAGE)
        raise failure(code, str(error)) from error


def parse_instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"--as-of {text}: not an ISO date or instant, such as 2025-01-31 or 2025-01-31T06:00:00Z") from error
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
