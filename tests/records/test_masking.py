"""A masked round: the sum comes out byte for byte, whoever drops out, and nothing else comes out."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.ledger.rounds.words import Rule, survivors
from commonward.records.aggregation import AggregationError, Parameters, aggregate, expected_shapes, finish
from commonward.records.envelope import open_from, public_of
from commonward.records.masking import (
    Attempt,
    Masked,
    MaskingError,
    Reveal,
    TooFewSurvivors,
    Vector,
    add_mask,
    mask,
    own_key,
    pair_key,
    reveal,
    unmask,
    vector_of,
)
from commonward.records.masking_keys import Deal, Dealt, Held, Secrets, deal, open_dealt
from commonward.records.model import EMPTY_MODEL, Model
from commonward.records.shamir import join
from commonward.records.updates import Kind, Update, delta_tensors, sum_tensors

STUDY = b"s" * 16
SITES = ("east", "mid", "north", "south", "west", "zenith")
FIVE = SITES[:5]
SEALING = {site: sha256(site.encode()).digest() for site in SITES}
BASE = Model.from_floats({"w": np.linspace(-1, 1, 30).reshape(5, 6), "b": np.zeros(4)})
SHAPES = expected_shapes(Rule.FEDAVG, Parameters(), BASE)


def secrets_of(site: str, attempt: int = 1) -> Secrets:
    return Secrets.derive(sha256(f"{site} {attempt}".encode()).digest())


def deals_of(sites: Sequence[str], attempt: int = 1) -> dict[str, Deal]:
    holders = {site: public_of(SEALING[site]) for site in sites}
    return {site: deal(STUDY, site, secrets_of(site, attempt), holders) for site in sites}


DEALS = {count: deals_of(SITES[:count]) for count in (3, 4, 5, 6)}


def opened(count: int = 6, base: bytes | None = None) -> Attempt:
    return Attempt(STUDY, 2, 1, base or BASE.digest, DEALS[count])


def update_of(site: str, seed: int = 1, base: bytes | None = None) -> Update:
    rng = np.random.default_rng([seed, *site.encode()])
    changes = {"w": rng.normal(0, 1, (5, 6)), "b": rng.normal(0, 80, 4).clip(-256, 256)}
    return Update(STUDY, 2, 1, site, base or BASE.digest, Kind.DELTA, int(rng.integers(1, 900)), delta_tensors(changes))


def held_by(attempt: Attempt, holder: str) -> dict[str, Held]:
    return {site: open_dealt(each, holder, SEALING[holder]) for site, each in attempt.deals.items()}


def reveals_of(attempt: Attempt, kept: Sequence[str], by: Sequence[str]) -> list[Reveal]:
    return [reveal(attempt, kept, holder, held_by(attempt, holder)) for holder in by]


def masked_of(attempt: Attempt, sites: Sequence[str], seed: int = 1) -> list[Masked]:
    return [mask(attempt, update_of(site, seed), secrets_of(site)) for site in sites]


# ------------------------------------------------------------------------------------------------------------- the sum


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_masked_sum_is_the_open_sum_byte_for_byte_whoever_drops_out(data: st.DataObject) -> None:
    count = data.draw(st.integers(3, 6))
    attempt = opened(count)
    least = survivors(count)
    kept = sorted(data.draw(st.permutations(SITES[:count]))[: data.draw(st.integers(least, count))])
    by = data.draw(st.permutations(kept))[: data.draw(st.integers(least, len(kept)))]
    seed = data.draw(st.integers(0, 10_000))
    rule = data.draw(st.sampled_from([Rule.FEDAVG, Rule.FEDADAM, Rule.FEDADAGRAD]))
    vectors = data.draw(st.permutations(masked_of(attempt, kept, seed)))
    total, false = unmask(attempt, Kind.DELTA, SHAPES, vectors, reveals_of(attempt, kept, by))
    open_round = aggregate(rule, Parameters(), BASE, [update_of(site, seed) for site in kept]).model
    assert (finish(rule, Parameters(), BASE, total), false) == (open_round, ())


def test_newtons_means_add_up_under_masks() -> None:
    base = Model.from_floats({"coefficients": np.zeros(3)})
    attempt = opened(4, base.digest)
    updates = [
        replace(
            update_of(site, base=base.digest),
            tensors=delta_tensors({"gradient": np.full(3, 0.1), "hessian": np.array([1.0, 0, 1, 0, 0, 1 + at])}),
        )
        for at, site in enumerate(SITES[:4])
    ]
    masked = [mask(attempt, each, secrets_of(each.site)) for each in updates]
    shapes = expected_shapes(Rule.NEWTON, Parameters(), base)
    total, _ = unmask(attempt, Kind.DELTA, shapes, masked, reveals_of(attempt, SITES[:4], SITES[:4]))
    assert finish(Rule.NEWTON, Parameters(), base, total) == aggregate(Rule.NEWTON, Parameters(), base, updates).model


def test_sums_with_negative_numbers_come_out_under_masks() -> None:
    attempt, declared = opened(4, EMPTY_MODEL.digest), Parameters(sums={"n": (2,)})
    updates = [
        replace(
            update_of(site, base=EMPTY_MODEL.digest),
            kind=Kind.SUM,
            rows=1,
            tensors=sum_tensors({"n": np.array([-at, 1 << 58])}),
        )
        for at, site in enumerate(SITES[:4])
    ]
    masked = [mask(attempt, each, secrets_of(each.site)) for each in updates]
    total, _ = unmask(attempt, Kind.SUM, {"n": (2,)}, masked, reveals_of(attempt, SITES[:4], SITES[:4]))
    assert finish(Rule.SUM, declared, EMPTY_MODEL, total)["n"].integers.tolist() == [-6, 4 << 58]


def test_a_site_that_enrolled_after_the_keys_were_dealt_can_still_take_part() -> None:
    """Each deal has holders and a threshold of its own: a holder more or less needs no new deal of the others."""
    deals = {**deals_of(FIVE[:4]), "west": deals_of(FIVE)["west"]}
    attempt = Attempt(STUDY, 2, 1, BASE.digest, deals)
    held = {h: {s: open_dealt(d, h, SEALING[h]) for s, d in deals.items() if h in d.dealt} for h in FIVE}
    kept = ["east", "mid", "north", "south"]
    masked = [mask(attempt, update_of(site), secrets_of(site)) for site in kept]
    total, _ = unmask(attempt, Kind.DELTA, SHAPES, masked, [reveal(attempt, kept, h, held[h]) for h in kept])
    wanted = aggregate(Rule.FEDAVG, Parameters(), BASE, [update_of(site) for site in kept]).model
    assert finish(Rule.FEDAVG, Parameters(), BASE, total) == wanted


# ---------------------------------------------------------------------------------------------------- too few, and lies


def test_too_few_survivors_are_refused_before_anything_is_revealed() -> None:
    attempt = opened(6)
    few = SITES[: survivors(6) - 1]
    with pytest.raises(TooFewSurvivors, match="at least 5 of 6"):
        reveal(attempt, few, "east", held_by(attempt, "east"))
    with pytest.raises(TooFewSurvivors):
        unmask(attempt, Kind.DELTA, SHAPES, masked_of(attempt, few), [])


def test_no_sum_of_fewer_than_three_sites_is_ever_opened() -> None:
    assert survivors(1) == survivors(2) == survivors(3) == 3
    with pytest.raises(MaskingError, match="3 holders"):
        deals_of(SITES[:2])


def test_too_few_shares_leave_the_sum_closed() -> None:
    attempt = opened(6)
    with pytest.raises(TooFewSurvivors, match="5 true shares of east's seed, got 4"):
        unmask(attempt, Kind.DELTA, SHAPES, masked_of(attempt, SITES), reveals_of(attempt, SITES, SITES[:4]))


def test_a_holder_reveals_for_one_set_of_an_attempt_and_no_other() -> None:
    """Whoever had a site's seed from one answer and its key from another could take its masks off."""
    attempt = opened(6)
    held = held_by(attempt, "east")
    first = reveal(attempt, SITES, "east", held)
    assert reveal(attempt, SITES, "east", held, earlier=first) == first
    with pytest.raises(MaskingError, match="reveals once"):
        reveal(attempt, SITES[:5], "east", held, earlier=first)


