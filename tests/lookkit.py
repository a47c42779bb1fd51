"""Pages before enrolment, for tests: the heart study at two of its hospitals, photographs with all that can be odd."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import orjson

from commonward.apps.samples import heart
from commonward.apps.studies.hosting import gather
from commonward.apps.studies.look import look
from commonward.apps.studies.look_pictures import Copy, Pictures
from commonward.records.images.photograph import PATHOGENS
from commonward.records.table import Column, Table, Type
from commonward.workflows.training.cohorts import Source
from tests.reportkit import NASTY

SHARES: Final = dict(zip(PATHOGENS, (400, 300, 200, 100), strict=True))
_TOLD: Final = {"study": "ab" * 16, "learner": "keratitis", "member": "north", "now": 1_800_000_000_000}


def heart_look(site: str = "switzerland", patients: int = 60) -> dict[str, Any]:
    """The real rows of a hospital: Zurich measured no cholesterol, and nearly all of its patients are ill."""
    held = orjson.loads(heart.bundle(site, 0, patients))["entry"]
    made = gather(heart.cohort(), [(Source(b"", b""), orjson.dumps(each["resource"])) for each in held])
    columns = tuple(each for each in made.table.columns if each.name != "patient")
    wanted = [each.name for each in columns]
    found = look(made.table, patients, wanted, "num", 460)
    title = "Heart disease from routine examinations"
    told = {"title": title, "about": "Who needs an angiogram?", "learner": "heart_newton", "synthetic": False}
    return {**_TOLD, **told, **found}


def photograph_look(**bent: Any) -> dict[str, Any]:
    """SYNTHETIC: fungal keratitis from one camera alone, a class too many, copies, files that are none."""
    random = np.random.default_rng(3)
    cells = []
    for at in range(300):
        label = str(random.choice(PATHOGENS, p=[0.62, 0.2, 0.13, 0.05]))
        camera = "Haag-Streit BX 900" if label == "fungal" or at % 3 == 0 else "Topcon SL-D7" if at % 7 else "unknown"
        cells.append((b"\x89PNG" + bytes([at % 256, at // 256]), label, camera, "L" if at % 2 else "R"))
    cells.append((b"\x89PNG", "parasitic", "Topcon SL-D7", "L"))
    columns = (
        Column("photograph", Type.BYTES),
        Column("label", Type.TEXT),
        Column("device", Type.TEXT),
        Column("eye", Type.TEXT),
    )
    copies = (
        Copy("north-00417", "north-00002", "5e" * 16, 0, True),
        Copy("north-00031", "north-00209", "a1" * 16, 38, False),
        Copy("north-00108", "north-00255", "c7" * 16, 36, False, "R1"),
    )
    pictures = Pictures("photograph", 299, ("north-00077", "north-00140"), copies)
    wanted = ("photograph", "label")
    found = look(Table(columns, tuple(cells)), 320, wanted, "label", None, SHARES, pictures)
    title = "Infectious keratitis from slit-lamp photographs"
    return {**_TOLD, "title": title, "synthetic": True, **found, **bent}


def fine_look() -> dict[str, Any]:
    """Nothing odd, and no label."""
    rows = tuple((40 + at, float(at)) for at in range(40))
    columns = (Column("age", Type.INTEGER), Column("pressure", Type.DECIMAL))
    return {**_TOLD, "title": "Counted", "synthetic": False, **look(Table(columns, rows), 41, (), "", None)}


def empty_look() -> dict[str, Any]:
    """Nobody consented yet."""
    columns = (Column("age", Type.INTEGER), Column("num", Type.INTEGER))
    return {**_TOLD, "title": "Nobody", "synthetic": False, **look(Table(columns, ()), 0, ("chol",), "num", 500)}


def nasty_look() -> dict[str, Any]:
    """Whatever a record, a list or another member wrote, hostile."""
    found = photograph_look(title=NASTY, member=NASTY)
    found["classes"]["name"] = NASTY
    found["classes"]["shares"][0]["class"] = NASTY
    found["cameras"][0]["camera"] = NASTY
    found["pictures"]["copies"][0]["first"] = NASTY
    found["pictures"]["copies"][2]["looked"] = NASTY
    found["pictures"]["unreadable"] = [NASTY]
    found["columns"][0]["name"] = NASTY
    found["odd"] += [{"what": "never", "name": NASTY}, {"what": "class-new", "name": "x", "class": NASTY, "count": 3}]
    return found
