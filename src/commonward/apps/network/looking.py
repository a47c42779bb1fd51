"""Ask every node on this machine how it stands, or the one node of a member's own folder how it sees the others.

What a node says of itself is its word, on a machine that is trusted as far as its owner is. Only roots are compared:
two nodes that executed the same blocks have the same root at the same size.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from commonward.apps import running
from commonward.apps.api.client import ControlClient, NodeAway, NodeRefused
from commonward.apps.founding import CONSORTIUM
from commonward.apps.settings import FILE, BadSettings, Settings, load
from commonward.apps.wiring import WallClock

_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """One node. `status` is None when it does not answer; `process` says whether its process runs, None for unknown."""

    member: str
    weight: int | None = None
    process: bool | None = None
    status: dict[str, Any] | None = None
    same_root: bool | None = None  # with the first node that answers, at the largest size that both have
    log: Path | None = None

    @property
    def height(self) -> int:
        return int(self.status["height"]) if self.status else 0


@dataclass(frozen=True, slots=True)
class Seen:
    """The consortium at one moment. `others`: members that have no folder here, and when each last cosigned."""

    name: str
    engine: str
    at: int  # ms
    start: str  # the command that starts what is down
    nodes: tuple[NodeSeen, ...]
    sequencer: bool | None = None  # whether its process runs; None where there is none, or it is not here
    others: dict[str, int | None] = field(default_factory=dict)
    cosigned: dict[str, int] = field(default_factory=dict)  # when each member last did, as any node here heard

    @property
    def up(self) -> list[NodeSeen]:
        return [node for node in self.nodes if node.status is not None]

    @property
    def front(self) -> int:
        """The greatest height that any node has."""
        return max((node.height for node in self.nodes), default=0)

    @property
    def weights(self) -> dict[str, int]:
        """Of who may cosign, as the node that is furthest ahead knows it."""
        ahead = max(self.up, key=lambda node: node.height, default=None)
        found = ahead.status["cosigners"] if ahead is not None and ahead.status else []
        return {str(each["member"]): int(each["weight"]) for each in found if each["weight"]}


class Looker:
    """Looks again and again; connections are kept."""

    def __init__(self, directory: Path) -> None:
        """`directory`: a consortium's, or one member's data directory. Raises BadSettings when it is neither."""
        self._directory = directory
        self._whole = (directory / CONSORTIUM).exists()
        if self._whole:
            found = running.consortium(directory)
            self.name, self.engine = str(found.get("name", directory.name)), str(found.get("engine", "solo"))
            folders = {name: directory / "members" / name for name in sorted(found["members"])}
        elif (directory / FILE).exists():
            settings = load(directory)
            self.name, self.engine = f"{settings.member}'s node", settings.engine
            folders = {settings.member: directory}
        else:
            raise BadSettings(
                f"{directory} is no consortium's directory ({CONSORTIUM}) and no member's ({FILE}); "
                f"`commonward network init {directory}` makes one"
            )
        # Folders that were carried to other machines are not here any more; whom they belong to still shows.
        self._away = [name for name, folder in folders.items() if not (folder / FILE).exists()]
        self._settings: dict[str, Settings] = {
            name: load(folder) for name, folder in folders.items() if name not in self._away
        }
        self._clients = {name: ControlClient(settings, _TIMEOUT_S) for name, settings in self._settings.items()}

    def look(self) -> Seen:
        """One round. Never raises for a node that does not answer."""
        running_now = running.processes(self._directory) if self._whole else None
        with ThreadPoolExecutor(max_workers=max(len(self._clients), 1)) as threads:
            said = dict(zip(self._clients, threads.map(_status, self._clients.values()), strict=True))
            size = min((status["size"] for status in said.values() if status), default=0)
            asking = {name: self._clients[name] for name, status in said.items() if status}
            roots = dict(zip(asking, threads.map(lambda each: _root(each, size), asking.values()), strict=True))
        first = next((root for root in roots.values() if root), None)
        nodes = [
            NodeSeen(
                member=name,
                process=None if running_now is None else name in running_now,
                status=status,
                same_root=None if len(roots) < 2 or not roots.get(name) else roots[name] == first,
                log=self._settings[name].data / "node.log",
            )
            for name, status in said.items()
        ]
        has_sequencer = self._whole and self.engine == "solo"
        seen = Seen(
            name=self.name,
            engine=self.engine,
            at=WallClock().now(),
            start=f"commonward {'up' if self._whole else 'node'} {self._directory}",
            nodes=tuple(nodes),
            sequencer=running.SEQUENCER in running_now if has_sequencer and running_now is not None else None,
        )
        weights = seen.weights
        cosigned: dict[str, int] = {}
        for node in seen.up:
            for each in node.status["cosigners"] if node.status else ():
                cosigned[each["member"]] = max(cosigned.get(each["member"], 0), each["cosigned_at"] or 0)
        cosigned = {member: at for member, at in cosigned.items() if at}
        return replace(
            seen,
            nodes=tuple(replace(node, weight=weights.get(node.member, 0) if weights else None) for node in nodes),
            others={
                name: cosigned.get(name) for name in [*self._away, *(each for each in weights if each not in said)]
            },
            cosigned=cosigned,
        )


def _status(client: ControlClient) -> dict[str, Any] | None:
    try:
        found = client.get("/status")
    except (NodeAway, NodeRefused):
        return None
    return found if isinstance(found, dict) else None


def _root(client: ControlClient, size: int) -> str | None:
    try:
        found = client.get("/root", size=size)
    except (NodeAway, NodeRefused):
        return None
    return str(found["root"]) if isinstance(found, dict) else None
