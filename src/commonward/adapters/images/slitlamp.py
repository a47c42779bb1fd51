"""Draws slit-lamp photographs of keratitis: patients, cameras and sites out of a seed. SYNTHETIC, and marked so.

No public set of photographs with proven pathogens could be had. These are for tests, for the demonstration and for
figures about the software (does federated learning keep up with pooled learning?); they say nothing about patients.

How hard they are is a parameter with a known ceiling, see `Difficulty`. What each pathogen looks like stands in
lesions.py with its literature, the healthy eye in eye.py. A patient has one eye, one lesion and several pictures of it;
a site has one camera, which tints, blurs, lights and magnifies in its own way.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import numpy as np

from commonward.adapters.images import eye as anatomy
from commonward.adapters.images.canvas import Canvas, Plane, Random, Rgb, blurred, noise, over, step
from commonward.adapters.images.lesions import DRAWN, Layer, Lesion, discharge, hypopyon, laid
from commonward.records.images.photograph import PATHOGENS, Eye, Photograph, Pixels

SIZE: Final = 224
LATENT_MIMIC, LATENT_EARLY = 0.10, 0.40


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How much the pathogens look alike, 0 to 1.

    A share of patients shows only what every pathogen can look like at first (`early`), and a share shows another
    pathogen's signs (`mimics`), as happens in clinics. No classifier, whatever it is, can do better on balanced classes
    than `ceiling`: it reads the rest and guesses these. At .4 that is .84.
    """

    level: float = 0.4

    def __post_init__(self) -> None:
        if not 0 <= self.level <= 1:
            raise ValueError(f"expected a difficulty of 0 to 1, got {self.level}")

    @property
    def early(self) -> float:
        return LATENT_EARLY * self.level

    @property
    def mimics(self) -> float:
        return LATENT_MIMIC * self.level

    @property
    def ceiling(self) -> float:
        """The best expected accuracy on classes of equal size."""
        return 1 - self.early * (1 - 1 / len(PATHOGENS)) - self.mimics


@dataclass(frozen=True, slots=True)
class Camera:
    """A site's slit lamp and how it is used.

    Attributes:
        device: what DICOM would call manufacturer and model.
        gains: of red, green and blue: the lamp's colour and the white balance.
        gamma: below 1 brighter.
        blur: in thousandths of the picture's side.
        grain: noise's deviation, 0 to 1.
        magnification: the cornea's radius as a share of the side.
        slit, cobalt: shares of pictures taken with a narrow beam, and of stained eyes under cobalt light.
        dark_irises: share of its patients with brown eyes.
    """

    device: str
    gains: Rgb = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    blur: float = 3.0
    grain: float = 0.012
    magnification: float = 0.40
    slit: float = 0.25
    cobalt: float = 0.15
    dark_irises: float = 0.8


CAMERAS: Final[Mapping[str, Camera]] = {
    "east": Camera("Synthetic Optics SL-1"),
    "north": Camera("Synthetic Optics SL-9", (1.14, 0.96, 0.80), 0.92, 5.5, 0.02, 0.45, 0.45, 0.05),
    "south": Camera("Synthetic Phone Adapter", (0.92, 1.00, 1.12), 0.85, 2.0, 0.03, 0.34, 0.05, 0.10, 0.95),
    "west": Camera("Synthetic Imaging BX", (1.05, 0.98, 0.88), 1.20, 4.0, 0.015, 0.38, 0.30, 0.30, 0.4),
    "islands": Camera("Synthetic Imaging Mini", (1.00, 1.05, 0.95), 1.05, 7.0, 0.025, 0.42, 0.15, 0.12, 0.7),
}

# Chances of what goes with each look: (redness from, to), hypopyon, discharge, where it sits (0 centre to 1 limbus).
_SIGNS: Final = {
    "bacterial": ((0.55, 1.00), 0.45, 0.50, 0.55),
    "fungal": ((0.45, 0.95), 0.40, 0.10, 0.50),
    "viral": ((0.20, 0.70), 0.03, 0.03, 0.40),
    "other": ((0.15, 0.90), 0.10, 0.08, 0.35),
    "early": ((0.30, 0.85), 0.08, 0.10, 0.50),
}


