"""What a site remembers of the papers that it read: never more than its vault says."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from commonward.workflows.training.papers import Given
from commonward.workflows.training.store import _Recent


@dataclass
class CountedDrawer:
    """In memory; how often each paper was read."""

    papers: dict[bytes, Given] = field(default_factory=dict)
    read: list[bytes] = field(default_factory=list)

    def get(self, key: bytes) -> Given | None:
        self.read.append(key)
        return self.papers.get(key)

    def put(self, key: bytes, paper: Given, under: bytes = b"") -> None:
        self.papers[key] = paper

    def remove(self, key: bytes) -> None:
        self.papers.pop(key, None)


def recent(small: Callable[[Any], bool] = lambda each: len(each.data) < 10) -> tuple[CountedDrawer, "_Recent[Given]"]:
    drawer = CountedDrawer()
    return drawer, _Recent(drawer, small)  # type: ignore[arg-type]  # the calls of a Drawer that are used


SMALL, LARGE, OTHER = Given(1, b"small"), Given(1, b"large " * 9), Given(1, b"other " * 9)


def test_a_large_update_is_read_once_for_all_its_parts_and_one_alone_is_held() -> None:
    drawer, held = recent()
    drawer.papers = {b"a": LARGE, b"b": OTHER, b"c": SMALL}
    assert [held.get(b"a") for _ in range(4)] == [LARGE] * 4 and drawer.read == [b"a"]
    assert held.get(b"c") is held.get(b"c") is SMALL and drawer.read == [b"a", b"c"]
    assert held.get(b"b") is OTHER and held.get(b"a") is LARGE, "the other took its place"
    assert drawer.read == [b"a", b"c", b"b", b"a"]


def test_what_was_destroyed_or_written_anew_is_not_given_from_memory() -> None:
    drawer, held = recent()
    for key, paper, after in ((b"a", LARGE, OTHER), (b"c", SMALL, Given(1, b"new"))):
        held.put(key, paper)
        assert held.get(key) == paper
        held.put(key, after)
        assert held.get(key) == after
        held.remove(key)
        assert held.get(key) is None and held.get(key) is None
        assert drawer.read.count(key) == 3, "that there is none is remembered"
