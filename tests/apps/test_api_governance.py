"""What the control API says of a change, in words that a person can vote on."""

from commonward.apps.changes import described
from commonward.ledger.ids import Algorithm, BlockTime, MemberId, MemberKind, Purpose
from commonward.ledger.members import AddKey, Admit, SetParameter
from commonward.ledger.parameters import Parameter


def test_a_change_is_told_by_its_own_words_and_long_bytes_by_their_length() -> None:
    key = AddKey(Purpose.OPERATE, Algorithm.EDDSA, bytes(32), BlockTime(1), BlockTime(2), bytes(64))
    asked = Admit(MemberId("east"), MemberKind.HOSPITAL, 2, "East", bytes(900), 1, "https://east.example", (key,))
    told = described(asked)
    assert (told["kind"], told["member"], told["certificate"]) == ("hospital", "east", "900 bytes")
    assert told["change"] == "Admit" and told["keys"][0]["purpose"] == "operate"
    assert described(SetParameter(Parameter.TICK, 500)) == {"change": "SetParameter", "parameter": "tick", "value": 500}