def test_no_holder_reveals_both_secrets_of_a_site() -> None:
    attempt, kept = opened(6), SITES[:5]
    held = held_by(attempt, "mid")
    shares = reveal(attempt, kept, "mid", held).shares
    assert all(shares[site] == held[site].of_seed for site in kept)
    assert shares["zenith"] == held["zenith"].of_key


def test_a_false_share_is_seen_and_its_holder_named() -> None:
    attempt = opened(6)
    good = reveals_of(attempt, SITES, SITES)
    liar = replace(good[2], shares={**good[2].shares, "east": bytes(33)})
    masked = masked_of(attempt, SITES)
    total, false = unmask(attempt, Kind.DELTA, SHAPES, masked, [*good[:2], liar, *good[3:]])
    assert false == ("north",)
    wanted = aggregate(Rule.FEDAVG, Parameters(), BASE, [update_of(site) for site in SITES]).model
    assert finish(Rule.FEDAVG, Parameters(), BASE, total) == wanted
    with pytest.raises(TooFewSurvivors):
        unmask(attempt, Kind.DELTA, SHAPES, masked, [*good[:2], liar, *good[3:5]])


def test_a_vector_or_reveal_of_another_attempt_is_refused() -> None:
    attempt = opened(4)
    four = SITES[:4]
    masked, reveals = masked_of(attempt, four), reveals_of(attempt, four, four)
    for false in (replace(masked[0], attempt=2), replace(masked[0], round=1), replace(masked[0], base=bytes(32))):
        with pytest.raises(MaskingError, match="another"):
            unmask(attempt, Kind.DELTA, SHAPES, [false, *masked[1:]], reveals)
    for false_reveal in (replace(reveals[0], attempt=2), replace(reveals[0], survivors=four[:3])):
        with pytest.raises(MaskingError, match="another"):
            unmask(attempt, Kind.DELTA, SHAPES, masked, [false_reveal, *reveals[1:]])


