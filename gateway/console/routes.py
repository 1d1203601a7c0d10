"""All pages, for `gateway/app.py`."""

from __future__ import annotations

from fastapi import APIRouter

from gateway.console import connect, connections, pages, sign_in

router = APIRouter()
for part in (pages, sign_in, connect, connections):
    router.include_router(part.router)
