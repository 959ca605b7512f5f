"""ONNX: preprocessing, network and labels as a graph that any ONNX runtime runs."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

import portadnn
from portadnn.data.dataset import Dataset
from portadnn.data.files import whole_file
from portadnn.data.foreign import library
from portadnn.data.heads import meaning_of
from portadnn.errors import InputError
from portadnn.network.activations import NEGATIVE_SLOPE
from portadnn.training.models import Model, described

LARGEST = 2**31 - 2**20  # bytes of weights: protobuf allows 2 GiB for all
TYPES = {"float32": ("float", 1), "float64": ("double", 11)}  # names and numbers in ONNX
LABELS = {"U": "string", "f": "double", "b": "bool", "i": "int64"}  # by kinds of dtype
# Activations and heads; a test fails for one that is missing. Runtimes approximate a Sigmoid of
# their own, so ours is written out: t = exp(-|Z|), then 1 / (1 + t) or t / (1 + t). Not every
# runtime has LeakyRelu in float64.
FUNCTIONS = {
    "sigmoid": """{A}_size = Abs ({Z})  {A}_minus = Neg ({A}_size)  {A}_t = Exp ({A}_minus)
        {A}_where = Equal ({Z}, {A}_size)  {A}_above = Where ({A}_where, one, {A}_t)
        {A}_below = Add (one, {A}_t)  {A} = Div ({A}_above, {A}_below)""",
    "relu": "{A} = Relu ({Z})",
    "leaky_relu": "{A}_small = Mul ({Z}, slope)  {A} = Max ({Z}, {A}_small)",
    "tanh": "{A} = Tanh ({Z})",
    "identity": "{A} = Identity ({Z})",
    "softmax": "{A} = Softmax <axis = 1> ({Z})",
    "poisson": "{A} = Exp ({Z})",
}


def save_onnx(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model to an ONNX file, which takes rows as ``model.predict`` does: docs/models.md.

    Raises
    ------
    InputError
        If onnx (extra ``onnx``) is missing, the weights take 2 GiB, or the file cannot be written.
    """
    onnx, parser = library("onnx", "onnx"), library("onnx.parser", "onnx")
    size = sum(p.nbytes for p in model.parameters.values())
    if size > LARGEST:
        raise InputError(f"the weights have {size:,} bytes: expected {LARGEST:,} at most in ONNX")
    constants: dict[str, Any] = {}  # and weights
    inputs, lines = _rows(model, constants)
    texts = _columns(model)[1]
    lines.append("A0 = Div (x, white)" if model.scaled else "A0 = Identity (x)")
    for l, name in enumerate((*model.network.activations, model.network.head), start=1):
        constants |= {f"W{l}": model.parameters[f"W{l}"], f"b{l}": model.parameters[f"b{l}"][:, 0]}
        lines.append(f"Z{l} = Gemm <transB = 1> (A{l - 1}, W{l}, b{l})")
        lines.append(FUNCTIONS[name].format(A=f"A{l}", Z=f"Z{l}"))
    outputs, used = _outputs(model, lines, constants), set(re.findall(r"\w+", " ".join(lines)))
    for name, x in (("half", 0.5), ("one", 1.0), ("slope", NEGATIVE_SLOPE), ("white", 255.0)):
        if name in used:
            constants[name] = np.asarray(x, model.dtype)
    # opset 13 and IR version 7 are of 2020: every later runtime reads them
    domains = '"" : 13, "ai.onnx.ml" : 2' if texts else '"" : 13'
    made = parser.parse_model(
        f'<ir_version: 7, opset_import: [{domains}], producer_name: "portadnn", '
        f'producer_version: "{portadnn.__version__}">\nportadnn ({", ".join(inputs)}) => '
        f"({', '.join(outputs)}) {{ {' '.join(lines)} }}"
    )
    arrays = (onnx.numpy_helper.from_array(np.asarray(x), name) for name, x in constants.items())
    made.graph.initializer.extend(arrays)
    encoders = [node for node in made.graph.node if node.op_type == "OneHotEncoder"]
    for node, i in zip(encoders, texts, strict=True):
        categories = model.preprocess.columns[i].categories  # type: ignore[union-attr]
        node.attribute.append(onnx.helper.make_attribute("cats_strings", categories))
    onnx.helper.set_model_props(made, described(model))
    onnx.checker.check_model(made, full_check=True)
    with whole_file(path) as file:
        file.write(made.SerializeToString(deterministic=True))


def run(path: str | os.PathLike[str], model: Model, data: Dataset) -> np.ndarray:
    """The outputs (n_L, m) of the file in onnxruntime."""
    start = library("onnxruntime", "onnx").InferenceSession
    session = start(os.fspath(path), providers=["CPUExecutionProvider"])
    found = session.run(None, inputs_of(model, data))
    return found[-1][:, -model.network.layer_dims[-1] :].T  # the second of two classes


