"""What a reading leads to: always a doctor, and never a lower tier because a picture looked harmless."""

import pytest

from commonward.ledger.encoding import Encodable, decode, encode
from commonward.records.images.photograph import PATHOGENS
from commonward.records.images.reading import BILLION, Reading, ReadingError
from commonward.records.images.triage import ALWAYS_EN, ALWAYS_ZH, Tier, Why, advise


def read(bacterial: float, fungal: float, viral: float, other: float, *, abstained: bool = False) -> Reading:
    parts = [round(each * BILLION) for each in (bacterial, fungal, viral, other)]
    return Reading(tuple(parts), abstained)


@pytest.mark.parametrize(
    ("reading", "why", "tier"),
    [
        (read(0.9, 0.05, 0.03, 0.02), Why.BACTERIAL, Tier.EYE_DEPARTMENT),
        (read(0.05, 0.05, 0.88, 0.02), Why.VIRAL, Tier.EYE_DEPARTMENT),
        (read(0.05, 0.88, 0.05, 0.02), Why.FUNGAL, Tier.EYE_HOSPITAL),
        (read(0.05, 0.05, 0.02, 0.88), Why.OTHER, Tier.EYE_HOSPITAL),
        (read(0.45, 0.10, 0.35, 0.10, abstained=True), Why.UNSURE, Tier.EYE_DEPARTMENT),
        (Reading((), True, ("blurred",)), Why.RETAKE, Tier.EYE_DEPARTMENT),
    ],
)
def test_each_reading_has_its_tier(reading, why, tier):
    advice = advise(reading)

    assert (advice.why, advice.tier) == (why, tier)


def test_a_fungus_that_is_only_second_likeliest_is_not_missed():
    """Weeks of the wrong drops cost an eye; a journey does not."""
    assert advise(read(0.75, 0.21, 0.02, 0.02)).why is Why.FUNGAL
    assert advise(read(0.70, 0.04, 0.04, 0.22)).why is Why.OTHER
    assert advise(read(0.40, 0.30, 0.20, 0.10, abstained=True)).tier is Tier.EYE_HOSPITAL


def test_every_advice_sends_the_patient_to_a_doctor_within_two_days_in_both_languages():
    shown = [advise(read(*(1.0 if each == name else 0.0 for each in PATHOGENS))) for name in PATHOGENS]
    shown += [advise(read(0.4, 0.1, 0.4, 0.1, abstained=True)), advise(Reading((), True, ("too dark",)))]

    assert {each.why for each in shown} == set(Why)
    for each in shown:
        assert "refer" in each.en.lower() and "转诊" in each.zh
        assert 0 < each.hours <= 48
    assert "Not a medical device" in ALWAYS_EN and "不是医疗器械" in ALWAYS_ZH


def test_what_is_no_reading_is_refused():
    for chances, abstained, findings in (
        ((BILLION, 0, 0), False, ()),
        ((BILLION, 1000, 0, 0), False, ()),
        ((), True, ()),
        ((), False, ("blurred",)),
        ((BILLION, 0, 0, 0), False, ("blurred",)),
    ):
        with pytest.raises(ReadingError):
            Reading(chances, abstained, findings)
    values: list[list[Encodable]] = [[], [[BILLION, 0, 0, "0"], 0, [], b""], [[BILLION, 0, 0, 0], 2, [], b""]]
    for value in values:
        with pytest.raises(ReadingError):
            Reading.from_value(decode(encode(value)))


def test_a_reading_survives_the_way_from_the_worker():
    for reading in (read(0.7, 0.1, 0.1, 0.1), Reading((), True, ("blurred",))):
        assert Reading.from_value(decode(encode(reading.to_value()))) == reading
    assert read(0.7, 0.1, 0.1, 0.1).likeliest == "bacterial" and Reading((), True, ("x",)).likeliest is None
