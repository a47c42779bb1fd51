"""What learning may cost the privacy of a member's patients, over all studies together.

Rényi differential privacy adds up: what two updates cost at an order is the sum of what each costs. So the ledger keeps
for each member what was spent at sixteen fixed orders, in micro-RDP (integers, rounded up by whoever proposes a study),
and lets an update pass while at some order what is spent then converts to no more than the cap:

    spent(order) + charge(order) + c(order, delta) <= epsilon of the cap

c(order, delta) = ln((order - 1) / order) - (ln delta + ln order) / (order - 1), the conversion of Canonne, Kamath and
Steinke (2020, Proposition 12), which Opacus uses too; in micro, rounded up, never below 0. A consortium's cap stands in
genesis, or is `USUAL`. The unit is the patient; enrolling again, under any study, refills nothing.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from commonward.ledger.wire import Struct, number, struct, wire

__all__ = ["CONVERSION", "MAX_DELTA", "MIN_DELTA", "ORDERS", "USUAL", "PrivacyBudget", "affords", "epsilon", "sound"]

ORDERS: Final = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 48, 64, 128)
"""The orders of RDP, for ever: charges and sums stand in this order."""

CONVERSION: Final[Mapping[int, tuple[int, ...]]] = {
    # delta of 10^-n: c at each order, micro
    3: (5_521_461, 2_499_107, 1_552_805, 1_101_436, 840_878, 672_824, 556_228, 406_326,
        315_066, 211_140, 154_603, 119_602, 79_285, 43_555, 27_885, 8_344),
    4: (7_824_047, 3_650_399, 2_320_334, 1_677_083, 1_301_395, 1_056_588, 885_169, 662_168,
        524_392, 364_645, 275_792, 219_714, 153_562, 92_546, 64_434, 26_475),
    5: (10_126_632, 4_801_692, 3_087_862, 2_252_729, 1_761_912, 1_440_352, 1_214_110, 918_011,
        733_718, 518_151, 396_981, 319_827, 227_839, 141_537, 100_983, 44_605),
    6: (12_429_217, 5_952_985, 3_855_390, 2_828_375, 2_222_429, 1_824_117, 1_543_050, 1_173_854,
        943_044, 671_657, 518_169, 419_939, 302_116, 190_528, 137_532, 62_736),
    7: (14_731_802, 7_104_277, 4_622_919, 3_404_021, 2_682_946, 2_207_881, 1_871_991, 1_429_697,
        1_152_370, 825_162, 639_358, 520_051, 376_392, 239_519, 174_081, 80_866),
    8: (17_034_387, 8_255_570, 5_390_447, 3_979_668, 3_143_463, 2_591_645, 2_200_932, 1_685_540,
        1_361_696, 978_668, 760_547, 620_164, 450_669, 288_510, 210_630, 98_997),
    9: (19_336_972, 9_406_862, 6_157_976, 4_555_314, 3_603_980, 2_975_409, 2_529_873, 1_941_382,
        1_571_022, 1_132_174, 881_735, 720_276, 524_946, 337_502, 247_179, 117_128),
    10: (21_639_557, 10_558_155, 6_925_504, 5_130_960, 4_064_497, 3_359_173, 2_858_813, 2_197_225,
         1_780_348, 1_285_679, 1_002_924, 820_389, 599_223, 386_493, 283_728, 135_258),
    11: (23_942_142, 11_709_447, 7_693_032, 5_706_606, 4_525_014, 3_742_937, 3_187_754, 2_453_068,
         1_989_674, 1_439_185, 1_124_113, 920_501, 673_500, 435_484, 320_277, 153_389),
    12: (26_244_727, 12_860_740, 8_460_561, 6_282_253, 4_985_531, 4_126_702, 3_516_695, 2_708_911,
         2_199_000, 1_592_691, 1_245_301, 1_020_613, 747_777, 484_475, 356_826, 171_519),
}  # fmt: skip
"""tests/ledger/rounds/test_budget.py computes it again to sixty digits."""

MIN_DELTA: Final = min(CONVERSION)
MAX_DELTA: Final = max(CONVERSION)
MAX_EPSILON: Final = 1_000_000_000


@struct
class PrivacyBudget(Struct):
    """A member's cap: `epsilon` in millionths, at a delta of 10^-`delta`. Studies declare this delta or a smaller."""

    epsilon: int = wire(1, number(0, MAX_EPSILON))
    delta: int = wire(2, number(MIN_DELTA, MAX_DELTA))


USUAL: Final = PrivacyBudget(10_000_000, 5)
"""Where genesis says nothing: epsilon 10 at delta 10^-5, for a patient, over all studies."""


def sound(charge: Sequence[int]) -> bool:
    """Whether a mechanism can cost this: RDP does not fall as the order grows (van Erven and Harremoës 2014)."""
    return len(charge) == len(ORDERS) and charge[0] > 0 and all(one <= other for one, other in pairwise(charge))


def after(spent: Sequence[int], charge: Sequence[int]) -> tuple[int, ...]:
    """What is spent once a charge is added."""
    return tuple(a + b for a, b in zip(spent, charge, strict=True))


def epsilon(spent: Sequence[int], delta: int) -> int:
    """What was spent, as micro-epsilon at a delta of 10^-`delta`: 0 where nothing was."""
    if not any(spent):
        return 0
    return min(each + c for each, c in zip(spent, CONVERSION[delta], strict=True))


def affords(spent: Sequence[int], charge: Sequence[int] | None, delta: int | None, cap: PrivacyBudget) -> bool:
    """Whether an update that costs this may still be taken."""
    if charge is None or delta is None:
        return True
    return epsilon(after(spent, charge), delta) <= cap.epsilon
