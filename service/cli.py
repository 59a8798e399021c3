"""The command line: answers on stdout, talk on stderr. It translates and prints; the work is elsewhere."""

import os
import signal
import socket
import sys
import time
from datetime import UTC, datetime
from datetime import time as clock
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from data.store import Locked
from service import tables
from service.console import (
    EPILOG,
    EXIT_GATE,
    EXIT_NOTHING_NEW,
    EXIT_QUARANTINE,
    AsOfOption,
    ConfigOption,
    FormatOption,
    StoreOption,
    explained,
    failure,
    out,
    parse_instant,
    stop,
    talk,
)  # fmt: skip
from service.keeping import keys_app, log_app, snapshots_app
from service.settings import Settings
from service.snapshots import CALIBRATION, Published, SnapshotStore, StoreBusy

# Named here, so that --help need not import what reads them; a test compares.
SOURCE_NAMES = (
    "canonical", "covariates", "published", "comtrade", "comtrade_api", "gacc", "estat_japan", "us_census", "comext", "gpr", "epu",
    "control_events",
)  # fmt: skip
LOOK_SECONDS = 30.0
app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=(__doc__ or "").partition("\n")[0], epilog=EPILOG)
app.add_typer(snapshots_app, name="snapshots")
app.add_typer(log_app, name="log")
app.add_typer(keys_app, name="keys")


def _said(url: str, as_of: str | None) -> Published:
    """The snapshot that answers now, or that answered at an instant."""
    snapshots = SnapshotStore(url)
    return snapshots.load(snapshots.current_at(parse_instant(as_of)) if as_of else None)


def _config(given: Path | None) -> Path:
    from data.config import SAMPLE_CONFIG

    here = Path("quietquota.toml")
    return given or (here if here.is_file() else SAMPLE_CONFIG)


def _watch(config: Path | None) -> Any:
    from data.config import read_watch

    return read_watch(_config(config))


@app.command()
def ingest(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Releases or covariates; a folder means its CSV, JSON, Parquet, gzip and zip files.")
    ] = None,
    source: Annotated[str | None, typer.Option(help=f"One of {', '.join(SOURCE_NAMES)}. Default: by the file's header.")] = None,
    accept: Annotated[
        list[str] | None, typer.Option(help="A finding whose rows are to be taken after all; may be given several times.")
    ] = None,
    store: StoreOption = "./var",
) -> None:
    """Append releases to the log. Rows that cannot be read are kept aside and named; nothing is overwritten.

    Rows that no one should believe unseen (weights a thousand times too large, a month of zeros for everyone, ...) are held back as
    findings, each with a name: look at them, then take them with --accept, or correct the file.
    """
    with explained():
        from data.log import ReleaseLog
        from data.sources import Unrecognised

        if not paths and not accept:
            raise ValueError("name a file or a folder to ingest, or a finding to --accept")
        log = ReleaseLog(Settings(store=store).log_place)
        kinds = ("*.csv", "*.parquet", "*.json", "*.gz", "*.zip")
        if absent := [str(p) for p in paths or [] if not p.exists()]:
            raise ValueError(f"{absent[0]}: no such file or folder")
        named = set(paths or [])
        files = [f for p in paths or [] for f in (sorted(f for kind in kinds for f in p.glob(kind)) if p.is_dir() else [p])]
        receipts: list[Any] = []
        try:
            for file in files:
                try:
                    receipts.append(log.ingest(file.read_bytes(), str(file), source))
                except Unrecognised as error:
                    if file in named:
                        raise
                    talk.print(f"{error}; passed over", highlight=False, markup=False, soft_wrap=True)
            receipts += [log.accept(finding) for finding in accept or []]
        finally:
            if receipts:
                tables.receipts(receipts, log.store, out, talk)
    if any(r.rejected or r.quarantined for r in receipts):
        raise typer.Exit(EXIT_QUARANTINE)


def _say_had(several: Any, log: Any) -> None:
    for one in several:
        if one.receipt:
            tables.receipts([one.receipt], log.store, talk, talk)
        elif one.error:
            talk.print(f"{one.error}; going on without it", style="bold", highlight=False, markup=False)
        else:
            talk.print(f"{one.address}: nothing new", highlight=False, markup=False)


