"""What the command line prints: tables that fit a terminal, CSV and JSON that a program can read."""

import csv
import io
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from rich import box
from rich.console import Console
from rich.table import Table

from service.forecasts import as_csv, forecast_rows
from service.settings import Settings
from service.snapshots import REPORT, Damaged, Published, SnapshotStore

if TYPE_CHECKING:
    import pandas as pd

    from data.config import Watch
    from data.log import Receipt
    from data.store import Store
    from model.checks import Check
    from service.keys import Key
    from service.schemas import Delivery


DEFAULT_STORE = "./var"


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    for name, justify in columns:
        table.add_column(name, justify=justify, no_wrap=justify == "right", overflow="fold")  # type: ignore[arg-type]
    return table


def receipts(done: list["Receipt"], store: "Store", out: Console, talk: Console) -> None:
    table = _table(
        ("file", "left"), ("source", "left"), ("new", "right"), ("known", "right"), ("rejected", "right"), ("held back", "right")
    )
    for r in done:
        table.add_row(Path(r.file).name, r.source, f"{r.new:,}", f"{r.known:,}", f"{r.rejected:,}", f"{r.quarantined:,}")
    out.print(table)
    for r in done:
        if r.rejected_file:
            place = f"{store.url}/{r.rejected_file}"
            talk.print(f"{Path(r.file).name}: {r.rejected} rows kept aside with their reasons in {place}; the first:", highlight=False)
            aside = io.StringIO(store.read(r.rejected_file).decode(), newline="")
            for row, _ in zip(csv.DictReader(aside), range(3), strict=False):
                talk.print(f"  line {row['line']}: {row['column']} {row['value_found']!r} {row['reason']}", highlight=False, markup=False)
        for finding in r.findings if r.quarantined else []:
            talk.print(f"{finding['id']}: {finding['says']} ({finding['rows']} rows)", highlight=False, markup=False, soft_wrap=True)
            place = f"{store.url}/quarantine/{finding['id']}.csv"
            how = f"quietquota ingest --accept {finding['id']}{_at(store.url.removesuffix('/log'))}"
            talk.print(f"  held back in {place}; if they are right: {how}", highlight=False, markup=False, soft_wrap=True)
        for note in r.notes:
            talk.print(f"{Path(r.file).name}: {note}", highlight=False, markup=False)
        if r.in_the_future:
            talk.print(
                f"{Path(r.file).name}: {r.in_the_future} releases are dated after now; they count from their date on", highlight=False
            )


def observations(known: "pd.DataFrame", watch: "Watch", unit: str | None, fmt: str, out: Console) -> None:
    if unit is not None:
        importer, family = next((i, f) for u, i, f in watch.units() if u == unit)
        ours = known["hs_code"].str.startswith(watch.families[family].hs) & (known["exporter"] == watch.exporter)
        known = known[ours & (known["importer"] == importer)]
    known = known.sort_values(["exporter", "importer", "hs_code", "period", "reporter"])
    if fmt == "csv":
        sys.stdout.write(known.to_csv(index=False, date_format="%Y-%m-%dT%H:%M:%SZ"))
    elif fmt == "json":
        sys.stdout.write(known.to_json(orient="records", date_format="iso") + "\n")
    else:
        shown = known.tail(40)
        names = ["reporter", "exporter", "importer", "hs_code", "period", "net_weight_kg", "status", "released_at", "releases"]
        table = _table(*((n, "right" if n in ("net_weight_kg", "releases") else "left") for n in names))
        for row in shown[names].itertuples(index=False):
            table.add_row(*row[:5], f"{row[5]:,.0f}", row[6], str(row[7])[:10], str(row[8]))
        out.print(table)
        if len(known) > len(shown):
            out.print(f"the last {len(shown)} of {len(known):,} cells; --format csv has them all", highlight=False)


def revisions(table: "pd.DataFrame", fmt: str, out: Console) -> None:
    if fmt == "csv":
        sys.stdout.write(table.to_csv(index=False))
    elif fmt == "json":
        sys.stdout.write(table.to_json(orient="records") + "\n")
    else:
        names = ["source", "reporter", "cells", "stated", "lag, days", "90 %", "revised", "by (sd)", "90 %", "within, months"]
        shown = _table(*((n, "left" if n in ("source", "reporter") else "right") for n in names))
        for source, reporter, cells, *rest in table.itertuples(index=False):
            forms = ("{:.0%}", "{:.0f}", "{:.0f}", "{:.1%}", "{:.1%}", "{:.1%}", "{:.1f}")
            told = ("" if v != v else f.format(v) for f, v in zip(forms, rest, strict=True))
            shown.add_row(source, reporter, f"{cells:,.0f}", *told)
        out.print(shown)
        out.print("lag: from the month's end to the first release; where none was stated, it is the release calendar's", highlight=False)


