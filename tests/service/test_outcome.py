"""Whoever watches the machine learns how a refresh ended: from a textfile, a signed message, and in neither case at the refresh's cost."""

import io
from http.server import BaseHTTPRequestHandler

import orjson
import pytest
import tenacity
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from standardwebhooks.webhooks import Webhook
from support import listening
from typer.testing import CliRunner

from service.cli import app
from service.outcome import told
from service.runs import on_record
from service.snapshots import SnapshotStore, StoreBusy
from service.webhooks import sender

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CHECKS = [
    {"name": "rhat_max", "value": 1.004, "outcome": "PASS"},
    {"name": "unexplained_jumps", "value": 2.0, "outcome": "REVIEW"},
]


class Receiver(BaseHTTPRequestHandler):
    """Refuses the first message of each address, and takes the second."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.heard = [*getattr(self.server, "heard", []), (dict(self.headers), body)]
        self.send_response(503 if len(self.server.heard) == 1 else 204)
        self.end_headers()

    def log_message(self, *told):
        pass


def run(store, outcome, **facts):
    with on_record(store.store, {"as_of": None}) as record:
        with record.step("reading the log"):
            pass
        record.know(**facts)
        record.end(outcome, facts.get("why"))


def values(path):
    return {
        (sample.name.removeprefix("quietquota_refresh_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }


def test_a_textfile_says_how_the_last_run_ended_and_since_when_none_was_good(tmp_path):
    store, path, talk = SnapshotStore(tmp_path), tmp_path / "quietquota.prom", Console(file=io.StringIO())
    with told(str(store.store.url), path, None, None, sender(True), talk):
        run(store, "published", checks=CHECKS, snapshot="s")
    first = values(path)
    assert (first["outcome", "published"], first["failures",]) == (1, 0)
    assert (first["check", "rhat_max"], first["check_outcome", "unexplained_jumps"]) == (1.004, 1)
    assert first["step_seconds", "reading the log"] >= 0
    for _ in range(2):
        with told(str(store.store.url), path, None, None, sender(True), talk), pytest.raises(RuntimeError), on_record(store.store, {}):
            raise RuntimeError("out of memory")
    then = values(path)
    assert (then["outcome", "failed"], then["failures",]) == (1, 2)
    assert then["finished_timestamp_seconds", "good"] == first["finished_timestamp_seconds", "last"]
    assert then["finished_timestamp_seconds", "last"] > then["finished_timestamp_seconds", "good"]


def test_a_message_is_signed_and_sent_again_until_it_is_taken(tmp_path):
    store, talk = SnapshotStore(tmp_path), Console(file=io.StringIO())
    with listening(Receiver, "/ops") as server:
        with told(str(store.store.url), None, server.address, SECRET, sender(True), talk, wait=tenacity.wait_none()):
            run(store, "gate failed", checks=CHECKS, why=None)
        (first, _), (headers, body) = server.heard
    assert first["webhook-id"] == headers["webhook-id"]
    said = Webhook(SECRET).verify(body, {name.lower(): v for name, v in headers.items()})
    assert said["type"] == "refresh.gate_failed"
    assert [c["name"] for c in said["data"]["checks"]] == ["unexplained_jumps"]
    assert talk.file.getvalue() == ""


def test_what_cannot_be_told_is_said_and_costs_the_refresh_nothing(tmp_path):
    store, talk = SnapshotStore(tmp_path), Console(file=io.StringIO(), width=200)
    with told(str(store.store.url), tmp_path / "nowhere" / "x.prom", None, None, sender(True), talk):
        run(store, "published")
    with told(str(store.store.url), None, "http://127.0.0.1:9/", None, sender(False), talk, wait=tenacity.wait_none()):
        run(store, "published")
    assert "FileNotFoundError" in talk.file.getvalue()
    assert "only https is sent to" in talk.file.getvalue()


def test_a_refresh_that_comes_to_no_record_is_told_of_too(tmp_path):
    store, path, talk = SnapshotStore(tmp_path / "var"), tmp_path / "quietquota.prom", Console(file=io.StringIO())
    run(store, "published")
    with pytest.raises(StoreBusy), told(str(store.store.url), path, None, None, sender(True), talk):
        raise StoreBusy("another refresh is running")
    said = values(path)
    assert (said["outcome", "busy"], said["failures",]) == (1, 1)
    with pytest.raises(OSError), told(str(store.store.url), path, None, None, sender(True), talk):
        raise OSError("no answer")
    assert values(path)["outcome", "failed"] == 1


def test_a_refresh_that_ends_in_an_error_is_told_of_too(tmp_path):
    path = tmp_path / "quietquota.prom"
    told = CliRunner().invoke(app, ["refresh", "--store", str(tmp_path / "var"), "--as-of", "2020-01-01", "--textfile", str(path)])
    assert told.exit_code != 0
    assert values(path)["outcome", "failed"] == 1
    last = orjson.loads(next((tmp_path / "var" / "runs").glob("*.json")).read_bytes())
    assert last["outcome"] == "failed"


@pytest.mark.parametrize("wrong", [["--config", "nowhere.toml"], ["--store", "nonsense://somewhere"]])
def test_a_refresh_that_cannot_even_begin_is_told_of_too(tmp_path, wrong):
    path = tmp_path / "quietquota.prom"
    told = CliRunner().invoke(app, ["refresh", "--store", str(tmp_path / "var"), "--textfile", str(path), *wrong])
    assert told.exit_code == 2
    assert values(path)["outcome", "failed"] == 1


def test_a_publisher_who_cannot_be_had_and_rows_that_wait_are_told_of_each_night(tmp_path):
    path, talk = tmp_path / "quietquota.prom", Console(file=io.StringIO())
    fetched = [{"address": "https://one", "error": None}, {"address": "https://other", "error": "404"}]
    with told(str(tmp_path), path, None, None, sender(True), talk):
        run(SnapshotStore(tmp_path), "nothing new", fetched=fetched, pending_findings=3)
    said = values(path)
    assert (said["source_failed", "https://one"], said["source_failed", "https://other"], said["pending_findings",]) == (0, 1, 3)