@app.command()
def fetch(
    addresses: Annotated[list[str], typer.Argument(help="Addresses of publishers' files; {NAME} in one is the environment's NAME, a key.")],
    source: Annotated[str | None, typer.Option(help="As for ingest. Default: by the file's header.")] = None,
    store: StoreOption = "./var",
) -> None:
    """Fetch publishers' files and ingest what is new. Unchanged files are not sent again; what fails for a moment is tried again.

    UN Comtrade: 'comtrade:reporter=CHN&partner=JPN,USA&flow=X&codes=280530,850511&from=2024-01&to=2024-12', with the key in COMTRADE_KEY.
    """
    with explained():
        from data.log import ReleaseLog
        from service.fetching import had

        log = ReleaseLog(Settings(store=store).log_place)
        several = [had(log, address, source) for address in addresses]
        _say_had([one for one in several if not one.receipt], log)
    receipts = [one.receipt for one in several if one.receipt]
    tables.receipts(receipts, log.store, out, talk)
    if not receipts:
        raise typer.Exit(EXIT_NOTHING_NEW)
    if any(r.rejected or r.quarantined for r in receipts):
        raise typer.Exit(EXIT_QUARANTINE)


@app.command()
def observations(
    as_of: AsOfOption = None,
    unit: Annotated[str | None, typer.Option(help="Regime unit, such as CHN.JPN.rare_earths; its HS codes come from the config.")] = None,
    format: FormatOption = "table",
    config: ConfigOption = None,
    store: StoreOption = "./var",
) -> None:
    """What was known at an instant: the last release of every cell by then, and nothing released later."""
    with explained():
        from data.log import ReleaseLog

        log = ReleaseLog(Settings(store=store).log_place)
        known = log.as_of("observations", log.latest() if as_of is None else parse_instant(as_of))
        watch = _watch(config)
        if unit is not None and unit not in (units := [name for name, *_ in watch.units()]):
            raise ValueError(f"no unit {unit!r} in {_config(config)}; it has {', '.join(units)}")
        tables.observations(known, watch, unit, format, out)


@app.command()
def refresh(
    as_of: AsOfOption = None,
    full: Annotated[bool, typer.Option("--full", help="Fit anew, also where nothing is new or the draws there are would do.")] = False,
    accept_review: Annotated[
        bool, typer.Option("--accept-review", help="Publish a fit whose checks say REVIEW; every answer will say so.")
    ] = False,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Get what the config names under `fetch` first; what cannot be had is said.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Random seed; the same seed, data and lock file give the same draws.")] = None,
    shard_units: Annotated[
        int, typer.Option(min=1, help="A panel of more units than this is fitted in shards of about so many, by family.")
    ] = 60,
    executor: Annotated[
        str, typer.Option(envvar="QUIETQUOTA_EXECUTOR", help="Where shards are fitted: local, or dask://host:port of a scheduler.")
    ] = "local",
    jobs: Annotated[int | None, typer.Option(min=1, help="Shards at once, each of which wants 1 GB. Default: one a core.")] = None,
    textfile: Annotated[
        Path | None, typer.Option(envvar="QUIETQUOTA_TEXTFILE", help="Write how it ended for Prometheus's node exporter (....prom).")
    ] = None,
    notify: Annotated[
        str | None, typer.Option(envvar="QUIETQUOTA_NOTIFY", help="Tell this address how it ended; signed with QUIETQUOTA_NOTIFY_SECRET.")
    ] = None,
    unchanged_is_success: Annotated[
        bool,
        typer.Option("--unchanged-is-success", help="End with 0 and not with 3 where nothing is new; for schedulers that know no other."),
    ] = False,
    config: ConfigOption = None,
    store: StoreOption = "./var",
) -> None:
    """Bring the answers up to what was known at an instant, check them, publish a snapshot, and print it.

    Nothing new: a second. New figures: the draws of the last fit are weighed by them where they can stand for them (Pareto k), and fitted
    anew where they cannot, or once a week. Unattended: one refresh at a time, every run on record (quietquota runs), the last good snapshot
    stays whatever happens. A fit that the checks hold back is tried once more with another seed and twice the draws.
    """
    with explained():
        from data.log import ReleaseLog
        from model.spec import Computation
        from service.job import Asked
        from service.outcome import told
        from service.refresh import refresh as run
        from service.webhooks import sender

        settings = Settings(store=store)
        send = sender(settings.webhook_private)
        several: list[Any] = []
        signal.signal(signal.SIGTERM, stop)
        with told(settings.store, textfile, notify, settings.notify_secret, send, talk):
            computation = Computation() if seed is None else Computation(seed=seed)
            log, snapshots, watch = ReleaseLog(settings.log_place), SnapshotStore(settings.store), _watch(config)

            def fetching() -> list[dict[str, Any]]:
                from service.fetching import all_had

                several.extend(all_had(log, watch.fetch))
                _say_had(several, log)
                return [one.record() for one in several]

            asked = Asked(
                watch, None if as_of is None else parse_instant(as_of), computation=computation, full=full, accept_review=accept_review,
                shard_units=shard_units, executor=executor, jobs=jobs,
            )  # fmt: skip
            done = run(log, snapshots, asked, talk, send, fetching if fetch and watch.fetch else None)
        held_back = [one.address for one in several if one.held_back]
        if done.nothing_new:
            tables.regimes(snapshots.load(), out)
            talk.print("nothing new: the snapshot above rests on the same figures; --full fits it anew", highlight=False)
            if several and all(one.error for one in several):
                raise failure(EXIT_QUARANTINE, "no publisher could be asked; what is served is as old as it was")
            if held_back:
                raise failure(EXIT_QUARANTINE, f"rows of {', '.join(held_back)} were rejected or held back, as said above")
            raise typer.Exit(0 if unchanged_is_success else EXIT_NOTHING_NEW)
        how = {"fit": "fitted", "weigh": "draws weighed, nothing fitted"}[done.decision.kind]
        talk.print(f"{how}: {done.decision.why}", highlight=False, markup=False)
        tables.checks(done.checks, talk)
        if done.snapshot is None:
            raise failure(
                EXIT_GATE,
                "not published: the checks above do not pass; the last good snapshot stays. REVIEW may be published with --accept-review",
            )
        published = snapshots.load(done.snapshot)
        tables.regimes(published, out)
        tables.next_steps(published, settings, talk)
        if len(switches := snapshots.switches()) > 1:
            before = snapshots.manifest(switches[-2][1])
            if before["as_of"] > published.meta["as_of"]:
                talk.print(
                    f"\nserved now is an earlier view than before, as of {published.meta['as_of'][:10]}; quietquota snapshots rollback "
                    f"{before['id']} serves that of {before['as_of'][:10]} again",
                    style="bold", highlight=False, soft_wrap=True,
                )  # fmt: skip
        if held_back:
            raise failure(EXIT_QUARANTINE, f"published; rows of {', '.join(held_back)} were rejected or held back, as said above")