@dataclass(frozen=True, slots=True)
class Case:
    """A patient: what is the matter, and what it looks like.

    `look` is a pathogen or "early"; it differs from `pathogen` where the disease imitates another.
    """

    patient: str
    pathogen: str
    look: str
    side: Eye
    healthy: anatomy.Eye
    lesion: Lesion
    hypopyon: float
    convex: float
    discharge: bool

    @classmethod
    def drawn(cls, patient: str, pathogen: str, random: Random, difficulty: Difficulty, dark: float) -> "Case":
        """A patient by chance."""
        fate = random.random()
        look = pathogen
        if fate < difficulty.early:
            look = "early"
        elif fate < difficulty.early + difficulty.mimics:
            look = str(random.choice([each for each in PATHOGENS if each != pathogen]))
        (least, most), pus, mucus, out = _SIGNS[look]
        away, turn = out * float(random.random()), float(random.uniform(0, 2 * np.pi))
        size = float(random.uniform(0.14, 0.30) if look == "early" else random.uniform(0.18, 0.42))
        return cls(
            patient=patient,
            pathogen=pathogen,
            look=look,
            side=Eye.RIGHT if random.random() < 0.5 else Eye.LEFT,
            healthy=anatomy.Eye.born(random, dark, float(random.uniform(least, most))),
            lesion=Lesion(
                at=(away * float(np.cos(turn)), away * float(np.sin(turn)) * 0.8),
                radius=size,
                density=float(random.uniform(0.62, 1.0)),
                seed=int(random.integers(0, 1 << 62)),
            ),
            hypopyon=float(random.uniform(0.08, 0.32)) if random.random() < pus else 0.0,
            convex=float(random.uniform(0.2, 0.5)) if look == "fungal" else 0.0,
            discharge=bool(random.random() < mucus),
        )


def photographs(
    site: str,
    patients: int,
    seed: int,
    *,
    difficulty: Difficulty | None = None,
    classes: Sequence[float] = (0.25, 0.25, 0.25, 0.25),
    each: int = 2,
    size: int = SIZE,
    first: int = 0,
) -> Iterator[Photograph]:
    """A site's pictures, patient by patient; the same arguments draw the same pictures.

    Args:
        site: a name of CAMERAS.
        classes: the site's share of each of PATHOGENS; sums to 1.
        each: pictures of a patient.
        size: pixels of each side.
        first: number of the first patient; the patient of a number is the same whatever it is, so parts can be drawn
            side by side.
    """
    if site not in CAMERAS:
        raise ValueError(f"no camera for the site {site!r}; there are: {', '.join(CAMERAS)}")
    if len(classes) != len(PATHOGENS) or abs(sum(classes) - 1) > 1e-9 or min(classes) < 0:
        raise ValueError(f"expected {len(PATHOGENS)} shares that sum to 1, got {list(classes)}")
    camera, hard = CAMERAS[site], difficulty or Difficulty()
    place = int.from_bytes(sha256(site.encode()).digest()[:4])
    for at in range(first, first + patients):
        random = np.random.default_rng([seed, place, at])
        pathogen = PATHOGENS[int(random.choice(len(PATHOGENS), p=np.asarray(classes)))]
        case = Case.drawn(f"{site}-{at:05}", pathogen, random, hard, camera.dark_irises)
        for picture in range(each):
            yield Photograph(
                pixels=photograph(case, camera, random, size),
                patient=case.patient,
                source=f"SYNTHETIC {case.patient} {picture}",
                eye=case.side,
                device=camera.device,
                label=case.pathogen,
                synthetic=True,
            )


def photograph(case: Case, camera: Camera, random: Random, size: int = SIZE) -> Pixels:
    """One picture of a patient: gaze, light and focus differ from picture to picture."""
    scale = size * camera.magnification * float(random.uniform(0.94, 1.08))
    middle = size / 2 + random.normal(0, 0.04, 2) * size
    canvas = Canvas.of(size, scale, (float(middle[0]), float(middle[1])))
    layers = DRAWN[case.look](canvas, case.lesion)
    if case.hypopyon:
        layers.insert(0, hypopyon(canvas, case.hypopyon, case.convex))
    picture = laid(anatomy.globe(canvas, case.healthy), layers)
    if case.discharge:
        picture = laid(picture, [discharge(canvas, case.lesion, case.healthy.lower)])
    picture, covered = anatomy.lids(canvas, case.healthy, picture)
    chance = random.random()
    if chance < camera.cobalt:
        picture = _cobalt(canvas, picture, layers, covered, random)
    elif chance < camera.cobalt + camera.slit:
        picture = _slit(canvas, picture, case.lesion, covered, random)
    else:
        picture = _diffuse(canvas, picture, random)
    return _taken(_reflexes(canvas, picture, covered, random), camera, random)