def checks(done: list["Check"], talk: Console) -> None:
    table = _table(("check", "left"), ("value", "right"), ("pass", "right"), ("outcome", "left"), ("found in", "left"))
    for c in done:
        table.add_row(c.meaning, f"{c.value:.5g}", f"{c.threshold:g}", c.outcome, c.worst)
    talk.print(table)


def probability(p: float) -> str:
    """In two digits; what is not sure is not said to be 0 or 1."""
    return "<.01" if 0 < p < 0.005 else ">.99" if 0.995 <= p < 1 else f"{p:.2f}"


def regimes(published: Published, out: Console) -> None:
    """The table of answers, and the sentence of its top row."""
    answering = sorted((r for r in published.answers if r["current"]), key=lambda r: -r["current"]["probability"])
    meta = published.meta
    through = ", ".join(f"{reporter} {month}" for reporter, month in meta["data_through"].items())
    out.print(
        f"snapshot {published.id}   data as of {meta['as_of'][:16]}Z   figures through {through}   checks {meta['gate']}", highlight=False
    )
    names = ["unit", "month", "p", "5-95 %", "targ", "wide", "disr", "open", "o/e", "now"]
    table = _table(*((n, "left" if n == "unit" else "right") for n in names))
    for r in answering:
        c, causes = r["current"], r["current"]["causes"]
        low, high = c["probability_interval"]
        expected = c["counterfactual_kg"]
        share = f"{c['observed_kg'] / expected:.0%}" if expected else "-"
        shares = (f"{causes[k]:.2f}" for k in ("targeted", "product_wide", "disrupted", "open"))
        now = probability(r["nowcast"]["probability"])
        table.add_row(r["unit"], c["period"], probability(c["probability"]), f"{low:.2f}-{high:.2f}", *shares, share, now)
    out.print(table)
    out.print("p = p(restricted), filtered = targ + wide, with its range over draws; now = nowcast for the as-of month", highlight=False)
    for (family, reason), importers in _by_reason(published.answers).items():
        out.print(f"no answer for {family} to {', '.join(importers)}: {reason}", highlight=False)
    if answering:
        out.print(f"\n{answering[0]['sentence']}", highlight=False, markup=False)


def _by_reason(answers: list[dict[str, Any]]) -> dict[tuple[str, str], list[str]]:
    reasons: dict[tuple[str, str], list[str]] = {}
    for r in answers:
        if r["abstention"]:
            reasons.setdefault((r["family"], r["abstention"]), []).append(r["importer"])
    return reasons


def print_regimes(published: Published, fmt: str, out: Console) -> None:
    if fmt == "table":
        regimes(published, out)
    elif fmt == "json":
        rows = [{k: v for k, v in r.items() if k != "history"} for r in published.answers]
        sys.stdout.write(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode() + "\n")
    elif fmt == "csv":
        sys.stdout.write(as_csv(forecast_rows(published.answers, published.meta["as_of"], published.id)))
    else:
        raise ValueError(f"--format {fmt}: is not table, json or csv")


def explain(published: Published, unit: str, out: Console) -> None:
    row = next((r for r in published.answers if r["unit"] == unit), None)
    if row is None:
        near = get_close_matches(unit, [r["unit"] for r in published.answers], 3)
        raise ValueError(
            f"no unit {unit!r} in snapshot {published.id}; {'is it ' + ' or '.join(near) if near else 'see quietquota regimes'}"
        )
    meta = published.meta
    out.print(f"snapshot {published.id}   data as of {meta['as_of'][:16]}Z   checks {meta['gate']}", highlight=False)
    out.print(row["sentence"], highlight=False, markup=False)
    names = ["month", "kind", "observed t", "expected t", "p(restr.)", "targeted", "wide", "disrupted", "open"]
    table = _table(*((n, "left" if n == "kind" else "right") for n in names))
    for m in [*[m for m in row["history"] if m["kind"] != "smoothed"][-12:], *row["ahead"]]:
        t = ["-" if m[k] is None else f"{m[k] / 1e3:,.0f}" for k in ("observed_kg", "counterfactual_kg")]
        shares = (f"{m['causes'][k]:.2f}" for k in ("targeted", "product_wide", "disrupted", "open"))
        table.add_row(m["period"], m["kind"], *t, probability(m["probability"]), *shares)
    if row["history"]:
        out.print(table)
    if row["onset"]:
        out.print(f"restricted (smoothed p >= 0.5) since {row['onset']}, {row['age_months']} months so far", highlight=False)
    if row.get("evidence"):
        before, after = row["log_odds"]
        told = ", ".join(f"{name.replace('_', ' ')} {value:+.1f}" for name, value in row["evidence"].items())
        out.print(f"log odds: {before:.1f} a year before, {told} (log Bayes factors of the last 12 months) = {after:.1f}", highlight=False)
    if row.get("detectability"):
        odds = ", ".join(f"{depth}: {share:.0%}" for depth, share in row["detectability"].items())
        out.print(f"would a squeeze begun three months ago be given p >= 0.5 by now? {odds}", highlight=False)


