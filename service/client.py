"""A typed client, for programs and notebooks: every answer as its schema, retries where they help, tables as xarray.

    with Client("http://127.0.0.1:8000", key="qq_...") as quietquota:
        quietquota.regime("CHN.JPN.rare_earths").regime.current.probability
        quietquota.history("CHN.JPN.rare_earths", kind="smoothed").to_xarray()

:class:`AsyncClient` has the same methods, to be awaited. Needs the extra ``client``.
"""

from collections.abc import Awaitable, Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import httpx
import tenacity
from pydantic import BaseModel

from service import schemas

if TYPE_CHECKING:
    import xarray as xr

ATTEMPTS, FIRST_WAIT, PATIENCE = 4, 0.5, 30.0
_PASSING = frozenset({429, 502, 503, 504})
"""Statuses that may be others a moment later."""
Kind = Literal["filtered", "smoothed", "nowcast"]


class Refused(RuntimeError):
    """The service answered with a problem. problem : as it said it."""

    def __init__(self, problem: schemas.Problem) -> None:
        super().__init__(f"{problem.status} {problem.title}: {problem.detail} (request {problem.request_id})")
        self.problem = problem


class _Again(Exception):
    def __init__(self, response: httpx.Response) -> None:
        self.response = response


class History(schemas.HistoryAnswer):
    """One unit's months."""

    def to_xarray(self) -> "xr.Dataset":
        """dims: period, bound (5 %, 95 %). kg variables have ``units``; attrs say what it is conditioned on."""
        import numpy as np
        import xarray as xr

        rows = [m.model_dump() for m in self.months]

        def column(name: str) -> list[float]:
            return [np.nan if row[name] is None else row[name] for row in rows]

        single = (
            "probability",
            "severity_mean",
            "observed_kg",
            "counterfactual_kg",
            "shortfall_kg_mean",
            "shortfall_kg_p05",
            "shortfall_kg_p95",
        )
        values: dict[str, Any] = {name: ("period", column(name), {"units": "kg" if "_kg" in name else "1"}) for name in single}
        for cause in ("open", "disrupted", "targeted", "product_wide"):
            values[cause] = ("period", [np.nan if row["causes"] is None else row["causes"][cause] for row in rows], {"units": "1"})
        for name in ("probability_interval", "counterfactual_kg_interval"):
            pairs = np.array([[np.nan if v is None else v for v in row[name]] for row in rows], float).reshape(-1, 2)
            values[name] = (("period", "bound"), pairs, {"units": "kg" if "_kg" in name else "1"})
        period = np.array([row["period"] for row in rows], "datetime64[M]").astype("datetime64[s]")
        attrs = {"unit": self.unit, "kind": self.kind, "snapshot": self.snapshot, "as_of": self.as_of.isoformat(), "gate": self.gate}
        attrs |= {"data_as_of": self.data_as_of.isoformat(), "stale": self.stale or ""}
        return xr.Dataset(values, {"period": period, "bound": [0.05, 0.95]}, attrs)


def _given(**parameters: Any) -> dict[str, Any]:
    """What was given, as a query."""
    told = {k.rstrip("_"): v.isoformat() if isinstance(v, datetime) else v for k, v in parameters.items() if v is not None}
    return {{"first": "from", "last": "to"}.get(k, k): v for k, v in told.items()}


def _read[M: BaseModel](response: httpx.Response, model: type[M]) -> M:
    if response.is_success:
        return model.model_validate_json(response.content)
    try:
        problem = schemas.Problem.model_validate_json(response.content)
    except ValueError:
        response.raise_for_status()
        raise
    raise Refused(problem)


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.response.headers.get("retry-after", "") if isinstance(error, _Again) else ""
    return min(PATIENCE, float(asked) if asked.isdigit() else FIRST_WAIT * 2.0 ** (state.attempt_number - 1))


_PATIENT: Mapping[str, Any] = {
    "stop": tenacity.stop_after_attempt(ATTEMPTS),
    "wait": _wait,
    "retry": tenacity.retry_if_exception_type((_Again, httpx.TransportError)),
    "reraise": True,
}

Given = dict[str, Any]
"""A release or a covariate's value that is asked about."""


class _Methods:
    """The questions; what an answer is, says the subclass: a model, or an awaitable of one."""

    def _ask(self, model: type[BaseModel], method: str, path: str, **sent: Any) -> Any:
        raise NotImplementedError

    def _unit(self, model: type[BaseModel], unit: str, part: str = "", **query: Any) -> Any:
        return self._ask(model, "GET", f"/v1/regimes/{unit}{part}", params=_given(**query))

    def _what_if(self, unit: str, releases: list[Given] | None, covariates: list[Given] | None) -> Any:
        sent = {"releases": releases or [], "covariates": covariates or []}
        return self._ask(schemas.WhatIfAnswer, "POST", f"/v1/regimes/{unit}/what-if", json=sent)


