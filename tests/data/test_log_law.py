"""The law of the two clocks, against a plain list: whatever comes, in whatever order, an as-of is the last release by then of each cell."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support import csv

from data.log import PastHorizon, ReleaseLog

CELLS = [(hs, f"2023-0{month}") for hs in ("850511", "280530") for month in (1, 2, 3)]
DAYS = [datetime(2023, 5, 1, tzinfo=UTC) + timedelta(days=n) for n in range(6)]
NOW = datetime(2024, 1, 1, tzinfo=UTC)
release = st.tuples(st.sampled_from(CELLS), st.sampled_from(DAYS), st.integers(1, 4))


def rows(releases):
    return csv(*(f"CHN,CHN,JPN,{hs},{period},{kg},,{day:%Y-%m-%d}" for (hs, period), day, kg in releases))


class Law(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.log = ReleaseLog(Path(self.folder.name) / "log")
        self.taken: dict[tuple, int] = {}
        self.files: list[bytes] = []

    def teardown(self):
        self.folder.cleanup()

    @rule(releases=st.lists(release, min_size=1, max_size=5))
    def ingest(self, releases):
        raw = rows(releases)
        receipt = self.log.ingest(raw, "f.csv", now=NOW)
        of_cell: dict[tuple, set[int]] = {}
        for cell, day, kg in releases:
            of_cell.setdefault((cell, day), set()).add(kg)
        # Two figures of one cell and instant contradict each other, and none of them is taken.
        sound = {at: kgs.pop() for at, kgs in of_cell.items() if len(kgs) == 1}
        fresh = {at: kg for at, kg in sound.items() if at not in self.taken}
        assert receipt.new == len(fresh)
        assert receipt.new + receipt.known + receipt.rejected == len(releases)
        self.taken |= fresh
        self.files.append(raw)

    @rule(data=st.data())
    def ingest_again(self, data):
        if self.files:
            assert self.log.ingest(data.draw(st.sampled_from(self.files)), "again.csv", now=NOW).new == 0

    @rule()
    def compact(self):
        self.log.compact()

    @rule()
    def open_anew(self):
        self.log = ReleaseLog(self.log.store.root)

    @rule(day=st.sampled_from([*DAYS, NOW]))
    def ask(self, day):
        if not self.files:
            return
        told = self.log.as_of("observations", day)
        last = {cell: kg for (cell, _), kg in sorted((at, kg) for at, kg in self.taken.items() if at[1] <= day)}
        assert {(r.hs_code, r.period): r.net_weight_kg for r in told.itertuples()} == last
        assert told["releases"].sum() == sum(at[1] <= day for at in self.taken)

    @rule()
    def ask_past_the_horizon(self):
        if self.files:
            with pytest.raises(PastHorizon):
                self.log.as_of("observations", NOW + timedelta(days=1))

    @invariant()
    def everything_is_as_written(self):
        if self.taken:
            assert self.log.verify() >= 1


Law.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TestTheLawOfTwoClocks = pytest.mark.slow(Law.TestCase)
