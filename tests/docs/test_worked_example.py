"""The example in docs/transactions.md is what the code makes."""

from pathlib import Path

from commonward.ledger.transactions import KINDS
from commonward.ledger.wire import Payload
from tests.docs.worked_example import as_text

TEXT = (Path(__file__).parents[2] / "docs" / "transactions.md").read_text()


def test_every_byte_of_the_worked_example_is_what_the_code_makes() -> None:
    assert as_text() in TEXT, "run python -m tests.docs.worked_example and put what it prints into docs/transactions.md"


def _entry(kind: type[Payload]) -> str:
    return TEXT.partition(f"\n### {kind.__name__}\n")[2].partition("\n### ")[0].partition("\n## ")[0]


def test_every_field_of_every_transaction_is_named_with_its_number() -> None:
    for kind in KINDS.values():
        for field in kind.FIELDS:
            assert f"`{field.number} {field.name}`" in _entry(kind), f"{kind.__name__}.{field.name} is not described"


def test_every_kind_is_in_the_table_of_wire_numbers() -> None:
    for number, kind in KINDS.items():
        assert f"| {number} | [{kind.__name__}](#{kind.__name__.lower()}) |" in TEXT
