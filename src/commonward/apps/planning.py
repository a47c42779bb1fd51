"""Who is to found a consortium: read from the command line, from a file, or made up by number.

A plan says of each member its id, name, kind, tier, weight and addresses, and of the whole who orders. Nothing is made
here; `founding` makes what a plan says.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from commonward.apps.settings import ENGINES, Address, BadSettings
from commonward.ledger.ids import MemberId, MemberKind, parse_member_id
from commonward.ledger.members.roll import MAX_WEIGHT

RP_ID: Final = "sign.commonward.example"
NOBODY: Final = MemberId("")
"""Who operates the sequencer of a ledger that has none."""

_MOST: Final = 200
_TICK_MS: Final = 60_000


class CannotFound(ValueError):
    """A consortium that cannot be made as asked; the text says what to change."""


@dataclass(frozen=True, kw_only=True)
class MemberPlan:
    """One member to be. `listen` and `signing` are where its node will answer members and patients."""

    id: MemberId
    name: str
    kind: MemberKind
    tier: int
    listen: Address
    signing: Address
    weight: int = 1
    p2p: Address | None = None  # where its CometBFT listens, on a ledger that nobody orders alone

    @property
    def origin(self) -> str:
        """Where its signing page lives: one subdomain a member, so that each can be told from the others."""
        return f"https://{self.id}.{RP_ID}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole consortium. `operator` and `sequencer` where one member orders (solo), else NOBODY and None."""

    name: str
    members: tuple[MemberPlan, ...]
    operator: MemberId
    sequencer: Address | None
    tick_ms: int = _TICK_MS

    @property
    def engine(self) -> str:
        return "solo" if self.operator else "cometbft"


DEMO: Final[tuple[tuple[str, str, MemberKind, int], ...]] = (
    ("north", "North University Hospital", MemberKind.HOSPITAL, 3),
    ("clinic", "Riverside Community Clinic", MemberKind.HOSPITAL, 1),
    ("south", "South City Hospital", MemberKind.HOSPITAL, 2),
    ("insurer", "Provincial Health Insurance", MemberKind.INSURER, 0),
    ("authority", "Provincial Health Commission", MemberKind.AUTHORITY, 0),
)
FOLLOWS: Final = frozenset({"insurer"})
"""Of the demo's five, who follows without a vote where the members order together: four are enough, and cheaper."""

_BY_NUMBER: Final = (
    *(each for each in DEMO if each[0] != "insurer"),
    *(each for each in DEMO if each[0] == "insurer"),
    ("east", "East University Hospital", MemberKind.HOSPITAL, 3),
    ("lakeside", "Lakeside Community Clinic", MemberKind.HOSPITAL, 1),
    ("west", "West City Hospital", MemberKind.HOSPITAL, 2),
    ("institute", "Institute of Health Research", MemberKind.RESEARCH, 0),
)
_MEMBER = re.compile(r"(?P<id>[a-z][a-z0-9-]*):(?P<kind>[a-z]+)(?::(?P<tier>[1-3]))?(?:=(?P<name>.+))?")


def ports(members: int, engine: str) -> int:
    """How many ports in a row a consortium on one machine takes."""
    return 1 + (3 if engine == "cometbft" else 2) * members


def plan(texts: Sequence[str], host: str, first_port: int, engine: str = "solo") -> list[MemberPlan]:
    """Read members as `ID:KIND[:TIER][=NAME]`; none means the five of the demo. Raises CannotFound."""
    if texts:
        return _placed([_parse_member(text) for text in texts], host, first_port, engine)
    made = _placed(DEMO, host, first_port, engine)
    return [replace(each, weight=0) if engine == "cometbft" and each.id in FOLLOWS else each for each in made]


def by_number(count: int, host: str, first_port: int, engine: str) -> list[MemberPlan]:
    """So many members of the usual kinds. Raises CannotFound."""
    if not 1 <= count <= _MOST:
        raise CannotFound(f"--members: expected 1 to {_MOST}, got {count}")
    more = ((f"hospital-{n}", f"Hospital {n}", MemberKind.HOSPITAL, 1 + n % 2) for n in range(1, count + 1))
    return _placed([*_BY_NUMBER, *more][:count], host, first_port, engine)


def _placed(
    wanted: Sequence[tuple[str, str, MemberKind, int]], host: str, first_port: int, engine: str
) -> list[MemberPlan]:
    count = len(wanted)
    return [
        MemberPlan(
            id=parse_member_id(member),
            name=name,
            kind=kind,
            tier=tier,
            listen=Address(host=host, port=first_port + 1 + 2 * place),
            signing=Address(host=host, port=first_port + 2 + 2 * place),
            p2p=Address(host=host, port=first_port + 1 + 2 * count + place) if engine == "cometbft" else None,
        )
        for place, (member, name, kind, tier) in enumerate(wanted)
    ]


