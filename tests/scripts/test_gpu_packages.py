"""The packages that the GPU check needs, and the wheels that it can carry."""

import importlib.metadata
import json
import os
import subprocess
import sys
import textwrap
import zipfile

import pytest
from support import SCRIPTS


def test_the_tests_need_the_packages_that_are_named(gpu, tmp_path):
    """Collect them in a Python that can import NEEDED, what it requires, and nothing else."""
    needed, suite = gpu("gpu.packages").NEEDED, gpu("gpu.stages.suite")
    (tmp_path / "only_needed.py").write_text(
        textwrap.dedent("""
            import json, os, sys

            class OnlyNeeded:
                def find_spec(self, name, path=None, target=None):
                    if name in json.loads(os.environ["REFUSED"]):
                        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

            sys.meta_path.insert(0, OnlyNeeded())
        """)
    )
    allowed = closure(needed.values())
    refused = [
        module
        for module, packages in importlib.metadata.packages_distributions().items()
        if not {canonical(p) for p in packages} & allowed and module not in ("portadnn", "cupy")
    ]
    assert {"sklearn", "cyclopts", "xdist"} & set(refused)
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "only_needed", "-p", "no:cacheprovider",
         "--collect-only", "--portadnn-backends", "numpy", *suite.TESTS],
        cwd=SCRIPTS.parent, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": path, "REFUSED": json.dumps(refused),
                          "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "error" not in done.stdout.splitlines()[-1]


def canonical(name):
    return name.lower().replace("_", "-").replace(".", "-")


def closure(names):
    """Packages with all that they require here, without extras."""
    found, queue = set(), [canonical(name) for name in names]
    while queue:
        name = queue.pop()
        if name in found:
            continue
        found.add(name)
        try:
            requirements = importlib.metadata.requires(name) or ()
        except importlib.metadata.PackageNotFoundError:  # for another platform
            continue
        for requirement in requirements:
            if "extra ==" not in requirement:
                end = next((i for i, c in enumerate(requirement) if c in " <>=!~;[("), None)
                queue.append(canonical(requirement[:end]))
    return found


def test_a_package_that_cannot_be_imported_is_named_with_the_reason(gpu, tmp_path, monkeypatch):
    packages = gpu("gpu.packages")
    monkeypatch.setattr(packages, "NEEDED", {"carried.part": "carried-parts", "json": "json"})
    with pytest.raises(packages.Missing, match="does not have carried-parts: install"):
        packages.check_needed()
    (tmp_path / "carried").mkdir()
    (tmp_path / "carried" / "__init__.py").touch()
    (tmp_path / "carried" / "part.py").write_text("import what_it_requires\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(packages.Missing, match=r"carried-parts \(.*'what_it_requires'\): install"):
        packages.check_needed()
    (tmp_path / "what_it_requires.py").touch()
    packages.check_needed()


def test_wheels_are_installed_without_a_network(gpu, tmp_path):
    packages = gpu("gpu.packages")
    about = "carried-1.0.dist-info"
    with zipfile.ZipFile(tmp_path / "carried-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carried.py", "value = 42\n")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: carried\nVersion: 1.0\n")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")
    packages.install(tmp_path, str(tmp_path / "site"))
    assert (tmp_path / "site" / "carried.py").read_text() == "value = 42\n"
    (tmp_path / "broken-1.0-py3-none-any.whl").write_text("no wheel")
    with pytest.raises(packages.Missing, match="cannot be installed"):
        packages.install(tmp_path, str(tmp_path / "site"))
