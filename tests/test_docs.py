"""The code in README and docs runs as it stands."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import portadnn
from portadnn.training.declaration import Declaration

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in DOCS.rglob("*.md") if DOCS / "_build" not in page.parents),
]


def name_of(page):
    return str(page.relative_to(ROOT))


BLOCKS = [
    pytest.param(block, id=f"{name_of(page)}-{i}")
    for page in PAGES
    for i, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_code_in_the_docs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "import torch" in block:
        pytest.importorskip("torch")
    exec(compile(block, "docs", "exec"), {"__name__": "docs"})


def test_the_notebooks_of_the_course(capsys):
    page = (DOCS / "newcomers.md").read_text()
    names, checked, other = {}, 0, []
    for cell in re.findall(r"```{code-cell} python\n(.*?)```", page, re.DOTALL):
        lines = cell.splitlines()
        for statement in ast.parse(cell).body:
            exec(compile(ast.Module([statement], []), "newcomers", "exec"), names)
            printed, line = capsys.readouterr().out, lines[statement.end_lineno - 1]
            if not printed or "  # " not in line:
                continue
            found, expected = (
                np.asarray([float(x) for x in re.findall(r"-?\d+\.\d*", text)])
                for text in (printed, line.partition("  # ")[2])
            )
            if "the course" in line:
                other.append((found, expected))
            else:  # as many digits as are printed
                np.testing.assert_allclose(found, expected, rtol=0, atol=5.1e-9)
                checked += 1
    assert checked == 12
    ((ours, theirs),) = other  # the check whose AL does not belong to its Z2
    np.testing.assert_allclose(ours, [0.41642713, 0.78862847, 0.43650985], rtol=0, atol=5.1e-9)
    np.testing.assert_allclose(theirs[0] / ours[0], theirs[2] / ours[2], rtol=5e-8)
    assert names["costs"][-1] < 0.02
    assert names["two_layer_costs"][-1] < 0.06


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_toml_in_the_docs(page):
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL):
        Declaration.from_toml(block, page.name).complete(1)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_to_files(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_site_has_every_page():
    entries = {DOCS / "index"}
    for page in PAGES[1:]:
        for block in re.findall(r"```{toctree}\n(.*?)```", page.read_text(), re.DOTALL):
            names = [line for line in block.split() if re.fullmatch(r"[\w/-]+", line)]
            entries |= {page.parent / name for name in names}
    assert {page.with_suffix("") for page in PAGES[1:]} <= entries


def test_the_reference_has_every_public_name():
    index = (DOCS / "api" / "index.md").read_text()
    listed = re.findall(r"^   ~(portadnn\S+)\.(\w+)$", index, re.MULTILINE)
    assert sorted(name for _, name in listed) == sorted(portadnn._HOME_OF)
    rooms = "".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    for home, name in listed:
        documented = f".. automodule:: {home}\n", f".. autoclass:: {home}.{name}\n"
        assert any(text in rooms for text in documented), name


def test_the_start_page_says_how_to_install_and_begins_with_an_example():
    text = (DOCS / "index.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert text.index("pip install .") < text.index(block) < text.index("{toctree}")
    said = float(re.search(r"accuracy\)  # ([\d.]+)$", block, re.MULTILINE)[1])
    namespace = {}
    exec(block.replace("dnn.save_model", "None and dnn.save_model"), namespace)  # writes nothing
    accuracy = portadnn.evaluate(namespace["model"], namespace["test"]).accuracy
    assert round(accuracy, 3) == said


def test_the_readme_shows_its_code_on_the_first_screen():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert lines.index("```python") < 25
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(block.splitlines()) <= 16
