"""The HTTP application, built in a function. It never fits anything and imports neither PyMC nor ArviZ."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.metadata import version
from importlib.resources import files

from fastapi import Depends, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from service import errors
from service.edge import Edge
from service.holder import Holder
from service.keys import Keys
from service.metrics import Metrics
from service.routes import router
from service.routes.shared import known_parameters
from service.settings import Settings, SettingsError
from service.snapshots import NoSnapshot, SnapshotStore
from service.what_if import WhatIf

DESCRIPTION = """
Posterior probability that a deliberate, unannounced export restriction is in force, inferred from customs releases.

Every answer names the snapshot and the instant it was made for: the same question gives the same answer until another
snapshot is published, and any past answer can be had again with `as_of`. Quantities are kilograms, months `YYYY-MM`, times UTC.
"""


SWAGGER = "swagger-ui-5.35.0"


def create_app(settings: Settings | None = None) -> FastAPI:
    """Raises SettingsError where the settings would answer strangers without a key."""
    settings = settings or Settings()
    store = SnapshotStore(settings.store)
    holder, keys = Holder(store, timedelta(days=settings.stale_after_days)), Keys(store.store)
    if settings.insecure_no_auth and not settings.on_loopback:
        raise SettingsError(f"--insecure-no-auth answers anyone who reaches {settings.host}; it is for 127.0.0.1 only")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            holder.current()
        except NoSnapshot as error:
            errors.log.warning("serving without a snapshot: %s", error)
        yield
        app.state.what_if.close()

    app = _Service(
        title="quietquota", version=version("quietquota"), description=DESCRIPTION, lifespan=lifespan, docs_url=None, redoc_url=None
    )  # fmt: skip
    app.state.holder, app.state.metrics = holder, Metrics(holder)
    app.state.what_if = WhatIf(settings.store)
    app.state.webhook_private = settings.webhook_private
    app.include_router(router, dependencies=[Depends(known_parameters)])
    app.get("/docs", include_in_schema=False)(lambda: _documented(app))
    app.mount("/static", StaticFiles(directory=str(files("service").joinpath("static"))), name="static")
    errors.install(app)
    app.edge = Edge(super(_Service, app).__call__, holder, keys, app.state.metrics, needs_key(settings, keys), settings.rate)
    return app


def _documented(app: FastAPI) -> HTMLResponse:
    """Swagger's page, with its code from here: the service may stand where there is no way out."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json", title=app.title, swagger_js_url=f"/static/{SWAGGER}.js", swagger_css_url=f"/static/{SWAGGER}.css",
        swagger_favicon_url="/static/icon.svg",
    )  # fmt: skip
    page.headers["Content-Security-Policy"] = "default-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
    return page


class _Service(FastAPI):
    """The edge lies round the whole application: what is answered from bytes does not pass FastAPI's layers."""

    edge: Edge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.edge(scope, receive, send)


def needs_key(settings: Settings, keys: Keys) -> bool:
    """Whether answers are for holders of a key: always, but on loopback where there is no key yet, or where it was said so."""
    if not settings.on_loopback:
        return True
    return not settings.insecure_no_auth and bool(keys.known())
