"""This site's part of a study's statistics, with noise where the study declares it.

With `noise` there are counts alone, and each gets discrete Gaussian noise whose deviation is `noise` times how far one
patient can move all of them together: charged once, it covers everything that leaves. One row is one patient here.
"""

from fractions import Fraction
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from commonward.adapters.flower.site import train_rows
from commonward.records.model import Integers
from commonward.records.released import noise_deviation
from commonward.records.statistics import Statistics, described, parts

from ..tabular.gaussians import discrete_gaussians
from ..tabular.messages import config, reply

app = ClientApp()


def multiplier(given: dict[str, Any]) -> Fraction:
    """Of the noise. Raises ValueError."""
    noise, steps = given.get("noise", 0), given.get("steps", 1)
    if not isinstance(noise, int) or noise < 0 or steps != 1 or given.get("rate", 10**9) != 10**9:
        raise ValueError("expected a noise from 0, and all rows once: rate 1 and steps 1")
    return Fraction(noise, 1_000_000)


def blurred(wanted: Statistics, sums: dict[str, Integers], noise: Fraction) -> dict[str, Integers]:
    """Noise on every count. Raises StatisticsError where there are sums beside the counts."""
    sigma = noise_deviation(wanted, noise)
    return {name: each + discrete_gaussians(sigma, each.size).reshape(each.shape) for name, each in sums.items()}


@app.query()
def query(message: Message, _: Context) -> Message:
    """int64 sums in the shapes that the statistics declare."""
    given = config(message)
    wanted, noise = described(given.get("statistics")), multiplier(given)
    sums = parts(wanted, train_rows())
    return reply(message, "sums", blurred(wanted, sums, noise) if noise else sums)