def test_a_stranger_and_a_repeated_site_are_refused() -> None:
    attempt = opened(4)
    masked = masked_of(attempt, SITES[:4])
    stranger = replace(masked[0], site="zenith")
    for false in ([*masked[1:], stranger], [*masked, masked[0]]):
        with pytest.raises(MaskingError, match="each once"):
            unmask(attempt, Kind.DELTA, SHAPES, false, [])


@pytest.mark.parametrize("vector", [b"", bytes(8), bytes(7), bytes(8 * 36)])
def test_a_vector_of_another_length_is_refused(vector: bytes) -> None:
    attempt = opened(4)
    masked = masked_of(attempt, SITES[:4])
    with pytest.raises(MaskingError, match="one length"):
        unmask(attempt, Kind.DELTA, SHAPES, [replace(masked[0], vector=vector), *masked[1:]], [])


def test_vectors_that_are_not_the_studys_tensors_are_refused() -> None:
    attempt = opened(4)
    masked = masked_of(attempt, SITES[:4])
    with pytest.raises(MaskingError, match="vectors of 31 numbers"):
        unmask(attempt, Kind.DELTA, {"w": (5, 6)}, masked, reveals_of(attempt, SITES[:4], SITES[:4]))


def test_a_site_that_sends_nonsense_gives_a_sum_that_is_refused_or_is_one_sites_false_word() -> None:
    """No per-site check is possible; what no true sites could sum to is refused all the same."""
    attempt = opened(4)
    masked = masked_of(attempt, SITES[:4])
    nonsense = replace(masked[0], vector=np.full(35, 1 << 61, np.uint64).tobytes())
    total, _ = unmask(attempt, Kind.DELTA, SHAPES, [nonsense, *masked[1:]], reveals_of(attempt, SITES[:4], SITES[:4]))
    with pytest.raises(AggregationError, match="is false"):
        finish(Rule.FEDAVG, Parameters(), BASE, total)


