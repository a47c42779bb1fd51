"""The learner of photographs: bacterial, fungal, viral or other.

What it does is in `vision`; here it meets Flower. Without `noise` a round can be repeated: batches are drawn by the
protocol's seed, the round and the number of rows. With it, every patient's gradient is clipped, and the sum of a step
gets noise from the system's entropy; nothing else of the rows enters the change.
"""

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from commonward.adapters.flower.site import test_rows, train_rows
from commonward.records.model import Floats
from commonward.records.table import Table

from ..tabular.messages import config, reply
from ..vision import features, learning, reading, rows

features.one_thread()
app = ClientApp()

_seen: list[tuple[Table, Table, rows.Photographs, rows.Photographs]] = []


def site() -> tuple[rows.Photographs, rows.Photographs]:
    """The rows to learn from and to be judged by, checked once for each `load`; what was known of others is dropped."""
    train, test = train_rows(), test_rows()
    if not any(known[0] is train and known[1] is test for known in _seen):
        mine, held = rows.Photographs.of(train), rows.Photographs.of(test)
        rows.check_once(mine, held)
        for each in (features, learning, rows):
            each.forget()
        _seen[:] = [(train, test, mine, held)]
    return _seen[0][2:]


def weights(message: Message) -> dict[str, Floats]:
    """The model that came."""
    record = message.content["arrays"]
    assert isinstance(record, ArrayRecord)
    return {name: np.asarray(each.numpy(), np.float64) for name, each in record.items()}


@app.query("first")
def first(message: Message, _: Context) -> Message:
    """Nothing known of the classes; ImageNet's backbone where it is learnt too."""
    return reply(message, "arrays", learning.first(config(message)))


@app.query()
def query(message: Message, _: Context) -> Message:
    """How many of each class there are, for a study that only counts."""
    train, _test = site()
    return reply(message, "sums", {"classes": np.bincount(train.labels, minlength=4).astype(np.int64)})


@app.train()
def train(message: Message, _: Context) -> Message:
    """New weights."""
    given = config(message)
    number = int(given.pop("server-round"))
    mine, _test = site()
    return reply(message, "arrays", learning.train(weights(message), given, number, mine), len(mine))


@app.evaluate()
def evaluate(message: Message, _: Context) -> Message:
    """Counts of the rows to be judged by."""
    given = config(message)
    given.pop("server-round")
    _train, held = site()
    return reply(message, "counts", learning.evaluate(weights(message), given, held))


@app.query("read")
def read(message: Message, _: Context) -> Message:
    """One photograph; needs no rows."""
    given = config(message)
    found = reading.read_photograph(weights(message), given["photograph"])
    record = ConfigRecord(
        {
            "probabilities": list(found.probabilities),
            "abstained": int(found.abstained),
            "findings": list(found.findings),
            "heat_map": found.heat_map,
        }
    )
    return Message(RecordDict({"reading": record}), reply_to=message)