@app.command()
def schedule(
    at: Annotated[str, typer.Option(help="Hour of the nightly refresh, UTC.")] = "02:00",
    now: Annotated[bool, typer.Option("--now", help="Refresh at once as well.")] = False,
    config: ConfigOption = None,
    store: StoreOption = "./var",
) -> None:
    """Refresh every night, and at noon and in the evening of days on which figures are due, until stopped.

    For a machine without a scheduler of its own; deploy/ has files for those that have one. A refresh that is under way is told to stop
    too: it ends within seconds, and the next goes on from what it had put aside.
    """
    with explained():
        import logging

        from service.schedule import next_run, releases_due, scheduler, stop

        logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
        logging.getLogger("quietquota").setLevel(logging.INFO)

        watch = _watch(config)
        reporters = [watch.exporter, *watch.importers]
        try:
            nightly = clock.fromisoformat(at)
        except ValueError as error:
            raise ValueError(f"--at {at}: an hour of the day, such as 02:00") from error
        moment = datetime.now(UTC)
        talk.print(f"next refresh: {next_run(reporters, nightly, moment):%Y-%m-%d %H:%M} UTC", highlight=False)
        for day, reporter, month in list(releases_due(reporters, moment))[:5]:
            talk.print(f"due: {reporter}, figures of {month}, {day:%Y-%m-%d}", highlight=False)
        chosen = [] if config is None else ["--config", str(config)]
        blocking = scheduler(reporters, nightly, ["refresh", "--fetch", "--store", store, *chosen], now)

    def end(*_: object) -> None:
        blocking.shutdown(wait=False)
        stop()

    signal.signal(signal.SIGTERM, end)
    blocking.start()


@app.command()
def runs(format: FormatOption = "table", store: StoreOption = "./var") -> None:
    """What each refresh did: when, for how long, with what outcome, and why."""
    from service.runs import records

    with explained():
        tables.runs(records(SnapshotStore(store).store), format, out)