def test_a_site_counts_once_in_a_sum() -> None:
    attempt, four = opened(4, EMPTY_MODEL.digest), SITES[:4]
    twice = update_of("east", base=EMPTY_MODEL.digest)
    one = replace(twice, kind=Kind.SUM, rows=1, tensors=sum_tensors({"n": np.array([1, 2])}))
    masked = [mask(attempt, replace(one, site=site), secrets_of(site)) for site in four]
    altered = np.frombuffer(masked[1].vector, "<u8").copy()
    altered[-1] += np.uint64(1)
    masked[1] = replace(masked[1], vector=altered.tobytes())
    with pytest.raises(MaskingError, match="count once"):
        unmask(attempt, Kind.SUM, {"n": (2,)}, masked, reveals_of(attempt, four, four))


# --------------------------------------------------------------------------------------------------------------- deals


def test_a_dealer_that_deals_false_shares_is_caught_when_they_are_opened() -> None:
    false = DEALS[5]["east"]
    swapped = {**false.dealt, "west": replace(false.dealt["west"], of_key=bytes(32))}
    with pytest.raises(MaskingError, match="east: its shares for west are not those"):
        open_dealt(replace(false, dealt=swapped), "west", SEALING["west"])
    garbled = {**false.dealt, "west": replace(false.dealt["west"], sealed=bytes(120))}
    with pytest.raises(MaskingError, match="east: its shares for west do not open"):
        open_dealt(replace(false, dealt=garbled), "west", SEALING["west"])


def test_shares_open_to_their_holder_alone_and_from_their_dealer_alone() -> None:
    dealt = DEALS[5]["east"]
    with pytest.raises(MaskingError, match="do not open"):
        open_dealt(dealt, "west", SEALING["north"])
    stolen = {**dealt.dealt, "west": DEALS[5]["north"].dealt["west"]}
    with pytest.raises(MaskingError, match="do not open"):
        open_dealt(replace(dealt, dealt=stolen), "west", SEALING["west"])
    with pytest.raises(MaskingError, match="expected a holder"):
        open_dealt(dealt, "zenith", SEALING["zenith"])


def test_shares_can_be_opened_where_the_key_is_kept() -> None:
    """A member's key may lie where it does not leave: then whoever keeps it opens."""
    dealt = DEALS[5]["east"]
    kept = partial(open_from, SEALING["west"])
    assert open_dealt(dealt, "west", kept) == open_dealt(dealt, "west", SEALING["west"])
    with pytest.raises(MaskingError, match="do not open"):
        open_dealt(dealt, "west", partial(open_from, SEALING["north"]))


@pytest.mark.parametrize("which", ["seed", "key"])
def test_a_dealer_whose_shares_are_of_another_secret_is_named(which: str) -> None:
    """It commits to consistent shares of something else: only opening them shows it, and voids the attempt."""
    five, other = FIVE, secrets_of("east", attempt=9)
    mine = secrets_of("east")
    false = replace(mine, self_seed=other.self_seed) if which == "seed" else replace(mine, private=other.private)
    made = deal(STUDY, "east", false, {site: public_of(SEALING[site]) for site in five})
    honest = DEALS[5]["east"]
    blank = replace(honest, dealt={site: Dealt(b"", b"", b"") for site in five})
    dealt = {site: _again(blank, site, open_dealt(made, site, SEALING[site])) for site in five}
    attempt = replace(opened(5), deals={**DEALS[5], "east": replace(honest, dealt=dealt)})
    kept = five if which == "seed" else five[1:]
    held = {h: held_by(opened(5), h) | {"east": open_dealt(made, h, SEALING[h])} for h in five}
    masked = [mask(attempt, update_of(site), secrets_of(site)) for site in kept]
    with pytest.raises(MaskingError, match=f"east dealt shares of another {which}"):
        unmask(attempt, Kind.DELTA, SHAPES, masked, [reveal(attempt, kept, h, held[h]) for h in kept])