def _diffuse(canvas: Canvas, picture: Plane, random: Random) -> Plane:
    """Broad light from one side, fading towards the frame's edge."""
    at = (float(random.normal(0, 0.35)), float(random.normal(-0.1, 0.25)))
    distance, _ = canvas.polar(at)
    light = np.float32(random.uniform(0.85, 1.10)) * (0.38 + 0.72 * np.exp(-((distance / 1.7) ** 2)))
    lit: Plane = (picture * light[:, :, None]).astype(np.float32)
    return lit


def _slit(canvas: Canvas, picture: Plane, lesion: Lesion, covered: Plane, random: Random) -> Plane:
    """A narrow beam from the side: an arc where it cuts the cornea, a brighter band where it meets the iris behind,
    darkness with some stray light elsewhere. It is aimed at the lesion."""
    side = 1.0 if random.random() < 0.5 else -1.0
    wide = float(random.uniform(0.05, 0.14))
    aimed = lesion.at[0] + float(random.normal(0, 0.12))
    radius, _ = canvas.polar()
    bulge = np.sqrt(np.clip(1 - canvas.y**2, 0, 1)).astype(np.float32)
    arc = canvas.x - np.float32(aimed) - np.float32(side * 0.20) * (bulge - np.float32(0.9))
    cornea = step(radius, 1.02, 0.94) * (1 - covered)
    section = np.exp(-((arc / wide) ** 4)).astype(np.float32)
    band = np.exp(-(((arc + np.float32(side * (0.16 + 1.4 * wide))) / (1.2 * wide)) ** 4)).astype(np.float32) * cornea
    stray = np.float32(random.uniform(0.30, 0.5))
    light = stray + np.float32(0.75) * np.maximum(section, np.float32(0.8) * band)
    lit: Plane = (picture * light[:, :, None]).astype(np.float32)
    # A clear cornea scatters a little: the section itself is seen, bluish grey.
    return over(lit, (0.62, 0.68, 0.74), section * cornea * np.float32(0.30))


def _cobalt(canvas: Canvas, picture: Plane, layers: list[Layer], covered: Plane, random: Random) -> Plane:
    """Fluorescein under cobalt light: all is blue, the tear film greenish, and what lacks epithelium shines green."""
    grey = picture.mean(axis=2)
    tears = np.clip(0.20 + 0.10 * noise(random, canvas.size, 7, 2), 0, 1) * (1 - covered)
    light = _diffuse(canvas, np.ones_like(picture), random)
    blue = np.stack([0.10 * grey, 0.24 * grey + 0.45 * tears * grey, 0.26 + 0.85 * grey], axis=-1) * light
    pool = np.zeros_like(grey)
    for each in layers:
        if each.stain is not None:
            pool = np.maximum(pool, each.stain)
    shining = over(blue.astype(np.float32), (0.42, 0.98, 0.36), (pool * (1 - covered)).clip(0, 1) * np.float32(0.88))
    return shining


def _reflexes(canvas: Canvas, picture: Plane, covered: Plane, random: Random) -> Plane:
    """The lamp mirrored by the cornea (first Purkinje image), and glints of the wet conjunctiva."""
    x, y = float(random.normal(0.12, 0.12)), float(random.normal(-0.12, 0.10))
    tall, wide = float(random.uniform(0.05, 0.12)), float(random.uniform(0.04, 0.08))
    spots = [([(x, y - tall / 2), (x, y + tall / 2)], wide)]
    for _ in range(int(random.integers(2, 8))):
        turn, away = float(random.uniform(0, 2 * np.pi)), float(random.uniform(1.02, 1.5))
        px, py = away * float(np.cos(turn)), away * float(np.sin(turn))
        spots.append(
            ([(px, py), (px + float(random.uniform(0.02, 0.10)), py + 0.015)], float(random.uniform(0.01, 0.03)))
        )
    shine = canvas.strokes(spots, soft=0.012) * (1 - np.float32(0.8) * covered)
    return over(picture, (1.0, 0.99, 0.97), shine)


def _taken(picture: Plane, camera: Camera, random: Random) -> Pixels:
    """Through the camera: focus, colour, exposure, grain, eight bits."""
    size = picture.shape[0]
    seen = blurred(picture, camera.blur * size / 1000 * float(random.uniform(0.5, 1.5)))
    seen = seen * np.asarray(camera.gains, dtype=np.float32) * np.float32(random.normal(1.0, 0.06))
    seen = np.clip(seen, 0, 1) ** np.float32(camera.gamma)
    seen = seen + random.normal(0, camera.grain, seen.shape).astype(np.float32)
    return (np.clip(seen, 0, 1) * 255 + 0.5).astype(np.uint8)
