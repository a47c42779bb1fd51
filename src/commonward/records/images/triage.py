"""From a reading to what should be done next, and where: rules, not learnt. Medical argument: docs/keratitis.md.

Keratitis is an emergency whatever a picture says, and a picture proves no pathogen. So every advice sends the patient
to a doctor; what differs is how far up, how soon, and for which proof. A reading can only raise the tier: a fungal or
amoebic cornea sent to a small hospital loses weeks, a bacterial one sent to a large hospital loses a journey.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from commonward.records.images.reading import Reading

CONCERN: Final = 0.20
"""From this probability on a fungal or another (amoebic, immune) cause is not to be missed, whatever is likeliest."""


class Tier(StrEnum):
    """Of hospitals, from the nearest that can scrape a cornea to the one with every proof."""

    EYE_DEPARTMENT = "eye-department"
    """An eye department that scrapes, stains and cultures: in China a county (second-tier) hospital."""

    EYE_HOSPITAL = "eye-hospital"
    """A tertiary eye hospital: confocal microscopy, PCR, fungal culture, grafts."""


class Why(StrEnum):
    """The rule that gave the advice."""

    RETAKE = "retake"
    UNSURE = "unsure"
    FUNGAL = "fungal"
    OTHER = "other"
    VIRAL = "viral"
    BACTERIAL = "bacterial"


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do next.

    Attributes:
        why: which rule.
        tier: where the patient is to be seen, at least.
        hours: within how many.
        en, zh: what to do, in words.
    """

    why: Why
    tier: Tier
    hours: int
    en: str
    zh: str


ALWAYS_EN: Final = (
    "Not a medical device, and no diagnosis: this reads a photograph and proves no pathogen. Every suspected keratitis "
    "is seen by an eye doctor. Worse pain, falling sight, pus, or a thinning or leaking cornea: go to the nearest eye "
    "hospital at once. No steroid drops until a doctor has ruled out fungi, amoebae and herpes. No contact lenses."
)
"""Said with every advice."""

ALWAYS_ZH: Final = (
    "本结果不是医疗器械输出，也不是诊断：它只读取一张照片，不能证明任何病原体。凡疑似角膜炎，均须由眼科医生检查。"
    "疼痛加重、视力下降、出现脓液、角膜变薄或渗漏时，请立即前往最近的眼科医院。"
    "医生排除真菌、棘阿米巴和疱疹病毒之前，不得使用激素类眼药水。请勿佩戴隐形眼镜。"
)

_RULES: Final = {
    Why.RETAKE: Advice(
        Why.RETAKE,
        Tier.EYE_DEPARTMENT,
        24,
        "The photograph cannot be judged: take it again as said above. If that is not possible, do not wait for it: "
        "refer to an eye department within a day.",
        "照片无法判读：请按上述提示重新拍摄。若无法重拍，请勿等待，一天之内转诊至眼科。",
    ),
    Why.UNSURE: Advice(
        Why.UNSURE,
        Tier.EYE_DEPARTMENT,
        24,
        "The model is not sure and names no class. Treat as infectious until the opposite is proven: refer within a "
        "day for a corneal scraping with smear and culture, and PCR where it can be had; if it is large, central or "
        "deep, or not better after two days of treatment, to a tertiary eye hospital.",
        "模型无法确定，不给出类别。在排除之前按感染处理：一天之内转诊，行角膜刮片涂片与培养，有条件者行PCR；"
        "若病灶大、位于中央、较深，或治疗两天不见好转，转诊至三级眼科医院。",
    ),
    Why.FUNGAL: Advice(
        Why.FUNGAL,
        Tier.EYE_HOSPITAL,
        24,
        "A fungus is likely enough not to be missed: refer to a tertiary eye hospital within a day for smear (KOH or "
        "calcofluor), fungal culture and confocal microscopy, before antifungal treatment where it can wait. Steroids "
        "make it worse.",
        "真菌感染的可能性不容忽视：一天之内转诊至三级眼科医院，行涂片（氢氧化钾或荧光染色）、真菌培养和共聚焦显微镜检查，"
        "条件允许时应在抗真菌治疗之前完成。激素会使病情恶化。",
    ),
    Why.OTHER: Advice(
        Why.OTHER,
        Tier.EYE_HOSPITAL,
        24,
        "Another cause is likely enough not to be missed: acanthamoeba (contact lenses, water, pain out of proportion) "
        "or an immune disease. Refer to a tertiary eye hospital within a day for confocal microscopy, PCR and culture.",
        "其他病因的可能性不容忽视：棘阿米巴（隐形眼镜、接触污水、疼痛与体征不符）或免疫性疾病。"
        "一天之内转诊至三级眼科医院，行共聚焦显微镜、PCR和培养检查。",
    ),
    Why.VIRAL: Advice(
        Why.VIRAL,
        Tier.EYE_DEPARTMENT,
        48,
        "Herpes is the likeliest: refer to an eye department within two days for fluorescein staining, corneal "
        "sensation, and PCR where it can be had. In both eyes, in a child, after a graft or with weak immunity, to a "
        "tertiary eye hospital.",
        "疱疹病毒感染的可能性最大：两天之内转诊至眼科，行荧光素染色、角膜知觉检查，有条件者行PCR。"
        "双眼患病、儿童、角膜移植术后或免疫力低下者，转诊至三级眼科医院。",
    ),
    Why.BACTERIAL: Advice(
        Why.BACTERIAL,
        Tier.EYE_DEPARTMENT,
        12,
        "Bacteria are the likeliest: refer to an eye department the same day for scraping, smear and culture before "
        "the first antibiotic drop. Larger than 2 mm, central, deep, with hypopyon, or not better after two days: to a "
        "tertiary eye hospital.",
        "细菌感染的可能性最大：当天转诊至眼科，在使用第一滴抗生素之前行刮片、涂片和培养。"
        "病灶大于2毫米、位于中央、较深、伴前房积脓，或两天不见好转者，转诊至三级眼科医院。",
    ),
}


def advise(reading: Reading) -> Advice:
    """The rules in their order: a bad picture, a class that must not be missed, doubt, the likeliest class."""
    if reading.findings:
        return _RULES[Why.RETAKE]
    dangerous = max(("fungal", "other"), key=reading.chance)
    if reading.chance(dangerous) >= CONCERN:
        return _RULES[Why(dangerous)]
    if reading.abstained or reading.likeliest is None:
        return _RULES[Why.UNSURE]
    return _RULES[Why(reading.likeliest)]
