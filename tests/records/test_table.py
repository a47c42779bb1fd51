"""Tables of a cohort: what comes out is what went in, and nothing else gets in."""

import numpy as np
import pytest

from commonward.ledger.encoding import decode, encode
from commonward.records.table import Column, Table, TableError, Type

COLUMNS = (
    Column("sick", Type.BOOLEAN),
    Column("age", Type.INTEGER),
    Column("pressure", Type.DECIMAL),
    Column("born", Type.TEXT),
    Column("picture", Type.BYTES),
)
TABLE = Table(
    COLUMNS,
    ((True, 63, 145.5, "1961-02", b"\x00\xff"), (None, None, None, None, None), (False, -(1 << 63), -0.0, "", b"")),
)


def test_a_table_survives_its_bytes() -> None:
    again = Table.parse(TABLE.to_bytes())
    assert again == TABLE and again.to_bytes() == TABLE.to_bytes()
    assert [type(cell) for cell in again.rows[0]] == [bool, int, float, str, bytes]
    assert Table.parse(Table(COLUMNS, ()).to_bytes()).rows == ()


def test_numbers_come_as_floats_with_nan_for_nothing() -> None:
    assert np.array_equal(TABLE.floats("pressure"), [145.5, np.nan, 0.0], equal_nan=True)
    assert np.array_equal(TABLE.floats("sick"), [1, np.nan, 0], equal_nan=True)
    with pytest.raises(TableError, match="born: expected numbers, got a column of text"):
        TABLE.floats("born")
    with pytest.raises(TableError, match="no column 'sex'; there are: sick, age"):
        TABLE.cells("sex")


def test_rows_are_taken_in_the_order_asked() -> None:
    assert TABLE.take([2, 0]).rows == (TABLE.rows[2], TABLE.rows[0])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((1, 1, 1.0, "", b""), "row 0, sick: expected boolean, got 1"),
        ((True, True, 1.0, "", b""), "row 0, age: expected integer, got True"),
        ((True, 1, 1, "", b""), "row 0, pressure: expected decimal, got 1"),
        ((True, 1, float("nan"), "", b""), "row 0, pressure: expected a finite number"),
        ((True, 1 << 63, 1.0, "", b""), "row 0, age: expected an integer of 64 bits"),
        ((True, 1, 1.0, ""), "row 0: expected 5 cells, got 4"),
    ],
)
def test_a_cell_of_another_type_is_refused_and_named(row, message) -> None:
    with pytest.raises(TableError, match=message):
        Table(COLUMNS, (row,))


def test_columns_need_names_of_their_own() -> None:
    with pytest.raises(TableError, match="none twice"):
        Table((Column("a", Type.TEXT), Column("a", Type.TEXT)), ())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: [*value, 0],
        lambda value: ["another label", *value[1:]],
        lambda value: [value[0], 4, value[2]],
        lambda value: [value[0], 3, [["a", "object", b"\1\1\1", [b"", b"", b""]]]],
        lambda value: [value[0], 3, [["a", "boolean", b"\1\1\1", b"\0\1\2"]]],
        lambda value: [value[0], 3, [["a", "decimal", b"\1\1\1", b"\0" * 23]]],
        lambda value: [value[0], 3, [["a", "text", b"\1\1\2", ["", "", ""]]]],
        lambda value: [value[0], 3, [["a", "text", b"\1\1\1", ["", ""]]]],
        lambda value: [value[0], 3, [["a", "text", b"\1\1\1", [b"", b"", b""]]]],
        lambda value: [value[0], 1, [["a", "decimal", b"\1", np.array([np.inf]).tobytes()]]],
    ],
)
def test_bytes_that_are_no_table_are_refused(spoil) -> None:
    with pytest.raises(TableError):
        Table.parse(encode(spoil(decode(TABLE.to_bytes()))))


def test_a_pickle_is_no_table() -> None:
    with pytest.raises(TableError):
        Table.parse(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
