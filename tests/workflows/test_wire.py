"""Messages: one form, nothing unread, old bytes still parse."""

from dataclasses import dataclass
from enum import IntEnum

import pytest

from commonward.ledger.encoding import encode
from commonward.ledger.ids import Handle
from commonward.workflows.wire import Message, MessageError


class Colour(IntEnum):
    RED = 1


@dataclass(frozen=True, slots=True)
class Leaf(Message):
    n: int


@dataclass(frozen=True, slots=True)
class Tree(Message):
    handle: Handle
    colour: Colour
    yes: bool
    leaves: tuple[Leaf, ...]
    text: str | None = None


TREE = Tree(Handle(b"h" * 16), Colour.RED, True, (Leaf(1), Leaf(2)), "x")


def test_what_goes_out_comes_back() -> None:
    assert Tree.parse(TREE.to_bytes()) == TREE
    bare = Tree(TREE.handle, TREE.colour, False, ())
    assert Tree.parse(bare.to_bytes()) == bare


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({1: b"h" * 15, 2: 1, 3: 1, 4: []}, "16 bytes"),
        ({1: b"h" * 16, 2: 9, 3: 1, 4: []}, "RED"),
        ({1: b"h" * 16, 2: 1, 3: 2, 4: []}, "0 or 1"),
        ({1: b"h" * 16, 2: 1, 3: 1, 4: [{1: "one"}]}, "expected int"),
        ({1: b"h" * 16, 2: 1, 3: 1}, "leaves"),
        ({1: b"h" * 16, 2: 1, 3: 1, 4: [], 9: 0}, "unknown"),
        ([1], "a map"),
    ],
)
def test_what_is_not_the_message_is_refused_by_field(value: object, says: str) -> None:
    with pytest.raises(MessageError, match=says):
        Tree.parse(encode(value))  # type: ignore[arg-type]


def test_bytes_that_are_not_our_encoding_are_refused() -> None:
    with pytest.raises(MessageError):
        Tree.parse(b"\xff")
