"""Feature nets, for Frechet-like metrics and for what compares by hidden layers, one per file.

Imports types and errors, nothing else of vitrail.
`load_features(path)` tells by the file which net it is.
"""

from vitrail.networks.features._files import load_features, packed
from vitrail.networks.features._interface import FeatureNet

__all__ = ["FeatureNet", "load_features", "packed"]
