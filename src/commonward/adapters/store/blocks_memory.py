"""The block log's twin in memory."""

from collections.abc import Iterator, Sequence

from .errors import StoreFull

__all__ = ["MemoryBlocks"]


class MemoryBlocks:
    """The same log in memory, failing on cue before or after its effect."""

    def __init__(self) -> None:
        self._records: list[bytes] = []
        self.first = 1
        self._next: tuple[Exception, bool] | None = None

    def fail_next_append(self, error: Exception | None = None, *, but_keep: bool = False) -> None:
        """Make the next append raise (a full disk if no error is given); `but_keep` lets it take effect first."""
        self._next = (error or StoreFull("blocks"), but_keep)

    @property
    def height(self) -> int:
        return self.first + len(self._records) - 1

    def begin(self, height: int) -> None:
        if self._records or self.first > 1 or height < 1:
            raise ValueError(f"expected an empty log and a height from 1 on, got {self.height} blocks and {height}")
        self.first = height

    def join(self, other: "MemoryBlocks") -> None:
        if other.height != self.first - 1:
            raise ValueError(f"expected a log that ends with block {self.first - 1}, got one of {other.height}")
        self._records, self.first = other._records + self._records, other.first

    def prune(self, height: int) -> int:
        gone = max(0, min(height, self.height) - self.first)
        self._records, self.first = self._records[gone:], self.first + gone
        return self.first

    def append(self, height: int, record: bytes) -> None:
        self.append_group(height, [record])

    def append_group(self, height: int, records: Sequence[bytes]) -> None:
        if height != self.height + 1:
            raise ValueError(f"expected block {self.height + 1}, got {height}")
        failure, self._next = self._next, None
        if failure is None or failure[1]:
            self._records += records
        if failure is not None:
            raise failure[0]

    def read(self, height: int) -> bytes:
        if not self.first <= height <= self.height:
            raise LookupError(f"expected a height from {self.first} to {self.height}, got {height}")
        return self._records[height - self.first]

    def iterate(self, start: int = 1) -> Iterator[tuple[int, bytes]]:
        for height in range(max(start, self.first), self.height + 1):
            yield height, self.read(height)

    def close(self) -> None:
        """Nothing to release."""
