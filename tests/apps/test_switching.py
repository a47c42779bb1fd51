"""Folders are switched by renames, each of which may be the last before a crash."""

from pathlib import Path

import pytest

from commonward.apps import switching

FOLDERS = ("members/a", "members/b", ".")


class Killed(BaseException):
    """Stands for kill -9."""


def made(directory: Path) -> list[Path]:
    folders = [directory / name for name in FOLDERS]
    for folder in folders:
        (folder / "ledger" / "state").mkdir(parents=True)
        (folder / "sequencer").mkdir()
        (folder / "ledger" / "state" / "cells").write_text("old")
        (folder / "node.toml").write_text("old")
        (folder / "vault").write_text("stays")
        place = switching.prepare(folder)
        (place / "ledger").mkdir()
        (place / "ledger" / "cells").write_text("new")
        (place / "node.toml").write_text("new")
    return folders


def finish(directory: Path, folders: list[Path]) -> None:
    for folder in folders:
        switching.switch(folder, leaves=("sequencer",))
    switching.done(directory)


def is_switched(folder: Path) -> bool:
    kept = folder / switching.BEFORE
    return (
        (folder / "ledger" / "cells").read_text() == (folder / "node.toml").read_text() == "new"
        and (kept / "ledger" / "state" / "cells").read_text() == (kept / "node.toml").read_text() == "old"
        and (kept / "sequencer").is_dir()
        and not (folder / "sequencer").exists()
        and not (folder / switching.NEXT).exists()
        and (folder / "vault").read_text() == "stays"
    )


@pytest.mark.parametrize("steps", range(19))
def test_killed_at_any_step_it_is_finished_by_doing_it_again(
    tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = made(tmp_path)
    switching.agree(tmp_path, "aa", folders)
    done = 0

    def step(name: str) -> None:
        real = getattr(Path, name)

        def dying(self: Path, *arguments: object) -> object:
            nonlocal done
            if done == steps:
                raise Killed
            done += 1
            return real(self, *arguments)

        monkeypatch.setattr(Path, name, dying)

    for name in ("rename", "rmdir", "unlink"):
        step(name)
    with pytest.raises(Killed):
        finish(tmp_path, folders)
    monkeypatch.undo()
    assert switching.agreed(tmp_path) == "aa"
    finish(tmp_path, folders)
    assert all(is_switched(folder) for folder in folders)
    assert switching.agreed(tmp_path) is None


def test_what_was_not_agreed_on_is_made_anew(tmp_path: Path) -> None:
    folders = made(tmp_path)
    (folders[0] / switching.NEXT / "half").write_text("a crash left this")
    assert not list(switching.prepare(folders[0]).iterdir())
    switching.drop(folders)
    assert not (folders[0] / switching.NEXT).exists()
    assert (folders[0] / "node.toml").read_text() == "old"
