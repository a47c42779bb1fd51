"""Commitments to private values, and what opens them; and the tree of a consent's rules.

The ledger shows `commit(label, salt, value)`, 32 bytes that tell nothing without the salt. Who is given the opening
can check it. A consent commits to all its rules at once by one root, so that each can be opened alone.

The tree of rules has 256 slots (depth 8). Rules sit in slots chosen by the consent's seed, all other slots hold pads
from the same seed. So a path tells neither how many rules there are nor which others exist; and who gets the seed
(patient and custodian) can rebuild the tree and knows that no rule was kept from it.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from commonward.ledger.encoding import Digest, Encodable, Value, decode, digest, encode
from commonward.records.padded_tree import HASH_BYTES, build_levels, path_of, root_from

SALT_BYTES: Final = 32
SEED_BYTES: Final = 32
DEPTH: Final = 8
MAX_RULES: Final = 1 << DEPTH

RULE_LABEL: Final = "commonward rule v1"
_SALT_LABEL: Final = "commonward rule salt v1"
_PAD_LABEL: Final = "commonward rule pad v1"
_SLOT_LABEL: Final = "commonward rule slot v1"


class OpeningError(ValueError):
    """An opening that does not lead to the commitment, or is not an opening."""


def commit(label: str, salt: bytes, value: Encodable) -> Digest:
    """digest(label, salt, encode(value)). The salt is 32 random bytes, used for this value alone."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"expected a salt of {SALT_BYTES} bytes, got {len(salt)}")
    return digest(label, salt, encode(value))


@dataclass(frozen=True, slots=True)
class Opening:
    """What a commitment hides: its label, its salt (32 bytes), its value."""

    label: str
    salt: bytes
    value: Value

    @property
    def commitment(self) -> Digest:
        return commit(self.label, self.salt, self.value)

    def check(self, commitment: bytes, label: str) -> Value:
        """The value, once it is shown to be what was committed to under that label. Raises OpeningError."""
        if self.label != label:
            raise OpeningError(f"expected an opening of {label!r}, got one of {self.label!r}")
        if self.commitment != commitment:
            raise OpeningError(f"opening of {label!r} does not lead to the commitment {commitment.hex()}")
        return self.value

    def to_bytes(self) -> bytes:
        return encode([self.label, self.salt, self.value])

    @classmethod
    def parse(cls, data: bytes) -> "Opening":
        """Raises OpeningError."""
        match _decoded(data):
            case [str() as label, bytes() as salt, value] if len(salt) == SALT_BYTES:
                return cls(label, salt, value)
        raise OpeningError(f"expected [label, salt of {SALT_BYTES} bytes, value]")


@dataclass(frozen=True, slots=True)
class OpenedRule:
    """One rule with what leads from it to the consent's root.

    Attributes:
        value: the rule as `Rule.to_value` gives it.
        salt: 32 bytes.
        slot: 0 to 255.
        path: 8 sibling hashes, deepest first.
    """

    value: Value
    salt: bytes
    slot: int
    path: tuple[bytes, ...]

    def check(self, root: bytes) -> Value:
        """The rule's value, once it is shown to be under the root. Raises OpeningError."""
        shaped = 0 <= self.slot < MAX_RULES and len(self.path) == DEPTH and all(len(x) == HASH_BYTES for x in self.path)
        if not shaped or root_from(commit(RULE_LABEL, self.salt, self.value), self.slot, self.path) != root:
            raise OpeningError(f"rule in slot {self.slot} does not lead to the consent's root {root.hex()}")
        return self.value

    def to_value(self) -> Value:
        return [self.value, self.salt, self.slot, b"".join(self.path)]

    @classmethod
    def from_value(cls, value: Value) -> "OpenedRule":
        """Raises OpeningError."""
        match value:
            case [rule, bytes() as salt, int() as slot, bytes() as path] if (
                len(salt) == SALT_BYTES and len(path) == DEPTH * HASH_BYTES
            ):
                hashes = tuple(path[at : at + HASH_BYTES] for at in range(0, len(path), HASH_BYTES))
                return cls(rule, salt, slot, hashes)
        raise OpeningError("expected [rule, salt, slot, path of 256 bytes]")


