"""A ClientApp for the heart disease task with all but its training: first model, sums, judging."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from commonward.adapters.flower.site import test_rows, train_rows
from commonward.records.model import Floats

from . import heart, judging

COEFFICIENTS: Final = "coefficients"
"""The model's one tensor: (14,), the intercept last."""


def weights(message: Message) -> Floats:
    """The coefficients that came. Raises ValueError when there are none."""
    record = message.content["arrays"]
    if not isinstance(record, ArrayRecord) or COEFFICIENTS not in record:
        raise ValueError(f"expected the array {COEFFICIENTS!r}")
    return np.asarray(record[COEFFICIENTS].numpy(), np.float64)


def config(message: Message) -> dict[str, Any]:
    """The protocol's settings and `server-round`."""
    record = message.content["config"]
    return dict(record) if isinstance(record, ConfigRecord) else {}


def reply(
    message: Message, name: str, arrays: Mapping[str, np.typing.NDArray[Any]], rows: int | None = None
) -> Message:
    """An answer with arrays under a name and, for a round's work, how many rows it is made of."""
    content = RecordDict({name: ArrayRecord({key: Array(value) for key, value in arrays.items()})})
    if rows is not None:
        content["metrics"] = MetricRecord({"num-examples": rows})
    return Message(content, reply_to=message)


def heart_app() -> ClientApp:
    """Everything but `train`."""
    app = ClientApp()

    @app.query("first")
    def first(message: Message, _: Context) -> Message:
        """Nothing known: every coefficient 0."""
        return reply(message, "arrays", {COEFFICIENTS: np.zeros(heart.WIDTH)})

    @app.query()
    def query(message: Message, _: Context) -> Message:
        """Counts, sums and squares of the columns, for a study that standardises."""
        return reply(message, "sums", heart.sums(train_rows()))

    @app.evaluate()
    def evaluate(message: Message, _: Context) -> Message:
        """Counts of the rows to be judged by."""
        given, seen, held = config(message), train_rows(), test_rows()
        train = heart.features(seen, given), heart.labels(seen)
        test = heart.features(held, given), heart.labels(held)
        return reply(message, "counts", judging.counts(train, test, weights(message)))

    return app
