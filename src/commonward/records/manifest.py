"""The exact data that a site trains and tests on, under two roots that tell nothing of it.

A leaf is salted: digest over (record, consent, split). Root and order follow from the set of rows and one seed of 32
bytes, so a site builds the same manifest again; a path has as many hashes whatever the number of rows. The ledger
shows both roots, bands of the numbers, and commitments to the exact ones. The rows are opened to the enrolled sites
with each update, so that a site weighs as much as it has, and no more than its consents allow (`check_size`).

No patient is in both splits, and none brings more rows than the study's cap: that is checked when it is built, and can
be checked again by whoever is shown the rows.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from commonward.ledger.encoding import Digest, Value, decode, digest, encode
from commonward.ledger.rounds.words import band_of
from commonward.records.openings import Opening, OpeningError
from commonward.records.padded_tree import HASH_BYTES, build_levels, path_of, root_from

DEPTH: Final = 24
RECORD_BYTES: Final = 32
CONSENT_BYTES: Final = 16
SEED_BYTES: Final = 32

ROWS_LABEL: Final = "commonward manifest rows v1"
PATIENTS_LABEL: Final = "commonward manifest patients v1"
_LEAF_LABEL: Final = "commonward manifest leaf v1"
_SALT_LABEL: Final = "commonward manifest salt v1"
_PAD_LABEL: Final = "commonward manifest pad v1"
_FLIPS_LABEL: Final = "commonward manifest flips v1"
_MEMBER_LABEL: Final = "commonward manifest membership v1"


class ManifestError(ValueError):
    """Rows that make no manifest, or numbers that a manifest cannot have."""


class Split(IntEnum):
    """What a row is for."""

    TRAIN = 1
    TEST = 2


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """One row of a cohort: the fingerprint of its record (32 bytes), and the consent that it is used under (16)."""

    record: bytes
    consent: bytes

    def __post_init__(self) -> None:
        if len(self.record) != RECORD_BYTES or len(self.consent) != CONSENT_BYTES:
            got = f"{len(self.record)} and {len(self.consent)}"
            raise ManifestError(f"expected a fingerprint of 32 and a consent of 16 bytes, got {got}")


@dataclass(frozen=True, slots=True)
class Membership:
    """That a row is under a root: salt (32 bytes), the leaf's index, and 24 sibling hashes, deepest first."""

    row: Row
    split: Split
    salt: bytes
    index: int
    path: tuple[bytes, ...]

    def check(self, root: bytes) -> None:
        """Raises ManifestError: the row does not lead to that root."""
        shaped = len(self.salt) == 32 and 0 <= self.index < 1 << DEPTH and len(self.path) == DEPTH
        if not shaped or root_from(_leaf(self.row, self.split, self.salt), self.index, self.path) != root:
            name = self.split.name.lower()
            raise ManifestError(f"record {self.row.record.hex()} does not lead to the {name} root {root.hex()}")

    def to_bytes(self) -> bytes:
        """encode([label, record, consent, split, salt, index, path joined])."""
        path = b"".join(self.path)
        return encode([_MEMBER_LABEL, self.row.record, self.row.consent, self.split, self.salt, self.index, path])

    @classmethod
    def parse(cls, data: bytes) -> "Membership":
        """Raises ManifestError."""
        match _decoded(data):
            case [str(label), bytes(record), bytes(consent), int(split), bytes(salt), int(index), bytes(path)] if (
                label == _MEMBER_LABEL and split in set(Split) and len(path) == DEPTH * HASH_BYTES
            ):
                hashes = tuple(path[at : at + HASH_BYTES] for at in range(0, len(path), HASH_BYTES))
                return cls(Row(record, consent), Split(split), salt, index, hashes)
        raise ManifestError("expected [label, record, consent, split, salt, index, path of 768 bytes]")


class Part:
    """The rows of one split under their root."""

    __slots__ = ("_levels", "_places", "_seed", "root", "rows", "split")

    def __init__(self, split: Split, rows: Iterable[Row], seed: bytes) -> None:
        self.split, self._seed = split, seed
        self.rows = tuple(sorted(rows))
        leaves = sorted((_leaf(row, split, self._salt(row)), at) for at, row in enumerate(self.rows))
        key = bytes((split,))
        pads: list[bytes] = [digest(_PAD_LABEL, seed, key, bytes((level,))) for level in range(DEPTH + 1)]
        flips = int.from_bytes(digest(_FLIPS_LABEL, seed, key), "big") & ((1 << DEPTH) - 1)
        self._levels = build_levels([leaf for leaf, _ in leaves], pads, flips)
        # Bit `height` of flips swaps the pairs of that height, so a leaf's index is its place with those bits turned.
        self._places = {self.rows[at].record: (place, place ^ flips, at) for place, (_, at) in enumerate(leaves)}
        self.root = Digest(self._levels[-1][0])

    def prove(self, record: bytes) -> Membership:
        """Raises ManifestError: no row of this record here."""
        if record not in self._places:
            raise ManifestError(f"expected a record of the {self.split.name.lower()} split, got {record.hex()}")
        place, index, at = self._places[record]
        row = self.rows[at]
        return Membership(row, self.split, self._salt(row), index, path_of(self._levels, place))

    def _salt(self, row: Row) -> bytes:
        return digest(_SALT_LABEL, self._seed, bytes((self.split,)), row.record)


