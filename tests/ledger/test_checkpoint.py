"""Checkpoint notes to the byte, and what a quorum of cosignatures may and may not rest on."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from commonward.ledger.checkpoint import (
    COSIGNATURE,
    NOTE_SIGNATURE,
    Authority,
    Checkpoint,
    CheckpointKey,
    CosignatureError,
    Cosigner,
    Note,
    NoteError,
    SignatureLine,
    WeakQuorum,
    check_line,
    check_quorum,
    cosign,
    cosigned_message,
    key_hash,
    origin_of,
    parse_note,
    sign_note,
    two_roots,
)
from commonward.ledger.ids import BlockTime, Digest, LedgerId, MemberId

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "checkpoint.json").read_text())
START, END = BlockTime(1_700_000_000_000), BlockTime(1_900_000_000_000)
NOW = BlockTime(1_800_000_000_000)
HEAD = Checkpoint("commonward/0011223344556677", 42, Digest(b"\x07" * 32))


def key(seed: int) -> SigningKey:
    return SigningKey(bytes((seed,)) * 32)


def public(seed: int) -> bytes:
    return bytes(key(seed).verify_key)


def authority(*weights: int, seeds: dict[int, int] | None = None) -> Authority:
    """Members m0, m1, ... with these weights and keys 1, 2, ...; sequencer key 99 of m0."""
    cosigners = tuple(
        Cosigner(
            MemberId(f"m{i}"),
            weight,
            1,
            Digest(bytes(32)),
            (CheckpointKey(public((seeds or {}).get(i, i + 1)), START, END),),
        )
        for i, weight in enumerate(weights)
    )
    return Authority(0, cosigners, MemberId("m0"), (CheckpointKey(public(99), START, END),), len(weights) < 4)


def line(member: int, at: int = NOW, head: Checkpoint = HEAD, seed: int | None = None) -> SignatureLine:
    signer = key(member + 1 if seed is None else seed)
    return cosign(head, f"m{member}", bytes(signer.verify_key), BlockTime(at), lambda m: signer.sign(m).signature)


# ------------------------------------------------------------------------------------------------------------- form


@pytest.mark.parametrize("vector", VECTORS["notes"], ids=lambda vector: vector["name"])
def test_notes_read_and_write_as_the_vectors_say(vector):
    note = parse_note(vector["note"].encode())
    assert note.to_bytes() == vector["note"].encode()
    assert (note.checkpoint.origin, note.checkpoint.size) == (vector["origin"], vector["size"])
    assert note.checkpoint.root.hex() == vector["root"]
    assert [[each.name, each.key_hash.hex(), each.seconds] for each in note.lines] == vector["lines"]


@pytest.mark.parametrize("vector", VECTORS["signatures"], ids=lambda vector: vector["name"])
def test_signatures_are_those_of_the_vectors(vector):
    signer = SigningKey(bytes.fromhex(vector["seed"]))
    text = vector["text"].encode()
    assert key_hash(vector["key_name"], vector["type"], bytes(signer.verify_key)).hex() == vector["key_id"]
    message = text if vector["type"] == NOTE_SIGNATURE else f"cosignature/v1\ntime {vector['time']}\n".encode() + text
    stamp = b"" if vector["type"] == NOTE_SIGNATURE else vector["time"].to_bytes(8, "big")
    made = SignatureLine(vector["key_name"], bytes.fromhex(vector["key_id"]), stamp + signer.sign(message).signature)
    assert made.to_text() == vector["line"]


@pytest.mark.parametrize("vector", VECTORS["malformed"], ids=lambda vector: vector["name"])
def test_a_malformed_note_is_refused(vector):
    data = base64.b64decode(vector["note"])
    with pytest.raises(NoteError):
        parse_note(data)


def test_the_cosigned_message_is_that_of_the_specification():
    root = Digest(base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="))
    head = Checkpoint("example.com/behind-the-sofa", 20852163, root)
    assert cosigned_message(head, 1679315147) == (
        b"cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n"
        b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    )


def test_the_origin_names_the_ledger():
    assert origin_of(LedgerId(bytes(range(32)))) == "commonward/0001020304050607"


def test_a_cosignature_and_a_plain_signature_do_not_pass_for_each_other():
    signer = key(1)
    plain = sign_note(HEAD, public(1), lambda m: signer.sign(m).signature)
    assert check_line(HEAD, plain, HEAD.origin, NOTE_SIGNATURE, public(1))
    assert not check_line(HEAD, plain, HEAD.origin, COSIGNATURE, public(1))
    assert not check_line(HEAD, line(0), "m0", NOTE_SIGNATURE, public(1))


def test_an_authority_reads_back_as_it_was_written():
    before = authority(3, 2, 2, 1)
    assert Authority.parse(before.to_bytes()) == before


def test_one_key_under_two_members_is_refused_because_a_cosignature_does_not_sign_its_name():
    with pytest.raises(ValueError, match="under two members"):
        authority(1, 1, 1, seeds={1: 1})


def test_an_authority_names_each_member_once():
    one = authority(1, 1, 1)
    with pytest.raises(ValueError, match="each cosigner once"):
        replace(one, cosigners=one.cosigners + one.cosigners[:1])


# ----------------------------------------------------------------------------------------------------------- quorum


def test_exactly_two_thirds_is_not_enough():
    with pytest.raises(WeakQuorum) as caught:
        check_quorum(HEAD, [line(0), line(1)], authority(1, 1, 1))
    assert (caught.value.weight, caught.value.total) == (2, 3)


def test_more_than_two_thirds_is():
    quorum = check_quorum(HEAD, [line(0), line(1), line(2)], authority(1, 1, 1, 1))
    assert (quorum.weight, quorum.total, quorum.members) == (3, 4, ("m0", "m1", "m2"))


def test_a_member_that_cosigns_often_counts_once():
    lines = [line(0), line(0), line(0, NOW + 5_000), line(0, NOW + 9_000), line(1)]
    with pytest.raises(WeakQuorum) as caught:
        check_quorum(HEAD, lines, authority(1, 1, 1, 1))
    assert caught.value.weight == 2


def test_a_bad_line_of_a_known_key_spoils_the_note():
    bad = line(3)
    bad = replace(bad, signature=bad.signature[:-1] + bytes((bad.signature[-1] ^ 1,)))
    with pytest.raises(CosignatureError, match="m3"):
        check_quorum(HEAD, [line(0), line(1), line(2), bad], authority(1, 1, 1, 1))


def test_cosignatures_over_another_root_do_not_count_for_this_one():
    other = replace(HEAD, root=Digest(b"\x08" * 32))
    with pytest.raises(CosignatureError):
        check_quorum(HEAD, [line(0), line(1), line(2, head=other)], authority(1, 1, 1))


def test_a_strangers_line_is_counted_as_unknown_and_proves_nothing():
    stranger = cosign(HEAD, "m9", public(50), NOW, lambda m: key(50).sign(m).signature)
    usurper = line(1, seed=50)
    quorum = check_quorum(HEAD, [line(0), line(1), line(2), stranger, usurper], authority(1, 1, 1))
    assert (quorum.weight, quorum.unknown) == (3, 2)


def test_a_cosignature_outside_the_validity_of_its_key_does_not_count():
    with pytest.raises(WeakQuorum):
        check_quorum(HEAD, [line(0), line(1), line(2, END)], authority(1, 1, 1))


def test_a_cosigning_time_in_the_future_is_refused_where_there_is_a_clock():
    lines = [line(0), line(1), line(2, NOW + 60_000)]
    check_quorum(HEAD, lines, authority(1, 1, 1))
    with pytest.raises(CosignatureError, match="cosigning time"):
        check_quorum(HEAD, lines, authority(1, 1, 1), BlockTime(NOW + 30_000))


def test_less_than_a_third_of_the_weight_cannot_move_the_time_past_the_honest_ones():
    honest = [line(0), line(1, NOW + 1_000), line(2, NOW + 2_000)]
    early = check_quorum(HEAD, [*honest, line(3, START)], authority(1, 1, 1, 1))
    assert early.median_time >= NOW  # "before": not earlier than some honest member saw it
    late = check_quorum(HEAD, [*honest, line(3, END - 1_000)], authority(1, 1, 1, 1))
    assert late.fresh_time <= NOW + 2_000  # "still the head": not later than some honest member said it


def test_one_dishonest_member_and_one_that_is_cut_off_cannot_keep_an_old_head_fresh():
    # Members 0 and 3 went on to a later head with another; 1 is cut off, 2 lies, and both cosign the old head again.
    lines = [line(0), line(3), *(line(i, NOW + again) for i in (1, 2) for again in (0, 600_000))]
    assert check_quorum(HEAD, lines[1:], authority(1, 1, 1, 1)).fresh_time == NOW  # one old line helps to a quorum
    assert check_quorum(HEAD, lines, authority(1, 1, 1, 1)).fresh_time == NOW
    again = [*lines, line(0, NOW + 300_000)]
    assert check_quorum(HEAD, again, authority(1, 1, 1, 1)).fresh_time == NOW + 300_000


def test_freshness_follows_weight_not_heads():
    lines = [line(0, NOW), line(1, NOW + 1_000), line(2, NOW + 9_000)]
    assert check_quorum(HEAD, lines, authority(1, 1, 4)).fresh_time == NOW + 1_000
    assert check_quorum(HEAD, lines, authority(1, 1, 5)).fresh_time == NOW + 9_000
    assert check_quorum(HEAD, lines, authority(5, 1, 1)).fresh_time == NOW


def test_the_median_follows_weight_not_heads():
    lines = [line(0, NOW), line(1, NOW + 1_000), line(2, NOW + 9_000)]
    assert check_quorum(HEAD, lines, authority(1, 1, 5)).median_time == NOW + 9_000
    assert check_quorum(HEAD, lines, authority(5, 1, 1)).median_time == NOW


def test_cosigning_again_shows_freshness_and_keeps_the_first_time():
    lines = [line(i, NOW + again) for i in range(3) for again in (0, 30_000)]
    quorum = check_quorum(HEAD, lines, authority(1, 1, 1))
    assert (quorum.median_time, quorum.before, quorum.fresh_time) == (NOW, NOW + 1_000, NOW + 30_000)


def test_the_sequencer_adds_its_name_but_no_weight():
    plain = sign_note(HEAD, public(99), lambda m: key(99).sign(m).signature)
    with pytest.raises(WeakQuorum):
        check_quorum(HEAD, [line(0), line(1), plain], authority(1, 1, 1))
    assert check_quorum(HEAD, [line(0), line(1), line(2), plain], authority(1, 1, 1)).operator_signed
    assert not check_quorum(HEAD, [line(0), line(1), line(2)], authority(1, 1, 1)).operator_signed


def test_two_roots_for_one_size_name_who_signed_both():
    other = replace(HEAD, root=Digest(b"\x08" * 32))
    first, second = Note(HEAD, (line(0), line(1))), Note(other, (line(0, head=other), line(2, head=other)))
    assert two_roots(first, second, "m0", COSIGNATURE, public(1))
    assert not two_roots(first, second, "m1", COSIGNATURE, public(2))
    assert not two_roots(first, first, "m0", COSIGNATURE, public(1))
