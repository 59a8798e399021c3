"""When a refresh is due, and the files by which others run it."""

import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command
from typer.testing import CliRunner

from data.sources import fetch as fetching
from service import schedule as schedules
from service.cli import app as command
from service.console import EXIT_BUSY, EXIT_GATE, EXIT_QUARANTINE, EXIT_STORE, EXIT_USAGE
from service.schedule import DUE_DAY, Trigger, next_run, releases_due

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OFFICES = ["CHN", "JPN", "DEU", "USA"]
instants = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))


@given(instants, st.times().map(lambda t: t.replace(second=0, microsecond=0)))
def test_the_next_refresh_is_within_a_day_at_night_or_on_a_day_on_which_figures_are_due(after, nightly):
    found = next_run(OFFICES, nightly, after)
    assert after < found <= after + timedelta(days=1)
    days = {day.date() for day, _, _ in releases_due(OFFICES, after)}
    assert found.time() == nightly or (found.time() in DUE_DAY and found.date() in days)


@given(instants)
def test_every_month_of_every_office_is_due_once(after):
    due = [(reporter, month) for _, reporter, month in releases_due(OFFICES, after)]
    assert len(due) == len(set(due))
    assert {reporter for reporter, _ in due} == set(OFFICES)


def test_figures_are_due_when_the_calendars_say():
    after = datetime(2026, 11, 1, tzinfo=UTC)
    assert [(f"{day:%m-%d}", reporter, month) for day, reporter, month in releases_due(["CHN", "JPN"], after)][:2] == [
        ("11-20", "CHN", "2026-10"), ("11-28", "JPN", "2026-10"),
    ]  # fmt: skip
    trigger, seen, moment = Trigger(["CHN"], clock(2)), [], datetime(2026, 11, 19, 3, tzinfo=UTC)
    for _ in range(5):
        moment = trigger.get_next_fire_time(moment, moment)
        seen.append(f"{moment:%d %H}")
    assert seen == ["20 02", "20 12", "20 18", "21 02", "22 02"]


@pytest.mark.slow
def test_a_schedule_outlives_a_refresh_that_fails_and_ends_when_it_is_told_to(tmp_path):
    arguments = [sys.executable, "-m", "service.cli", "schedule", "--now", "--store", str(tmp_path / "var")]
    running = subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        said = ""
        while "the log is empty" not in said:
            said += (line := running.stderr.readline())
            assert line, said
        assert re.search(r"next refresh: \d{4}-\d\d-\d\d 02:00|12:00|18:00", said)
        time.sleep(0.5)
        assert running.poll() is None
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=60) == 0
    finally:
        running.kill()
        running.stderr.close()


@pytest.mark.slow
def test_a_refresh_that_hangs_is_ended_so_that_the_next_can_begin(monkeypatch, tmp_path):
    monkeypatch.setattr(schedules, "LONGEST", timedelta(seconds=1))
    assert schedules.run(["deliver", "--watch", "--store", str(tmp_path)]) == -signal.SIGTERM
    monkeypatch.setattr(schedules, "LAST_SECONDS", 0.0)
    assert schedules.run(["deliver", "--watch", "--store", str(tmp_path)]) in (-signal.SIGKILL, -signal.SIGTERM)


@pytest.mark.slow
def test_a_schedule_that_is_told_to_stop_tells_what_it_runs(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(schedules.run, ["deliver", "--watch", "--store", str(tmp_path)])
        while not schedules._running:
            time.sleep(0.01)
        schedules.stop()
        assert running.result(timeout=60) == -signal.SIGTERM
    assert not schedules._running


def test_rows_that_are_held_back_are_not_hidden_by_another_try():
    """Kubernetes runs a job again that ended otherwise than with 0, and then finds nothing new."""
    [job] = [d for d in yaml.safe_load_all((DEPLOY / "kubernetes/quietquota.yaml").read_text()) if d["kind"] == "CronJob"]
    [rule] = job["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert {EXIT_USAGE, EXIT_GATE, EXIT_QUARANTINE, EXIT_BUSY} == set(rule["onExitCodes"]["values"])
    assert EXIT_STORE not in rule["onExitCodes"]["values"]


def test_what_cannot_be_fetched_is_said_and_the_refresh_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(fetching, "APART", 0.0)
    sample = (ROOT / "data/sample/quietquota.toml").read_text()
    (tmp_path / "watch.toml").write_text(f'fetch = ["http://127.0.0.1:1/figures.csv", "comtrade:nonsense"]\n{sample}')
    ran = CliRunner().invoke(command, ["refresh", "--fetch", "--config", str(tmp_path / "watch.toml"), "--store", str(tmp_path / "var")])
    assert ran.stderr.count("going on without it") == 2
    assert "the log is empty" in ran.stderr
    assert ran.exit_code == 2


@pytest.mark.parametrize(
    "document", list(yaml.safe_load_all((DEPLOY / "kubernetes/quietquota.yaml").read_text())), ids=lambda d: d["metadata"]["name"]
)
def test_what_kubernetes_is_given_is_what_it_takes(document):
    kubernetes_validate.validate(document, "1.34", strict=True)


def test_containers_run_targets_and_commands_that_there_are():
    known = set(get_command(command).commands)
    targets = set(re.findall(r"^FROM \S+ AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.M))
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for name, one in services.items():
        assert one["build"]["target"] in targets, name
        assert one.get("command", ["serve"])[0] in known, name
    units = "\n".join(path.read_text() for path in (DEPLOY / "systemd").iterdir())
    assert set(re.findall(r"bin/quietquota (\w+)", units)) <= known


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_units(tmp_path):
    for path in (DEPLOY / "systemd").iterdir():
        text = path.read_text().replace("/opt/quietquota/bin/quietquota", "/bin/true").replace("User=quietquota\n", "")
        (tmp_path / path.name).write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", *sorted(tmp_path.iterdir())], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "quietquota" in line]
    assert not ours, ours
