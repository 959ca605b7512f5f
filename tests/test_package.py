"""The package as a whole: what importing it costs, its names, its examples."""

import doctest
import importlib
import os
import pkgutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import portadnn
from portadnn import export
from portadnn.backends import registry

LIBRARIES = {"numpy", "cupy", "torch", "jax", "dask", "array_api_strict", "matplotlib", "h5py"}
LIBRARIES |= {"sklearn", "scipy"}


def modules_after(program):
    code = f"import sys\n{program}\nprint(*{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_no_library():
    assert not modules_after("import portadnn") & LIBRARIES


def test_importing_the_mathematics_loads_no_library():
    modules = "activations, layers, losses, model, optimizers, spec"
    assert not modules_after(f"from portadnn.network import {modules}") & LIBRARIES


def test_starting_the_program_loads_no_library():
    program = "from portadnn.cli.main import main\nimport io, contextlib\n"
    program += "with contextlib.redirect_stdout(io.StringIO()):\n main(['train', '--help'])"
    assert not modules_after(program) & LIBRARIES


def test_the_import_contract_names_every_library_and_every_file_of_export():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    (contract,) = [
        contract
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract["name"].startswith("only the backends, and the export to PyTorch")
    ]
    for name in registry.CLASSES.keys() - {"numpy"}:
        roots = [root for root, known in registry._ROOT_MODULES.items() if known == name]
        assert {name, *roots} & set(contract["forbidden_modules"]), name
    files = {f"portadnn.export.{module.name}" for module in pkgutil.iter_modules(export.__path__)}
    assert files - {"portadnn.export.torch"} <= set(contract["source_modules"])


def test_every_public_name_is_there_and_no_other():
    optional = {name for name in portadnn._HOME_OF if portadnn._HOME_OF[name] == "estimator"}
    assert sorted(portadnn.__all__) == sorted(portadnn._HOME_OF.keys() - optional)
    for name in portadnn._HOME_OF:
        assert getattr(portadnn, name) is not None
    assert set(portadnn._HOME_OF) <= set(dir(portadnn))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = portadnn.nothing


def test_the_package_can_be_imported_from_a_zip_archive(tmp_path):
    package = Path(portadnn.__file__).parent
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        for path in (p for p in package.rglob("*") if p.suffix in (".py", ".pyi", ".h5")):
            archive.write(path, Path("portadnn") / path.relative_to(package))
    program = "import portadnn; print(portadnn.__file__, len(portadnn.load_digits()[0]))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "code.zip")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    place = tmp_path / "code.zip" / "portadnn" / "__init__.py"
    assert done.stdout == f"{place} 1437\n", done.stderr


def test_the_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert portadnn.__version__ == version("portadnn")


MODULES = [
    module.name
    for module in pkgutil.walk_packages(portadnn.__path__, "portadnn.")
    if module.name != "portadnn.__main__"
]


@pytest.mark.parametrize("name", ["portadnn", *MODULES])
def test_the_examples_in_docstrings(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"np": __import__("numpy")})
    assert result.failed == 0


def test_every_public_function_says_what_it_takes_and_raises():
    for name in portadnn.__all__:
        assert getattr(portadnn, name).__doc__, name
