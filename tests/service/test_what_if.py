"""What-ifs over HTTP: thought through by a process of its own, which may die without anybody else noticing."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from answers import META, UNITS, WHEN, filled, thinkable
from fastapi.testclient import TestClient

from model.spec import Assumptions
from service import what_if as thinking
from service.app import create_app
from service.client import Client
from service.schemas import WhatIfAnswer
from service.settings import Settings
from service.snapshots import SnapshotStore

A, D, USUAL = Assumptions(), 16, 12.0
WHERE = "/v1/regimes/CHN.JPN.magnets/what-if"


def publish(store):
    def fill(folder):
        filled(folder)
        (folder / "what-if").mkdir()
        np.savez_compressed(folder / "what-if" / "JPN.npz", **thinkable(D, "2024-01", 36))

    return store.publish(META | {"assumptions": A.model_dump()}, UNITS, fill, WHEN)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = SnapshotStore(tmp_path_factory.mktemp("what-if") / "var")
    publish(store)
    return store


@pytest.fixture(scope="module")
def client(store):
    with TestClient(create_app(Settings(store=store.store.url, stale_after_days=9999))) as client:
        yield client


def cut(*periods, share=0.1):
    return [{"period": p, "reporter": r, "net_weight_kg": share * np.exp(USUAL)} for p in periods for r in ("CHN", "JPN")]


def test_a_cut_that_lasts_is_believed_and_a_month_of_the_usual_is_not(client, store):
    answer = client.post(WHERE, json={"releases": cut("2026-10", "2026-11", "2026-12")})
    told = WhatIfAnswer.model_validate(answer.json())
    assert (told.snapshot, told.unit, told.draws, answer.headers["cache-control"]) == (
        store.current_id(), "CHN.JPN.magnets", D, "no-store",
    )  # fmt: skip
    assert [m.period for m in told.months] == ["2026-10", "2026-11", "2026-12"]
    assert told.months[-1].after.probability > 0.9 > 0.2 > told.months[-1].before.probability
    for month in told.months:
        assert sum(month.after.causes.model_dump().values()) == pytest.approx(1, abs=1e-5)
    usual = client.post(WHERE, json={"releases": cut("2026-10", share=1.0)}).json()["months"]
    assert (usual[0]["kind"], usual[1]["kind"]) == ("filtered", "nowcast")
    assert usual[0]["after"]["probability"] < usual[0]["before"]["probability"]


def test_tension_alone_raises_the_nowcast(client):
    path = [{"series": "tension", "period": p, "value": 4.0} for p in ("2026-08", "2026-09", "2026-10")]
    months = client.post(WHERE, json={"covariates": path}).json()["months"]
    assert months[-1]["after"]["probability"] > months[-1]["before"]["probability"]


def test_the_client_asks_the_same_question(client):
    releases = cut("2026-10")
    mine = Client("http://testserver", http=client).what_if("CHN.JPN.magnets", releases)
    assert mine.months == WhatIfAnswer.model_validate(client.post(WHERE, json={"releases": releases}).json()).months


@pytest.mark.parametrize(
    ("where", "body", "status", "says"),
    [
        (WHERE, {}, 422, "name at least one release or covariate"),
        (WHERE, {"releases": cut("2027-10")}, 422, "period '2027-10' is none of 2024-01 to 2026-12"),
        (WHERE, {"releases": [cut("2026-10")[0] | {"reporter": "USA"}]}, 422, "neither of the unit's offices, CHN and JPN"),
        (WHERE, {"releases": [cut("2026-10")[0] | {"net_weight_kg": -1}]}, 422, "greater than or equal to 0"),
        (WHERE, {"releases": cut(*["2026-10"] * 251)}, 422, "at most 500"),
        (WHERE, {"covariates": [{"series": "mood", "period": "2026-10", "value": 1}]}, 422, "the snapshot has tension"),
        ("/v1/regimes/CHN.USA.magnets/what-if", {"releases": cut("2026-10")}, 404, "without draws of USA"),
        ("/v1/regimes/CHN.XXX.tea/what-if", {"releases": cut("2026-10")}, 404, "no unit"),
    ],
)
def test_what_cannot_be_thought_through_is_said(client, where, body, status, says):
    answer = client.post(where, json=body)
    assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.json()["detail"]


def test_numbers_that_are_none_are_refused(client):
    for number in ("NaN", "1e400", "-Infinity"):
        body = f'{{"releases": [{{"period": "2026-10", "reporter": "CHN", "net_weight_kg": {number}}}]}}'
        assert client.post(WHERE, content=body, headers={"Content-Type": "application/json"}).status_code == 422


def test_a_process_that_hangs_or_was_killed_is_missed_once_and_there_again(client, monkeypatch):
    asked = client.app.state.what_if
    before = client.post(WHERE, json={"releases": cut("2026-10")}).json()
    os.kill(asked._process.pid, signal.SIGSTOP)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(thinking, "THINKING", 0.2)
            answer = client.post(WHERE, json={"releases": cut("2026-10")})
    finally:
        os.kill(asked._process.pid, signal.SIGCONT) if asked._process else None
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert client.get("/v1/regimes/CHN.JPN.magnets").status_code == 200
    assert client.post(WHERE, json={"releases": cut("2026-10")}).json() == before
    os.kill(asked._process.pid, signal.SIGKILL)
    asked._process.wait()
    assert client.post(WHERE, json={"releases": cut("2026-10")}).json() == before


def test_a_file_that_is_damaged_is_not_thought_with(tmp_path):
    store = SnapshotStore(tmp_path / "var")
    name = publish(store)
    with TestClient(create_app(Settings(store=store.store.url, stale_after_days=9999))) as client:
        assert client.get("/readyz").status_code == 200
        path = tmp_path / "var" / "snapshots" / name / "what-if" / "JPN.npz"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(content)
        assert client.post(WHERE, json={"releases": cut("2026-10")}).status_code == 503


def test_the_serving_process_imports_nothing_that_computes(store):
    script = f"""
import sys
from fastapi.testclient import TestClient
from service import what_if as thinking
from service.app import create_app
from service.settings import Settings
with TestClient(create_app(Settings(store={store.store.url!r}))) as client:
    body = {{"releases": [{{"period": "2026-10", "reporter": "CHN", "net_weight_kg": 1}}]}}
    assert client.post({WHERE!r}, json=body).status_code == 200
print(sorted(set(sys.modules) & {{"pymc", "arviz", "numba", "numpy", "pandas", "xarray", "matplotlib", "model"}}))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
