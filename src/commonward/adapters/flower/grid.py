"""Our Grid: gives messages to the one ClientApp that is here, and reads its replies.

It speaks Flower's own conventions, so that an app written for any FedAvg runs unchanged: a message holds `arrays` (the
weights) and `config`; a reply to `train` holds `arrays` (the new weights) and `metrics` with `num-examples`. Beside
them, for what those cannot say:

    train      `delta` instead of `arrays`: what to send, as it is (Newton's gradient and Hessian, private changes)
    query      `sums`: int64 arrays, for studies that only add up
    query.first  `arrays`: the first model
    query.read  `reading`: what the model says of the one photograph in `config`
    evaluate   `counts`: int64 arrays that can be added over sites. A mean of a site's own cannot.

Messages carry explicit metadata: `Message()` would want the identity that Flower keeps for the whole process.
"""

from collections.abc import Mapping
from time import time
from typing import Any, Final

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.app.metadata import Metadata
from flwr.clientapp import ClientApp

from commonward.ledger.rounds.words import Rule
from commonward.records.images.reading import Reading
from commonward.records.model import Floats, Model, Tensor
from commonward.records.updates import Kind, delta_tensors, sum_tensors
from commonward.workflows.training.ports import LearnerFailed, Setting, Task, Trained

_HERE: Final = 1
_RUN: Final = 1
_HOUR: Final = 3600.0


class LocalGrid:
    """One ClientApp, in this process. Its Context lives as long as the grid, as Flower promises an app."""

    def __init__(self, app: ClientApp) -> None:
        self._app = app
        self._context = Context(run_id=_RUN, node_id=_HERE, node_config={}, state=RecordDict(), run_config={})
        self._sent = 0

    def first_model(self, settings: Mapping[str, Setting]) -> Model:
        """Raises LearnerFailed, as all do here."""
        return Model.from_floats(_arrays(self._send("query.first", {}, settings, 0), "arrays"))

    def train(self, base: Model, task: Task) -> Trained:
        """One round's work, under SUM a query."""
        if task.rule is Rule.SUM:
            sums = _arrays(self._send("query", base.weights(), task.settings, task.round), "sums")
            return Trained(Kind.SUM, 1, sum_tensors({name: _whole(name, each) for name, each in sums.items()}))
        weights = base.weights()
        reply = self._send("train", weights, task.settings, task.round)
        metrics = reply.get("metrics")
        rows = metrics.get("num-examples") if isinstance(metrics, MetricRecord) else None
        if not isinstance(rows, int) or rows < 1:
            raise LearnerFailed(f"expected the reply's metrics to say num-examples, at least 1, got {rows!r:.40}")
        if "delta" in reply:
            return Trained(Kind.DELTA, rows, delta_tensors(_arrays(reply, "delta")))
        new = _arrays(reply, "arrays")
        if {name: each.shape for name, each in new.items()} != {name: each.shape for name, each in weights.items()}:
            raise LearnerFailed(f"expected the weights {sorted(weights)} in their shapes, got {sorted(new)}")
        changes = {name: np.subtract(new[name].astype(np.float64), weights[name]) for name in weights}
        return Trained(Kind.DELTA, rows, delta_tensors(changes))

    def evaluate(self, model: Model, task: Task) -> tuple[Tensor, ...]:
        """Counts of the site's own."""
        counts = _arrays(self._send("evaluate", model.weights(), task.settings, task.round), "counts")
        return sum_tensors({name: _whole(name, each) for name, each in counts.items()})

    def read(self, model: Model, photograph: bytes) -> Reading:
        """What a model says of one photograph's file."""
        record = self._send("query.read", model.weights(), {"photograph": photograph}, 0).get("reading")
        match dict(record) if isinstance(record, ConfigRecord) else None:
            case {"probabilities": list(chances), "abstained": int(abstained), "findings": list(findings), **rest}:
                heat_map = rest.get("heat_map", b"")
                if isinstance(heat_map, bytes):
                    return Reading.from_value([list(map(int, chances)), abstained, list(map(str, findings)), heat_map])
        raise LearnerFailed("expected a reading of probabilities, abstained, findings and heat_map")

    def _send(
        self, kind: str, weights: Mapping[str, Floats], settings: Mapping[str, Setting], number: int
    ) -> RecordDict:
        self._sent += 1
        config = {name: list(each) if isinstance(each, tuple) else each for name, each in settings.items()}
        content = RecordDict(
            {
                "arrays": ArrayRecord({name: Array(each) for name, each in weights.items()}),
                "config": ConfigRecord({**config, "server-round": number}),
            }
        )
        metadata = Metadata(
            run_id=_RUN,
            message_id=str(self._sent),
            src_node_id=0,
            dst_node_id=_HERE,
            reply_to_message_id="",
            group_id=str(number),
            created_at=time(),
            ttl=_HOUR * 24,
            message_type=kind,
        )
        try:
            message = Message(content=content, metadata=metadata)  # type: ignore[call-overload]
            reply = self._app(message, self._context)
        except Exception as cause:
            raise LearnerFailed(f"the learner failed in {kind}: {type(cause).__name__}: {cause}"[:1000]) from cause
        if not isinstance(reply, Message) or reply.has_error() or not reply.has_content():
            why = reply.error.reason if isinstance(reply, Message) and reply.has_error() else "no message with content"
            raise LearnerFailed(f"the learner answered {kind} with an error: {why}"[:1000])
        return reply.content


def _arrays(reply: RecordDict, name: str) -> dict[str, np.typing.NDArray[Any]]:
    record = reply.get(name)
    if not isinstance(record, ArrayRecord) or not record:
        raise LearnerFailed(f"expected the reply to hold arrays under {name!r}, got {', '.join(reply) or 'nothing'}")
    return {key: array.numpy() for key, array in record.items()}


def _whole(name: str, array: np.typing.NDArray[Any]) -> np.typing.NDArray[np.int64]:
    if array.dtype != np.int64:
        raise LearnerFailed(f"{name}: expected int64 counts or sums, got {array.dtype}")
    return array
