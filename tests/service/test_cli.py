"""The commands: what they print, where, and with which exit code."""

import json
import socket
from pathlib import Path

import pytest
from answers import META, UNITS, WHEN
from support import csv, simulated_csv
from typer.testing import CliRunner

from service.cli import app
from service.forecasts import FORECAST_COLUMNS
from service.snapshots import SnapshotStore

run = CliRunner().invoke


@pytest.fixture
def store(tmp_path: Path) -> str:
    path = tmp_path / "var"
    SnapshotStore(path).publish(META, UNITS, lambda folder: (folder / "report.html").write_text("<html>"), WHEN)
    return str(path)


def test_help_of_every_command_names_the_exit_codes_or_options():
    assert "Exit codes: 0 done" in run(app, ["--help"]).output
    for command in ("ingest", "observations", "refresh", "regimes", "explain", "serve", "report"):
        result = run(app, [command, "--help"])
        assert (result.exit_code, "--store" in result.output) == (0, True), command


def test_ingest_counts_rows_and_exits_5_when_some_were_kept_aside(tmp_path):
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_bytes(simulated_csv())
    bad.write_bytes(csv("CHN,CHN,JPN,850511,2024-01,-5,,2024-02-20"))
    assert run(app, ["ingest", str(good), "--store", str(tmp_path)]).exit_code == 0
    result = run(app, ["ingest", str(bad), "--store", str(tmp_path)])
    assert result.exit_code == 5
    assert "line 2: net_weight_kg '-5' is not a finite number >= 0" in result.stderr


def test_of_a_folder_what_no_source_recognises_is_passed_over_and_said_and_a_file_that_was_named_is_an_error(tmp_path):
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "a.csv").write_bytes(simulated_csv(months=3))
    (folder / "families.json").write_text('{"families": {}}')
    (folder / "z.csv").write_bytes(csv("CHN,CHN,USA,850511,2015-01,5,,2015-02-20"))
    result = run(app, ["ingest", str(folder), "--store", str(tmp_path / "var")])
    assert (result.exit_code, "families.json: no source recognises its header" in result.stderr) == (0, True)
    assert "a.csv" in result.stdout and "z.csv" in result.stdout
    named = run(app, ["ingest", str(folder / "z.csv"), str(folder / "families.json"), "--store", str(tmp_path / "other")])
    assert (named.exit_code, "z.csv" in named.stdout) == (2, True), "what was taken before is said all the same"


def test_a_port_that_is_taken_is_a_usage_error_before_anything_is_promised(store):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run(app, ["serve", "--port", port, "--store", store])
    assert result.exit_code == 2
    assert f"127.0.0.1:{port} cannot be listened on" in result.stderr and "answers:" not in result.stderr


def test_observations_answers_as_of_and_refuses_past_the_horizon(tmp_path):
    path = tmp_path / "f.csv"
    path.write_bytes(csv("CHN,CHN,JPN,850511,2024-01,5,,2024-02-20", "CHN,CHN,JPN,850511,2024-01,6,,2024-06-20"))
    run(app, ["ingest", str(path), "--store", str(tmp_path)])
    early = run(app, ["observations", "--as-of", "2024-03-01", "--format", "json", "--store", str(tmp_path)])
    assert [r["net_weight_kg"] for r in json.loads(early.stdout)] == [5]
    path.write_bytes(csv("CHN,CHN,JPN,850511,2024-01,7,,2999-06-20"))
    run(app, ["ingest", str(path), "--store", str(tmp_path)])
    now = run(app, ["observations", "--format", "json", "--store", str(tmp_path)])
    assert [r["net_weight_kg"] for r in json.loads(now.stdout)] == [6], "what is dated after now is not known yet"
    future = run(app, ["observations", "--as-of", "2999-07-01", "--store", str(tmp_path)])
    assert (future.exit_code, "past the log's horizon" in future.stderr) == (2, True)


def test_a_refresh_of_which_nothing_can_be_answered_says_why_of_every_unit(tmp_path):
    rows = [f"CHN,CHN,JPN,850511,2024-0{m},0,,2024-07-20" for m in range(1, 7)]
    (tmp_path / "f.csv").write_bytes(csv(*rows))
    (tmp_path / "quietquota.toml").write_text(
        'exporter = "CHN"\nimporters = ["JPN"]\n[families.magnets]\ntitle = "Magnets"\nhs = ["850511"]\n'
        '[covariates]\ntransition = ["grp"]\n'
    )
    run(app, ["ingest", str(tmp_path / "f.csv"), "--store", str(tmp_path)])
    result = run(app, ["refresh", "--config", str(tmp_path / "quietquota.toml"), "--store", str(tmp_path), "--as-of", "2024-08-01"])
    assert result.exit_code == 2
    assert "CHN.JPN.magnets: all 6 known figures are zero" in result.stderr
    assert "covariate grp: the log has no row of it" in result.stderr


def test_regimes_as_csv_has_the_forecast_columns_and_one_probability_a_month(store):
    lines = run(app, ["regimes", "--format", "csv", "--store", store]).stdout.splitlines()
    assert lines[0] == ",".join(FORECAST_COLUMNS)
    cells = [dict(zip(FORECAST_COLUMNS, line.split(","), strict=True)) for line in lines[1:]]
    assert [(c["period"], c["kind"]) for c in cells if c["importer"] == "JPN" and c["family"] == "magnets"] == [
        ("2026-08", "smoothed"),
        ("2026-09", "filtered"),
        ("2026-10", "nowcast"),
    ]
    assert not [c for c in cells if c["importer"] == "KOR"], "a unit that abstains has no rows"


def test_regimes_as_a_table_fits_a_terminal_and_names_who_abstains(store):
    output = run(app, ["regimes", "--store", store], env={"COLUMNS": "80"}).stdout
    assert max(len(line) for line in output.splitlines() if "CHN.JPN.magnets" in line) <= 80
    assert "no answer for magnets to KOR: no figure known" in output


def test_explain_prints_the_sentence_and_refuses_an_unknown_unit(store):
    assert "says something" in run(app, ["explain", "CHN.JPN.magnets", "--store", store]).stdout
    unknown = run(app, ["explain", "CHN.JPN.tea", "--store", store])
    assert (unknown.exit_code, "no unit 'CHN.JPN.tea'" in unknown.stderr) == (2, True)
    assert "is it CHN.JPN.magnets" in run(app, ["explain", "CHN.JPN.magnet", "--store", store]).stderr


def test_an_empty_store_and_a_damaged_snapshot_exit_7_with_what_to_do(store, tmp_path):
    empty = run(app, ["regimes", "--store", str(tmp_path / "empty")])
    assert (empty.exit_code, "run quietquota refresh" in empty.stderr) == (7, True)
    next(Path(store).glob("snapshots/*/answers.json")).write_text("[]")
    damaged = run(app, ["snapshots", "verify", "--store", store])
    assert (damaged.exit_code, "answers.json" in damaged.stderr) == (7, True)


def test_a_store_address_that_this_version_cannot_use_is_named(tmp_path):
    result = run(app, ["regimes", "--store", "ftp://host/x"])
    assert (result.exit_code, "ftp://host/x" in result.stderr) == (2, True)


def test_a_date_that_is_none_is_a_usage_error(store):
    result = run(app, ["regimes", "--as-of", "soon", "--store", store])
    assert (result.exit_code, "not an ISO date" in result.stderr) == (2, True)


def test_report_copies_the_snapshots_page(store, tmp_path):
    out = tmp_path / "page.html"
    assert run(app, ["report", "-o", str(out), "--store", store]).exit_code == 0
    assert out.read_text() == "<html>"