def runs(done: list[dict[str, Any]], fmt: str, out: Console) -> None:
    if fmt == "json":
        sys.stdout.write(orjson.dumps(done, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    table = _table(("started", "left"), ("as of", "left"), ("outcome", "left"), ("s", "right"), ("snapshot or reason", "left"))
    for run in done:
        seconds = sum(run["seconds"].values())
        why = run.get("snapshot") or run.get("why") or (f"killed while {run['step']}, or at it now" if run["outcome"] == "running" else "-")
        table.add_row(run["started_at"][:19], str(run["inputs"].get("as_of"))[:10], run["outcome"], f"{seconds:.0f}", why)
    out.print(table)


def deliveries(tried: list["Delivery"], out: Console) -> None:
    if not tried:
        return
    table = _table(
        ("alert", "left"), ("rule", "left"), ("state", "left"), ("tries", "right"), ("next", "left"), ("what went wrong", "left")
    )
    for one in tried:
        following = one.next_at.isoformat(timespec="seconds")[:19] if one.next_at else "-"
        table.add_row(one.alert, one.rule, one.state, str(one.tries), following, one.error or "-")
    out.print(table)


def keys(kept: list["Key"], out: Console) -> None:
    table = _table(("id", "left"), ("name", "left"), ("scopes", "left"), ("made", "left"), ("until", "left"), ("revoked", "left"))
    for key in kept:
        days = (None if at is None else at[:10] for at in (key.created_at, key.expires_at, key.revoked_at))
        table.add_row(key.id, key.name, ", ".join(key.scopes), *(day or "-" for day in days))
    out.print(table)


def _at(place: str) -> str:
    """The option that names a store, where it is not the default."""
    return "" if place in (DEFAULT_STORE, str(Path(DEFAULT_STORE).resolve())) else f" --store {place}"


def next_steps(published: Published, settings: Settings, talk: Console) -> None:
    store = _at(settings.store)
    report = f"{settings.store}/snapshots/{published.id}/{REPORT}"
    talk.print(f"\nreport: {report}\nserve:  quietquota serve{store}   (or make serve), then GET /v1/regimes", highlight=False)


SCORED = (
    ("skill", "Brier skill"), ("log_skill", "log skill"), ("auroc", "AUROC"), ("ap", "average precision"), ("ece", "calibration error"),
    ("sure", "restricted where p >= 0.95"),
    ("brier", "Brier"), ("log", "log score"), ("base_rate", "base rate"), ("threshold", "alarm at p >="),
    ("false_alarms", "false alarms / unit-year"), ("caught", "spells caught"), ("caught3", "caught in 3 months"),
    ("delay", "delay, months"),
)  # fmt: skip


def scores(done: dict[str, dict[str, Any]], out: Console) -> None:
    kinds = list(done)
    table = _table(("", "left"), *((kind, "right") for kind in kinds))
    table.add_row("rows", *(f"{done[k]['rows'][0]:,.0f}" for k in kinds))
    for name, title in SCORED:
        cells = [done[k].get(name) for k in kinds]
        table.add_row(title, *("" if c is None else f"{c[0]:.3f} [{c[1]:.2f}, {c[2]:.2f}]" for c in cells))
    out.print(table)
    for kind in kinds:
        bins = done[kind]["reliability"]
        columns = (bins[name] for name in ("forecast", "observed", "observed_low", "observed_high"))
        told = " ".join(f"{f:.2f}>{o:.2f} [{low:.2f}, {high:.2f}]" for f, o, low, high in zip(*columns, strict=True))
        out.print(f"{kind}: mean forecast > share restricted, bins of equal mass: {told}", highlight=False, markup=False)


def snapshots(store: SnapshotStore, out: Console) -> None:
    current = store.current_id()
    table = _table(("", "left"), ("snapshot", "left"), ("data as of", "left"), ("checks", "left"))
    for name in store.ids():
        try:
            told = store.manifest(name)
            row = told["as_of"][:16] + "Z", told["gate"]
        except Damaged:
            row = "damaged", "-"
        table.add_row("*" if name == current else "", name, *row)
    out.print(table)
