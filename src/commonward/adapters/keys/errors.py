"""What can be wrong with the files that hold keys, each saying what to do."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(eq=False)
class KeyFileMissing(Exception):
    path: Path

    def __str__(self) -> str:
        return f"expected a key file at {self.path}, found none; `commonward member` makes a member's keys"


@dataclass(eq=False)
class KeyFileExposed(Exception):
    path: Path
    mode: int

    def __str__(self) -> str:
        return (
            f"{self.path} holds a secret but others may read it (mode {self.mode:04o}, or another owner); "
            f"chmod 600 it, and replace the key if the file was ever open to others"
        )


@dataclass(eq=False)
class KeyFileUnreadable(Exception):
    path: Path
    why: str

    def __str__(self) -> str:
        return f"cannot use the key file {self.path}: {self.why}"


@dataclass(eq=False)
class KeyUnusable(Exception):
    """A key asked for what it is not for."""

    what: str

    def __str__(self) -> str:
        return self.what
