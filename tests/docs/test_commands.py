"""Every command that our documents and our own messages name can be typed: it exists, and so does each of its flags."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.commands import fault

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = sorted((ROOT / "src" / "commonward").rglob("*.py"))
_INLINE = re.compile(r"`((?:DATA/)?commonward [^`]+)`")


def in_blocks(text: str) -> Iterator[str]:
    """Lines of code blocks, fenced or indented, continued ones joined."""
    fenced, going = False, ""
    for row in text.splitlines():
        if row.startswith("```"):
            fenced = not fenced
            continue
        if fenced or row.startswith("    "):
            going += row.strip().removeprefix("$ ").removesuffix("\\")
            if row.endswith("\\"):
                continue
            for part in re.split(r"\bsudo (?:-u \w+ )?", going):
                if part.startswith("commonward "):
                    yield part
        going = ""


def named_in(text: str) -> list[str]:
    return [*in_blocks(text), *(" ".join(each.split()) for each in _INLINE.findall(text))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_in_a_document_exists_with_its_flags(document: Path) -> None:
    faults = [found for line in named_in(document.read_text()) if (found := fault(line))]
    assert not faults, "\n".join(faults)


def test_every_command_that_a_message_of_ours_names_exists() -> None:
    faults = []
    for source in SOURCES:
        text = re.sub(r'"\s*\n\s*f?"', "", source.read_text())  # a sentence over several lines of source
        for line in _INLINE.findall(text):
            found = fault(" ".join(re.sub(r"\{[^}]*\}", "VALUE", line).replace("\\", "").split()))
            if found:
                faults.append(f"{source.relative_to(ROOT)}: {found}")
    assert not faults, "\n".join(faults)


def test_a_command_that_is_not_there_would_be_found() -> None:
    assert not fault("commonward member list --json")
    assert "no command" in fault("commonward member lst")
    assert "has no --jsn" in fault("commonward member list --jsn")
    assert "takes 1 arguments" in fault("commonward node DATA MORE")
