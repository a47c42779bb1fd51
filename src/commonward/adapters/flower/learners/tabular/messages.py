"""Flower's messages as the learners of tables read and write them."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from commonward.records.model import Floats

COEFFICIENTS: Final = "coefficients"
"""A regression's one tensor: (p,), the intercept last."""


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