class Manifest:
    """What a site says of its data in one study: see `Manifest` of `ledger.rounds.transactions`.

    Args:
        train, test: rows, in any order.
        row_cap: how many rows one patient, which is one consent, may bring, to be learnt from or judged by.
        seed: 32 random bytes, for this manifest alone; test rows that shall keep their root keep theirs.
        test_seed: the seed of the test split; `seed` unless given.

    Raises:
        ManifestError: nothing to train on; a record twice; a patient in both splits, or with more rows than the cap;
            more than 2^24 rows.
    """

    __slots__ = ("_seed", "patients", "test", "train")

    def __init__(
        self, train: Iterable[Row], test: Iterable[Row], row_cap: int, seed: bytes, test_seed: bytes | None = None
    ) -> None:
        if len(seed) != SEED_BYTES or len(test_seed or seed) != SEED_BYTES:
            raise ManifestError(f"expected seeds of {SEED_BYTES} bytes, got {len(seed)}")
        to_train, to_test = tuple(train), tuple(test)
        _check_rows(to_train, to_test, row_cap)
        self._seed = seed
        self.train = Part(Split.TRAIN, to_train, seed)
        self.test = Part(Split.TEST, to_test, test_seed or seed)
        self.patients = len({row.consent for row in (*to_train, *to_test)})

    @property
    def rows(self) -> int:
        """n: the rows that it trains on, which are its weight."""
        return len(self.train.rows)

    @property
    def rows_opening(self) -> Opening:
        """Of the commitment `exact_rows`: [rows to train on, rows to test on]."""
        return Opening(ROWS_LABEL, digest(ROWS_LABEL, self._seed), [self.rows, len(self.test.rows)])

    @property
    def patients_opening(self) -> Opening:
        """Of the commitment `exact_patients`."""
        return Opening(PATIENTS_LABEL, digest(PATIENTS_LABEL, self._seed), self.patients)

    @property
    def bands(self) -> tuple[int, int]:
        """The bands of patients and of all rows, as the ledger shows them."""
        return band_of(self.patients), band_of(self.rows + len(self.test.rows))


def _check_rows(train: Sequence[Row], test: Sequence[Row], row_cap: int) -> None:
    if not train:
        raise ManifestError("expected rows to train on, got none")
    if max(len(train), len(test)) > 1 << DEPTH:
        raise ManifestError(f"expected at most 2^{DEPTH} rows in a split, got {max(len(train), len(test))}")
    twice = [record for record, count in Counter(row.record for row in (*train, *test)).items() if count > 1]
    if twice:
        raise ManifestError(f"expected each record once, got {twice[0].hex()} again")
    if both := {row.consent for row in train} & {row.consent for row in test}:
        raise ManifestError(f"expected no patient in both splits, got the patient of consent {min(both).hex()}")
    # The ledger holds all rows together to the cap, those to test on too: a patient of many would have it refused.
    consent, most = Counter(row.consent for row in (*train, *test)).most_common(1)[0]
    if most > row_cap:
        raise ManifestError(f"expected at most {row_cap} rows of one patient, got {most} under {consent.hex()}")


def opened_rows(opening: bytes, commitment: bytes, consents: int, row_cap: int) -> int:
    """n, as a site opens it with its update, held against the ledger.

    Args:
        opening: of `rows_opening`, as bytes.
        commitment: `exact_rows` of the site's manifest.
        consents: how many consents for this study and site the ledger counts as open.
        row_cap: of the study.

    Raises:
        ManifestError: another opening, or more rows than those consents allow: they are inflated.
    """
    try:
        value = Opening.parse(opening).check(commitment, ROWS_LABEL)
    except OpeningError as cause:
        raise ManifestError(f"expected the rows that the manifest commits to: {cause}") from cause
    match value:
        case [int(train), int(test)] if train >= 1 and test >= 0:
            if train > consents * row_cap:
                raise ManifestError(f"expected at most {consents} x {row_cap} rows by the open consents, got {train}")
            return train
    raise ManifestError("expected [rows to train on, rows to test on]")


def _leaf(row: Row, split: Split, salt: bytes) -> Digest:
    return digest(_LEAF_LABEL, salt, encode([row.record, row.consent, split]))


def _decoded(data: bytes) -> Value:
    try:
        return decode(data)
    except ValueError as cause:
        raise ManifestError(f"expected our encoding: {cause}") from cause
