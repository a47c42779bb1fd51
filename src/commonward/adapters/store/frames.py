"""How a block lies in a segment file: a head that can be told from a torn or altered one, then the block's bytes.

    segment   "commonward blocks v1\\n" | first height (8) | chain before it (32)
    frame     "CWBF" | length (4) | height (8) | crc32 of body (4) | chain (32) | crc32 of the head so far (4) | body

Numbers are big-endian. `chain` = SHA-256("commonward block log v1" 00 | chain before | height | body), 32 zero bytes
before the first block. The checksums find accidents; the chain finds a body that was altered and its checksums with it.
Who rewrites every frame from there to the end is found by the ledger: the roots no longer match what was cosigned.
"""

import struct
from dataclasses import dataclass
from hashlib import sha256
from zlib import crc32

__all__ = [
    "FRAME",
    "MAGIC",
    "MAX_BODY",
    "NO_CHAIN",
    "SEGMENT",
    "Head",
    "chained",
    "frame",
    "parse_head",
    "parse_segment",
    "segment_head",
]

MAGIC = b"CWBF"
FRAME = 56  # bytes of a frame's head
NO_CHAIN = bytes(32)
MAX_BODY = 1 << 28

_TITLE = b"commonward blocks v1\n"
_HEAD = struct.Struct(">4sIQI32s")
_SEGMENT = struct.Struct(">Q32s")
SEGMENT = len(_TITLE) + _SEGMENT.size
_LABEL = sha256(b"commonward block log v1\0")


@dataclass(frozen=True, slots=True)
class Head:
    """A frame's head, its own checksum good."""

    length: int
    height: int
    crc: int
    chain: bytes


def chained(before: bytes, height: int, body: bytes) -> bytes:
    """The chain after this block."""
    state = _LABEL.copy()
    state.update(before)
    state.update(height.to_bytes(8, "big"))
    state.update(body)
    return state.digest()


def frame(before: bytes, height: int, body: bytes) -> tuple[bytes, bytes]:
    """(the head's bytes, the chain after it)."""
    chain = chained(before, height, body)
    head = _HEAD.pack(MAGIC, len(body), height, crc32(body), chain)
    return head + crc32(head).to_bytes(4, "big"), chain


def parse_head(data: bytes) -> Head | None:
    """None unless `data` starts with a whole head whose own checksum is good."""
    if len(data) < FRAME or crc32(data[: FRAME - 4]) != int.from_bytes(data[FRAME - 4 : FRAME], "big"):
        return None
    magic, length, height, crc, chain = _HEAD.unpack_from(data)
    return Head(length, height, crc, chain) if magic == MAGIC else None


def segment_head(first: int, chain: bytes) -> bytes:
    return _TITLE + _SEGMENT.pack(first, chain)


def parse_segment(data: bytes) -> tuple[int, bytes] | None:
    """(first height, chain before it); None when it is not a segment's head."""
    if len(data) < SEGMENT or not data.startswith(_TITLE):
        return None
    first, chain = _SEGMENT.unpack_from(data, len(_TITLE))
    return first, chain
