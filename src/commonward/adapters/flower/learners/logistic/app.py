"""Logistic regression over the columns that the study names.

A round sends, by Newton, the means over the site's rows of gradient and Hessian; by descent, new coefficients. Judging
counts the test rows as the other learners of tables do and, where no noise protects the rows, what makes the regression
table: it is of the training rows, so that a study may keep none apart.
"""

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from commonward.adapters.flower.site import test_rows, train_rows
from commonward.records import regression_table
from commonward.records.newton import GRADIENT, HESSIAN, packed
from commonward.records.regression import described

from ..tabular import judging, logistic
from ..tabular.descent import descended
from ..tabular.messages import COEFFICIENTS, config, reply, weights

app = ClientApp()


def method(given: dict[str, object]) -> str:
    """Raises ValueError."""
    found = given.get("method")
    if found not in ("newton", "descent"):
        raise ValueError(f"expected the method newton or descent, got {found!r:.40}")
    return str(found)


@app.query("first")
def first(message: Message, _: Context) -> Message:
    """Nothing known: every coefficient 0."""
    return reply(message, "arrays", {COEFFICIENTS: np.zeros(described(config(message).get("regression")).width)})


@app.train()
def train(message: Message, _: Context) -> Message:
    """`delta` for Newton, else new coefficients."""
    w, given, table = weights(message), config(message), train_rows()
    wanted = described(given.get("regression"))
    x, y = wanted.design(table), wanted.outcome.values(table)
    if method(given) == "newton":
        if given.get("noise"):
            raise ValueError("expected the method descent with noise: Newton's Hessian has none")
        delta = {GRADIENT: logistic.gradient(x, y, w), HESSIAN: packed(logistic.hessian(x, w))}
        return reply(message, "delta", delta, len(y))
    return reply(message, "arrays", {COEFFICIENTS: descended(x, y, w, given)}, len(y))


@app.evaluate()
def evaluate(message: Message, _: Context) -> Message:
    """Counts of the rows to be judged by and, without noise, those of the regression table."""
    w, given, seen, held = weights(message), config(message), train_rows(), test_rows()
    wanted = described(given.get("regression"))
    train = wanted.design(seen), wanted.outcome.values(seen)
    counts = judging.counts(train, (wanted.design(held), wanted.outcome.values(held)), w)
    if not given.get("noise"):
        counts |= regression_table.counts(*train, w)
    return reply(message, "counts", counts)
