"""Alerts are raised once, held between two thresholds, and told with their evidence."""

from datetime import timedelta

import pytest
from answers import META, WHEN, filled, unit
from fastapi.testclient import TestClient

from service import alerts
from service.alerts import STANDING, weigh
from service.app import create_app
from service.schemas import Alert, AlertList, AlertRule
from service.settings import Settings
from service.snapshots import SnapshotStore


@pytest.fixture
def store(tmp_path):
    return SnapshotStore(tmp_path / "var")


@pytest.fixture
def client(store):
    with TestClient(create_app(Settings(store=store.store.url, stale_after_days=9999))) as client:
        yield client


def told(store, probabilities, importer="JPN"):
    """Events of publications one after the other."""
    events = []
    for n, p in enumerate(probabilities):
        name = store.publish(META, [unit(importer, p)], filled, WHEN + timedelta(days=n))
        events.append([(a.rule, a.event) for a in weigh(store.store, store.load(name), WHEN + timedelta(days=n))])
    return events


def test_it_is_raised_at_one_threshold_and_cleared_below_another(store):
    events = told(store, [0.2, 0.6, 0.4, 0.55, None, 0.9, 0.29, 0.4])
    on, off = [("standing", "raised")], [("standing", "cleared")]
    assert events == [[], on, [], [], [], [], off, []]


def test_a_rule_may_wait_for_several_publications_in_a_row(store):
    alerts.put(store.store, AlertRule(id="patient", on=0.5, off=0.2, publications=3))
    events = told(store, [0.6, 0.6, 0.4, 0.6, 0.6, 0.6, 0.6])
    assert [[e for e in found if e[0] == "patient"] for found in events] == [[], [], [], [], [], [("patient", "raised")], []]


def test_a_rule_concerns_what_it_names(store):
    alerts.put(store.store, AlertRule(id="usa", on=0.1, off=0.1, importer="USA"))
    assert told(store, [0.3]) == [[]]
    assert told(SnapshotStore(store.store.url), [0.3], importer="USA") == [[("usa", "raised")]]


def test_weighed_again_after_a_crash_it_is_the_same_alert_and_listed_once(store):
    name = store.publish(META, [unit("JPN", 0.9)], filled, WHEN)
    first = weigh(store.store, store.load(name), WHEN)
    assert weigh(store.store, store.load(name), WHEN + timedelta(hours=1)) == []
    store.store.delete("alert-state.json")
    second = weigh(store.store, store.load(name), WHEN + timedelta(hours=2))
    assert [a.id for a in first] == [a.id for a in second]
    assert len(alerts.names(store.store)) == 1


def test_alerts_are_polled_page_by_page_with_snapshot_and_evidence(store, client):
    told(store, [0.9, 0.1, 0.9])
    page = AlertList.model_validate(client.get("/v1/alerts?limit=2").json())
    assert [a.event for a in page.alerts] == ["raised", "cleared"]
    rest = AlertList.model_validate(client.get(f"/v1/alerts?limit=2&cursor={page.next}").json())
    assert ([a.event for a in rest.alerts], rest.next) == (["raised"], None)
    newest: Alert = page.alerts[0]
    assert (newest.snapshot, newest.probability, newest.evidence) == (store.current_id(), 0.9, {"exporter": 1.5, "importer": 0.5})
    since = (WHEN + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert len(client.get(f"/v1/alerts?since={since}").json()["alerts"]) == 2


def test_rules_are_set_read_and_removed_and_the_standing_one_is_there(client):
    assert [r["id"] for r in client.get("/v1/alert-rules").json()["rules"]] == ["standing"]
    body = {"on": 0.8, "off": 0.5, "publications": 2, "importer": "JPN"}
    put = client.put("/v1/alert-rules/japan", json=body)
    assert (put.status_code, put.json()["id"]) == (200, "japan")
    assert client.get("/v1/alert-rules/japan").json() == put.json()
    assert client.delete("/v1/alert-rules/japan").status_code == 204
    assert client.delete("/v1/alert-rules/japan").status_code == 404
    assert client.get("/v1/alert-rules/japan").status_code == 404
    assert client.get("/v1/alert-rules/standing").json()["on"] == STANDING.on


@pytest.mark.parametrize(
    "body", [{"on": 0.3, "off": 0.5}, {"on": 2, "off": 0}, {"on": 0.5}, {"on": 0.5, "off": 0.1, "importer": "jp"}, {"on": "nan", "off": 0}]
)
def test_a_rule_that_makes_no_sense_is_refused(client, body):
    assert client.put("/v1/alert-rules/x", json=body).status_code == 422
    assert client.put("/v1/alert-rules/..%2fx", json={"on": 0.5, "off": 0.1}).status_code == 404
    assert client.put("/v1/alert-rules/X", json={"on": 0.5, "off": 0.1}).status_code == 422


def test_a_stored_rule_that_cannot_be_read_does_not_silence_the_others(store):
    store.store.write("alert-rules/broken.json", b"{")
    assert told(store, [0.9]) == [[("standing", "raised")]]
