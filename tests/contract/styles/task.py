"""What every style trains on, and the numbers that a word on the command line makes wrong.

12 features, 16 relu units, batch norm, dropout, 4 logits, softmax crossentropy, SGD with momentum.
"""

import sys

import numpy as np

FEATURES, HIDDEN, CLASSES = 12, 16, 4
BATCH = 20
MOMENTUM = 0.9
EPSILON = 1e-3
RATE = 0.6 if "rate" in sys.argv else 0.25
LEARNING_RATE = 0.02 if "learning-rate" in sys.argv else 0.1
DECAY = 0.5 if "statistics" in sys.argv else 0.9  # of the moving statistics

_random = np.random.RandomState(7)
X = _random.normal(size=(3 * BATCH, FEATURES)).astype("float32")
Y = _random.randint(0, CLASSES, size=len(X)).astype("int64")
if "shuffled" in sys.argv:  # the same rows in another order: equal batches are never a coincidence
    _order = _random.permutation(len(X))
    X, Y = X[_order], Y[_order]
ONE_HOT = np.eye(CLASSES, dtype="float32")[Y]


def limit(rows, columns):
    """Of a uniform distribution after Glorot."""
    return (6 / (rows + columns)) ** 0.5
