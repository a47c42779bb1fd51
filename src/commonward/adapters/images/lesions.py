"""What keratitis does to a cornea, drawn: the signs by which an ophthalmologist guesses the pathogen from a photograph.

Each function argues its sign with the literature it comes from. None is proof: of 120 photographs, 421 ophthalmologists
named the pathogen of 49.27 % (Xu et al. 2021, "Deep sequential feature learning in clinical image classification of
infectious keratitis", Engineering 7). Drawings of signs are no photographs of disease: figures from them say what
software does, and nothing about patients.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from commonward.adapters.images.canvas import Canvas, Plane, Point, Random, Rgb, noise, over, spokes, step, wobble

YELLOW_WHITE: Final[Rgb] = (0.90, 0.86, 0.68)
GREY_WHITE: Final[Rgb] = (0.80, 0.80, 0.77)
HAZE: Final[Rgb] = (0.66, 0.68, 0.69)
BROWN: Final[Rgb] = (0.36, 0.26, 0.18)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Something on or in the cornea: its colour, how far it hides what is behind (0 to 1), and how far it stains.

    Fluorescein stains where epithelium is missing, and shines green under cobalt light: `stain`, 0 to 1.
    """

    colour: Rgb | Plane
    cover: Plane
    stain: Plane | None = None


@dataclass(frozen=True, slots=True)
class Lesion:
    """Where it is and how big: the patient's, so the same in every picture.

    Attributes:
        at: its centre, in corneal radii.
        radius: in corneal radii; a small ulcer is 0.15 (under 1 mm), one of 0.6 threatens the eye.
        density: how opaque, 0 to 1.
        seed: of its outline and texture.
    """

    at: Point
    radius: float
    density: float
    seed: int


def bacterial(canvas: Canvas, lesion: Lesion) -> list[Layer]:
    """One round to oval, dense, yellow-white suppurative infiltrate with a distinct edge, under an epithelial defect of
    its own size, in a ground-glass oedema. (American Academy of Ophthalmology, Bacterial Keratitis Preferred Practice
    Pattern; Dahlgren et al. 2007 and Dalmon et al. 2012 on clinicians' signs: a well-defined border and absence of
    satellites speak for bacteria.)"""
    random = np.random.default_rng([lesion.seed, 11])
    distance, angle = canvas.polar(lesion.at)
    squeezed = distance * (1 + 0.12 * np.cos(2 * (angle - np.float32(random.uniform(0, np.pi))))).astype(np.float32)
    edge = lesion.radius * (1 + 0.05 * wobble(random, angle, range(2, 6), 0.8))
    body = step(squeezed - edge, 0.05, -0.06)
    texture = 0.94 + 0.12 * noise(random, canvas.size, 14, 2) - 0.18 * step(squeezed / edge, 0.2, 1.0)
    oedema = np.exp(-((np.clip(squeezed - edge, 0, None) / 0.28) ** 2)).astype(np.float32)
    return [
        Layer(HAZE, oedema * np.float32(0.42 * lesion.density)),
        Layer(YELLOW_WHITE, (body * texture * np.float32(0.98 * lesion.density)).clip(0, 0.97), stain=body),
    ]


def fungal(canvas: Canvas, lesion: Lesion) -> list[Layer]:
    """A grey-white, dry, raised and rough infiltrate whose hyphae spread between lamellae: feathery, ill-defined
    margins and satellite infiltrates beyond them; now and then pigmented (dematiaceous fungi). (Thomas 2003, "Current
    perspectives on ophthalmic mycoses"; Thomas, Leck and Myatt 2005, "Characteristic clinical features as an aid to the
    diagnosis of suppurative keratitis caused by filamentous fungi": serrate margins, raised slough, dry texture,
    satellites, colours other than yellow.)"""
    random = np.random.default_rng([lesion.seed, 12])
    distance, angle = canvas.polar(lesion.at)
    spread = 0.50 * np.abs(spokes(random, distance, angle, 34, 3)) + 0.25 * np.abs(
        spokes(random, distance, angle, 80, 5)
    )
    edge = lesion.radius * (0.82 + 0.16 * wobble(random, angle, range(2, 7), 0.9) + 1.05 * spread)
    body = step((distance - edge).astype(np.float32), 0.13, -0.20)
    relief = noise(random, canvas.size, 24, 3)
    rough = 0.98 + 0.26 * (np.roll(relief, 1, axis=0) - np.roll(relief, -1, axis=0))  # lit from above: raised and dry
    shades = np.asarray(BROWN if random.random() < 0.07 else GREY_WHITE, dtype=np.float32) * rough[:, :, None]
    satellites = np.zeros_like(body)
    for _ in range(int(random.integers(1, 5)) if random.random() < 0.65 else 0):
        turn, away = random.uniform(0, 2 * np.pi), lesion.radius * random.uniform(1.7, 2.4)
        spot = (lesion.at[0] + float(away * np.cos(turn)), lesion.at[1] + float(away * np.sin(turn)))
        near, round_it = canvas.polar(spot)
        size = random.uniform(0.035, 0.085) * (1 + 0.25 * wobble(random, round_it, range(2, 6)))
        satellites = np.maximum(satellites, step(near - size, 0.05, -0.04))
    inside = step(canvas.polar()[0], 0.99, 0.90)
    stained = step(distance, lesion.radius * 0.9, lesion.radius * 0.6)
    return [
        Layer(HAZE, step(distance, lesion.radius * 2.1, lesion.radius) * np.float32(0.22 * lesion.density)),
        Layer(shades.clip(0, 1).astype(np.float32), body * np.float32(0.92 * lesion.density), stain=stained * body),
        Layer(GREY_WHITE, satellites * inside * np.float32(0.75 * lesion.density)),
    ]


