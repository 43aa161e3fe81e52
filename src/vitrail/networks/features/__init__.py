"""Feature nets, for Frechet-like metrics and for what compares by hidden layers, one per file.

Imports types and errors, nothing else of vitrail.
`load_features(path)` tells by the file which net it is, `load_fitting(path, shape)` also whether it takes such pictures.
"""

from vitrail.networks.features._files import load_features, load_fitting, packed
from vitrail.networks.features._interface import FeatureNet

__all__ = ["FeatureNet", "load_features", "load_fitting", "packed"]
