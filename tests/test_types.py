"""What a type checker and an editor see of the package."""

import ast
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import portadnn

PACKAGE = Path(portadnn.__file__).parent


def test_the_stub_has_names_and_nothing_else():
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text())
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert len(imports) == len(portadnn._HOME_OF)
    assert all(node.module.startswith("portadnn.") and node.level == 0 for node in imports)
    assert all(alias.name == alias.asname for node in imports for alias in node.names)
    others = [ast.unparse(node) for node in tree.body[1:] if node not in imports]
    assert others == ["__version__: str"]  # and no __getattr__, which would let any name pass


def test_the_wheel_says_that_it_is_typed():
    for name in ("py.typed", "__init__.pyi"):
        assert (PACKAGE / name).is_file()
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    wheel = settings["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["portadnn"]}  # the whole folder, nothing excluded


def public_functions():
    """All of ``portadnn``, ``network`` and ``arithmetic``, methods as well, by their names."""
    found = {name: getattr(portadnn, name) for name in portadnn.__all__}
    for room in ("network", "arithmetic"):
        path = import_module(f"portadnn.{room}").__path__
        for name in [module.name for module in pkgutil.iter_modules(path)]:
            module = import_module(f"portadnn.{room}.{name}")
            found |= {f"{room}.{name}.{key}": value for key, value in vars(module).items()}
    for name, value in list(found.items()):
        if inspect.isclass(value) and value.__module__.startswith("portadnn."):
            found |= {f"{name}.{key}": method for key, method in vars(value).items()}
    return {
        name: value
        for name, value in found.items()
        if inspect.isfunction(value)
        and value.__module__.startswith("portadnn.")
        and not name.rpartition(".")[2].startswith("_")
    }


def test_public_functions_are_annotated():
    missing = []
    for name, function in public_functions().items():
        signature = inspect.signature(function)
        annotations = {p.name: p.annotation for p in signature.parameters.values()}
        annotations["return"] = signature.return_annotation
        missing += [(name, key) for key, a in annotations.items() if a is signature.empty]
    assert [(name, key) for name, key in missing if key not in ("self", "cls")] == []


SCRIPT = """\
import portadnn as dnn

train, test = dnn.load_digits()
model = dnn.train(train, layers=[64, 32], learning_rate=0.5, optimizer=dnn.Adam(), rng=3)
dnn.train(train, lerning_rate=3)  # wrong: call-arg
print(dnn.evaluate(model, test).accuracy > 0.96, dnn.Network([4, 3, 1], "tanh").L)
print(model.netwrk)  # wrong: attr-defined
dnn.Adam(beta1="0.9")  # wrong: arg-type
dnn.trian(train)  # wrong: attr-defined
dnn.linear_activation_forward(1.0, 2.0, 3.0, activation=4)  # wrong: arg-type
reveal_type(dnn.load_model("model.h5"))
"""


def test_mypy_finds_the_mistakes_of_a_script(tmp_path):
    pytest.importorskip("mypy", reason="mypy is in the group lint, which CI installs")
    (tmp_path / "script.py").write_text(SCRIPT)
    # nothing is said of the package itself, and the types of other packages take long to read
    quiet = ["--follow-imports=silent", "--no-site-packages"]
    command = [sys.executable, "-m", "mypy", "--strict", *quiet, "script.py"]
    environment = {**os.environ, "MYPYPATH": str(PACKAGE.parent)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    found = re.findall(r"^script\.py:(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    lines = enumerate(SCRIPT.splitlines(), start=1)
    wrong = [(str(i), line.partition("# wrong: ")[2]) for i, line in lines if "# wrong" in line]
    assert found == wrong, done.stdout + done.stderr
    assert 'Revealed type is "portadnn.training.models.Model"' in done.stdout
