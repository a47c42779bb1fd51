"""What ends is told weeks before: of this member, and of the others, since a quorum is made of all of them."""

from collections.abc import Mapping

import pytest

from commonward.ledger.ids import Algorithm, BlockTime, Digest, KeyId, MemberId, MemberKind, Purpose
from commonward.ledger.members import Key, Member, Roll
from commonward.workflows.expiry import CA_SOON, DAY, Certificate, Ending, endings, quorum_ends

NOW = BlockTime(1_790_000_000_000)
FAR = 400
NAMES = ("clinic", "north", "payer", "south")


class Memory:
    def __init__(self) -> None:
        self._cells: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self._cells.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self._cells[key] = value

    def delete(self, key: bytes) -> None:
        self._cells.pop(key, None)


def key(member: str, purpose: Purpose, days: float, number: int = 0, *, revoked: bool = False) -> Key:
    public = f"{member}/{purpose.name}/{number}".encode().ljust(32, b".")
    algorithm = Algorithm.X25519 if purpose is Purpose.HPKE else Algorithm.EDDSA
    ends = BlockTime(int(NOW + days * DAY))
    return Key(MemberId(member), purpose, algorithm, public, BlockTime(NOW - 900 * DAY), ends, NOW if revoked else None)


def roll_of(days: Mapping[tuple[str, Purpose], float] | None = None, *, weight: int = 1) -> Roll:
    """Four members whose keys last long, but for those named."""
    roll = Roll(Memory())
    for name in NAMES:
        of_it = Member(MemberKind.INSURER, 0, name, Digest(bytes(32)), True, weight, f"https://{name}.example", ())
        roll.add(MemberId(name), of_it, b"ca of " + name.encode())
        for purpose in Purpose:
            if purpose is not Purpose.SEQUENCE or name == "north":
                roll.put_key(key(name, purpose, (days or {}).get((name, purpose), FAR)))
    return roll


def told(roll: Roll, own: str = "north", *, operator: str = "north", in_use: tuple[KeyId, ...] = ()) -> list[Ending]:
    return endings(roll, MemberId(own), NOW, operator=MemberId(operator), in_use=in_use)


def test_nothing_is_said_of_what_lasts() -> None:
    assert told(roll_of()) == []
    assert quorum_ends(roll_of(), NOW, consensus=True) is None


def test_own_keys_that_end_are_told_first_with_how_to_replace_them() -> None:
    roll = roll_of({("clinic", Purpose.TLS): 2, ("north", Purpose.OPERATE): 12.5, ("north", Purpose.CARRY): 12.5})
    own, other = told(roll)
    assert own.text(NOW) == "north: the operate and carry keys end in 12 days"
    assert "rotate-key" in own.do and "restart" in own.do
    assert other.text(NOW) == "clinic: the tls key ends in 2 days" and other.do.startswith("tell clinic")


def test_a_key_that_ended_or_left_the_state_is_told_too() -> None:
    roll = roll_of({("south", Purpose.COSIGN): -3})
    assert [each.text(NOW) for each in told(roll)] == ["south: the cosign key ended 3 days ago"]
    roll.drop_key(key("south", Purpose.COSIGN, -3).id)
    assert [each.text(NOW) for each in told(roll)] == ["south: the cosign key ended"]


def test_a_successor_silences_the_warning_but_not_for_a_node_that_still_signs_with_the_old_key() -> None:
    roll = roll_of({("north", Purpose.COSIGN): 5})
    roll.put_key(key("north", Purpose.COSIGN, FAR, number=1))
    assert told(roll) == []
    (left,) = told(roll, in_use=(key("north", Purpose.COSIGN, 5).id,))
    assert "restart the node" in left.do and left.days(NOW) == 5


def test_a_revoked_key_is_no_successor() -> None:
    roll = roll_of({("north", Purpose.COSIGN): 5})
    roll.put_key(key("north", Purpose.COSIGN, FAR, number=1, revoked=True))
    assert len(told(roll)) == 1


def test_validator_keys_matter_under_consensus_and_the_sequencers_on_solo() -> None:
    roll = roll_of({("clinic", Purpose.VALIDATE): 1, ("north", Purpose.SEQUENCE): 1})
    assert [each.what for each in told(roll)] == ["the sequence key"]
    assert [each.what for each in told(roll, operator="")] == ["the validate key"]


def test_certificates_warn_by_their_own_time() -> None:
    ca = Certificate(MemberId("clinic"), "the CA certificate", NOW + 100 * DAY, CA_SOON)
    tls = Certificate(MemberId("north"), "the TLS certificate", NOW + 100 * DAY)
    found = endings(roll_of(), MemberId("north"), NOW, operator=MemberId("north"), certificates=[ca, tls])
    assert [each.text(NOW) for each in found] == ["clinic: the CA certificate ends in 100 days"]


@pytest.mark.parametrize(
    ("ending", "lost"),
    [
        ({"clinic": 3}, None),
        ({"clinic": 3, "south": 9}, ("clinic", "south")),
        ({"clinic": 3, "south": 40}, None),  # not so soon
    ],
)
def test_the_day_a_quorum_would_be_lost_is_told(ending: dict[str, float], lost: tuple[str, ...] | None) -> None:
    roll = roll_of({(name, Purpose.COSIGN): days for name, days in ending.items()})
    found = quorum_ends(roll, NOW, consensus=False)
    assert (found.members if found else None) == lost
    if found is not None:
        assert found.text(NOW).startswith("in 9 days the cosign keys of clinic, south will have ended")


def test_a_member_without_weight_loses_no_quorum() -> None:
    roll = roll_of({("clinic", Purpose.COSIGN): 3, ("south", Purpose.COSIGN): 3})
    roll.put(MemberId("south"), roll.must("south").but(weight=0))
    found = quorum_ends(roll, NOW, consensus=False)
    assert found is not None and found.members == ("clinic",), "one of three is a third: two thirds are not enough"
    roll.put(MemberId("clinic"), roll.must("clinic").but(weight=0))
    assert quorum_ends(roll, NOW, consensus=False) is None


def test_a_quorum_of_validators_is_watched_under_consensus() -> None:
    roll = roll_of({(name, Purpose.VALIDATE): 4 for name in ("clinic", "south")})
    assert quorum_ends(roll, NOW, consensus=False) is None
    found = quorum_ends(roll, NOW, consensus=True)
    assert found is not None and "no block is agreed on" in found.text(NOW)