def viral(canvas: Canvas, lesion: Lesion) -> list[Layer]:
    """Herpes simplex in its three looks. Dendritic (most): a thin branching ulcer whose branches end in bulbs, bright
    with fluorescein, nearly invisible without. Geographic: dendrites grown together to a map-like ulcer with scalloped
    edges. Stromal (disciform): a round central haze under whole epithelium. (Azher et al. 2017, "Herpes simplex
    keratitis: challenges in diagnosis and clinical management"; Herpetic Eye Disease Study Group 1994.)"""
    random = np.random.default_rng([lesion.seed, 13])
    look = random.random()
    distance, angle = canvas.polar(lesion.at)
    faint = np.float32(0.20 + 0.42 * lesion.density)
    if look < 0.22:
        disc = step(distance - lesion.radius * (1.25 + 0.06 * wobble(random, angle, range(2, 5), 0.7)), 0.16, -0.22)
        folds = 1 + 0.16 * noise(random, canvas.size, 10, 2)
        return [Layer(HAZE, (disc * folds * np.float32(0.62 * lesion.density)).clip(0, 0.8).astype(np.float32))]
    lines = _dendrite(random, lesion)
    if look < 0.45:
        grown = canvas.strokes([(points, 0.15) for points, width in lines if width > 0.02], soft=0.03)
        ulcer = step(grown + 0.10 * noise(random, canvas.size, 18, 2), 0.32, 0.46)
        rim = (step(grown, 0.22, 0.42) * (1 - step(grown, 0.55, 0.85))).astype(np.float32)
        return [Layer(HAZE, ulcer * np.float32(0.55) * faint), Layer(GREY_WHITE, rim * np.float32(0.65) * faint, ulcer)]
    drawn = canvas.strokes(lines, soft=0.007)
    ghost = step(distance, lesion.radius * 1.8, 0.0)
    return [
        Layer(HAZE, ghost * np.float32(0.14)),
        Layer((0.86, 0.87, 0.87), drawn * faint, stain=np.minimum(1.3 * drawn, 1).astype(np.float32)),
    ]


def _dendrite(random: Random, lesion: Lesion) -> list[tuple[list[Point], float]]:
    """Lines and end bulbs (a dot is a line of two equal points): a trunk, branches to either side, twigs."""
    found: list[tuple[list[Point], float]] = []

    def grow(start: Point, heading: float, length: float, depth: int) -> None:
        points, (x, y), side = [start], start, 1.0
        steps = 6 if depth == 0 else 3
        for _ in range(steps):
            heading += float(random.normal(0, 0.28))
            x += length / steps * float(np.cos(heading))
            y += length / steps * float(np.sin(heading))
            points.append((x, y))
            if depth < 2 and random.random() < (0.9 if depth == 0 else 0.4):
                side = -side
                turn = heading + side * float(random.uniform(0.6, 1.2))
                grow((x, y), turn, length * float(random.uniform(0.22, 0.42)), depth + 1)
        found.append((points, 0.034 - 0.006 * depth))
        found.append(([points[-1], points[-1]], 0.062 - 0.010 * depth))

    heading = float(random.uniform(0, 2 * np.pi))
    reach = lesion.radius * 1.9
    start = (lesion.at[0] - reach / 2 * float(np.cos(heading)), lesion.at[1] - reach / 2 * float(np.sin(heading)))
    grow(start, heading, reach, 0)
    found.append(([start, start], 0.062))
    return found


