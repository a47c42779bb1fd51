"""Multinomial regression on three numbers a picture: the road of photographs without PyTorch."""

from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from commonward.adapters.flower.site import test_rows, train_rows
from commonward.records.images.decode import decoded
from commonward.records.images.photograph import PATHOGENS
from commonward.records.table import Table

app = ClientApp()


def _numbers(table: Table) -> tuple[Any, Any]:
    x = [decoded(bytes(cell), "a picture").mean(axis=(0, 1)) / 128 - 1 for cell in table.cells("photograph")]  # type: ignore[arg-type]
    y = [PATHOGENS.index(str(cell)) for cell in table.cells("label")]
    return np.hstack([np.array(x).reshape(-1, 3), np.ones((len(y), 1))]), np.array(y, np.int64)


def _chances(x: Any, weights: Any) -> Any:
    logits = x @ weights.T
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def _weights(message: Message) -> Any:
    content: Any = message.content
    return np.asarray(content["arrays"]["weights"].numpy(), np.float64)


def _reply(message: Message, name: str, arrays: dict[str, Any], rows: int | None = None) -> Message:
    content = RecordDict({name: ArrayRecord({key: Array(value) for key, value in arrays.items()})})
    if rows is not None:
        content["metrics"] = MetricRecord({"num-examples": rows})
    return Message(content, reply_to=message)


@app.query("first")
def first(message: Message, _: Context) -> Message:
    return _reply(message, "arrays", {"weights": np.zeros((len(PATHOGENS), 4))})


@app.train()
def train(message: Message, _: Context) -> Message:
    weights, (x, y) = _weights(message), _numbers(train_rows())
    for _step in range(300):
        weights = weights - ((_chances(x, weights) - np.eye(len(PATHOGENS))[y]).T @ x) / len(y)
    return _reply(message, "arrays", {"weights": weights}, len(y))


@app.evaluate()
def evaluate(message: Message, _: Context) -> Message:
    x, y = _numbers(test_rows())
    chances = _chances(x, _weights(message))
    confusion = np.zeros((len(PATHOGENS), len(PATHOGENS)), np.int64)
    np.add.at(confusion, (y, chances.argmax(axis=1)), 1)
    found = {"rows": np.array([len(y)], np.int64), "confusion": confusion}
    for at, name in enumerate(PATHOGENS):
        grid = np.zeros((2, 64), np.int64)
        np.add.at(grid, ((y == at).astype(np.int64), np.minimum((chances[:, at] * 64).astype(np.int64), 63)), 1)
        found[f"histogram_{name}"] = grid
    return _reply(message, "counts", found)
