"""Flower, kept where it reaches nothing: a learner is a Flower ClientApp in a worker process of its own.

The node imports `FlowerLearner` and `installed`, which do not import Flower. Only what runs in the worker does
(`worker`, `grid`, the learners): our own bytes cross between the two, never Flower's RecordDict and never a pickle.
"""

from commonward.adapters.flower.installed import BUNDLED, digest_of, installed
from commonward.adapters.flower.learner import FlowerLearner
from commonward.adapters.flower.process import Limits

__all__ = ["BUNDLED", "FlowerLearner", "Limits", "digest_of", "installed"]