def other(canvas: Canvas, lesion: Lesion) -> list[Layer]:
    """What else looks like an infection or is one. Acanthamoeba: a ring infiltrate round a clear centre, and radial
    perineuritis (Lorenzo-Morales et al. 2015, "An update on Acanthamoeba keratitis"). Marginal: a crescent along the
    limbus with a clear strip between, from staphylococcal hypersensitivity (AAO Basic and Clinical Science Course 8).
    An old scar: flat, grey, sharply bounded, in a quiet eye."""
    random = np.random.default_rng([lesion.seed, 14])
    look = random.random()
    distance, angle = canvas.polar(lesion.at)
    radius, turn = canvas.polar()
    strength = np.float32(lesion.density)
    if look < 0.45:
        wide = max(lesion.radius * 1.25, 0.36) * (1 + 0.05 * wobble(random, angle, range(2, 5), 0.8))
        ring = np.exp(-(((distance - wide) / 0.085) ** 2)) * (0.75 + 0.35 * spokes(random, distance, angle, 14, 2))
        inner = step(distance - wide, 0.0, -0.10)
        nerves = [(_nerve(random), 0.014) for _ in range(int(random.integers(2, 7)))]
        radial = canvas.strokes(nerves, soft=0.006) * step(radius, 0.98, 0.9)
        return [
            Layer(HAZE, inner * np.float32(0.25) * strength),
            Layer(GREY_WHITE, (ring * 0.90).clip(0, 0.95).astype(np.float32) * strength, stain=inner * np.float32(0.5)),
            Layer(GREY_WHITE, radial * np.float32(0.55)),
        ]
    if look < 0.75:
        middle, half = float(random.uniform(0, 2 * np.pi)), float(random.uniform(0.35, 0.75))
        along = np.abs((turn - np.float32(middle) + np.float32(np.pi)) % np.float32(2 * np.pi) - np.float32(np.pi))
        across = np.abs(radius - np.float32(0.80)) / np.float32(0.085)
        crescent = step(across + 0.2 * wobble(random, turn, range(4, 9)), 1.25, 0.6) * step(
            along, half + 0.12, half - 0.1
        )
        return [Layer(GREY_WHITE, crescent * np.float32(0.92) * strength, stain=crescent * np.float32(0.45))]
    edge = lesion.radius * (1.0 + 0.22 * wobble(random, angle, range(2, 8), 0.9))
    scar = step(distance - edge, 0.025, -0.03)
    fibres = 0.72 + 0.26 * noise(random, canvas.size, 9, 3)
    return [Layer((0.76, 0.79, 0.82), (scar * fibres * strength * np.float32(0.88)).clip(0, 0.9).astype(np.float32))]


def _nerve(random: Random) -> list[Point]:
    angle, points = float(random.uniform(0, 2 * np.pi)), []
    for distance in np.linspace(0.97, float(random.uniform(0.5, 0.7)), 6):
        angle += float(random.normal(0, 0.03))
        points.append((float(distance * np.cos(angle)), float(distance * np.sin(angle))))
    return points


def early(canvas: Canvas, lesion: Lesion) -> list[Layer]:
    """What every pathogen can look like in its first days, or half treated: a small, round, grey, moderately dense
    infiltrate with a soft edge. Its pathogen cannot be told from the picture, and here it is drawn alike for all."""
    random = np.random.default_rng([lesion.seed, 15])
    distance, angle = canvas.polar(lesion.at)
    edge = lesion.radius * (0.85 + 0.10 * wobble(random, angle, range(2, 7), 0.9))
    body = step(distance - edge, 0.12, -0.12)
    halo = np.exp(-((np.clip(distance - edge, 0, None) / 0.22) ** 2)).astype(np.float32)
    return [
        Layer(HAZE, halo * np.float32(0.28 * lesion.density)),
        Layer(GREY_WHITE, body * np.float32(0.80 * lesion.density), stain=body * np.float32(0.8)),
    ]


DRAWN: Final[dict[str, Callable[[Canvas, Lesion], list[Layer]]]] = {
    "bacterial": bacterial,
    "fungal": fungal,
    "viral": viral,
    "other": other,
    "early": early,
}


def hypopyon(canvas: Canvas, height: float, convex: float) -> Layer:
    """Pus settled in the anterior chamber: yellow-white, level on top (in fungal disease often thick and convex).
    Common in bacterial and fungal ulcers, rare in viral ones (Dalmon et al. 2012; Xu et al. 2015, on fungi)."""
    radius, _ = canvas.polar()
    level = 0.93 - height - convex * height * np.exp(-((canvas.x / 0.35) ** 2))
    inside = step(radius, 0.96, 0.92)
    pus = step((canvas.y - level).astype(np.float32), -0.012, 0.02) * inside
    return Layer((0.88, 0.82, 0.58), pus * np.float32(0.90))


def discharge(canvas: Canvas, lesion: Lesion, lower: float) -> Layer:
    """Mucus and pus: yellow-green strands on the ulcer and along the lower lid; typical of bacteria (AAO, as above)."""
    random = np.random.default_rng([lesion.seed, 16])
    lines: list[tuple[list[Point], float]] = []
    for _ in range(int(random.integers(3, 7))):
        x = float(random.uniform(-0.8, 0.8))
        long, bow = float(random.uniform(0.15, 0.5)), float(random.normal(0, 0.05))
        y = lower - 0.11 * x * x - float(random.uniform(0.0, 0.08))
        lines.append(([(x, y), (x + long / 2, y + bow), (x + long, y - 0.02)], float(random.uniform(0.03, 0.08))))
    for _ in range(2):
        x, y = lesion.at[0] + float(random.normal(0, 0.1)), lesion.at[1] + float(random.normal(0, 0.1))
        lines.append(([(x, y), (x + 0.12, y + 0.18)], 0.05))
    return Layer((0.84, 0.82, 0.56), canvas.strokes(lines, soft=0.02) * np.float32(0.80))


def laid(picture: Plane, layers: list[Layer]) -> Plane:
    """The picture under its layers, in order."""
    for each in layers:
        picture = over(picture, each.colour, each.cover)
    return picture
