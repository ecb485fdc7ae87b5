"""Reads, runs and writes Motorcade's artefacts with PyTorch alone.

    model = load("model.safetensors")
    model.check()                       # the golden vector in the file against this machine
    expected = model(features, known)   # [inputs, rows, 8], [inputs, rows, 1] -> [inputs, rows, 4]
    ...                                 # train model.parameters()
    model.save("new.safetensors")       # then: motorcade models register new.safetensors

An artefact is one safetensors file: eight bytes with the length of the header, the header (JSON: type, shape and place
of each tensor, and the model card as text), then the numbers, little-endian. Features are scaled as the file's `scaler`
says, and 0 where nothing is known. Of the four output numbers two belong to head A (expected value, logarithm of its
spread) and two to head B, which also knows the signal's own past; 0 where a kind has no head B.

Baselines, tails and limit are copied as they are: they were measured with the weights that the file had before. New
weights that expect other values need a calibration of their own. The card says so, and such a model is not promoted:
`motorcade models calibrate FILE --promote` measures it anew on recorded history, and then it has to win as any other.

On a command line: `motorcade_model.py check FILE...` ends with 1 if a file computes something else here.
"""

import array
import hashlib
import json
import os
import struct
import sys

import torch

FORM = 3
VALUES = 4  # single values among the features of a signal: the current one and the three before
TOLERANCE = 1e-5  # as in models/detector/src/detector.rs


def floats(blob):
    numbers = array.array("f", blob)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def tensors_sha256(tensors):
    """As models/detector/src/artifact.rs computes it: by name, a line with name, type and shape before the bytes."""
    total = hashlib.sha256()
    for name, (kind, shape, blob) in sorted(tensors.items()):
        total.update(f"{name} {kind} {','.join(map(str, shape))}\n".encode() + blob)
    return total.hexdigest()


def flat(features):
    """The single values of all signals, [rows, inputs * VALUES]."""
    return features[:, :, :VALUES].permute(1, 0, 2).reshape(features.shape[1], -1)


def only_head_a(expected, log_spread):
    nothing = torch.zeros_like(expected)
    return torch.stack([expected, log_spread, nothing, nothing], 2)


def robust_z(w, features, _known):
    rows = features.shape[1]
    past = features[:, :, 1:VALUES].mean(2, keepdim=True)
    spread_a, spread_b = (w["log_spread"][:, head, None, None].expand(-1, rows, 1) for head in (0, 1))
    return torch.cat([torch.zeros_like(past), spread_a, past, spread_b], 2)


def pca(w, features, _known):
    inputs, rows = features.shape[:2]
    back = (flat(features) - w["mean"]) @ w["components"] @ w["components"].T + w["mean"]
    now = back.view(rows, inputs, VALUES)[:, :, 0].T
    return only_head_a(now, w["log_spread"][:, None].expand(-1, rows))


def autoencoder(w, features, known):
    inputs = features.shape[0]
    linear = torch.nn.functional.linear
    x = torch.cat([flat(features * known), known.squeeze(2).T], 1)
    for layer in ("encoder.0", "encoder.2", "decoder.0"):
        x = linear(x, w[layer + ".weight"], w[layer + ".bias"]).relu()
    out = linear(x, w["decoder.2.weight"], w["decoder.2.bias"]).T
    return only_head_a(out[:inputs], out[inputs:])


def leave_one_out(w, features, known):
    codes = torch.cat([features * known, known], 2).bmm(w["encoder.weight"]).relu()
    others = codes.sum(0, keepdim=True) - codes
    seen = others.bmm(w["context.weight"]) + w["context.bias"]
    own = (features[:, :, 1:VALUES].bmm(w["past.weight"]) + seen).relu()
    return torch.cat([seen.relu().bmm(w["a.weight"]), own.bmm(w["b.weight"])], 2) + w["heads.bias"]


NETWORKS = {"robust-z": robust_z, "pca": pca, "autoencoder": autoencoder, "leave-one-out": leave_one_out}