class RulesTree:
    """The rules of one consent under one root.

    The seed (32 random bytes, for this consent alone) expands so: rules are put in the order of their encodings; slots
    in the order of digest("commonward rule slot v1", seed, byte slot); rule i takes slot i of those, with the salt
    digest("commonward rule salt v1", seed, byte slot); every other slot holds digest("commonward rule pad v1", seed,
    byte slot). Leaf = commit("commonward rule v1", salt, rule); inner nodes as in `padded_tree`.
    """

    __slots__ = ("_levels", "_rules", "_seed", "root")

    def __init__(self, values: Iterable[Encodable], seed: bytes) -> None:
        """Raises ValueError: no rule, more than 256, one twice, or a seed that is not 32 bytes."""
        if len(seed) != SEED_BYTES:
            raise ValueError(f"expected a seed of {SEED_BYTES} bytes, got {len(seed)}")
        encoded = sorted(encode(value) for value in values)
        if not 0 < len(encoded) <= MAX_RULES:
            raise ValueError(f"expected 1 to {MAX_RULES} rules, got {len(encoded)}: nothing said means no already")
        if len(set(encoded)) != len(encoded):
            raise ValueError("expected each rule once in a consent, got one twice")
        slots = sorted(range(MAX_RULES), key=lambda slot: digest(_SLOT_LABEL, seed, bytes((slot,))))
        self._seed = seed
        self._rules = dict(zip(slots, encoded, strict=False))
        leaves = [self._leaf(slot) for slot in range(MAX_RULES)]
        self._levels = build_levels(leaves, [b""] * (DEPTH + 1), 0)  # a full tree has no odd level: no pad is used
        self.root = Digest(self._levels[-1][0])

    def values(self) -> list[Value]:
        """All rules, in the order of their encodings."""
        return [decode(each) for each in self._rules.values()]

    def open_some(self, wanted: Collection[Encodable]) -> list[OpenedRule]:
        """The rules named, each with its path: for a requester. Raises ValueError for one that is not here."""
        slots = {encoded: slot for slot, encoded in self._rules.items()}
        opened = []
        for value in wanted:
            slot = slots.get(encode(value))
            if slot is None:
                raise ValueError("expected a rule of this consent, got another")
            opened.append(OpenedRule(decode(encode(value)), self._salt(slot), slot, path_of(self._levels, slot)))
        return sorted(opened, key=lambda each: each.slot)

    def open_all(self) -> bytes:
        """Seed and rules: for patient and custodian. See `open_all_rules`."""
        return encode([self._seed, self.values()])

    def _salt(self, slot: int) -> bytes:
        return digest(_SALT_LABEL, self._seed, bytes((slot,)))

    def _leaf(self, slot: int) -> bytes:
        rule = self._rules.get(slot)
        if rule is None:
            return digest(_PAD_LABEL, self._seed, bytes((slot,)))
        return digest(RULE_LABEL, self._salt(slot), rule)


@lru_cache(maxsize=256)  # a custodian holds the same opening against the same root at each release
def open_all_rules(data: bytes, root: bytes) -> RulesTree:
    """The tree that `RulesTree.open_all` opened, rebuilt and held against the root of the consent on the ledger.

    When it returns, these are all the rules there are: a slot that is no rule is a pad from the seed.

    Raises:
        OpeningError: not such an opening, or another root.
    """
    match _decoded(data):
        case [bytes() as seed, list() as values]:
            try:
                tree = RulesTree(values, seed)
            except ValueError as cause:
                raise OpeningError(f"rules do not make a tree: {cause}") from cause
            if tree.root != root:
                raise OpeningError(f"rules lead to the root {tree.root.hex()}, the consent says {root.hex()}")
            return tree
    raise OpeningError("expected [seed, rules]")


def _decoded(data: bytes) -> Value:
    try:
        return decode(data)
    except ValueError as cause:
        raise OpeningError(f"opening is not our encoding: {cause}") from cause
