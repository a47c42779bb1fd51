"""Genesis: what the members agreed on, and what no ledger can start from."""

from dataclasses import replace

import pytest

from commonward.ledger.genesis import Genesis, GenesisError, SignedGenesis, make_genesis
from commonward.ledger.ids import MemberId, Purpose
from commonward.ledger.merkle.log import MemoryLogStore
from commonward.ledger.parameters import BOUNDS, Parameter
from commonward.ledger.state import MemoryStore
from commonward.ledger.transition import Machine, StateDamaged
from tests.ledgerkit import START, Kit, demo_genesis, demo_members, sign_genesis


def test_the_file_reads_back_and_its_id_is_that_of_its_content():
    signed = sign_genesis(demo_genesis())
    again = SignedGenesis.parse(signed.to_bytes())
    assert again == signed and again.genesis.ledger_id == signed.genesis.ledger_id
    assert Genesis.parse(signed.genesis.to_bytes()) == signed.genesis


def test_any_change_makes_another_ledger():
    one, other = demo_genesis(), demo_genesis({Parameter.EXPIRY: 300_000})
    assert one.ledger_id != other.ledger_id


def test_every_key_must_prove_possession_and_every_member_sign():
    signed = sign_genesis(demo_genesis())
    for key in list(signed.possessions)[:3]:
        with pytest.raises(GenesisError, match="possession"):
            replace(signed, possessions={**signed.possessions, key: bytes(64)}).check()
    for member in signed.signatures:
        with pytest.raises(GenesisError, match=f"signature of {member}"):
            replace(signed, signatures={**signed.signatures, member: bytes(64)}).check()
    other = sign_genesis(demo_genesis({Parameter.TICK: 2000}))  # signed, but for another content
    with pytest.raises(GenesisError):
        replace(signed, possessions=other.possessions).check()


def test_under_four_validators_genesis_must_say_pilot():
    three = {"clinic": 0, "shield": 0}
    with pytest.raises(GenesisError, match="pilot"):
        demo_genesis(weights=three)
    assert demo_genesis(weights=three, pilot=True).pilot


def test_no_member_begins_with_a_third_of_the_weight():
    with pytest.raises(GenesisError, match="third"):
        demo_genesis(weights={"north": 20})


@pytest.mark.parametrize(
    ("bend", "says"),
    [
        (lambda m: replace(m, origin="https://north.elsewhere.test"), "signing page"),
        (lambda m: replace(m, origin="http://north.commonward.test"), "signing page"),
        (lambda m: replace(m, origin='https://x".commonward.test'), "signing page"),
        (lambda m: replace(m, origin="https://south.commonward.test"), "of its own"),
        (lambda m: replace(m, tier=0), "tier"),
        (lambda m: replace(m, keys=m.keys[1:]), "operate key"),
        (lambda m: replace(m, keys=tuple(k for k in m.keys if k.purpose != Purpose.COSIGN)), "cosigning key"),
        (lambda m: replace(m, keys=(replace(m.keys[0], ends=START), *m.keys[1:])), "valid at"),
        (lambda m: replace(m, keys=(*m.keys, m.keys[0])), "each key once"),
        (lambda m: replace(m, keys=(*m.keys, replace(m.keys[0], purpose=Purpose.HPKE, starts=START))), "each key once"),
        (lambda m: replace(m, id=MemberId("south")), "each member once"),
    ],
)
def test_a_member_that_cannot_take_part_is_named(bend, says):
    members = tuple(bend(each) if each.id == "north" else each for each in demo_members())
    with pytest.raises(GenesisError, match=says):
        make_genesis(name="T", created=START, members=members, operator=MemberId("health"), rp_id="commonward.test")


def test_parameters_stay_within_their_bounds():
    for parameter, (least, default, most) in BOUNDS.items():
        assert least <= default <= most
        for value in (least - 1, most + 1):
            with pytest.raises(GenesisError, match="expected"):
                demo_genesis({parameter: value})


def test_a_store_of_another_ledger_or_another_state_is_not_opened():
    store, log_store = MemoryStore(), MemoryLogStore()
    Kit(store=store, log_store=log_store)
    with pytest.raises(StateDamaged, match="ledger"):
        Machine(demo_genesis({Parameter.TICK: 5000}), store, log_store, map_bits=8)
    with pytest.raises(StateDamaged, match="log"):
        Machine(demo_genesis(), store, MemoryLogStore(), map_bits=8)
    del store.cells[next(key for key in store.cells if key[:1] == b"r")]
    with pytest.raises(StateDamaged, match="state root"):
        Machine(demo_genesis(), store, log_store, map_bits=8)