class Model(torch.nn.Module):
    """An artefact: `card`, `tensors` (type, shape, bytes by name), and the network's weights as parameters."""

    def __init__(self, card, tensors):
        super().__init__()
        if card["form"] != FORM:
            raise ValueError(f"form {card['form']}, this module reads form {FORM}")
        if card.get("tensors_sha256", tensors_sha256(tensors)) != tensors_sha256(tensors):
            raise ValueError("its tensors are not those that it was saved with: a damaged file")
        self.card, self.tensors = card, tensors
        self.network = NETWORKS[card["detector"]]
        self.weights = {}
        for name in tensors:
            if name.startswith("network."):
                weight = torch.nn.Parameter(self.tensor(name))
                self.weights[name[len("network.") :]] = weight
                # PyTorch takes no dots in such a name; what is registered and what stands in `weights` is one object.
                self.register_parameter(name.replace(".", "_"), weight)

    def tensor(self, name):
        kind, shape, blob = self.tensors[name]
        if kind != "F32":
            raise ValueError(f"{name} is {kind}, not F32")
        return torch.tensor(floats(blob).tolist(), dtype=torch.float32).reshape(shape)

    def number(self, name):
        """A single whole number, such as `scaler.features`: how many of the eight features the model was given."""
        kind, shape, blob = self.tensors[name]
        if (kind, shape) != ("U64", [1]):
            raise ValueError(f"{name} is {kind} {shape}, not one U64")
        return struct.unpack("<Q", blob)[0]

    def forward(self, features, known):
        return self.network(self.weights, features, known)

    def golden(self):
        """What the network makes of the golden input here."""
        with torch.no_grad():
            return self(self.tensor("golden.features"), self.tensor("golden.known"))

    def check(self):
        """Raises ValueError if the golden vector is off; gives back by how much it is."""
        expected = self.tensor("golden.expected")
        off = (self.golden() - expected).abs() / expected.abs().clamp(min=1.0)
        worst = off.max().item()
        # Written so that a difference that is no number is none that passes.
        if not worst <= TOLERANCE:
            raise ValueError(f"the golden vector is off by {worst:e}, {TOLERANCE:e} allowed")
        return worst

    def save(self, path):
        """Writes the artefact with the weights as they are now and a golden vector of theirs."""
        fresh = {f"network.{name}": weight.detach() for name, weight in self.weights.items()}
        fresh["golden.expected"] = self.golden()
        for name, value in fresh.items():
            if list(value.shape) != self.tensors[name][1] or not torch.isfinite(value).all():
                raise ValueError(f"{name} must be finite and of the shape {self.tensors[name][1]}")
            # Little-endian in the file, whatever the machine is.
            blob = floats(array.array("f", value.flatten().tolist()).tobytes()).tobytes()
            self.tensors[name] = (self.tensors[name][0], self.tensors[name][1], blob)
        note = f"weights written by Python, torch {torch.__version__}"
        if note not in self.card["versions"]:
            self.card["versions"].append(note)
        self.card["uncalibrated"] = True
        self.card["tensors_sha256"] = tensors_sha256(self.tensors)
        header, at = {"__metadata__": {"card": json.dumps(self.card, sort_keys=True, separators=(",", ":"))}}, 0
        for name, (kind, shape, blob) in self.tensors.items():
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + len(blob)]}
            at += len(blob)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        # Beside its place first: a reader never sees half a file.
        with open(f"{path}.new", "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text + b"".join(blob for _, _, blob in self.tensors.values()))
        os.replace(f"{path}.new", path)


def load(path):
    """Reads an artefact."""
    with open(path, "rb") as file:
        content = file.read()
    (length,) = struct.unpack_from("<Q", content)
    header, numbers = json.loads(content[8 : 8 + length]), content[8 + length :]
    card = json.loads(header.pop("__metadata__")["card"])
    # In the order of their places, which is the order they are written in again.
    tensors = sorted(header.items(), key=lambda entry: entry[1]["data_offsets"])
    parts = {name: (t["dtype"], t["shape"], numbers[slice(*t["data_offsets"])]) for name, t in tensors}
    return Model(card, parts)


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] != "check":
        print(__doc__.splitlines()[-1], file=sys.stderr)
        sys.exit(64)
    for name in sys.argv[2:]:
        try:
            model = load(name)
            print(f"{name}: {model.card['detector']}, the golden vector is off by {model.check():e}")
        except (ValueError, KeyError, OSError, struct.error) as error:
            sys.exit(f"{name}: {error}")
