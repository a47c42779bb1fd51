"""A consortium that waits: for scenarios in which the ledger is never away, however slow the machine is."""

from typing import Any, Self

from commonward.workflows.member import Practice
from tests.consortium import Consortium


class Calm(Consortium):
    """As `Consortium`, but no answer is given up before a minute: nothing here may turn on how fast the machine is."""

    def __init__(self, practice: Practice | None = None, **more: Any) -> None:
        super().__init__(practice or Practice(cosign_wait_ms=60_000), **more)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        for node in self.engine.nodes.values():
            node._submit_ms = 60_000
        return self
