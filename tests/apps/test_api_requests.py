"""What the control API says of a request that it cannot read: the field and the fault, never what was in it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from commonward.apps.api.server import control_app
from commonward.apps.settings import BadSettings
from commonward.apps.wiring import Node


def asked(body: object) -> httpx.Response:
    """Of an API without a node: a request that cannot be read never gets to one."""
    node: Any = None

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=control_app(node))
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
            return await client.post("/studies/00/vote", json=body)

    return asyncio.run(ask())


def test_a_request_that_cannot_be_read_is_refused_by_its_field_and_does_not_come_back() -> None:
    secret = "a patient's name " * 1000
    answer = asked({"choice": True, "opinion": secret, "staff": "E1"})
    assert answer.status_code == 422
    assert answer.json() == {"error": "Unusable", "detail": "opinion: String should have at most 4000 characters"}
    assert "staff" in asked({"choice": True, "opinion": "x"}).json()["detail"]
    assert asked([1]).status_code == 422


def test_who_has_no_day_certificate_is_told_how_one_is_issued(tmp_path: Path) -> None:
    node: Any = SimpleNamespace(settings=SimpleNamespace(data=tmp_path))
    with pytest.raises(BadSettings, match="commonward staff issue --number E9"):
        Node.staff(node, "E9")
