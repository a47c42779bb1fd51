"""Deterministic CBOR, and the labelled digest.

The one road from meaning to bytes: what we sign, hash and store is this encoding. It is the subset of RFC 8949 that
4.2.1 makes deterministic, cut down to what the ledger needs: integers from -2^63 to 2^64 - 1, byte strings, text,
arrays, and maps from integers; shortest heads, definite lengths, ascending keys, at most 16 containers deep. The
decoder refuses everything else (tags, floats, true, false, null, undefined, indefinite lengths, bignums), so that for
each value there is exactly one byte string, and for each byte string at most one value.

Written flat, with the frequent cases first, because each node decodes each transaction: a leaf costs no call.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, NewType, TypeAlias

Value: TypeAlias = "int | bytes | str | list[Value] | dict[int, Value]"
"""What `decode` returns."""

Encodable: TypeAlias = "int | bytes | str | Sequence[Encodable] | Mapping[int, Encodable]"
"""What `encode` takes: any `Value`, and tuples where a list may stand."""

Digest = NewType("Digest", bytes)
"""32 bytes of SHA-256."""

MAX_DEPTH: Final = 16
_SMALLEST: Final = -(1 << 63)
_LARGEST: Final = (1 << 64) - 1


class EncodingError(ValueError):
    """Bytes that are not our encoding, or a value that has none.

    `what` names the rule, `offset` the byte where it broke (None when encoding).
    """

    def __init__(self, what: str, offset: int | None = None) -> None:
        super().__init__(what if offset is None else f"{what} at byte {offset}")
        self.what = what
        self.offset = offset


def digest(label: str, *parts: bytes) -> Digest:
    """SHA-256 of the label in UTF-8, a zero byte, and the parts joined.

    The label says what is hashed, so that no digest of one thing can pass for one of another. Parts are joined
    without lengths: give at most one part whose length varies, and give it last.
    """
    return Digest(hashlib.sha256(b"".join((label.encode(), b"\0", *parts))).digest())


class Digester:
    """`digest` whose label and first parts are fixed: for many digests under one key, at half the cost."""

    __slots__ = ("_start",)

    def __init__(self, label: str, *parts: bytes) -> None:
        self._start = hashlib.sha256(b"".join((label.encode(), b"\0", *parts)))

    def __call__(self, last: bytes) -> Digest:
        """digest(label, *parts, last)."""
        hashed = self._start.copy()
        hashed.update(last)
        return Digest(hashed.digest())


# --------------------------------------------------------------------------------------------------------- encoding


def encode(value: Encodable) -> bytes:
    """The one encoding of a value. Raises EncodingError for a value that has none."""
    out = bytearray()
    _write(out, value, MAX_DEPTH)
    return bytes(out)


def _head(major: int, n: int) -> bytes:
    """Initial byte and argument in the shortest form (RFC 8949 4.2.1). `major` is shifted left by five."""
    if n < 24:
        return bytes((major | n,))
    if n < 0x100:
        return bytes((major | 24, n))
    if n < 0x1_0000:
        return bytes((major | 25,)) + n.to_bytes(2, "big")
    if n < 0x1_0000_0000:
        return bytes((major | 26,)) + n.to_bytes(4, "big")
    return bytes((major | 27,)) + n.to_bytes(8, "big")


def _integer(n: int) -> bytes:
    if not _SMALLEST <= n <= _LARGEST:
        raise EncodingError(f"expected an integer from -2^63 to 2^64 - 1, got one of {n.bit_length()} bits")
    return _head(0x00, n) if n >= 0 else _head(0x20, -1 - n)


def _text(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as cause:
        raise EncodingError("expected text without lone surrogates") from cause


def _write(out: bytearray, value: Encodable, room: int) -> None:
    kind = type(value)
    if kind is bytes:
        n = len(value)  # type: ignore[arg-type]
        if n < 24:
            out.append(0x40 | n)
        else:
            out += _head(0x40, n)
        out += value  # type: ignore[arg-type]
    elif kind is int:
        if 0 <= value < 24:  # type: ignore[operator]
            out.append(value)  # type: ignore[arg-type]
        else:
            out += _integer(value)  # type: ignore[arg-type]
    elif kind is str:
        text = _text(value)  # type: ignore[arg-type]
        out += _head(0x60, len(text))
        out += text
    elif kind is list or kind is tuple:
        if not room:
            raise EncodingError(f"expected at most {MAX_DEPTH} containers deep")
        out += _head(0x80, len(value))  # type: ignore[arg-type]
        room -= 1
        for item in value:  # type: ignore[union-attr]
            _write(out, item, room)
    elif kind is dict:
        if not room:
            raise EncodingError(f"expected at most {MAX_DEPTH} containers deep")
        out += _head(0xA0, len(value))  # type: ignore[arg-type]
        room -= 1
        for key in _ordered(value):  # type: ignore[arg-type]
            if 0 <= key < 24:
                out.append(key)
            else:
                out += _integer(key)
            _write(out, value[key], room)  # type: ignore[index]
    elif isinstance(value, int) and kind is not bool:  # IntEnum: a name in the code, a number on the wire
        out += _integer(int(value))
    else:
        raise EncodingError(f"expected int, bytes, str, list, tuple or dict, got {kind.__name__}")


def _ordered(value: Mapping[int, Encodable]) -> list[int]:
    """Keys in the bytewise order of their encodings: 0, 1, 2, ..., then -1, -2, ..."""
    keys = list(value)
    for key in keys:
        if not isinstance(key, int) or isinstance(key, bool):
            raise EncodingError(f"expected integer keys, got {type(key).__name__}")
    keys.sort()
    if keys and keys[0] < 0:
        keys.sort(key=lambda key: (key < 0, abs(key)))
    return [int(key) for key in keys]


# --------------------------------------------------------------------------------------------------------- decoding


def decode(data: bytes) -> Value:
    """The value that these bytes encode. Raises EncodingError when they are not its one encoding."""
    if type(data) is not bytes:  # a slice of a bytearray or a view would not be bytes either
        raise TypeError(f"expected bytes, got {type(data).__name__}")
    try:
        value, end = _read(data, 0, MAX_DEPTH)
    except IndexError:
        raise EncodingError("expected more bytes", len(data)) from None
    if end != len(data):
        raise EncodingError(f"expected the end, got {len(data) - end} more bytes", end)
    return value


def _argument(data: bytes, pos: int, low: int) -> tuple[int, int]:
    """The argument of the head at `pos`, whose low five bits are `low`, and where it ends."""
    if low < 24:
        return low, pos + 1
    if low > 27:
        raise EncodingError("expected a definite length", pos)
    width = 1 << (low - 24)
    end = pos + 1 + width
    if end > len(data):
        raise EncodingError("expected more bytes", len(data))
    n = int.from_bytes(data[pos + 1 : end], "big")
    if n < (24 if width == 1 else 1 << (4 * width)):
        raise EncodingError("expected the shortest head", pos)
    return n, end


def _read(data: bytes, pos: int, room: int) -> tuple[Value, int]:
    head = data[pos]
    major = head & 0xE0
    if major > 0xA0:
        raise EncodingError("expected an integer, bytes, text, array or map, got another type", pos)
    n, end = head & 0x1F, pos + 1
    if n >= 24:
        n, end = _argument(data, pos, n)
    if major == 0x00:
        return n, end
    if major == 0x20:
        if n > 0x7FFF_FFFF_FFFF_FFFF:
            raise EncodingError("expected an integer of at least -2^63", pos)
        return -1 - n, end
    if n > len(data) - end:  # every item of a container takes a byte too
        raise EncodingError("expected more bytes", len(data))
    if major == 0x40:
        return data[end : end + n], end + n
    if major == 0x60:
        try:
            return str(data[end : end + n], "utf-8"), end + n
        except UnicodeDecodeError as cause:
            raise EncodingError("expected valid UTF-8", end + cause.start) from None
    if not room:
        raise EncodingError(f"expected at most {MAX_DEPTH} containers deep", pos)
    return _read_array(data, end, n, room - 1) if major == 0x80 else _read_map(data, end, n, room - 1)


def _read_array(data: bytes, pos: int, count: int, room: int) -> tuple[list[Value], int]:
    items: list[Value] = []
    size = len(data)
    for _ in range(count):
        head = data[pos]
        if head < 24:
            items.append(head)
            pos += 1
        elif 0x40 <= head < 0x58:
            start = pos + 1
            pos = start + head - 0x40
            if pos > size:
                raise EncodingError("expected more bytes", size)
            items.append(data[start:pos])
        elif head == 0x58 and pos + 1 < size and data[pos + 1] >= 24:
            start = pos + 2
            pos = start + data[pos + 1]
            if pos > size:
                raise EncodingError("expected more bytes", size)
            items.append(data[start:pos])
        elif head == 0x59 and pos + 2 < size and data[pos + 1]:
            start = pos + 3
            pos = start + (data[pos + 1] << 8) + data[pos + 2]
            if pos > size:
                raise EncodingError("expected more bytes", size)
            items.append(data[start:pos])
        else:
            item, pos = _read(data, pos, room)
            items.append(item)
    return items, pos


def _read_map(data: bytes, pos: int, count: int, room: int) -> tuple[dict[int, Value], int]:
    entries: dict[int, Value] = {}
    size = len(data)
    last = -1  # rank of the last key: its own value, and for a negative key -1 - n + 2^64 beyond all others
    for _ in range(count):
        key = data[pos]
        if key < 24:
            rank = key
            after = pos + 1
        else:
            if key >= 0x40:
                raise EncodingError("expected an integer key", pos)
            got, after = _read(data, pos, 0)
            assert isinstance(got, int)
            key = got
            rank = key if key >= 0 else _LARGEST - key
        if rank <= last:
            raise EncodingError("expected keys in ascending order, each once", pos)
        last = rank
        pos = after
        head = data[pos]
        if head < 24:
            entries[key] = head
            pos += 1
        elif head == 0x58 and pos + 1 < size and data[pos + 1] >= 24:
            start = pos + 2
            pos = start + data[pos + 1]
            if pos > size:
                raise EncodingError("expected more bytes", size)
            entries[key] = data[start:pos]
        else:
            entries[key], pos = _read(data, pos, room)
    return entries, pos
