"""The routes: typed parameters, a look-up, ready-made bytes."""

from fastapi import APIRouter

from service.routes import alerts, operations, pages, regimes, snapshots

router = APIRouter()
for part in (regimes, snapshots, alerts, operations, pages):
    router.include_router(part.router)
"""All of them."""
