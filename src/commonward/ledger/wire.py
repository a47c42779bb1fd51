"""The fields of a transaction or a state value: declared once, read and written by number.

A class says of each field its number on the wire and its shape; `Struct` turns it into an integer-keyed map and back.
Numbers never change meaning; a map with a number that the class lacks is refused, so nothing unread is ever signed.

    @struct
    class Review(Payload):
        tag: Tag = wire(1, octets(32))
        finding: Digest = wire(2, octets(32))
"""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from enum import IntEnum
from typing import Any, ClassVar, Final, NamedTuple, Self, TypeVar, dataclass_transform

from commonward.ledger.encoding import Encodable, Value, decode, encode

MAX_TIME: Final = (1 << 53) - 1
"""Times and counts stay below 2^53, so that any language's number can hold them."""


class Shape(NamedTuple):
    """How one field reads from the wire (raising ValueError that names expected and got) and is written to it."""

    read: Callable[[Any], Any]
    write: Callable[[Any], Encodable] | None = None  # None: as it is


def _got(value: object) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else f"{type(value).__name__} {value!r:.60}"


def octets(least: int, most: int | None = None) -> Shape:
    """Bytes of exactly `least`, or of `least` to `most`."""
    top = least if most is None else most

    def read(value: Any) -> bytes:
        if type(value) is not bytes or not least <= len(value) <= top:
            raise ValueError(f"expected {least if top == least else f'{least} to {top}'} bytes, got {_got(value)}")
        return value

    return Shape(read)


def number(least: int = 0, most: int = MAX_TIME) -> Shape:
    """An integer from `least` to `most`, both included."""

    def read(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"expected a number from {least} to {most}, got {_got(value)}")
        return value

    return Shape(read)


def text(most: int, least: int = 1) -> Shape:
    """Text of `least` to `most` characters, none of them a control character (C0, delete, C1).

    Said by number, not by `isprintable`: what Unicode calls printable changes from one Python to the next, and every
    node must answer alike.
    """

    def read(value: Any) -> str:
        if type(value) is not str or not least <= len(value) <= most or any(map(_is_control, value)):
            raise ValueError(f"expected {least} to {most} characters and no control character, got {_got(value)}")
        return value

    return Shape(read)


def _is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character <= "\x9f"


def parsed(parse: Callable[[object], Any]) -> Shape:
    """What one of the `parse_...` doors of `ids` lets in."""
    return Shape(parse)


def _read_flag(value: Any) -> bool:
    if value != 0 and value != 1:
        raise ValueError(f"expected 0 or 1, got {_got(value)}")
    return bool(value)


FLAG: Final = Shape(_read_flag, int)
"""A bool, 0 or 1 on the wire (the encoding has no booleans)."""

TIME: Final = number()
DIGEST: Final = octets(32)


def choice(words: type[IntEnum]) -> Shape:
    """One of the numbers that an enumeration names."""
    table = {int(word): word for word in words}

    def read(value: Any) -> IntEnum:
        word = table.get(value) if type(value) is int else None
        if word is None:
            raise ValueError(
                f"expected one of {', '.join(f'{w.name} ({n})' for n, w in table.items())}, got {_got(value)}"
            )
        return word

    return Shape(read, int)


def items(of: Shape, most: int, least: int = 0) -> Shape:
    """A tuple of `least` to `most` values of one shape."""
    read_one, write_one = of

    def read(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or not least <= len(value) <= most:
            raise ValueError(f"expected an array of {least} to {most} items, got {_got(value)}")
        return tuple(map(read_one, value))

    return Shape(read, tuple if write_one is None else lambda values: tuple(map(write_one, values)))


def nested(of: "type[Struct]") -> Shape:
    """A struct inside a struct."""
    return Shape(of.from_value, lambda value: value.to_value())


class Field(NamedTuple):
    number: int
    name: str
    shape: Shape
    optional: bool


class Struct:
    """Base of everything with numbered fields. Subclasses are decorated with `@struct`."""

    __slots__ = ()
    FIELDS: ClassVar[tuple[Field, ...]] = ()

    def to_value(self) -> dict[int, Encodable]:
        value: dict[int, Encodable] = {}
        for each in self.FIELDS:
            item = getattr(self, each.name)
            if item is not None:
                value[each.number] = item if each.shape.write is None else each.shape.write(item)
        return value

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Raises ValueError that names the field."""
        if type(value) is not dict:
            raise ValueError(f"expected the fields of {cls.__name__} as a map, got {type(value).__name__}")
        arguments = []
        absent = 0
        name = ""
        try:
            for key, name, (read, _), optional in cls.FIELDS:  # noqa: B007 - named in the error
                item = value.get(key)
                if item is not None:
                    arguments.append(read(item))
                elif optional:
                    absent += 1
                    arguments.append(None)
                else:
                    raise ValueError("expected this field, got none")
        except ValueError as cause:
            raise ValueError(f"{cls.__name__}.{name}: {cause}") from None
        if len(value) + absent != len(arguments):
            extra = sorted(set(value) - {each.number for each in cls.FIELDS})
            raise ValueError(f"{cls.__name__}: expected no field {extra}")
        return cls(*arguments)

    def to_bytes(self) -> bytes:
        return encode(self.to_value())

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises ValueError."""
        return cls.from_value(decode(data))


class Signer(IntEnum):
    """Whose proof a kind of transaction needs."""

    OPERATE = 1
    PASSKEY = 2
    EITHER = 3


class Payload(Struct):
    """Base of the transactions: what a body says besides ledger, nonce, time and author."""

    __slots__ = ()
    KIND: ClassVar[int]
    SIGNED_BY: ClassVar[Signer] = Signer.OPERATE
    MAX_BYTES: ClassVar[int] = 16 * 1024
    SECOND_SIGNATURES: ClassVar[int] = 0
    """Signatures checked besides the proof, at most: a block's limit counts them."""


S = TypeVar("S", bound=Struct)


def wire(number: int, shape: Shape, *, default: Any = MISSING) -> Any:
    """One field: its number on the wire and its shape. `default=None` makes it one that may be absent."""
    return field(default=default, metadata={"number": number, "shape": shape})


@dataclass_transform(frozen_default=True, field_specifiers=(wire,))
def struct(cls: type[S]) -> type[S]:
    """Makes a frozen, slotted dataclass of a class whose fields are declared with `wire`."""
    made = dataclass(frozen=True, slots=True)(cls)
    listed = [
        Field(each.metadata["number"], each.name, each.metadata["shape"], each.default is not MISSING)
        for each in fields(made)  # type: ignore[arg-type]  # it has just become a dataclass
    ]
    numbers = [each.number for each in listed]
    if numbers != sorted(set(numbers)):
        raise TypeError(f"{cls.__name__}: expected field numbers in ascending order, each once, got {numbers}")
    made.FIELDS = tuple(listed)
    return made