def _again(blank: Deal, holder: str, held: Held) -> Dealt:
    of_seed, of_key = blank.share_commitment(holder, 1, held.of_seed), blank.share_commitment(holder, 2, held.of_key)
    return Dealt(of_seed, of_key, b"")


def test_a_deal_is_held_against_what_the_ledger_has() -> None:
    dealt = DEALS[5]["east"]
    dealt.check((dealt.public,), (dealt.commitment,), dealt.digest)
    for false in ((bytes(32),), (dealt.commitment,), dealt.digest), ((dealt.public,), (bytes(32),), dealt.digest):
        with pytest.raises(MaskingError, match="commit to"):
            dealt.check(*false)


def test_papers_of_a_masked_round_come_back_from_their_bytes() -> None:
    attempt = opened(4)
    (vector,), (shares,) = masked_of(attempt, ["east"]), reveals_of(attempt, SITES[:4], ["east"])
    assert Deal.parse(DEALS[4]["mid"].to_bytes()) == DEALS[4]["mid"]
    assert Masked.parse(vector.to_bytes()) == vector
    assert Reveal.parse(shares.to_bytes()) == shares
    for parse in (Deal.parse, Masked.parse, Reveal.parse):
        for data in (b"", b"\x80\x04.", b"\x80", vector.to_bytes()[:-1], b"PK\x03\x04"):
            with pytest.raises(MaskingError):
                parse(data)


def test_a_mask_key_of_small_order_is_refused() -> None:
    false = replace(DEALS[4]["mid"], public=bytes(32))
    attempt = replace(opened(4), deals={**DEALS[4], "mid": false})
    with pytest.raises(MaskingError, match="mid: expected an X25519 key"):
        mask(attempt, update_of("east"), secrets_of("east"))


def test_a_site_masks_with_the_secrets_that_it_dealt_and_for_its_attempt() -> None:
    attempt = opened(4)
    with pytest.raises(MaskingError, match="secrets"):
        mask(attempt, update_of("east"), secrets_of("east", attempt=2))
    with pytest.raises(MaskingError, match="another"):
        mask(attempt, replace(update_of("east"), round=3), secrets_of("east"))
    with pytest.raises(MaskingError, match="another"):
        mask(attempt, update_of("zenith"), secrets_of("zenith"))


# ---------------------------------------------------------------------------------------------------- a curious member


def _masks(attempt: Attempt, site: str, leaving: frozenset[str] = frozenset()) -> Vector:
    """All masks of a site's vector but those of its pairs with `leaving`, and its own when it is among them."""
    total = np.zeros(35, np.uint64)
    if site not in leaving:
        add_mask(total, own_key(attempt, site, secrets_of(site).self_seed), +1)
    for other in attempt.deals:
        if other != site and other not in leaving:
            add_mask(total, pair_key(attempt, site, secrets_of(site).private, other), 1 if site < other else -1)
    return total


def _vector(masked: Masked) -> Vector:
    return np.frombuffer(masked.vector, "<u8")


def test_a_masked_vector_is_the_data_under_a_pad_that_any_other_data_could_stand_under() -> None:
    """One-time pad over Z_2^64: for each other update there are masks that give the very same bytes."""
    attempt = opened(6)
    (masked,) = masked_of(attempt, ["north"])
    pad = _masks(attempt, "north")
    assert (_vector(masked) - pad == vector_of(update_of("north"))).all()
    for seed in (2, 3, 4):
        other = vector_of(update_of("north", seed))
        other_pad = _vector(masked) - other
        assert (other + other_pad == _vector(masked)).all()
        assert len(np.unique(other_pad - pad)) > 30  # another pad in every place, each as likely as the true one


