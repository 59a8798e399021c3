"""Bytes that are not what they should be, by the hundred: bad figures, clean ones, the same figures in any order, damaged snapshots."""

import random
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from support import csv
from test_bad_files import FILE, GOOD, REFUSED, ROWS
from test_screens import MONTHS, PARTNERS, figures
from trials import Told

from data.log import ReleaseLog
from data.observations import InputError
from service.snapshots import SnapshotStore, StoreError

NOW = datetime(2030, 1, 1, tzinfo=UTC)
Cell = Callable[[float, float], tuple[float, float]]


def _exchanged(rng: np.random.Generator) -> dict[str, Cell]:
    """The figures of two partners of very different size, in one month."""
    (one, less), (other, more) = ("IND", PARTNERS["IND"]), ("KOR", PARTNERS["KOR"])
    t = int(rng.integers(6, len(MONTHS)))
    return {f"{one}_{t}": lambda kg, usd: (more, more * 30), f"{other}_{t}": lambda kg, usd: (less, less * 30)}


def _slips(rng: np.random.Generator) -> Iterator[tuple[str, dict[str, Cell]]]:
    every = range(len(MONTHS))
    for _ in range(30):
        cell = f"{rng.choice(list(PARTNERS))}_{rng.choice(every)}"
        yield "weight x1,000", {cell: lambda kg, usd: (kg * 1000, usd)}
        yield "weight / 1,000", {cell: lambda kg, usd: (kg / 1000, usd)}
        yield "all x1,000", {cell: lambda kg, usd: (kg * 1000, usd * 1000)}
    for _ in range(20):
        t = int(rng.integers(6, len(MONTHS)))
        yield "a month of nothing", {f"{i}_{t}": lambda kg, usd: (0.0, 0.0) for i in PARTNERS}
        yield "weights worked out from values", {f"{i}_{t}": lambda kg, usd: (usd / 31, usd) for i in PARTNERS}
        yield "partners exchanged", _exchanged(rng)


def _log(folder: str) -> ReleaseLog:
    return ReleaseLog(Path(folder) / "log")


def bad(seed: int) -> Iterator[Told]:
    """Files that must be refused, or of which what is bad must be kept aside, and all else taken."""
    rng = np.random.default_rng(seed)
    for name, (row, *_) in ROWS.items():
        for _ in range(12):
            at = int(rng.integers(0, len(GOOD) + 1))
            with tempfile.TemporaryDirectory() as folder:
                told = _log(folder).ingest(csv(*GOOD[:at], row, *GOOD[at:]), "f.csv", now=NOW)
            good = (told.new, told.rejected) == (len(GOOD), 1)
            yield [] if good else [f"{told.new} taken, {told.rejected} kept aside"], name
    for name, (raw, _) in REFUSED.items():
        with tempfile.TemporaryDirectory() as folder:
            log = _log(folder)
            log.ingest(FILE, "before.csv", now=NOW)
            before = log.fingerprint()
            try:
                log.ingest(raw, "bad.csv", now=NOW)
                yield ["taken"], name
            except InputError:
                yield [] if log.fingerprint() == before else ["the log is another"], name
    for name, changed in _slips(rng):
        with tempfile.TemporaryDirectory() as folder:
            told = _log(folder).ingest(csv(*figures(rng, **changed)), "f.csv", now=NOW)
        yield [] if told.quarantined == len(changed) else [f"{told.quarantined} of {len(changed)} held back"], name


def clean(seed: int) -> Iterator[Told]:
    """Noise, and a measure that takes nine tenths or all of one partner's flow: nothing is held back."""
    rng = np.random.default_rng(seed)
    for n in range(200):
        cut: dict[str, Cell] = {f"JPN_{t}": lambda kg, usd: (kg / 10, usd / 10) for t in range(15, 24)} if n % 2 else {}
        with tempfile.TemporaryDirectory() as folder:
            told = _log(folder).ingest(csv(*figures(rng, **cut)), "f.csv", now=NOW)
        yield [f"{told.quarantined} held back: {told.findings[0]['says']}"] if told.quarantined else [], "one cut" if cut else "noise"


def in_any_order(seed: int) -> Iterator[Told]:
    """The same releases shuffled, split, sent again: what is known as of any day is the same."""
    rng = random.Random(seed)
    for _ in range(1000):
        kept = rng.sample(GOOD, 8)
        rows = kept + [f"{row.rpartition(',')[0].replace(',1000,', f',{1000 + n},')},2024-06-{n + 1:02}" for n, row in enumerate(kept[:3])]
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            whole, parts = _log(one), _log(other)
            whole.ingest(csv(*rows), "whole.csv", now=NOW)
            sent = rows + rng.choices(rows, k=rng.randrange(4))
            rng.shuffle(sent)
            cut = sorted(rng.sample(range(1, len(sent)), 2))
            for n, part in enumerate((sent[: cut[0]], sent[cut[0] : cut[1]], sent[cut[1] :])):
                parts.ingest(csv(*part), f"{n}.csv", now=NOW)
            days = (datetime(2023, 9, 1, tzinfo=UTC), datetime(2024, 6, 2, tzinfo=UTC), NOW)
            same = all(whole.as_of("observations", day).equals(parts.as_of("observations", day)) for day in days)
        yield [] if same else ["another answer"], "shuffled, split in three, some sent twice"


def damaged(place: Path, seed: int) -> Iterator[Told]:
    """Files of a published snapshot changed on disk. place : the store; it is whole again afterwards."""
    rng, store = random.Random(seed), SnapshotStore(place)
    name = str(store.current_id())
    files = sorted(p for p in (place / "snapshots" / name).rglob("*") if p.is_file() and p.stat().st_size)
    for n in range(500):
        path, other = rng.sample(files, 2)
        content, harm = path.read_bytes(), ("flipped", "cut short", "gone", "another's content", "a piece twice")[n % 5]
        at = rng.randrange(len(content))
        changed = {
            "flipped": content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :],
            "cut short": content[:at],
            "another's content": other.read_bytes(),
            "a piece twice": content[: at + 1] + content[at:],
        }
        if changed.get(harm) == content:
            changed[harm] = content + b"x"
        path.unlink() if harm == "gone" else path.write_bytes(changed[harm])
        try:
            store.verify(name)
            yield [f"{path.name} was believed"], harm
        except StoreError:
            yield [], harm
        finally:
            path.write_bytes(content)
