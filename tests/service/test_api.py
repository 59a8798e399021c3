"""The HTTP interface over a published snapshot: answers, conditioning, one error shape."""

from datetime import timedelta

import orjson
import pytest
from answers import META, UNITS, WHEN, unit
from fastapi.testclient import TestClient

from service.app import create_app
from service.schemas import Problem, RegimeAnswer, RegimeTable
from service.settings import Settings
from service.snapshots import SnapshotStore


@pytest.fixture
def store(tmp_path):
    store = SnapshotStore(tmp_path / "var")
    store.publish(META, UNITS, lambda folder: None, WHEN)
    return store


@pytest.fixture
def client(store):
    with TestClient(create_app(Settings(store=str(store.store.root), stale_after_days=9999)), raise_server_exceptions=False) as client:
        yield client


def test_the_table_lists_the_highest_probability_first_and_abstentions_last(client):
    table = RegimeTable.model_validate(client.get("/v1/regimes").json())
    assert [r.unit for r in table.regimes] == ["CHN.JPN.magnets", "CHN.JPN.metals", "CHN.USA.magnets", "CHN.KOR.magnets"]
    assert table.regimes[-1].abstention == "no figure known"


@pytest.mark.parametrize(
    ("query", "units"),
    [
        ("importer=JPN", ["CHN.JPN.magnets", "CHN.JPN.metals"]),
        ("family=metals", ["CHN.JPN.metals"]),
        ("min_probability=0.5", ["CHN.JPN.magnets"]),
        ("importer=JPN&family=magnets", ["CHN.JPN.magnets"]),
        ("importer=FRA", []),
    ],
)
def test_filters_narrow_the_table(client, query, units):
    assert [r["unit"] for r in client.get(f"/v1/regimes?{query}").json()["regimes"]] == units


def test_one_unit_says_what_it_is_conditioned_on(client, store):
    response = client.get("/v1/regimes/CHN.JPN.magnets")
    answer = RegimeAnswer.model_validate(response.json())
    assert (answer.snapshot, answer.published_at, answer.gate) == (store.current_id(), WHEN, "PASS")
    assert (answer.regime.current.kind, answer.regime.nowcast.kind) == ("filtered", "nowcast")
    assert response.headers["x-snapshot-id"] == store.current_id()


def test_the_same_question_has_the_same_bytes_and_a_304_for_those_who_hold_them(client):
    first, second = client.get("/v1/regimes"), client.get("/v1/regimes")
    assert first.content == second.content
    again = client.get("/v1/regimes", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_past_answer_can_be_had_again_byte_for_byte(client, store):
    as_of = "/v1/regimes/CHN.JPN.magnets?as_of=2026-11-01T12:00:00Z"
    before = client.get(as_of)
    store.publish(META, [unit("JPN", 0.1)], lambda folder: None, WHEN + timedelta(days=1))
    assert client.get("/v1/regimes/CHN.JPN.magnets").json()["regime"]["current"]["probability"] == 0.1
    assert client.get(as_of).content == before.content


@pytest.mark.parametrize(
    ("path", "status", "slug"),
    [
        ("/v1/regimes/CHN.JPN.tea", 404, "unknown-unit"),
        ("/v1/regimes/..%2F..%2Fetc", 404, "not-found"),
        ("/v1/regimes/%00", 404, "unknown-unit"),
        ("/v1/regimes?as_of=2001-01-01", 404, "no-snapshot"),
        ("/v1/regimes?as_of=2999-01-01", 404, "no-snapshot"),
        ("/v1/regimes?as_of=yesterday", 422, "invalid-parameter"),
        ("/v1/regimes?as_of=1793498400", 422, "invalid-parameter"),
        ("/v1/regimes?min_probability=1e400", 422, "invalid-parameter"),
        ("/v1/regimes?min_probability=nan", 422, "invalid-parameter"),
        ("/v1/regimes?importer=jp", 422, "invalid-parameter"),
        ("/nowhere", 404, "not-found"),
    ],
)
def test_every_error_has_one_shape(client, path, status, slug):
    response = client.get(path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert Problem.model_validate(response.json()).type == f"/problems/{slug}"


def test_a_wrong_method_is_a_problem_too(client):
    response = client.post("/v1/regimes")
    assert (response.status_code, response.json()["type"]) == (405, "/problems/method-not-allowed")


def test_ready_names_the_snapshot_and_a_server_without_one_is_alive_but_not_ready(client, store, tmp_path):
    assert client.get("/readyz").json() == {"status": "ready", "snapshot": store.current_id(), "stale": None}
    with TestClient(create_app(Settings(store=str(tmp_path / "empty")))) as empty:
        assert empty.get("/healthz").json() == {"status": "ok"}
        assert empty.get("/readyz").status_code == 503
        assert empty.get("/v1/regimes").status_code == 404


def test_every_operation_and_field_is_described_with_an_example(client):
    api = client.get("/openapi.json").json()
    assert api["openapi"].startswith("3.1")
    for path, operations in api["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            for parameter in operation.get("parameters", []):
                assert parameter["description"], (path, parameter["name"])
    numbers = {"number", "integer", "string"}
    for name, schema in api["components"]["schemas"].items():
        for field, definition in schema.get("properties", {}).items():
            if "$ref" in orjson.dumps(definition).decode() or name in ("HTTPValidationError", "ValidationError"):
                continue
            assert "description" in definition, f"{name}.{field}"
            if definition.get("type") in numbers and field not in ("status",):
                assert "examples" in definition, f"{name}.{field}"
