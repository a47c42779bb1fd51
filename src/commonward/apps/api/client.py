"""Asks a running node over its control socket."""

from __future__ import annotations

from typing import Any

import httpx

from commonward.apps.settings import Settings


class NodeAway(ConnectionError):
    """The member's node does not run or does not answer, or the ledger or another member is away from it."""


class NodeRefused(Exception):
    """The node said no; the sentence says why. `error` names the rule."""

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(detail)
        self.error = error


class ControlClient:
    """One member's programs to its node. Answers are JSON."""

    def __init__(self, settings: Settings, timeout_s: float = 60.0) -> None:
        self._settings = settings
        transport = httpx.HTTPTransport(uds=str(settings.socket))
        self._http = httpx.Client(transport=transport, base_url="http://node", timeout=timeout_s)

    def get(self, path: str, **query: str | int) -> Any:
        """Raises NodeAway or NodeRefused."""
        return self._ask("GET", path, query, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Raises NodeAway or NodeRefused."""
        return self._ask("POST", path, {}, body)

    def delete(self, path: str) -> Any:
        """Raises NodeAway or NodeRefused."""
        return self._ask("DELETE", path, {}, None)

    def _ask(self, method: str, path: str, query: dict[str, str | int], body: dict[str, Any] | None) -> Any:
        try:
            answer = self._http.request(method, path, params=query, json=body)
        except httpx.TransportError as cause:
            raise NodeAway(
                f"the node of {self._settings.member} does not answer at {self._settings.socket}; "
                f"start it with: commonward node {self._settings.data}"
            ) from cause
        if answer.is_success:
            return answer.json()
        try:
            said = answer.json()
        except ValueError:
            said = {}
        if isinstance(said, dict) and "error" in said:
            if answer.status_code == 503:  # the node runs; who it needed does not answer
                raise NodeAway(f"{said['detail']}; try again in a moment")
            raise NodeRefused(str(said["error"]), str(said["detail"]))
        if answer.status_code == 422:
            raise NodeRefused("Unusable", f"the node could not read the request: {said}")
        raise NodeAway(f"the node of {self._settings.member} failed ({answer.status_code}); see its log")
