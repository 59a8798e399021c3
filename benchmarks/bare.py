"""A Starlette route that returns fixed bytes: what serving costs at least. The files named in the environment's BODY and LIST."""

import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

BODY, LIST = (Path(os.environ[name]).read_bytes() for name in ("BODY", "LIST"))


async def one(request: Request) -> Response:
    return Response(BODY, media_type="application/json")


async def many(request: Request) -> Response:
    return Response(LIST, media_type="application/json")


app = Starlette(routes=[Route("/one/{unit}", one), Route("/many", many)])
