"""The exported network as a Python peer uses it: signals in, one score for each reading out.

No window and no state: of a signal's features only the current value is known, the others are 0. The score is the
mean Student-t loss (4 degrees of freedom) of what the other signals say of each signal, head A; without a past there is
nothing that head B could be held against.
"""

import json
import math
import pathlib
from itertools import repeat

import numpy as np
import onnxruntime

FEATURES = 8
LOG_SPREAD = (-5.0, 2.0)
MOST_DEVIATION = 12.0
NOTHING = np.float32(0)


class Network:
    """A session of one thread, and the scaling that stands beside the network."""

    def __init__(self, path):
        scaling = json.loads(pathlib.Path(path).with_suffix(".json").read_text())
        self.signals, self.clip = scaling["signals"], scaling["clip"]
        self.center = np.array(scaling["center"], np.float32)
        self.per_spread = 1 / np.array(scaling["spread"], np.float32)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.features = np.zeros((len(self.signals), 0, FEATURES), np.float32)

    def values(self, readings):
        """Numbers [readings, inputs] out of the readings' signals by path; NaN where one is missing."""
        flat = []
        for signals in readings:
            flat.extend(map(signals.get, self.signals, repeat(math.nan)))
        try:
            numbers = np.array(flat, np.float32)
        except (TypeError, ValueError):
            # Somebody sent a text in a number's place.
            numbers = np.array([n if isinstance(n, (int, float)) else math.nan for n in flat], np.float32)
        return numbers.reshape(len(readings), len(self.signals))

    def score(self, readings):
        """The scores of readings, given as what stands in `signals` of each."""
        scaled = bounded((self.values(readings) - self.center) * self.per_spread, self.clip).T
        known = np.isfinite(scaled)
        scaled = np.where(known, scaled, NOTHING)
        if self.features.shape[1] != len(readings):
            self.features = np.zeros((len(self.signals), len(readings), FEATURES), np.float32)
            self.known = np.zeros((len(self.signals), len(readings), 1), np.float32)
        # The rest of the features stays 0.
        self.features[:, :, 0], self.known[:, :, 0] = scaled, known
        expected = self.session.run(None, {"features": self.features, "known": self.known})[0]
        deviation = (scaled - expected[:, :, 0]) / np.exp(bounded(expected[:, :, 1], *LOG_SPREAD))
        deviation = bounded(deviation, MOST_DEVIATION)
        loss = 2.5 * np.log1p(deviation * deviation / 4) * known
        return (loss.sum(0) / np.maximum(known.sum(0), 1)).tolist()


def bounded(numbers, least, most=None):
    """Within the bounds, or within ± one bound; quicker than `clip` on few numbers."""
    least, most = (-least, least) if most is None else (least, most)
    return np.minimum(np.maximum(numbers, least), most)
