"""The HTTP application, built in a function. It never fits anything and imports neither PyMC nor ArviZ."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from service import errors
from service.holder import Holder
from service.routes import router
from service.settings import Settings
from service.snapshots import NoSnapshot, SnapshotStore

DESCRIPTION = """
Posterior probability that a deliberate, unannounced export restriction is in force, inferred from customs releases.

Every answer names the snapshot and the instant it was made for: the same question gives the same answer until another
snapshot is published, and any past answer can be had again with `as_of`. Quantities are kilograms, months `YYYY-MM`, times UTC.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    holder = Holder(SnapshotStore((settings or Settings()).folder))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            holder.current()
        except NoSnapshot as error:
            errors.log.warning("serving without a snapshot: %s", error)
        yield

    app = FastAPI(title="quietquota", version=version("quietquota"), description=DESCRIPTION, lifespan=lifespan, redoc_url=None)
    app.state.holder = holder
    app.include_router(router)
    errors.install(app)
    return app
