"""Commands that look after what is kept: snapshots, the log, keys."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import orjson
import typer

from service import tables
from service.console import EPILOG, AsOfOption, FormatOption, StoreOption, explained, out, parse_instant, talk
from service.settings import Settings
from service.snapshots import Damaged, SnapshotStore

snapshots_app = typer.Typer(no_args_is_help=True, help="List, show and verify published snapshots.", epilog=EPILOG)
log_app = typer.Typer(no_args_is_help=True, help="Look after the log of releases.", epilog=EPILOG)
keys_app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.", epilog=EPILOG)


@snapshots_app.command("list")
def snapshots_list(store: StoreOption = "./var") -> None:
    """Published snapshots, oldest first; * marks the one served."""
    with explained():
        tables.snapshots(SnapshotStore(store), out)


@snapshots_app.command("show")
def snapshots_show(snapshot: str, store: StoreOption = "./var") -> None:
    """A snapshot's manifest as JSON."""
    with explained():
        manifest = SnapshotStore(store).manifest(snapshot)
    sys.stdout.write(orjson.dumps(manifest, option=orjson.OPT_INDENT_2).decode() + "\n")


@snapshots_app.command("verify")
def snapshots_verify(
    snapshot: Annotated[str | None, typer.Argument(help="Snapshot id. Default: all.")] = None, store: StoreOption = "./var"
) -> None:
    """Compare every file of a snapshot with its manifest; of all, also whether each that was ever served is there, and what says when."""
    with explained():
        snapshots, damaged = SnapshotStore(store), list[str]()
        for name, found in [(snapshot, snapshots.verify(snapshot))] if snapshot else snapshots.verify_all():
            if isinstance(found, Damaged):
                damaged.append(str(found))
            else:
                out.print(f"{name}: {found} files as published", highlight=False)
        if damaged:
            raise Damaged("; ".join(damaged))


@snapshots_app.command("rollback")
def snapshots_rollback(
    snapshot: Annotated[str, typer.Argument(help="Id of the snapshot to serve again.")], store: StoreOption = "./var"
) -> None:
    """Serve an earlier snapshot again, after verifying it. What was said in between stays on the record.

    Until the next refresh that has something new to publish: stop the schedule for as long as it is to hold.
    """
    with explained():
        SnapshotStore(store).switch(snapshot)
    out.print(f"{snapshot} is served", highlight=False)


@snapshots_app.command("prune")
def snapshots_prune(
    keep_days: Annotated[int, typer.Option(min=0, help="Leave whole what was published in so many days.")] = 90,
    store: StoreOption = "./var",
) -> None:
    """Remove the posteriors of old snapshots, and snapshots that were never served. Every answer ever given can still be had."""
    with explained():
        freed = SnapshotStore(store).prune(timedelta(days=keep_days))
    for name, size in freed.items():
        out.print(f"{name}: {size / 1e6:,.1f} MB", highlight=False)
    out.print(f"{sum(freed.values()) / 1e6:,.1f} MB freed", highlight=False)


@keys_app.command("add")
def keys_add(
    name: Annotated[str, typer.Argument(help="Whose it is, such as risk-desk.")],
    scope: Annotated[list[str] | None, typer.Option(help="read (default), what-if or admin; may be given several times.")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days after which it lapses. Default: never.")] = None,
    store: StoreOption = "./var",
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    from service.keys import Keys

    with explained():
        text, key = Keys(SnapshotStore(store).store).add(name, tuple(scope or ["read"]), days)
    out.print(text, highlight=False)
    until = f", until {key.expires_at}" if key.expires_at else ""
    talk.print(f"{key.id} for {name}: {', '.join(key.scopes)}{until}. Keep the key now: it cannot be shown again.", highlight=False)


@keys_app.command("list")
def keys_list(store: StoreOption = "./var") -> None:
    """Keys by id, with scopes, expiry and whether they were revoked; never the keys themselves."""
    from service.keys import Keys

    with explained():
        tables.keys(Keys(SnapshotStore(store).store).all(), out)


@keys_app.command("revoke")
def keys_revoke(identity: Annotated[str, typer.Argument(help="Id of the key.")], store: StoreOption = "./var") -> None:
    """Refuse a key from now on; servers hear of it within seconds."""
    from service.keys import Keys

    with explained():
        key = Keys(SnapshotStore(store).store).revoke(identity)
    out.print(f"{key.id} ({key.name}) is revoked", highlight=False)


@log_app.command("verify")
def log_verify(store: StoreOption = "./var") -> None:
    """Compare every file of the log with the hash that names it, and look for files that a receipt names and nobody has."""
    with explained():
        from data.log import ReleaseLog

        out.print(f"{ReleaseLog(Settings(store=store).log_place).verify()} files as written", highlight=False)


@log_app.command("revisions")
def log_revisions(as_of: AsOfOption = None, format: FormatOption = "table", store: StoreOption = "./var") -> None:
    """How late each office's figures come, and how much they change afterwards."""
    with explained():
        from data.log import ReleaseLog
        from data.revisions import revisions

        log = ReleaseLog(Settings(store=store).log_place)
        table = revisions(log.releases("observations", log.latest() if as_of is None else parse_instant(as_of)))
    tables.revisions(table, format, out)


@log_app.command("raw")
def log_raw(
    sha256: Annotated[str, typer.Argument(help="Of an ingested file, as its receipt names it, or the first 16 digits.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")],
    store: StoreOption = "./var",
) -> None:
    """Write an ingested file as it came, so that it can be parsed again."""
    with explained():
        from data.log import ReleaseLog

        output.write_bytes(ReleaseLog(Settings(store=store).log_place).raw(sha256))
    out.print(str(output), highlight=False)


@log_app.command("compact")
def log_compact(store: StoreOption = "./var") -> None:
    """Merge the log's many small files into one a kind, which reads of few goods skip through. No answer changes."""
    with explained():
        from data.log import ReleaseLog

        merged = ReleaseLog(Settings(store=store).log_place).compact()
    for kind, files in merged.items():
        out.print(f"{kind}: {files} files {'as they were' if files < 2 else 'merged into one'}", highlight=False)