@app.command()
def deliver(
    watch: Annotated[bool, typer.Option(help="Go on, looking every half minute, until stopped.")] = False,
    again: Annotated[list[str] | None, typer.Option(help="An alert whose sending was given up, to be taken up anew.")] = None,
    private: Annotated[bool, typer.Option(help="Send to addresses within, and over http, too.")] = False,
    store: StoreOption = "./var",
) -> None:
    """Send alerts to the webhooks of their rules: signed, at least once, 16 tries in 72 hours. A refresh tries those that are due once."""
    from service import webhooks

    with explained():
        settings = Settings(store=store)
        place, send = SnapshotStore(store).store, webhooks.sender(private or settings.webhook_private)
        if missing := [alert for alert in again or [] if not webhooks.again(place, alert)]:
            raise ValueError(f"{missing[0]}: no sending of such an alert was given up; GET /v1/deliveries?state=dead lists them")
        while True:
            try:
                tables.deliveries(webhooks.deliver(place, send), out)
            except Locked as error:
                if not watch:
                    raise StoreBusy(f"another delivery is under way. {error}") from error
            if not watch:
                return
            time.sleep(LOOK_SECONDS)


@app.command()
def regimes(as_of: AsOfOption = None, format: FormatOption = "table", store: StoreOption = "./var") -> None:
    """The published answers: what the service says now, or said at an instant (--as-of)."""
    with explained():
        tables.print_regimes(_said(store, as_of), format, out)


@app.command()
def explain(
    unit: Annotated[str, typer.Argument(help="Regime unit, such as CHN.JPN.rare_earths.")],
    as_of: AsOfOption = None,
    store: StoreOption = "./var",
) -> None:
    """One unit's answer in words, with its competing causes and its last twelve months."""
    with explained():
        tables.explain(_said(store, as_of), unit, out)


