"""Is this picture good enough to judge? Four simple measures, each with a reason a photographer can act on.

Sharpness: variance of the Laplacian (Pech-Pacheco et al. 2000) of the luminance, shrunk to 256 pixels first so that it
means the same for every camera. Exposure: the mean, and how much is pure black or white. Glare: how much of the middle,
where the cornea is, the lamp's mirror image hides. Coverage: how much of the middle is lit at all.

It judges the picture, not the eye: a picture of a wall can pass. Thresholds were set on generated pictures and looked
at on sixty real ones (docs/keratitis.md says what they refuse there).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from commonward.records.images.photograph import Photograph, luminance, shrunk

SIDE: Final = 256


@dataclass(frozen=True, slots=True)
class Gate:
    """What is asked of a picture.

    Attributes:
        sharpness: least variance of the Laplacian, in grey levels squared.
        darkest, brightest: of the mean luminance, 0 to 255.
        white: greatest share of pixels at 250 and above.
        glare: greatest such share in the middle.
        coverage: least share of the middle that is brighter than 12.
    """

    sharpness: float = 12.0
    darkest: float = 24.0
    brightest: float = 215.0
    white: float = 0.25
    glare: float = 0.12
    coverage: float = 0.60


@dataclass(frozen=True, slots=True)
class Quality:
    """The measures of one picture, and what is wrong with it in words; none when it may be used."""

    sharpness: float
    mean: float
    white: float
    glare: float
    coverage: float
    reasons: tuple[str, ...]

    @property
    def usable(self) -> bool:
        return not self.reasons


def quality(photograph: Photograph, gate: Gate | None = None) -> Quality:
    """Measures a picture and says what is wrong with it."""
    asked = gate or Gate()
    full = luminance(photograph.pixels)
    plane = shrunk(full, min(SIDE, full.shape[0]), min(SIDE, full.shape[1]))
    height, width = plane.shape
    middle = plane[height // 4 : height - height // 4, width // 4 : width - width // 4]
    sharpness, mean = _sharpness(plane), float(plane.mean())
    white, glare = float((plane >= 250).mean()), float((middle >= 250).mean())
    coverage = float((middle > 12).mean())
    reasons = []
    if sharpness < asked.sharpness:
        reasons.append(f"blurred: sharpness {sharpness:.0f}, expected at least {asked.sharpness:.0f}; focus again")
    if mean < asked.darkest:
        reasons.append(f"too dark: mean {mean:.0f} of 255, expected at least {asked.darkest:.0f}; more light")
    if mean > asked.brightest or white > asked.white:
        reasons.append(f"overexposed: mean {mean:.0f} of 255, {white:.0%} white; less light or a shorter exposure")
    if glare > asked.glare:
        reasons.append(f"glare hides {glare:.0%} of the middle, expected at most {asked.glare:.0%}; turn the lamp")
    if coverage < asked.coverage:
        reasons.append(f"only {coverage:.0%} of the middle is lit, expected {asked.coverage:.0%}; centre the cornea")
    return Quality(sharpness, mean, white, glare, coverage, tuple(reasons))


def _sharpness(plane: NDArray[np.int64]) -> float:
    middle = 4 * plane[1:-1, 1:-1]
    laplacian = middle - plane[:-2, 1:-1] - plane[2:, 1:-1] - plane[1:-1, :-2] - plane[1:-1, 2:]
    return float(laplacian.var())
