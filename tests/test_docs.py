"""The code in README and docs runs as it stands."""

import re
from pathlib import Path

import pytest

from portadnn.cli.run_config import RunConfig, parse_toml

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{i}")
    for page in PAGES
    for i, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_code_in_the_docs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "docs", "exec"), {"__name__": "docs"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_toml_in_the_docs(page):
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL):
        config = RunConfig(**parse_toml(block, page.name))
        config.check()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_shows_its_code_on_the_first_screen():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert lines.index("```python") < 25
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(block.splitlines()) <= 16