@app.command()
def serve(
    host: Annotated[str, typer.Option(envvar="QUIETQUOTA_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="QUIETQUOTA_PORT", help="Port to listen on.")] = 8000,
    insecure_no_auth: Annotated[
        bool, typer.Option("--insecure-no-auth", envvar="QUIETQUOTA_INSECURE_NO_AUTH", help="Answer without a key; on loopback only.")
    ] = False,
    rate: Annotated[float, typer.Option(envvar="QUIETQUOTA_RATE", help="Requests a second and client; 0 for no limit.")] = 0.0,
    workers: Annotated[int, typer.Option(envvar="QUIETQUOTA_WORKERS", help="Processes.")] = 1,
    store: StoreOption = "./var",
) -> None:
    """Serve the published snapshots over HTTP; OpenAPI at /openapi.json, readable at /docs.

    Clients bring a key (Authorization: Bearer qq_...), which `quietquota keys add` makes. On 127.0.0.1 none is needed until there is one.
    """
    import uvicorn

    from service.app import create_app, needs_key
    from service.keys import Keys

    with explained():
        settings = Settings(store=store, host=host, port=port, insecure_no_auth=insecure_no_auth, rate=rate)
        application = create_app(settings)
        keys = Keys(SnapshotStore(store).store)
        locked = needs_key(settings, keys)
        try:
            socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
        except OSError as error:
            raise ValueError(f"{host}:{port} cannot be listened on ({error.strerror}); --port takes another") from error
    where = f"http://{host}:{port}"
    talk.print(f"{where}/   answers: {where}/v1/regimes   API: {where}/docs   stop with Ctrl-C", highlight=False)
    if locked and not keys.known():
        talk.print("no request is answered until there is a key: quietquota keys add NAME", style="bold", highlight=False)
    elif not locked:
        talk.print("anyone on this machine is answered, without a key", highlight=False)
    given = {"store": store, "host": host, "port": port, "insecure_no_auth": insecure_no_auth, "rate": rate}
    os.environ |= {f"QUIETQUOTA_{name.upper()}": str(value) for name, value in given.items()}
    # Several workers each make the application anew.
    made: Any = application if workers == 1 else "service.app:create_app"
    uvicorn.run(
        made, factory=workers > 1, host=host, port=port, workers=workers, loop="uvloop", http="httptools",
        access_log=False, server_header=False, timeout_keep_alive=30, timeout_graceful_shutdown=20, h11_max_incomplete_event_size=16_384,
    )  # fmt: skip


@app.command()
def openapi() -> None:
    """Print the description of the HTTP interface, as checked in under docs/openapi.json."""
    import json

    from service.app import create_app

    sys.stdout.write(json.dumps(create_app(Settings(host="127.0.0.1")).openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n")


@app.command()
def backtest(
    first: Annotated[str, typer.Option("--from", help="First as-of, an ISO date.")],
    last: Annotated[str, typer.Option("--to", help="Last as-of; it also gets every earlier month, smoothed.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="CSV to write; finished parts lie beside it in OUTPUT.parts.")],
    every: Annotated[str, typer.Option(help="Distance of the as-ofs: a number and mo, w or d.")] = "1mo",
    refit: Annotated[int, typer.Option(help="Months between fits; in between, the draws are filtered over the newer figures.")] = 3,
    jobs: Annotated[int, typer.Option(help="Processes. Default: one a core.")] = 0,
    config: ConfigOption = None,
    store: StoreOption = "./var",
) -> None:
    """Forecasts in real time: at every as-of, what was released by then and nothing else. Goes on where it was stopped."""
    with explained():
        from model.spec import Assumptions
        from service import backtest as run
        from service.progress import counted

        as_ofs = run.instants(parse_instant(first), parse_instant(last), every)
        planned = run.stretches(Settings(store=store).log_place, _watch(config), as_ofs, refit, Assumptions(), run.BACKTEST)
        with counted(talk, "as-ofs") as told:
            rows = run.backtest(planned, output, jobs or os.cpu_count() or 1, told)
    out.print(f"{output}: {rows:,} forecasts at {len(as_ofs)} as-ofs", highlight=False)


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="Folder to write; it must not hold a world yet.")],
    seed: Annotated[int, typer.Option(help="The same seed, the same world.")],
    months: Annotated[int, typer.Option(help="Length of the world.")] = 96,
) -> None:
    """Draw a world from the model's own prior predictive, in the input formats, with the truth beside it."""
    with explained():
        from dataclasses import replace

        from model.simulate import Design
        from model.simulate import simulate as draw
        from model.spec import Assumptions
        from service.worlds import write_world

        if (folder / "truth.csv").exists():
            raise ValueError(f"{folder}: holds a world already; nothing is overwritten")
        files = write_world(draw(replace(Design(), months=months), Assumptions(), seed), folder, seed)
    for name in files:
        out.print(str(folder / name), highlight=False)


@app.command()
def score(
    pairs: Annotated[list[Path], typer.Argument(help="TRUTH FORECASTS [TRUTH FORECASTS ...]: a world's folder, and forecasts of it.")],
    format: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples behind each interval.")] = 400,
    publish: Annotated[bool, typer.Option("--publish", help="Put the scores into the store, for GET /v1/calibration.")] = False,
    store: StoreOption = "./var",
) -> None:
    """Score forecasts where the truth is known: skill, calibration, ranking and detection, each with a 5-95 % interval."""
    with explained():
        from model.scoring import score as run
        from service.worlds import read_pair

        if len(pairs) % 2:
            raise ValueError("give TRUTH FORECASTS pairs")
        scores = run([read_pair(*pair) for pair in zip(pairs[::2], pairs[1::2], strict=True)], resamples)
        if publish:
            told = {"scored_at": datetime.now(UTC).isoformat(), "worlds": [p.name for p in pairs[::2]], "scores": scores}
            SnapshotStore(store).store.write(CALIBRATION, orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY))
    if format == "json":
        sys.stdout.write(orjson.dumps(scores, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        tables.scores(scores, out)


@app.command()
def warm() -> None:
    """Compile ahead what a refresh compiles, into the caches' folders; what building an image does."""
    with explained():
        from model.warm import warm as run

        run()
    out.print("compiled", highlight=False)


@app.command()
def report(
    snapshot: Annotated[str | None, typer.Argument(help="Snapshot id. Default: the current one.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write. Default: report.html, report.ipynb.")] = None,
    notebook: Annotated[bool, typer.Option("--notebook", help="A notebook, run, with the posterior beside it (extra `notebook`).")] = False,
    store: StoreOption = "./var",
) -> None:
    """Copy a snapshot's report, one self-contained HTML file, or make a notebook that goes on from it."""
    with explained():
        from service.snapshots import NETCDF, REPORT

        snapshots = SnapshotStore(store)
        found = snapshots.load(snapshot)
        path = output or Path("report.ipynb" if notebook else "report.html")
        if notebook:
            from service.notebook import written

            if NETCDF not in found.meta["files"] and found.meta.get("shards"):
                raise ValueError(f"{found.id} is of shards, and a notebook of one posterior: get a shard's (GET .../posterior?shard=)")
            files = written(path, snapshots.read(found.id, NETCDF), found.meta)
        else:
            path.write_bytes(snapshots.read(found.id, REPORT))
            files = [path]
    for file in files:
        out.print(str(file), highlight=False)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
