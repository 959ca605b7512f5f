"""Networks that were trained elsewhere: the same labels here, and then everything that we do."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import portadnn as dnn
from portadnn.data.dataset import Dataset
from portadnn.export.formats import FORMATS, checked, reach

pytest.importorskip("onnxruntime")


def rows(m):
    X = np.random.default_rng(3).normal(size=(m, 8)).astype(np.float32)
    return X, (np.sin(X[:, :3]) + X[:, 3:6] ** 2).argmax(axis=1)


def goes_on(model, X, y, tmp_path):
    certifier = dnn.Certifier()
    better = dnn.train(
        X, y, init=model, optimizer="adam", epochs=5, certify=certifier, backend="numpy"
    )
    assert certifier.certificate.outcome == "PARITY"
    assert dnn.fingerprint(better) != dnn.fingerprint(model)
    assert dnn.evaluate(better, X, y).cost < dnn.evaluate(model, X, y).cost
    dnn.save_onnx(better, tmp_path / "better.onnx")
    assert checked(tmp_path / "better.onnx", better, FORMATS["onnx"])["ratio"] <= 1
    dnn.save_safetensors(better, tmp_path / "better.safetensors")
    again = dnn.load_safetensors(tmp_path / "better.safetensors")
    assert dnn.fingerprint(again) == dnn.fingerprint(better)


def test_from_scikit_learn(tmp_path):
    X, y = rows(10_000)
    pipeline = make_pipeline(StandardScaler(), MLPClassifier((16, 8), max_iter=5, random_state=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        pipeline.fit(X[:1000].astype(np.float64), np.asarray(["a", "b", "c"])[y[:1000]])
    model = dnn.from_sklearn(pipeline)
    np.testing.assert_array_equal(model.predict(X), pipeline.predict(X.astype(np.float64)))
    goes_on(model, X[:1000], np.asarray(["a", "b", "c"])[y[:1000]], tmp_path)


def test_from_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    X, y = rows(10_000)
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.LeakyReLU(), torch.nn.Dropout(0.1),
        torch.nn.Linear(16, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3),
    )  # fmt: skip
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    loss = torch.nn.CrossEntropyLoss()
    for _ in range(50):
        optimizer.zero_grad()
        loss(module(torch.tensor(X[:1000])), torch.tensor(y[:1000])).backward()
        optimizer.step()
    with torch.no_grad():
        logits = module.eval()(torch.tensor(X)).numpy()
    model = dnn.from_torch(module, head="softmax")
    # both are float32, so a label may differ where two probabilities cannot be told apart
    bound = reach(model, Dataset(X, None, ()))
    P, D = np.sort(bound.exact, axis=0), 2 * bound.det.max(axis=0)
    clear = P[-1] - P[-2] > D
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(model.predict(X)[clear], logits.argmax(axis=1)[clear])
    goes_on(model, X[:1000], y[:1000], tmp_path)
