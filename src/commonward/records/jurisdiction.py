"""Jurisdiction tables: on which legal basis who may ask for what, where.

A table is a versioned data file; members adopt its digest by vote, so all decide alike and an auditor can decide
again. It is thin: for each entry a basis, purposes, kinds and roles of askers, which data, and whether it holds
despite the patient's denies. Which law that follows from is text for people, given with each decision.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from importlib.resources import files
from typing import Final

import orjson

from commonward.ledger.encoding import Digest, digest
from commonward.ledger.ids import MemberKind
from commonward.records.stored import Stored, parse

_MEMO: Final = 4096
TABLE_LABEL: Final = "commonward jurisdiction table v1"


class Basis(IntEnum):
    """The ground on which data may be asked for."""

    CONSENT = 1
    STATUTE = 2
    VITAL_INTEREST = 3
    COURT = 4
    CONTRACT = 5


class Assurance(IntEnum):
    """How sure it is that the patient meant a consent; numbers as in the ledger's parameters."""

    WITNESSED = 1
    REPRESENTATIVE = 2
    PASSKEY = 3


BASES: Final = {
    "consent": Basis.CONSENT,
    "statute": Basis.STATUTE,
    "vital-interest": Basis.VITAL_INTEREST,
    "court": Basis.COURT,
    "contract": Basis.CONTRACT,
}


class TableError(ValueError):
    """A table file that cannot be read: what was expected and what came."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the table.

    Attributes:
        law: its name, as `table version/name`: what a decision cites.
        basis: the ground it makes lawful.
        purposes: HL7 v3 PurposeOfUse codes.
        kinds: MemberKind numbers of the askers.
        roles: of the person who asks, or None for any.
        classes: data classes that it reaches, or None for all. Unused for consent: there the rules say.
        sensitive: sensitive classes that it reaches, or None for all.
        despite_denies: whether it holds against the patient's denies, and for records that nobody could classify.
    """

    law: str
    basis: Basis
    purposes: frozenset[str]
    kinds: frozenset[int]
    roles: frozenset[str] | None
    classes: frozenset[str] | None
    sensitive: frozenset[str] | None
    despite_denies: bool


@dataclass(frozen=True, slots=True)
class JurisdictionTable:
    """A parsed table.

    Attributes:
        name: and version, as people cite it.
        digest: over the stored bytes of the file; what genesis and a vote adopt.
        entries: in the file's order; the first that fits an ask counts.
        assurance: class of data to the least assurance a permit for it must have.
    """

    name: str
    version: int
    digest: Digest
    entries: tuple[Entry, ...]
    assurance: dict[str, int]
    _found: dict[tuple[int, str, int, str], Entry | None] = field(default_factory=dict, repr=False, compare=False)

    def entry_for(self, basis: int, purpose: str, kind: int, role: str) -> Entry | None:
        """The line that makes such an ask lawful, or None."""
        key = (basis, purpose, kind, role)
        try:
            return self._found[key]
        except KeyError:
            entry = self._first(basis, purpose, kind, role)
            if len(self._found) < _MEMO:
                self._found[key] = entry
            return entry

    def _first(self, basis: int, purpose: str, kind: int, role: str) -> Entry | None:
        for entry in self.entries:
            if (
                entry.basis == basis
                and purpose in entry.purposes
                and kind in entry.kinds
                and (entry.roles is None or role in entry.roles)
            ):
                return entry
        return None

    @classmethod
    def parse(cls, data: bytes) -> "JurisdictionTable":
        """Read a table file. Raises TableError, or NotStorable when it is no JSON."""
        stored = parse(data).stored
        table = orjson.loads(stored)
        try:
            return cls(
                table["table"],
                table["version"],
                table_digest(stored),
                tuple(_entry(each, f"{table['table']} {table['version']}") for each in table["entries"]),
                {name: Assurance[least.upper()].value for name, least in table["assurance"].items()},
            )
        except (KeyError, TypeError, AttributeError) as cause:
            raise TableError(f"expected a jurisdiction table; wrong or missing: {cause}") from cause


def table_digest(stored: Stored) -> Digest:
    """digest("commonward jurisdiction table v1", stored bytes of the file)."""
    return digest(TABLE_LABEL, stored)


@cache
def default_jurisdiction() -> JurisdictionTable:
    """The table that comes with the project: an example to adopt or replace, and no legal advice."""
    return JurisdictionTable.parse((files("commonward.records") / "data" / "jurisdiction.json").read_bytes())


def _entry(each: dict[str, object], table: str) -> Entry:
    def names(key: str) -> frozenset[str] | None:
        value = each[key]
        return None if value == "any" else frozenset(str(name) for name in value)  # type: ignore[attr-defined]

    purposes, kinds = names("purposes"), names("kinds")
    if purposes is None or kinds is None or not purposes or not kinds:
        raise TypeError(f"{each['law']}: purposes and kinds must be named")
    if type(each["despite_denies"]) is not bool:
        raise TypeError(f"{each['law']}: despite_denies must be true or false")
    return Entry(
        f"{table}/{each['law']}",
        BASES[str(each["basis"])],
        purposes,
        frozenset(MemberKind[kind.upper()].value for kind in kinds),
        names("roles"),
        names("classes"),
        names("sensitive"),
        each["despite_denies"],
    )
