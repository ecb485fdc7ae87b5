"""Turns an artefact's leave-one-out network into ONNX, for scorers that are not ours.

    onnx_export.py MODEL ONNX       # MODEL: what `motorcade models export` writes

Without arguments the two paths come from the environment, as `bench model` sets them. The graph is the whole network:
`features` [inputs, readings, 8] and `known` [inputs, readings, 1] give `expected` [inputs, readings, 4], both heads. What
comes before it, which signal is which input and how it is scaled, is written beside ONNX as JSON. Nothing is written if
the graph is off the artefact's golden vector by more than 1e-5.
"""

import json
import os
import pathlib
import struct
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

FORM = 3
FEATURES = 8
VALUES = 4  # single values among them: the current one and the three before
CLIP = 8.0  # scaled values are held within ± this
TOLERANCE = 1e-5
WEIGHTS = ("encoder.weight", "context.weight", "context.bias", "past.weight", "a.weight", "b.weight", "heads.bias")


def read(path):
    """Card and tensors of an artefact."""
    content = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header, numbers = json.loads(content[8 : 8 + length]), content[8 + length :]
    card = json.loads(header.pop("__metadata__")["card"])
    if (card["form"], card["detector"]) != (FORM, "leave-one-out"):
        raise ValueError(f"a {card['detector']} of form {card['form']}, not a leave-one-out network of form {FORM}")
    floats = {name: entry for name, entry in header.items() if entry["dtype"] == "F32"}
    tensors = {
        name: np.frombuffer(numbers[slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
        for name, entry in floats.items()
    }
    return card, tensors


def graph(tensors):
    """The network, as `leave_one_out` in models/python has it."""
    inputs = tensors["scaler.center"].shape[0]
    node = helper.make_node
    nodes = [
        node("Mul", ["features", "known"], ["shown"]),
        node("Concat", ["shown", "known"], ["seen_of_each"], axis=2),
        node("MatMul", ["seen_of_each", "encoder.weight"], ["raw_codes"]),
        node("Relu", ["raw_codes"], ["codes"]),
        node("ReduceSum", ["codes", "first_axis"], ["all_codes"], keepdims=1),
        node("Sub", ["all_codes", "codes"], ["others"]),
        node("MatMul", ["others", "context.weight"], ["context"]),
        node("Add", ["context", "context.bias"], ["seen"]),
        node("Slice", ["features", "past_from", "past_to", "last_axis"], ["past"]),
        node("MatMul", ["past", "past.weight"], ["past_seen"]),
        node("Add", ["past_seen", "seen"], ["raw_own"]),
        node("Relu", ["raw_own"], ["own"]),
        node("Relu", ["seen"], ["hidden"]),
        node("MatMul", ["hidden", "a.weight"], ["head_a"]),
        node("MatMul", ["own", "b.weight"], ["head_b"]),
        node("Concat", ["head_a", "head_b"], ["heads"], axis=2),
        node("Add", ["heads", "heads.bias"], ["expected"]),
    ]
    whole = {"first_axis": [0], "past_from": [1], "past_to": [VALUES], "last_axis": [2]}
    constants = [numpy_helper.from_array(tensors[f"network.{name}"], name) for name in WEIGHTS]
    constants += [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in whole.items()]

    def value(name, width):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [inputs, "readings", width])

    parts = [value("features", FEATURES), value("known", 1)], [value("expected", 4)]
    model = helper.make_model(
        helper.make_graph(nodes, "leave-one-out", *parts, constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


def check(content, tensors):
    """Raises ValueError if the golden vector is off; gives back by how much it is."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    given = {"features": tensors["golden.features"], "known": tensors["golden.known"]}
    found, expected = session.run(None, given)[0], tensors["golden.expected"]
    worst = (np.abs(found - expected) / np.maximum(np.abs(expected), 1.0)).max()
    # Written so that a difference that is no number is none that passes.
    if not worst <= TOLERANCE:
        raise ValueError(f"the golden vector is off by {worst:e}, {TOLERANCE:e} allowed")
    return worst


def export(artefact, target):
    card, tensors = read(artefact)
    content = graph(tensors)
    worst = check(content, tensors)
    scaling = {
        "signals": [signal["path"] for signal in card["signals"]],
        "center": tensors["scaler.center"].tolist(),
        "spread": tensors["scaler.spread"].tolist(),
        "clip": CLIP,
    }
    target = pathlib.Path(target)
    target.with_suffix(".json").write_text(json.dumps(scaling))
    target.write_bytes(content)
    print(f"{target}: {len(scaling['signals'])} signals, the golden vector is off by {worst:e}", file=sys.stderr)


if __name__ == "__main__":
    paths = sys.argv[1:] or [os.environ[name] for name in ("MODEL", "ONNX")]
    if len(paths) != 2:
        print("onnx_export.py MODEL ONNX", file=sys.stderr)
        sys.exit(64)
    try:
        export(*paths)
    except (ValueError, KeyError, OSError, struct.error) as error:
        sys.exit(f"{paths[0]}: {error}")
