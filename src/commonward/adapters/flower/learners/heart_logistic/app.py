"""A round of gradient descent on this site's rows, as `tabular.descent` takes it."""

from flwr.app import Context, Message

from commonward.adapters.flower.site import train_rows

from ..tabular import heart
from ..tabular.app import heart_app
from ..tabular.descent import descended
from ..tabular.messages import COEFFICIENTS, config, reply, weights

app = heart_app()


@app.train()
def train(message: Message, _: Context) -> Message:
    """New coefficients."""
    base, given, table = weights(message), config(message), train_rows()
    x, y = heart.features(table, given), heart.labels(table)
    return reply(message, "arrays", {COEFFICIENTS: descended(x, y, base, given)}, len(y))
