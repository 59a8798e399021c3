"""The routes: typed parameters, a look-up, ready-made bytes."""

from fastapi import APIRouter

from service.routes import operations, regimes, snapshots

router = APIRouter()
for part in (regimes, snapshots, operations):
    router.include_router(part.router)
"""All of them."""
