"""The vectors of transactions and refusals: what any implementation must find in the same bytes."""

import json
from pathlib import Path

import pytest

import commonward.ledger.transition  # noqa: F401 - with it every refusal is defined
from commonward.ledger.encoding import Encodable, encode
from commonward.ledger.genesis import Genesis
from commonward.ledger.merkle.log import MemoryLogStore
from commonward.ledger.refusals import REFUSALS
from commonward.ledger.state import MemoryStore
from commonward.ledger.transactions import KINDS, parse_transaction, transaction_digest
from commonward.ledger.transition import Machine
from tests.vectors.make_transaction_vectors import make

VECTORS = Path(__file__).parents[1] / "vectors"
TRANSACTIONS = json.loads((VECTORS / "transactions.json").read_text())
REFUSED = json.loads((VECTORS / "refusals.json").read_text())

NEED_ANOTHER_GENESIS = {112, 117, 625}
"""Quotas, signatures a block: test_limits has them under a genesis of its own. More sites than this one has members."""


@pytest.mark.parametrize("story", REFUSED["stories"], ids=lambda story: story["story"])
def test_blocks_lead_to_the_same_codes_and_roots(story):
    genesis = Genesis.parse(bytes.fromhex(REFUSED["genesis"]))
    assert genesis.ledger_id.hex() == REFUSED["ledger"]
    machine = Machine(genesis, MemoryStore(), MemoryLogStore(), map_bits=4)
    for each in story["blocks"]:
        staged = machine.stage(bytes.fromhex(each["block"]))
        machine.commit(staged)
        assert [outcome.code for outcome in staged.outcomes] == each["codes"]
        assert machine.tip.size == each["size"] and machine.tip.root.hex() == each["root"]
        assert machine.tip.state_root.hex() == each["state_root"]


@pytest.mark.parametrize("each", TRANSACTIONS["transactions"], ids=lambda each: each["name"])
def test_a_transaction_of_each_kind_reads_and_writes_the_same_bytes(each):
    raw = bytes.fromhex(each["transaction"])
    tx = parse_transaction(raw)
    assert (tx.kind, type(tx.payload).__name__) == (each["kind"], each["name"])
    assert tx.digest.hex() == each["digest"] == transaction_digest(bytes.fromhex(each["body"])).hex()
    body: dict[int, Encodable] = {
        1: tx.ledger,
        2: tx.kind,
        3: tx.nonce,
        4: tuple(tx.recent),
        5: tx.expiry,
        6: tx.payload.to_value(),
        7: tx.author,
    }
    assert encode(body) == tx.body_bytes
    assert encode([tx.body_bytes, tx.proof_kind, tx.proof]) == raw


def test_every_kind_and_every_refusal_has_its_vector():
    assert {each["kind"] for each in TRANSACTIONS["transactions"]} == set(KINDS)
    assert set(REFUSED["codes"]) == {code for code in REFUSALS if code < 700} - NEED_ANOTHER_GENESIS


def test_the_vectors_are_what_the_stories_tell_today():
    """A difference is a change of protocol: make them again only if it is meant."""
    transactions, refusals = make()
    assert transactions == TRANSACTIONS and refusals == REFUSED
