"""The ledger, read as an outsider would: who did what when, and nothing about whom."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn

from commonward.apps import settings as node_settings
from commonward.apps.cli.output import AsJson, Data, emit, err, fail, out
from commonward.apps.cli.plain import plain, when
from commonward.apps.errors import FORESEEN
from commonward.apps.founding import GENESIS
from commonward.apps.outsider import Counts, Part, Seen, geneses_before, parts, replay
from commonward.apps.settings import Settings
from commonward.apps.wiring import read_genesis
from commonward.ledger.refusals import Refusal

NOT_THERE = (
    "What is not there: no name, no record, no diagnosis, no number of records, no rule of a consent, no member of "
    "staff, no reason. A transaction commits to those with salted digests, which nobody can guess without the salt.\n"
    "What does show: which member acted, when, how often, and how it ended; the pseudonyms (handles) of patients and "
    "the ends of their consents. They are pseudonymous personal data, and docs/trust.md says what follows from that."
)

_ledger = typer.Typer(help="Read the whole ledger, as an outsider could, or one transaction of it.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(_ledger, name="ledger", no_args_is_help=True)


@contextmanager
def _reading(settings: Settings, counts: Counts, *, quiet: bool) -> Iterator[Iterator[Seen]]:
    blocks = settings.ledger_directory / "blocks"
    if not any(blocks.glob("blocks-*")):
        fail(f"no blocks in {blocks} yet; start the node, and it fetches them: commonward node {settings.data}")
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    try:
        genesis = read_genesis(settings)
        with Progress(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as progress:
            task = progress.add_task("Executing the ledger again from genesis")
            yield replay(
                genesis,
                blocks,
                counts,
                lambda height: progress.update(task, description=f"Executed block {height:,}"),
                before=geneses_before((settings.data / GENESIS).read_bytes()),
            )
    except FORESEEN as why:
        fail(plain(str(why)))


def _fields(seen: Seen) -> dict[str, object]:
    return {
        "index": seen.outcome.index,
        "height": seen.height,
        "time": seen.time,
        "member": seen.member,
        "signer": seen.signer,
        "kind": seen.kind,
        "code": seen.outcome.code,
        "outcome": seen.outcome_name,
        "digest": seen.outcome.digest.hex(),
    }


@_ledger.command()
def read(
    data: Data,
    last: Annotated[int, typer.Option(help="So many of the last transactions; 0 for the counts alone.")] = -1,
    as_json: AsJson = False,
) -> None:
    """Everything that an outsider learns from the whole ledger: each transaction's member, kind, time and outcome.

    Reads this member's own block files and executes them again from genesis, whether or not the node runs.
    """
    settings = node_settings.load(data)
    counts = Counts()
    with _reading(settings, counts, quiet=as_json) as transactions:
        shown = transactions if last < 0 else iter(deque(transactions, maxlen=last))
        if not as_json and last:
            out.print(_HEADER)
        for seen in shown:
            emit(_fields(seen), as_json=as_json, text=_line(seen))
    total = sum(counts.by_kind.values())
    emit(
        {
            "transactions": total,
            "refused": counts.refused,
            "height": counts.height,
            "size": counts.size,
            "root": counts.root.hex(),
            "counts": [
                {"signer": signer, "kind": kind, "count": count}
                for (signer, kind), count in sorted(counts.by_kind.items())
            ],
            "not_there": NOT_THERE,
        },
        as_json=as_json,
        text=f"{total:,} transactions, {counts.refused:,} of them refused, up to block {counts.height:,}. Executed "
        f"again from genesis, every block gave the checkpoint {_kept(settings)}; the log's root at size "
        f"{counts.size:,} is {counts.root.hex()}.",
    )
    if not as_json:
        out.print(_summary(counts))
        out.print(NOT_THERE)


def _kept(settings: Settings) -> str:
    return "that the operator signed" if settings.engine == "solo" else "that this node cosigned"


def _line(seen: Seen) -> str:
    colour = "red" if seen.outcome.code else "green"
    outcome = seen.outcome_name + (f" ({seen.outcome.code})" if seen.outcome.code else "")
    return (
        f"{seen.height:>8}  {when(seen.time)}  {plain(f'{seen.signer:<14}')}  {seen.kind:<14}  "
        f"[{colour}]{outcome:<20}[/{colour}]  {seen.outcome.digest.hex()[:16]}"
    )


_HEADER = f"[bold]{'block':>8}  {'time':<23}  {'signed by':<14}  {'kind':<14}  {'outcome':<20}  digest[/bold]"


def _summary(counts: Counts) -> str:
    """How often each signer did what."""
    signers = sorted({signer for signer, _ in counts.by_kind})
    widths = {signer: max(len(signer), 7) for signer in signers}
    rows = [f"[bold]{'':<16}" + "  ".join(f"{plain(signer):>{widths[signer]}}" for signer in signers) + "[/bold]"]
    for kind in sorted({kind for _, kind in counts.by_kind}):
        times = (f"{counts.by_kind[signer, kind] or '':>{widths[signer]}}" for signer in signers)
        rows.append(f"{kind:<16}" + "  ".join(times))
    return "\n".join(rows)


# ------------------------------------------------------------------------------------------------------ one transaction


@_ledger.command()
def show(
    data: Data,
    digest: Annotated[str, typer.Argument(metavar="DIGEST", help="Of a transaction, or the first 6 digits or more.")],
    as_json: AsJson = False,
) -> None:
    """One transaction, field by field, as everyone sees it."""
    wanted = digest.lower()
    if len(wanted) < 6 or set(wanted) - set("0123456789abcdef"):
        fail(f"expected a digest, or at least 6 hexadecimal digits of one, got {plain(digest)!r}")
    settings = node_settings.load(data)
    with _reading(settings, Counts(), quiet=as_json) as transactions:
        found = next((seen for seen in transactions if seen.outcome.digest.hex().startswith(wanted)), None)
    if found is None:
        fail(f"no transaction on this ledger has a digest that starts with {wanted}; `ledger read` shows them all")
    fields = _decoded(found)
    emit(
        {**_fields(found), "refusal": _sentence(found.refusal), "fields": {part.name: part.value for part in fields}},
        as_json=as_json,
        text=_described(found, fields),
    )


def _sentence(refusal: Refusal | None) -> str | None:
    return None if refusal is None else str(refusal)


def _decoded(seen: Seen) -> list[Part]:
    tx = seen.transaction
    if tx is None:
        return []
    return [
        Part("ledger", tx.ledger.hex(), "which ledger it is for"),
        Part("author", tx.author.hex(), "key that signed, or the name of a passkey"),
        Part("nonce", tx.nonce.hex(), ""),
        Part("recent", f"{tx.recent.size} {tx.recent.root.hex()}", "checkpoint it was signed after: size and root"),
        Part("expiry", tx.expiry, "time"),
        *parts(tx.payload),
        Part("bytes", len(tx.raw), "of which the proof has " + str(len(tx.proof))),
    ]


def _described(seen: Seen, fields: list[Part]) -> str:
    kind = type(seen.transaction.payload) if seen.transaction else None
    about = " ".join((kind.__doc__ or "").split("\n\n")[0].split()) if kind else "Bytes that are no transaction."
    lines = [
        f"[bold]{seen.kind}[/bold] {seen.outcome.digest.hex()}",
        plain(about),
        f"signed by  {plain(seen.signer)}",
        f"stands in  block {seen.height} of {when(seen.time)}, leaf {seen.outcome.index} of the log",
        f"outcome    {seen.outcome_name} ({seen.outcome.code})"
        + (f": {plain(str(seen.refusal))}" if seen.refusal else ""),
        "",
    ]
    width = max((len(part.name) for part in fields), default=0) + 2
    for part in fields:
        value = when(part.value) if part.what == "time" and isinstance(part.value, int) else part.value
        what = f"  [dim]{part.what}[/dim]" if part.what and part.what != "time" else ""
        lines.append(f"{part.name:<{width}}{plain(str(value))}{what}")
    return "\n".join(lines)
