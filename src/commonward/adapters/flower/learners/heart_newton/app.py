"""A round of federated Newton: the means over this site's rows of gradient and Hessian. The ridge is the rule's."""

from flwr.app import Context, Message

from commonward.adapters.flower.site import train_rows
from commonward.records.newton import GRADIENT, HESSIAN, packed

from ..tabular import heart, logistic
from ..tabular.app import heart_app
from ..tabular.messages import config, reply, weights

app = heart_app()


@app.train()
def train(message: Message, _: Context) -> Message:
    """gradient (14,) and hessian (105,) of the mean log-loss at the round's coefficients."""
    w, table = weights(message), train_rows()
    x, y = heart.features(table, config(message)), heart.labels(table)
    delta = {GRADIENT: logistic.gradient(x, y, w), HESSIAN: packed(logistic.hessian(x, w))}
    return reply(message, "delta", delta, len(y))
