"""The study files of the demonstration of learning, as a hospital would write them."""

from __future__ import annotations

from typing import Final

HEART: Final = """\
title = "Heart disease from routine examinations"
about = "Who needs an angiogram? Logistic regression over four hospitals whose records stay where they are."
cohort = "heart-cohort.json"
label = "num"
label_share = 0.46
mode = "masked"
rule = "newton"
rounds = {rounds}
min_sites = 4
awaited = 4
row_cap = 1
test_share = 0.3
evaluate_every = 1
end = "7d"
viewers = ["authority"]

[learner]
name = "heart_newton"

[parameters]
ridge = 0.03

[waits]
votes = "1h"
sites = "1h"
updates = "30m"
signatures = "30m"
disputes = "1d"
"""

KERATITIS: Final = """\
title = "Infectious keratitis from slit-lamp photographs"
about = "Bacterial, fungal, viral or other? A head on frozen features, learnt by four hospitals with four cameras."
synthetic = true
cohort = "keratitis-cohort.json"
label = "label"
mode = "open"
rule = "fedavg"
rounds = {rounds}
min_sites = 4
awaited = 4
row_cap = 1
test_share = 0.25
evaluate_every = 1
end = "7d"
viewers = ["authority"]

[learner]
name = "keratitis"

[learner.settings]
image = {side}
learning_rate = {learning_rate}
momentum = 0
ridge = 0
abstain = {abstain}

[waits]
votes = "1h"
sites = "1h"
updates = "30m"
signatures = "30m"
disputes = "1d"

[privacy]                # for each patient, over all rounds: epsilon {epsilon}, delta 10^-{delta}
noise = {noise}          # times the norm to which each patient's gradient is clipped
rate = 1
steps = {steps}
delta = {delta}
"""

BOLD: Final = """\
title = "Heart disease, in the open"
cohort = "bold-cohort.json"
label = "num"
mode = "open"
rule = "fedavg"
rounds = 1
min_sites = 4

[learner]
name = "heart_logistic"

[privacy]
noise = {noise}
rate = 1
steps = 5
delta = 5
"""
"""Noise so small that one round alone would cost more than the cap."""