def _parse_member(text: str) -> tuple[str, str, MemberKind, int]:
    found = _MEMBER.fullmatch(text)
    kinds = ", ".join(kind.name.lower() for kind in MemberKind)
    if not found or found["kind"].upper() not in MemberKind.__members__:
        raise CannotFound(f"expected ID:KIND[:TIER][=NAME] with a kind of {kinds}, got {text!r}")
    kind = MemberKind[found["kind"].upper()]
    if (kind is MemberKind.HOSPITAL) != (found["tier"] is not None):
        raise CannotFound(f"{text!r}: a hospital has a tier of 1, 2 or 3, and nobody else has one")
    return found["id"], found["name"] or found["id"], kind, int(found["tier"] or 0)


# ------------------------------------------------------------------------------------------------------------- a file


def read(path: Path) -> Plan:
    """A plan from a TOML file, as `commonward network example` prints one. Raises CannotFound naming the entry."""
    try:
        said = tomllib.loads(path.read_text())
    except OSError as cause:
        raise CannotFound(f"{path}: cannot be read ({cause.strerror})") from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise CannotFound(f"{path}: not TOML: {cause}") from cause
    engine = said.get("engine", "cometbft")
    if engine not in ENGINES:
        raise CannotFound(f"{path}: engine: expected {' or '.join(ENGINES)}, got {engine!r}")
    solo = engine == "solo"
    _known(said, {"name", "engine", "tick_ms", "member", *(("operator", "sequencer") if solo else ())}, str(path))
    listed = said.get("member")
    if not isinstance(listed, list) or not listed:
        raise CannotFound(f"{path}: expected a table [[member]] for each member")
    members = tuple(_member(each, f"{path}: member {place}", engine) for place, each in enumerate(listed, 1))
    _apart(members, str(path))
    return Plan(
        name=_text(said, "name", str(path)),
        members=members,
        operator=_id(said, "operator", str(path)) if solo else NOBODY,
        sequencer=_address(said, "sequencer", str(path)) if solo else None,
        tick_ms=_number(said, "tick_ms", str(path), 1, 1 << 40, _TICK_MS),
    )


def _member(said: object, where: str, engine: str) -> MemberPlan:
    if not isinstance(said, dict):
        raise CannotFound(f"{where}: expected a table, got {said!r:.40}")
    needs_p2p = engine == "cometbft"
    _known(said, {"id", "name", "kind", "tier", "weight", "listen", "signing", *(("p2p",) if needs_p2p else ())}, where)
    member = _id(said, "id", where)
    where = f"{where} ({member})"
    kind = str(said.get("kind", "")).upper()
    if kind not in MemberKind.__members__:
        kinds = ", ".join(each.name.lower() for each in MemberKind)
        raise CannotFound(f"{where}: kind: expected one of {kinds}, got {said.get('kind')!r}")
    hospital = MemberKind[kind] is MemberKind.HOSPITAL
    if not hospital and said.get("tier"):
        raise CannotFound(f"{where}: tier: only a hospital has one")
    return MemberPlan(
        id=member,
        name=_text(said, "name", where),
        kind=MemberKind[kind],
        tier=_number(said, "tier", where, 1, 3) if hospital else 0,
        weight=_number(said, "weight", where, 0, MAX_WEIGHT, 1),
        listen=_address(said, "listen", where),
        signing=_address(said, "signing", where),
        p2p=_address(said, "p2p", where) if needs_p2p else None,
    )


def _apart(members: Sequence[MemberPlan], where: str) -> None:
    """Raises CannotFound where two members, or two doors of one, share an id or an address."""
    seen: dict[str, str] = {}
    for place, each in enumerate(members, 1):
        if each.id in {other.id for other in members[: place - 1]}:
            raise CannotFound(f"{where}: member {place}: another is called {each.id} already")
        for door, at in (("listen", each.listen), ("signing", each.signing), ("p2p", each.p2p)):
            mine = f"{each.id}'s {door}"
            if at is not None and seen.setdefault(str(at), mine) != mine:
                raise CannotFound(f"{where}: {at} is {seen[str(at)]} and {mine}; give each its own")


def _known(said: Mapping[str, object], known: set[str], where: str) -> None:
    unknown = sorted(set(said) - known)
    if unknown:
        raise CannotFound(f"{where}: unknown entry {unknown[0]!r}; known are {', '.join(sorted(known))}")


def _text(said: Mapping[str, object], name: str, where: str) -> str:
    value = said.get(name)
    if not isinstance(value, str) or not value:
        raise CannotFound(f"{where}: {name}: expected text, got {value!r}")
    return value


def _id(said: Mapping[str, object], name: str, where: str) -> MemberId:
    try:
        return parse_member_id(said.get(name))
    except ValueError as cause:
        raise CannotFound(f"{where}: {name}: {cause}") from cause


def _address(said: Mapping[str, object], name: str, where: str) -> Address:
    try:
        return Address.parse(str(said.get(name, "")), f"{where}: {name}")
    except BadSettings as cause:
        raise CannotFound(str(cause)) from cause


def _number(
    said: Mapping[str, object], name: str, where: str, least: int, most: int, default: int | None = None
) -> int:
    value = said.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise CannotFound(f"{where}: {name}: expected a whole number from {least} to {most}, got {value!r}")
    return value
