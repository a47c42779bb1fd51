"""Learners as a hospital has them: folders of files, each known by one digest over all that it runs.

    learners/heart_newton/learner.json     what it says of itself, and `uses`: folders beside it that it imports;
                                           `classes`, where there are more than yes and no
    learners/heart_newton/app.py           a Flower ClientApp named `app`
    learners/tabular/...                   shared by several

Nobody ships code to a hospital: its people install a folder, read it, and approve its digest. What is then run is a
copy of exactly the bytes that were hashed, so that nobody can change a file between the check and the start.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from commonward.ledger.encoding import Digest, digest, encode
from commonward.workflows.training.ports import Description, LearnerFailed

BUNDLED: Final = Path(__file__).parent / "learners"
"""The learners that come with Commonward."""

LEARNER_LABEL: Final = "commonward learner v1"
_SKIPPED: Final = frozenset({"__pycache__"})
MAX_FILES: Final = 1000
MAX_BYTES: Final = 256 << 20


def installed(root: Path = BUNDLED) -> tuple[Description, ...]:
    """What is installed under a folder, by name. Raises LearnerFailed for one that cannot be read."""
    return tuple(describe(root, each.parent.name) for each in sorted(root.glob("*/learner.json")))


def describe(root: Path, name: str) -> Description:
    """One learner. Raises LearnerFailed: not installed, or its learner.json is not as it must be."""
    about = _about(root, name)
    return Description(
        name,
        digest_of(root, name),
        str(about["about"]),
        tuple(str(each) for each in about["columns"]),
        {str(key): str(value) for key, value in about["settings"].items()},
        tuple(str(each) for each in about.get("classes", ())),
    )


def digest_of(root: Path, name: str) -> Digest:
    """digest("commonward learner v1", encode([[path, sha-256's input bytes], ...])) over its files, sorted by path.

    Paths are relative to `root`, with `/`. Byte code that Python leaves behind does not count.
    """
    return digest_of_files(files_of(root, name))


def digest_of_files(files: Mapping[str, bytes]) -> Digest:
    """As `digest_of`, of files that were read."""
    return digest(LEARNER_LABEL, encode([[path, files[path]] for path in sorted(files)]))


def files_of(root: Path, name: str) -> dict[str, bytes]:
    """Every file that a learner is: of its folder and of those that it uses. Raises LearnerFailed."""
    found: dict[str, bytes] = {}
    total = 0
    for folder in (name, *_about(root, name)["uses"]):
        for path in sorted((root / folder).rglob("*")):
            if path.is_symlink():
                raise LearnerFailed(f"learner {name}: expected plain files, got the link {path.relative_to(root)}")
            if not path.is_file() or _SKIPPED & set(path.relative_to(root).parts) or path.suffix == ".pyc":
                continue
            total += path.stat().st_size
            if len(found) >= MAX_FILES or total > MAX_BYTES:
                raise LearnerFailed(f"learner {name}: expected at most {MAX_FILES} files and {MAX_BYTES} bytes")
            found[path.relative_to(root).as_posix()] = path.read_bytes()
    return found


def _about(root: Path, name: str) -> dict[str, Any]:
    if not name.isidentifier():
        raise LearnerFailed(f"expected a learner's name of letters, digits and _, got {name!r:.40}")
    try:
        about = json.loads((root / name / "learner.json").read_bytes())
    except (OSError, ValueError) as cause:
        raise LearnerFailed(f"learner {name}: expected learner.json in {root / name}: {cause}") from cause
    wanted: dict[str, type] = {"about": str, "columns": list, "settings": dict, "uses": list}
    given = set(about) - {"classes"} if isinstance(about, dict) else set()
    for key, kind in wanted.items():
        if given != set(wanted) or not isinstance(about[key], kind):
            raise LearnerFailed(f"learner {name}: expected learner.json with {', '.join(wanted)}, and classes or not")
    classes = about.get("classes", [])
    if not isinstance(classes, list) or not all(isinstance(each, str) and each for each in classes):
        raise LearnerFailed(
            f"learner {name}: expected in `classes` the names of what it tells apart, got {classes!r:.40}"
        )
    for each in about["uses"]:
        if not isinstance(each, str) or not each.isidentifier() or not (root / each).is_dir():
            raise LearnerFailed(f"learner {name}: expected folders beside it in `uses`, got {each!r:.40}")
    return dict(about)