class Client(_Methods):
    """Asks and waits for the answer."""

    def __init__(self, address: str, key: str | None = None, http: httpx.Client | None = None) -> None:
        """http : to be used instead of one of its own."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._http = http or httpx.Client(base_url=address, timeout=30.0)
        self._http.headers.update(headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.close()

    def _ask(self, model: type[BaseModel], method: str, path: str, **sent: Any) -> Any:
        def once() -> httpx.Response:
            response = self._http.request(method, path, **sent)
            if response.status_code in _PASSING:
                raise _Again(response)
            return response

        try:
            return _read(tenacity.Retrying(**_PATIENT)(once), model)
        except _Again as error:
            return _read(error.response, model)

    def regimes(
        self, importer: str | None = None, family: str | None = None, min_probability: float | None = None, as_of: datetime | None = None
    ) -> list[schemas.Regime]:
        """All that match, page by page."""
        found: list[schemas.Regime] = []
        cursor: str | None = None
        while True:
            query = _given(importer=importer, family=family, min_probability=min_probability, as_of=as_of, cursor=cursor)
            page = cast(schemas.RegimeTable, self._ask(schemas.RegimeTable, "GET", "/v1/regimes", params=query))
            found += page.regimes
            if (cursor := page.next) is None:
                return found

    def regime(self, unit: str, as_of: datetime | None = None) -> schemas.RegimeAnswer:
        return cast(schemas.RegimeAnswer, self._unit(schemas.RegimeAnswer, unit, as_of=as_of))

    def history(
        self, unit: str, kind: Kind = "filtered", first: str | None = None, last: str | None = None, as_of: datetime | None = None
    ) -> History:
        """first, last : months, YYYY-MM."""
        return cast(History, self._unit(History, unit, "/history", kind=kind, first=first, last=last, as_of=as_of))

    def evidence(self, unit: str, as_of: datetime | None = None) -> schemas.EvidenceAnswer:
        return cast(schemas.EvidenceAnswer, self._unit(schemas.EvidenceAnswer, unit, "/evidence", as_of=as_of))

    def counterfactual(
        self, unit: str, first: str | None = None, last: str | None = None, as_of: datetime | None = None
    ) -> schemas.CounterfactualAnswer:
        answer = self._unit(schemas.CounterfactualAnswer, unit, "/counterfactual", first=first, last=last, as_of=as_of)
        return cast(schemas.CounterfactualAnswer, answer)

    def releases(self, unit: str, as_of: datetime | None = None) -> schemas.ReleasesAnswer:
        return cast(schemas.ReleasesAnswer, self._unit(schemas.ReleasesAnswer, unit, "/releases", as_of=as_of))

    def query(self, units: list[str], as_of: datetime | None = None) -> schemas.QueryAnswer:
        sent = {"units": units} | _given(as_of=as_of)
        return cast(schemas.QueryAnswer, self._ask(schemas.QueryAnswer, "POST", "/v1/regimes:query", json=sent))

    def what_if(self, unit: str, releases: list[Given] | None = None, covariates: list[Given] | None = None) -> schemas.WhatIfAnswer:
        """releases, covariates : as :class:`service.schemas.WhatIf` has them."""
        return cast(schemas.WhatIfAnswer, self._what_if(unit, releases, covariates))

    def snapshots(self) -> list[schemas.SnapshotListed]:
        """The latest 50."""
        return cast(schemas.SnapshotList, self._ask(schemas.SnapshotList, "GET", "/v1/snapshots")).snapshots


class AsyncClient(_Methods):
    """The same, to be awaited."""

    def __init__(self, address: str, key: str | None = None, http: httpx.AsyncClient | None = None) -> None:
        """http : to be used instead of one of its own."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._http = http or httpx.AsyncClient(base_url=address, timeout=30.0)
        self._http.headers.update(headers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._http.aclose()

    async def _ask(self, model: type[BaseModel], method: str, path: str, **sent: Any) -> Any:
        async def once() -> httpx.Response:
            response = await self._http.request(method, path, **sent)
            if response.status_code in _PASSING:
                raise _Again(response)
            return response

        try:
            return _read(await tenacity.AsyncRetrying(**_PATIENT)(once), model)
        except _Again as error:
            return _read(error.response, model)

    def regime(self, unit: str, as_of: datetime | None = None) -> Awaitable[schemas.RegimeAnswer]:
        return cast(Awaitable[schemas.RegimeAnswer], self._unit(schemas.RegimeAnswer, unit, as_of=as_of))

    def history(
        self, unit: str, kind: Kind = "filtered", first: str | None = None, last: str | None = None, as_of: datetime | None = None
    ) -> Awaitable[History]:
        """first, last : months, YYYY-MM."""
        return cast(Awaitable[History], self._unit(History, unit, "/history", kind=kind, first=first, last=last, as_of=as_of))

    def evidence(self, unit: str, as_of: datetime | None = None) -> Awaitable[schemas.EvidenceAnswer]:
        return cast(Awaitable[schemas.EvidenceAnswer], self._unit(schemas.EvidenceAnswer, unit, "/evidence", as_of=as_of))

    def query(self, units: list[str], as_of: datetime | None = None) -> Awaitable[schemas.QueryAnswer]:
        sent = {"units": units} | _given(as_of=as_of)
        return cast(Awaitable[schemas.QueryAnswer], self._ask(schemas.QueryAnswer, "POST", "/v1/regimes:query", json=sent))

    def what_if(
        self, unit: str, releases: list[Given] | None = None, covariates: list[Given] | None = None
    ) -> Awaitable[schemas.WhatIfAnswer]:
        return cast(Awaitable[schemas.WhatIfAnswer], self._what_if(unit, releases, covariates))
