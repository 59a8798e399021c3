"""The client against the service itself: typed answers, problems as errors, patience where it helps."""

import asyncio

import httpx
import numpy as np
import pytest
from answers import META, UNITS, WHEN, filled
from fastapi.testclient import TestClient

from service import client as clients
from service.app import create_app
from service.client import AsyncClient, Client, Refused
from service.settings import Settings
from service.snapshots import SnapshotStore

UNIT = "CHN.JPN.magnets"


@pytest.fixture
def application(tmp_path):
    store = SnapshotStore(tmp_path / "var")
    store.publish(META, UNITS, filled, WHEN)
    return create_app(Settings(store=store.store.url, stale_after_days=9999))


@pytest.fixture
def client(application):
    with Client("http://testserver", http=TestClient(application)) as client:
        yield client


def test_every_question_has_a_typed_answer(client):
    assert client.regime(UNIT).regime.current.probability == 0.9
    assert [r.unit for r in client.regimes(importer="JPN")] == [UNIT, "CHN.JPN.metals"]
    assert client.regime(UNIT, as_of=WHEN).regime.unit == UNIT
    assert client.evidence(UNIT).evidence.log_odds == [-1, 1]
    assert client.counterfactual(UNIT, first="2026-09").shortfall_kg_total == 1000
    assert len(client.releases(UNIT).releases) == 3
    assert client.query([UNIT, "CHN.FRA.tea"]).unknown == ["CHN.FRA.tea"]
    assert client.snapshots()[0].current


def test_a_history_is_a_dataset_with_units_and_its_conditioning(client):
    data = client.history(UNIT, kind="smoothed").to_xarray()
    assert data["period"].values.astype("datetime64[M]").astype(str).tolist() == ["2026-08", "2026-09"]
    assert data["counterfactual_kg"].attrs["units"] == "kg"
    assert (data.attrs["kind"], data.attrs["unit"]) == ("smoothed", UNIT)
    np.testing.assert_allclose(data[["open", "disrupted", "targeted", "product_wide"]].to_array().sum("variable"), 1)
    assert client.history("CHN.KOR.magnets").to_xarray().sizes["period"] == 0


def test_a_problem_is_an_error_that_says_what_was_wrong(client):
    with pytest.raises(Refused, match=r"404 Not found: no unit 'CHN.FRA.tea'.*\(request [0-9a-f]{16}\)") as error:
        client.regime("CHN.FRA.tea")
    assert error.value.problem.status == 404


@pytest.mark.parametrize("failing", [503, 429, "reset"])
def test_what_passes_is_tried_again_and_what_does_not_is_told(monkeypatch, application, failing):
    monkeypatch.setattr(clients, "FIRST_WAIT", 0.0)
    left = [2]

    def answer(request):
        if left[0]:
            left[0] -= 1
            if failing == "reset":
                raise httpx.ReadError("reset")
            return httpx.Response(failing, headers={"Retry-After": "0"})
        return httpx.Response(200, json=TestClient(application).get(request.url.path).json())

    with Client("http://x", http=httpx.Client(base_url="http://x", transport=httpx.MockTransport(answer))) as client:
        assert client.regime(UNIT).regime.unit == UNIT
        left[0] = 100
        with pytest.raises((httpx.HTTPStatusError, httpx.ReadError)):
            client.regime(UNIT)


def test_it_can_be_awaited(application):
    async def ask():
        transport = httpx.ASGITransport(application)
        async with AsyncClient("http://x", http=httpx.AsyncClient(base_url="http://x", transport=transport)) as client:
            one, history, many = await asyncio.gather(client.regime(UNIT), client.history(UNIT), client.query([UNIT]))
            with pytest.raises(Refused):
                await client.evidence("CHN.FRA.tea")
            return one.regime.unit, history.kind, many.regimes[0].unit

    assert asyncio.run(ask()) == (UNIT, "filtered", UNIT)