def test_all_but_two_sites_together_learn_only_the_sum_of_those_two() -> None:
    """What four of six know fits any split of the two others' sum: the transcript is the same to the last bit."""
    attempt, two = opened(6), ("north", "south")
    vectors = {each.site: _vector(each) for each in masked_of(attempt, SITES)}
    # After the round everyone knows every site's own mask, and the four know their pairs' masks with the two.
    seen = {site: vectors[site] - _masks(attempt, site, frozenset(two) - {site}) for site in two}
    pair = np.zeros(35, np.uint64)
    add_mask(pair, pair_key(attempt, "north", secrets_of("north").private, "south"), +1)
    true = {site: vector_of(update_of(site)) for site in two}
    assert (seen["north"] == true["north"] + pair).all()
    assert (seen["south"] == true["south"] - pair).all()
    shift = vector_of(update_of("north", seed=77))  # had north's data been others, and south's the rest of the sum ...
    other_pair = pair - shift
    assert (seen["north"] == (true["north"] + shift) + other_pair).all()
    assert (seen["south"] == (true["south"] - shift) - other_pair).all()  # ... the four would have seen the same
    assert (seen["north"] + seen["south"] == true["north"] + true["south"]).all()


def test_fewer_curious_holders_than_the_threshold_cannot_open_a_sites_seed() -> None:
    attempt = opened(6)
    threshold = attempt.deals["north"].threshold
    curious = [site for site in SITES if site != "north"][: threshold - 1]
    shares = {attempt.deals["north"].number(h): held_by(attempt, h)["north"].of_seed for h in curious}
    assert len(shares) == threshold - 1
    with pytest.raises(ValueError, match=f"at least {threshold} shares"):
        join(shares, threshold)
    for guess in (bytes(33), (1 << 200).to_bytes(33, "big")):  # each guess at one more share gives another seed
        lacking = next(at for at in range(1, 7) if at not in shares)
        assert join({**shares, lacking: guess}, threshold) != secrets_of("north").self_seed


def test_masks_do_not_repeat_over_attempts_rounds_sites_or_bases() -> None:
    first = opened(6)
    others: list[Attempt] = [replace(first, attempt=2), replace(first, round=3), replace(first, base=bytes(32))]
    keys = {own_key(each, "north", bytes(32)) for each in (first, *others)}
    keys |= {pair_key(each, "north", secrets_of("north").private, "south") for each in (first, *others)}
    keys |= {own_key(first, "south", bytes(32)), pair_key(first, "north", secrets_of("north").private, "east")}
    assert len(keys) == 10
    assert pair_key(first, "north", secrets_of("north").private, "south") == pair_key(
        first, "south", secrets_of("south").private, "north"
    )


def test_masked_bits_are_even() -> None:
    """Of data that is all zeros: each of the 64 bits is set in about half of the numbers (six deviations)."""
    size = 20_000
    base = Model.from_floats({"w": np.zeros(size)})
    update = Update(STUDY, 2, 1, "east", base.digest, Kind.DELTA, 1, delta_tensors({"w": np.zeros(size)}))
    bits = np.unpackbits(np.frombuffer(mask(opened(6, base.digest), update, secrets_of("east")).vector, np.uint8))
    counts = bits.reshape(-1, 64).sum(axis=0)
    assert np.abs(counts - (size + 1) / 2).max() < 6 * np.sqrt(size) / 2


def test_the_stream_goes_on_over_the_pieces_that_it_is_made_in() -> None:
    long, short = np.zeros(300_001, np.uint64), np.zeros(300_000, np.uint64)
    add_mask(long, bytes(32), +1)
    add_mask(short, bytes(32), +1)
    assert (long[:300_000] == short).all()
    assert len(np.unique(long)) == long.size
    add_mask(long, bytes(32), -1)
    assert not long.any()
