"""What the members have adopted by vote beside numbers: tables that all judge by, and versions of the rules."""

from typing import Final

from commonward.ledger.encoding import Digest, decode, encode
from commonward.ledger.rules import Cells

TABLES_KEY: Final = b"tables"
PROTOCOL_KEY: Final = b"protocol"


class Adopted:
    """The slice: `tables` -> [[name, digest]...]; `protocol` -> [[height, version]...]."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def tables(self) -> dict[str, Digest]:
        """Name -> digest of each adopted table."""
        value = decode(self._cells.get(TABLES_KEY) or b"\x80")
        assert isinstance(value, list)
        tables = {}
        for each in value:
            match each:
                case [str(name), bytes(digest)]:
                    tables[name] = Digest(digest)
        return tables

    def adopt(self, table: str, digest: Digest) -> None:
        tables = {**self.tables(), table: digest}
        self._cells.put(TABLES_KEY, encode([[name, tables[name]] for name in sorted(tables)]))

    def versions(self) -> tuple[tuple[int, int], ...]:
        """(height, version), ascending: each version rules from its height on."""
        value = decode(self._cells.get(PROTOCOL_KEY) or b"\x80")
        assert isinstance(value, list)
        versions = []
        for each in value:
            match each:
                case [int(height), int(version)]:
                    versions.append((height, version))
        return tuple(versions)

    def version_at(self, height: int) -> int:
        return max(((h, version) for h, version in self.versions() if h <= height), default=(0, 0))[1]

    def scheduled(self, height: int) -> tuple[tuple[int, int], ...]:
        """(height, version) of each version that is to rule after this height."""
        return tuple(each for each in self.versions() if each[0] > height)

    def schedule(self, height: int, version: int) -> None:
        """From `height` on, `version` rules; what was scheduled for then or later is off."""
        before = tuple(each for each in self.versions() if each[0] < height)
        if version != (before[-1][1] if before else 0):
            before = (*before, (height, version))
        self._cells.put(PROTOCOL_KEY, encode([list(each) for each in before]))
