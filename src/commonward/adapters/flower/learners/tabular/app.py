"""A ClientApp for the heart disease task with all but its training: first model, sums, judging."""

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from commonward.adapters.flower.site import test_rows, train_rows

from . import heart, judging
from .messages import COEFFICIENTS, config, reply, weights


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
