"""The status screen says at once what an engineer must know: does the ledger run, who is down, what to do."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from commonward.apps.network import screen
from commonward.apps.network.judging import judge, well
from commonward.apps.network.looking import NodeSeen, Seen

NOW = 1_790_000_000_000
FOUR = ("authority", "clinic", "north", "south")


def status(height: int = 40, **changes: Any) -> dict[str, Any]:
    return {
        "ledger": "ab" * 32,
        "height": height,
        "size": 100,
        "root": "cd" * 32,
        "up_ms": 600_000,
        "last_block_ms": 1_200,
        "live": True,
        "proven": {"members": list(FOUR)},
        "cosigners": [{"member": each, "weight": 1, "cosigned_at": NOW - 5_000} for each in FOUR],
        "line": {"peers": ["clinic", "north"], "of": ["clinic", "north", "south"], "catching_up": False, "trouble": ""},
        "accused": {},
        "ending": [],
        "fault": None,
        **changes,
    }


def seen(**statuses: dict[str, Any] | None) -> Seen:
    """Four nodes, all well but for what is given; None is one that is down."""
    nodes = []
    for name in FOUR:
        said = statuses.get(name, status())
        nodes.append(NodeSeen(name, 1, said is not None, said, True if said else None))
    heard = dict.fromkeys(FOUR, NOW - 5000)
    return Seen("Test", "cometbft", NOW, "commonward up c", tuple(nodes), cosigned=heard)


def shown(what: Seen, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(screen.screen(what))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def test_a_whole_network_fits_a_terminal_of_eighty_columns_and_says_that_all_is_well() -> None:
    text = shown(seen())
    assert "All is well: 4 of 4 nodes up, at block 40" in text
    assert "What to do" not in text and "…" not in text
    (north,) = [line for line in text.splitlines() if line.startswith("north")]
    assert north.split() == ["north", "up", "40", "1", "s", "ago", "0", "2", "of", "3", "4", "of", "4", "same", "1"]


def test_one_that_is_down_is_named_with_what_starts_it() -> None:
    what = seen(south=None)
    what = replace(what, nodes=tuple(replace(n, process=False) if n.member == "south" else n for n in what.nodes))
    text = shown(what)
    assert "The ledger runs, but south is down" in text and "DOWN" in text
    assert "start it: commonward up c" in text
    assert screen.described(what)["well"] is False
    assert "  south          DOWN" in screen.lines(what)


def test_two_of_four_down_is_told_as_the_ledger_standing_still() -> None:
    graves = [each for each in judge(seen(north=None, south=None)) if each.grave]
    assert "the ledger stands still: north and south missing, only 2 of 4 votes are there" in graves[0].what
    assert "nothing is lost" in graves[0].do


def test_a_node_with_another_root_is_the_first_thing_that_is_said() -> None:
    what = seen(clinic=None)
    nodes = tuple(replace(node, same_root=False) if node.member == "south" else node for node in what.nodes)
    text = shown(replace(what, nodes=nodes))
    assert "TROUBLE: south computed another root than authority" in text and "DIFFERS" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"height": 10}, "south catches up: 30 blocks behind"),
        ({"fault": "it forked"}, "south has stopped following: it forked"),
        ({"accused": {"clinic": "two roots"}}, "clinic is proven false: two roots"),
        ({"line": {"peers": [], "of": ["north"], "catching_up": False, "trouble": ""}}, "south hears of nobody"),
        (
            {"line": {"peers": [], "of": ["north"], "catching_up": True, "trouble": "CometBFT ended with 1"}},
            "south: CometBFT ended with 1",
        ),
    ],
)
def test_what_is_wrong_with_one_node_is_said_once(changes: dict[str, Any], said: str) -> None:
    troubles = judge(seen(south=status(**changes)))
    assert [each.what for each in troubles] == [said] and not well(troubles)


def test_a_member_elsewhere_that_has_not_cosigned_is_named_once_the_node_has_run_a_while() -> None:
    what = seen()
    alone = replace(what, nodes=what.nodes[:1], others={"south": NOW - 600_000}, cosigned={**what.cosigned})
    alone = replace(alone, cosigned={**alone.cosigned, "south": NOW - 600_000})
    assert [each.what for each in judge(alone)] == ["south has not cosigned for 10 min"]
    text = shown(
        replace(what, nodes=what.nodes[:1], others={"clinic": NOW - 5_000, "north": None, "south": NOW - 9_000})
    )
    assert "…" not in text and "remote" in text and "9 s ago" in text and "not heard" in text
    fresh = replace(alone, nodes=(NodeSeen("authority", 1, True, status(up_ms=5_000), None),))
    assert judge(fresh) == []


def test_what_ends_soon_is_shown_and_is_no_trouble_yet() -> None:
    ending = [{"text": "the CA certificate of south ends in 20 days", "do": "propose the next", "member": "south"}]
    what = seen(north=status(ending=ending), south=status(ending=ending))
    assert well(judge(what)) and len(judge(what)) == 1
    text = shown(what)
    assert "All is well" in text and "1 to see to in time" in text and "propose the next" in text