def inputs_of(model: Model, data: Dataset) -> dict[str, np.ndarray]:
    """What a runtime is fed, by the names of the inputs, for rows that the model takes."""
    x, (numbers, texts) = data.examples, _columns(model)
    if data.table is None:
        kind = "uint8" if model.scaled else "float64" if numbers else model.dtype
        return {"X": x.astype(kind).reshape(len(x), *((-1,) if numbers else model.input_shape))}
    found = {}
    for name, part, kind in ((_given(texts), numbers, "float64"), ("texts", texts, "object")):
        if part:
            found[name] = np.stack([x[data.table[i]].astype(kind) for i in part], axis=1)
    return found


def _columns(model: Model) -> tuple[list[int], list[int]]:
    """The positions of a table's columns of numbers, and of its columns of texts."""
    columns = () if model.preprocess is None else model.preprocess.columns
    texts = [i for i, c in enumerate(columns) if c.categories is not None]
    return [i for i, c in enumerate(columns) if c.categories is None], texts


def _given(texts: list[int]) -> str:
    return "numbers" if texts else "X"


def _rows(model: Model, constants: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The inputs, and the lines that compute x (m, n_x) from them; adds to ``constants``."""
    real, number = TYPES[model.dtype]
    if model.preprocess is None or not model.preprocess.columns:
        kind, shape = "uint8" if model.scaled else real, ", ".join(map(str, model.input_shape))
        lines = [f"flat = Flatten <axis = 1> (X)  x = Cast <to = {number}> (flat)"]
        return [f"{kind}[m, {shape}] X"], lines
    columns, (numbers, texts) = model.preprocess.columns, _columns(model)
    given, inputs, lines, parts = _given(texts), [], [], []
    if numbers:
        for what in ("mean", "scale", "fill"):
            constants[what] = np.asarray([getattr(columns[i], what) for i in numbers], np.float64)
        inputs.append(f"double[m, {len(numbers)}] {given}")
        lines.append(
            f"gap = IsNaN ({given})  filled = Where (gap, fill, {given})  "
            f"centred = Sub (filled, mean)  standard = Div (centred, scale)  "
            f"x_numbers = Cast <to = {number}> (standard)"
        )
        parts.append("x_numbers")
    if texts:
        inputs.append(f"string[m, {len(texts)}] texts")
    zeros = int(model.preprocess.unknown == "ignore")  # at 0 the runtime refuses an unknown text
    for j in range(len(texts)):
        constants[f"at{j}"] = j
        lines.append(
            f"text{j} = Gather <axis = 1> (texts, at{j})  "
            f"marks{j} = ai.onnx.ml.OneHotEncoder <zeros = {zeros}> (text{j})  "
            f"x{j} = Cast <to = {number}> (marks{j})"
        )
        parts.append(f"x{j}")
    places = np.repeat([*numbers, *texts], [columns[i].width for i in (*numbers, *texts)])
    constants["order"] = np.argsort(places, kind="stable")
    lines.append(f"all = Concat <axis = 1> ({', '.join(parts)})")
    return inputs, [*lines, "x = Gather <axis = 1> (all, order)"]


def _outputs(model: Model, lines: list[str], constants: dict[str, Any]) -> list[str]:
    """The outputs; adds to ``lines`` and ``constants``."""
    real, A, n_L = TYPES[model.dtype][0], f"A{model.network.L}", model.network.layer_dims[-1]
    if meaning_of(model.network.head).probabilities is None:
        if scaling := () if model.preprocess is None else model.preprocess.scaling:
            constants["y_mean"], constants["y_scale"] = np.asarray(scaling, np.float64).T
            lines.append(f"wide = Cast <to = 11> ({A})  spread = Mul (wide, y_scale)")
        lines.append("values = Add (spread, y_mean)" if scaling else f"values = Identity ({A})")
        return [f"{'double' if scaling else real}[m, {n_L}] values"]
    if n_L == 1:
        lines.append(f"other = Sub (one, {A})  probabilities = Concat <axis = 1> (other, {A})")
    else:
        lines.append(f"probabilities = Identity ({A})")
    C, kind, shape = len(model.classes), "int64", f"[m, {n_L}]"
    if model.network.head == "sigmoid" and n_L > 1:  # labels that may go together
        lines.append(f"over = Greater ({A}, half)  label = Cast <to = 7> (over)")
    else:  # 1 - p is exact above one half, so that this is p > 1/2
        lines.append("code = ArgMax <axis = 1, keepdims = 0> (probabilities)")
        lines.append("label = Gather (labels, code)")
        labels = np.asarray(model.values or range(C))
        constants["labels"] = labels.astype(object) if labels.dtype.kind == "U" else labels
        kind, shape = LABELS[labels.dtype.kind], "[m]"
    return [f"{kind}{shape} label", f"{real}[m, {C}] probabilities"]
