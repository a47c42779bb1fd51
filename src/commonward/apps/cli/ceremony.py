"""`commonward network prepare|draft|sign|seal`: founded by many, each at home."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commonward.apps import ceremony, planning
from commonward.apps import settings as node_settings
from commonward.apps.cli.groups import group
from commonward.apps.cli.output import AsJson, Data, emit, fail
from commonward.apps.cli.plain import plain
from commonward.apps.founding import GENESIS
from commonward.apps.wiring import WallClock
from commonward.ledger.genesis import Genesis
from commonward.ledger.members.roll import certificate_digest

PlanFile = Annotated[
    Path, typer.Argument(metavar="PLAN", help="The members, as all agreed; `commonward network example` prints one.")
]
To = Annotated[Path, typer.Option(help="The new file.")]


def add_to(app: typer.Typer) -> None:
    network = group(app, "network", "A consortium of many members, and how it stands.")
    network.command("prepare")(prepare)
    network.command("draft")(draft)
    network.command("sign")(sign)
    network.command("seal")(seal)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        fail(f"{plain(str(path))}: cannot be read ({cause.strerror})")


def _write(path: Path, data: bytes) -> None:
    try:
        with path.open("xb") as out:
            out.write(data)
    except OSError as cause:
        fail(f"{plain(str(path))}: cannot be written ({cause.strerror}); give the name of a new file")


def prepare(
    plan: PlanFile,
    directory: Annotated[Path, typer.Argument(help="Where this member's folder is to be: DIRECTORY/members/ID.")],
    member: Annotated[str, typer.Option(help="Which member of the plan this is.")],
    as_json: AsJson = False,
) -> None:
    """At each member: make its folder with CA, keys and settings, and its part of the genesis, which is public."""
    part = ceremony.prepare(directory, planning.read(plan), member, WallClock().now())
    emit(
        {"folder": part.parent, "part": part, "member": member},
        as_json=as_json,
        text=f"Made {plain(str(part.parent))}: its private keys stay there.\n"
        f"Give {plain(str(part))} to whoever drafts the genesis; it is public.",
    )


def draft(
    plan: PlanFile,
    parts: Annotated[list[Path], typer.Argument(metavar="PART...", help="The part of every member.")],
    to: To,
    as_json: AsJson = False,
) -> None:
    """Anyone: put all parts together to a genesis that nobody has signed yet."""
    made = ceremony.draft(planning.read(plan), [_read(each) for each in parts], WallClock().now())
    _write(to, made.to_bytes())
    _say(made.genesis, f"Drafted {plain(str(to))}. Send it to every member, which signs it at home.", as_json, file=to)


def sign(
    plan: PlanFile,
    file: Annotated[Path, typer.Argument(metavar="DRAFT", help="What `commonward network draft` wrote.")],
    data: Data,
    to: To,
    as_json: AsJson = False,
) -> None:
    """At each member: check that the draft is what this member prepared and planned, and sign it."""
    settings = node_settings.load(data)
    signed = ceremony.sign(settings, planning.read(plan), ceremony.parse_draft(_read(file)))
    _write(to, signed.to_bytes())
    words = (
        f"Signed for {settings.member}, into {plain(str(to))}. Compare the ledger id and the others' CA fingerprints "
        "with them, by telephone: who changed a part on its way would show there."
    )
    _say(signed.genesis, words, as_json, file=to)


def seal(
    plan: PlanFile,
    signed: Annotated[list[Path], typer.Argument(metavar="SIGNED...", help="What each member's `sign` wrote.")],
    to: Annotated[Path, typer.Option(help="The public folder to make: genesis and addresses.")],
    as_json: AsJson = False,
) -> None:
    """Anyone: join everyone's signatures to the genesis. Each member then copies it into its folder and starts."""
    agreed = planning.read(plan)
    sealed = ceremony.seal(agreed, [ceremony.parse_draft(_read(each)) for each in signed])
    ceremony.publish(to, agreed, sealed)
    words = (
        f"Sealed {plain(str(to / GENESIS))}. Each member copies it into its folder and starts: commonward node FOLDER\n"
        f"Keep {plain(str(to))} where everyone can read it: who applies later needs it."
    )
    _say(sealed.genesis, words, as_json, file=to / GENESIS)


def _say(genesis: Genesis, words: str, as_json: bool, *, file: Path) -> None:
    members = [
        {"member": each.id, "name": each.name, "weight": each.weight, "ca": certificate_digest(each.certificate).hex()}
        for each in genesis.members
    ]
    order = f"{genesis.operator} operates its sequencer" if genesis.operator else "the members order it together"
    rows = "\n".join(
        f"  {plain(str(each['member'])):<14} weight {each['weight']!s:<4} CA {each['ca']}  {plain(str(each['name']))}"
        for each in members
    )
    emit(
        {"file": file, "ledger": genesis.ledger_id.hex(), "pilot": genesis.pilot, "members": members},
        as_json=as_json,
        text=f"{plain(genesis.name)}: ledger id {genesis.ledger_id.hex()}; {order}"
        f"{'; a pilot' if genesis.pilot else ''}.\n{rows}\n{words}",
    )
