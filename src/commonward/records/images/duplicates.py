"""The same picture twice, or nearly: found by hashes of what is seen, not of the file.

Two hashes of 256 bits of the luminance in whole numbers. Difference hash (Krawetz 2013): is each of 16 x 16 areas
darker than its right neighbour? Average hash: is each of 16 x 16 areas brighter than the median? Both must be near for
two pictures to be near: the first follows edges, the second masses, and pictures of different eyes, which all show a
dark disc on white, often agree in one of them alone. Among the pairs of some thousand pictures a few are near by chance
all the same, so a near pair is held against its shades too: the luminance of 32 x 32 areas must be correlated.

`NEAR` and `ALIKE` are argued in docs/keratitis.md from measured distances. It finds copies that were stored again,
resized, or slightly cropped or brightened; it does not find another photograph of the same eye, for which the patient's
key is there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import numpy as np
from numpy.typing import NDArray

from commonward.records.images.photograph import ImageRefused, Photograph, luminance, shrunk

SIDE: Final = 16
NEAR: Final = 40
"""At most this many of 256 bits differ, in each of the two hashes."""

SHADES: Final = 32
ALIKE: Final = 88
"""The least correlation of the shades of a near copy, of a hundred."""

_PAIR: Final = b"commonward picture pair v1\0"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a picture looks like: two hashes of 256 bits as integers, so that the distance is a count of bits, and the
    luminance of 32 x 32 areas, a byte each."""

    difference: int
    average: int
    shades: bytes

    def distance(self, other: "Seen") -> int:
        """The greater of both hashes' distances, 0 to 256."""
        return max(
            (self.difference ^ other.difference).bit_count(),
            (self.average ^ other.average).bit_count(),
        )

    def alike(self, other: "Seen") -> bool:
        """Whether the shades are correlated by ALIKE of a hundred; in whole numbers, so alike on every machine."""
        one, two = (np.frombuffer(each.shades, np.uint8).astype(np.int64) for each in (self, other))
        one, two = one * one.size - one.sum(), two * two.size - two.sum()
        both = int(one @ two)
        return both > 0 and both * both * 100 * 100 >= ALIKE * ALIKE * int(one @ one) * int(two @ two)


def seen(photograph: Photograph) -> Seen:
    """The looks of a picture. Raises ImageRefused where it is smaller than 32 x 32 pixels."""
    plane = luminance(photograph.pixels)
    wide, square = shrunk(plane, SIDE, SIDE + 1), shrunk(plane, SIDE, SIDE)
    shades = shrunk(plane, SHADES, SHADES).astype(np.uint8).tobytes()
    return Seen(_bits(wide[:, 1:] > wide[:, :-1]), _bits(square > int(np.median(square))), shades)


def _bits(flags: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(flags.ravel()).tobytes())


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures by their places in what was given; `exact` when every pixel is the same.

    `name`: of these two pictures wherever they stand, 16 bytes; empty where nobody needs to name them.
    """

    first: int
    second: int
    distance: int
    exact: bool
    name: bytes = b""

    @property
    def certain(self) -> bool:
        """Whether it is one picture beyond doubt: the same pixels, or none of 512 bits differs. Photographs of two eyes
        differ by tens of bits; one that was only stored again may differ by none."""
        return self.exact or self.distance == 0


def pair_name(one: bytes, other: bytes) -> bytes:
    """What two pictures are called together, by their digests, whichever comes first: 16 bytes."""
    return sha256(_PAIR + b"".join(sorted((one, other)))).digest()[:16]


def pairs(photographs: Sequence[Photograph], near: int = NEAR) -> list[Pair]:
    """All duplicates and near duplicates, as `near_pairs` finds them."""
    return near_pairs([seen(each) for each in photographs], [each.digest for each in photographs], near)


def near_pairs(looks: Sequence[Seen], digests: Sequence[bytes], near: int = NEAR) -> list[Pair]:
    """Pairs of pictures that are the same or nearly, by the second and then the first; quadratic, and 1 s for 10,000.

    Args:
        looks: of each picture.
        digests: of each picture's pixels, or of whatever else is the same for the same picture.
    """
    found: list[Pair] = []
    difference, average = (_words([getattr(each, name) for each in looks]) for name in ("difference", "average"))
    named = np.array([int.from_bytes(each[:8]) for each in digests], dtype=np.uint64)
    for second in range(1, len(looks)):
        far = np.maximum(
            np.bitwise_count(difference[:second] ^ difference[second]).sum(axis=1),
            np.bitwise_count(average[:second] ^ average[second]).sum(axis=1),
        )
        for first in np.flatnonzero((far <= near) | (named[:second] == named[second])).tolist():
            exact = digests[first] == digests[second]
            if exact or (far[first] <= near and looks[first].alike(looks[second])):
                name = pair_name(digests[first], digests[second])
                found.append(Pair(first, second, int(far[first]), exact, name))
    return found


def _words(hashes: Sequence[int]) -> NDArray[np.uint64]:
    """(n, 4): hashes of 256 bits as words."""
    joined = b"".join(each.to_bytes(SIDE * SIDE // 8) for each in hashes)
    return np.frombuffer(joined, dtype=np.uint64).reshape(len(hashes), -1)


def groups(count: int, found: Sequence[Pair]) -> list[int]:
    """For each picture the first of its group: pictures joined by pairs, also by way of others."""
    leader = list(range(count))

    def top(at: int) -> int:
        while leader[at] != at:
            at = leader[at]
        return at

    for each in found:
        first, second = sorted((top(each.first), top(each.second)))
        leader[second] = first
    return [top(at) for at in range(count)]


def check_disjoint(train: Sequence[Photograph], test: Sequence[Photograph], near: int = NEAR) -> None:
    """No patient, and no picture or near copy of one, on both sides.

    A model that has seen a patient's other picture is tested on its memory: published figures fall by tens of points
    once patients are kept apart.

    Raises:
        ImageRefused: naming the first three that are on both sides.
    """
    both = sorted({each.patient for each in train} & {each.patient for each in test})
    if both:
        raise ImageRefused(
            f"expected patients in train or test, got {len(both)} in both: {', '.join(both[:3])}; split by patient"
        )
    every = [*train, *test]
    copies = [
        f"{every[each.second].source} and {every[each.first].source}"
        for each in pairs(every, near)
        if each.first < len(train) <= each.second
    ]
    if copies:
        raise ImageRefused(
            f"expected no copies across train and test, got {len(copies)}: {'; '.join(copies[:3])}; the patients' keys "
            "differ, so one of them is wrong or a picture was filed twice"
        )
