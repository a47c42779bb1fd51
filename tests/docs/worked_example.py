"""The worked example of docs/transactions.md: every byte string in it, made anew from the code.

No genesis takes part, so only a change of an encoding can change it. Run `python -m tests.docs.worked_example` to print
what the document should say.
"""

from nacl.signing import SigningKey

from commonward.ledger.checkpoint import Checkpoint, Note, cosign, origin_of, sign_note
from commonward.ledger.encoding import Digest
from commonward.ledger.ids import Algorithm, BlockTime, Height, LedgerId, key_id
from commonward.ledger.merkle.log import Log, MemoryLogStore, leaf_hash
from commonward.ledger.proofs import ProofKind, cose_to_sign, member_proof
from commonward.ledger.registry import AnchorBatch
from commonward.ledger.rules import Header
from commonward.ledger.staging import block_leaf, outcome_leaf
from commonward.ledger.transactions import (
    assemble,
    build_block,
    build_body,
    build_bundle,
    bundle_digest,
    parse_transaction,
    transaction_digest,
)

LEDGER = LedgerId(b"\x11" * 32)
OPERATE, CARRY, SEQUENCE, COSIGN = (SigningKey(bytes([n]) * 32) for n in (1, 2, 3, 4))
TIME = BlockTime(1_790_000_000_000)


def _sign(key: SigningKey, message: bytes) -> bytes:
    return key.sign(message).signature


def worked_example() -> dict[str, str]:
    """Name -> hex, or the text of the checkpoint."""
    author, carrier = (key_id(Algorithm.EDDSA, bytes(key.verify_key)) for key in (OPERATE, CARRY))
    payload = AnchorBatch(29_833_333, Digest(b"\x33" * 32))
    body = build_body(LEDGER, payload, b"\x22" * 16, (1, b"\x44" * 32), TIME + 300_000, author=author)
    digest = transaction_digest(body)
    proof = member_proof(Algorithm.EDDSA, author, lambda message: _sign(OPERATE, message), digest)
    raw = assemble(body, ProofKind.MEMBER, proof)
    assert parse_transaction(raw).payload == payload
    bundle = build_bundle(LEDGER, carrier, [raw], lambda message: _sign(CARRY, message))
    header = Header(Height(7), TIME)
    outcome = outcome_leaf(digest, header.height, header.time, 0)
    ends = block_leaf(header.height, header.time, Digest(b"\x55" * 32))
    log = Log(MemoryLogStore(), 0)
    log.append([outcome, ends])
    head = Checkpoint(origin_of(LEDGER), 2, log.root())
    operator, member = bytes(SEQUENCE.verify_key), bytes(COSIGN.verify_key)
    note = Note(
        head,
        (
            sign_note(head, operator, lambda message: _sign(SEQUENCE, message)),
            cosign(head, "north", member, BlockTime(TIME + 1500), lambda message: _sign(COSIGN, message)),
        ),
    )
    return {
        "public key of the author": bytes(OPERATE.verify_key).hex(),
        "key id of the author": author.hex(),
        "payload": payload.to_bytes().hex(),
        "body": body.hex(),
        "digest": digest.hex(),
        "signed": cose_to_sign(Algorithm.EDDSA, author, digest).hex(),
        "proof": proof.hex(),
        "transaction": raw.hex(),
        "bundle digest": bundle_digest(LEDGER, [raw]).hex(),
        "bundle": bundle.hex(),
        "block": build_block(header, [bundle]).hex(),
        "outcome leaf": outcome.hex(),
        "block leaf": ends.hex(),
        "hash of the outcome leaf": leaf_hash(outcome).hex(),
        "hash of the block leaf": leaf_hash(ends).hex(),
        "root": log.root().hex(),
        "checkpoint": note.to_bytes().decode(),
    }


def as_text() -> str:
    """As it stands in the document."""
    lines = []
    for name, value in worked_example().items():
        lines.append(f"{name}\n")
        rows = value.splitlines() if name == "checkpoint" else [value[n : n + 96] for n in range(0, len(value), 96)]
        lines += [f"    {row}".rstrip() + "\n" for row in rows] + ["\n"]
    return "".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    print(as_text(), end="")
