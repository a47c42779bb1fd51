"""A learner's window to its site: the rows that it may see. The only thing of ours that a learner needs to import."""

from commonward.records.table import Table

_rows: dict[str, Table] = {}


class NoRows(Exception):
    """A learner asked for rows before it was given any."""


def give(train: Table, test: Table) -> None:
    """For the worker, before it runs the learner."""
    _rows.update(train=train, test=test)


def train_rows() -> Table:
    """The rows to learn from. Raises NoRows."""
    return _of("train")


def test_rows() -> Table:
    """The rows to be judged by. Raises NoRows."""
    return _of("test")


def _of(part: str) -> Table:
    if part not in _rows:
        raise NoRows(f"expected the rows to {part} to be given before they are asked for")
    return _rows[part]
