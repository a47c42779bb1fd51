"""Fields are read by number and shape, strictly: what is not declared is not read, and so is never signed unseen."""

from enum import IntEnum

import pytest

from commonward.ledger.wire import FLAG, Struct, choice, items, nested, number, octets, struct, text, wire


class Colour(IntEnum):
    RED = 1


@struct
class Inner(Struct):
    n: int = wire(1, number(1, 9))


@struct
class Outer(Struct):
    raw: bytes = wire(1, octets(2, 3))
    word: str = wire(2, text(3))
    colour: Colour = wire(3, choice(Colour))
    inner: tuple[Inner, ...] = wire(4, items(nested(Inner), 2))
    flag: bool = wire(6, FLAG)
    maybe: int | None = wire(7, number(), default=None)


GOOD = Outer(b"ab", "né", Colour.RED, (Inner(1), Inner(9)), True, None)


def test_a_struct_reads_back_and_leaves_out_what_is_absent():
    assert Outer.parse(GOOD.to_bytes()) == GOOD
    assert GOOD.to_value() == {1: b"ab", 2: "né", 3: 1, 4: ({1: 1}, {1: 9}), 6: 1}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((1, each) for each in (b"a", b"abcd", "ab")),
        *((2, each) for each in ("", "abcd", "a\n", "\x85")),
        *((3, each) for each in (2, b"")),
        *((4, each) for each in ([{1: 0}], [{1: 1}] * 3, dict[int, int](), [{1: 1, 2: 1}])),
        *((6, each) for each in (2, b"")),
        *((7, -1), (5, 1), (8, 1), (-1, 1)),
    ],
)
def test_every_other_shape_is_refused(field, value):
    with pytest.raises(ValueError, match="expected"):
        Outer.from_value({**GOOD.to_value(), field: value})  # type: ignore[dict-item]


@pytest.mark.parametrize("field", [1, 2, 3, 4, 6])
def test_every_field_that_must_be_there_is_missed_by_name(field):
    value = {number: each for number, each in GOOD.to_value().items() if number != field}
    with pytest.raises(ValueError, match="Outer"):
        Outer.from_value(value)  # type: ignore[arg-type]


def test_two_fields_of_one_number_cannot_be_declared():
    with pytest.raises(TypeError, match="ascending"):

        @struct
        class Bad(Struct):
            a: int = wire(1, number())
            b: int = wire(1, number())
