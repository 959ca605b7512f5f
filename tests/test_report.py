"""The HTML report: what it says, what it must not load, and how a browser renders it."""

import math
import re
import shutil
import subprocess
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from portadnn.backends import get_backend
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.spec import Network
from portadnn.parity.causes import Cause
from portadnn.parity.compare import judge, sampled_steps
from portadnn.parity.run import Run, watch
from portadnn.parity.step.kinks import Kink
from portadnn.plots import ratio_map, to_svg
from portadnn.report import sections, write_report
from portadnn.training.declaration import Declaration

HOSTILE = """<script>alert(1)</script>"'&<img src=http://evil.example/x.png onerror=alert(2)>"""
STEPS = 6


@pytest.fixture(scope="module")
def records():
    rng = np.random.default_rng(0)
    network = Network((20, 7, 5, 1))
    X, Y = rng.standard_normal((20, 16)), rng.integers(0, 2, (1, 16)).astype(float)
    parameters, declaration = (
        initialize_parameters_deep(network.layer_dims),
        Declaration(learning_rate=0.05),
    )
    run = Run(network, parameters, X, Y, declaration, STEPS)
    return run, list(watch(run, get_backend("numpy"), range(STEPS)))


def compared(records, names=("numpy", "torch"), checked=range(STEPS)):
    run, stream = records
    environments = [{"library": f"{name} 1.0", "device": "cpu"} for name in names]
    stream = [record for record in stream if record.step in checked]
    return judge(
        run,
        names,
        environments,
        [stream] * len(names),
        modes=[None] * len(names),
    )


def failed(records, names=("numpy", "torch")):
    """The second backend forgets 1/m in dW2 from step 3 on; the comparison and the cause."""
    run, stream = records
    broken = [
        replace(r, tensors={**r.tensors, "dW2": r.tensors["dW2"] * (16 if r.step >= 3 else 1)})
        for r in stream
    ]
    environments = [{"library": name} for name in names]
    modes = [None, None]
    return judge(run, names, environments, [stream, broken], modes=modes)


def written(tmp_path, comparison):
    path = tmp_path / "report.html"
    write_report(comparison, path)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]  # nothing half written is left
    return path.read_text(encoding="utf-8")


class Page(HTMLParser):
    """The headings, the tables by the heading above them, the text, and every tag."""

    def __init__(self, text):
        super().__init__()
        self.headings, self.tables, self.tags, self.text = [], {}, [], ""
        self._inside = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside.append(tag)
        if tag == "tr" and "svg" not in self._inside:
            self.tables.setdefault(self.headings[-1], []).append([])
        if tag in ("th", "td"):
            self.tables[self.headings[-1]][-1].append("")

    def handle_endtag(self, tag):
        while tag in self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" in self._inside:
            return
        self.text += data
        if self._inside and self._inside[-1] in ("h1", "h2"):
            self.headings.append(data)
        if self._inside and self._inside[-1] in ("th", "td"):
            self.tables[self.headings[-1]][-1][-1] += data


def rows(page, heading):
    """A table as a dict of its rows, by their first cell."""
    return {first: rest for first, *rest in page.tables[heading]}


SECTIONS = [
    "First divergence",
    "Backends",
    "Error against bound",
    "Effective bits of products",
    "Kink ledger",
    "Environments",
    "The run",
]


def test_parity_is_reported(records, tmp_path):
    comparison = compared(records)
    comparison.noise = {"numpy": {"repeat": 0.0, "threads": 1.5e-7}, "torch": {"repeat": None}}
    comparison.certificates[0].mode_mismatch = False
    page = Page(written(tmp_path, comparison))
    assert page.headings == ["numpy and torch", *SECTIONS]
    assert "PARITY Every operation that was checked lies within" in page.text
    backends = rows(page, "Backends")
    assert backends["verdict"] == ["PARITY", "PARITY"]
    assert backends["steps checked in full"] == ["6", "6"]
    assert backends["operations checked"] == [str(len(c.checks)) for c in comparison.certificates]
    largest = comparison.certificates[0].largest
    assert backends["largest error / bound"][0].startswith(f"{largest.ratio:.3g} ({largest.tensor}")
    assert backends["watched = unwatched"] == ["bit for bit", "not tried"]
    assert backends["noise floor, repeat"] == ["0", "–"]
    assert backends["noise floor, threads"] == ["1.5e-07", "–"]
    assert {"Z1", "dW3", "db2", "dA1"} <= rows(page, "Effective bits of products").keys()
    assert rows(page, "Environments")["library"] == ["numpy 1.0", "torch 1.0"]
    assert rows(page, "The run")["layers"] == ["20, 7, 5, 1"]
    assert sum(tag == "svg" for tag, _ in page.tags) == 2
    assert "MISMATCH" not in page.text


def test_a_divergence_is_told_in_words_with_its_cause(records, tmp_path):
    comparison = failed(records)
    comparison.certificates[1].mode_mismatch = True
    page = Page(written(tmp_path, comparison))
    assert "DIVERGED An operation lies beyond" in page.text
    assert "DIVERGED step 3, layer 2, dW2[" in page.text
    assert "missing 1/m: dW2 was not divided by m = 16." in page.text
    assert "What to do: Divide by m." in page.text
    assert "torch: MODE MISMATCH: an unwatched run ended with other" in page.text
    assert rows(page, "Backends")["verdict"] == ["PARITY", "DIVERGED"]
    assert rows(page, "Backends")["watched = unwatched"][0] == "not tried"
    comparison.certificates[1].cause = None
    assert "No known cause fits its numbers" in Page(written(tmp_path, comparison)).text


def test_the_first_failure_of_all_is_told_first(records, tmp_path):
    run, stream = records
    late, early = (
        [replace(r, tensors={**r.tensors, "Z1": r.tensors["Z1"] + (r.step >= step)})
         for r in stream]
        for step in (4, 2)
    )  # fmt: skip
    comparison = judge(
        run,
        ["late", "early"],
        [{}, {}],
        [late, early],
        modes=[None, None],
    )
    text = Page(written(tmp_path, comparison)).text
    assert 0 < text.index("DIVERGED step 2") < text.index("DIVERGED step 4")


def kinks(count, second=-2e-7):
    return [Kink(i, 2, 1, 5, 1e-9, second, 1e-6, ("numpy", "torch")) for i in range(count)]


def test_the_ledger_has_every_kink_up_to_a_limit(records, tmp_path):
    comparison = compared(records)
    comparison.kinks = kinks(3)
    page = Page(written(tmp_path, comparison))
    assert (
        "First mask disagreement at step 0, layer 2, unit 1, sample 5: 3 in all, each" in page.text
    )
    ledger = page.tables["Kink ledger"]
    assert ledger[3] == [
        "2", "2", "1", "5", "numpy – torch", "1e-09", "-2e-07", "1e-06", "undecidable",
    ]  # fmt: skip
    comparison.kinks = kinks(sections.MOST_ROWS + 7)
    page = Page(written(tmp_path, comparison))
    assert len(page.tables["Kink ledger"]) == 1 + sections.MOST_ROWS
    assert "The first 500 of 507; 7 are left out." in page.text


def test_a_mask_that_nothing_explains_is_a_divergence(records, tmp_path):
    comparison = compared(records)
    comparison.kinks = kinks(1, second=-1.0)
    text = Page(written(tmp_path, comparison)).text
    assert "DIVERGED The masks of two backends differ where no rounding error explains it" in text
    assert "UNEXPLAINED MASK step 0, layer 2" in text


def test_one_backend_alone_and_some_steps(records, tmp_path):
    page = Page(written(tmp_path, compared(records, ["numpy"], sampled_steps(STEPS))))
    assert page.headings[0] == "numpy"
    assert "Kink ledger" not in page.headings
    assert rows(page, "The run")["checked"] == ["in full 0, 1, 2, 5"]


def test_three_backends_and_one_that_is_exact(records, tmp_path):
    comparison = compared(records, ["numpy", "torch", "jax"])
    exact = comparison.certificates[2]
    exact.checks[:] = [replace(c, ratio=0.0, bits=math.inf) for c in exact.checks]
    exact.checks[:] = [replace(c, bits=None) if c.tensor == "Z1" else c for c in exact.checks]
    page = Page(written(tmp_path, comparison))
    assert page.headings[0] == "numpy, torch, jax"
    assert "Exact at every step: " in page.text
    assert rows(page, "Effective bits of products")["Z1"][2] == "–"
    assert rows(page, "Effective bits of products")["dW1"][2] == "exact"


def test_nothing_checked_in_full_is_said(records, tmp_path):
    comparison = compared(records, ["numpy"])
    comparison.certificates[0].checks.clear()
    page = Page(written(tmp_path, comparison))
    assert "No step was checked in full." in page.text
    assert rows(page, "Backends")["largest error / bound"] == ["–"]


def hostile(records):
    comparison = failed(records, (HOSTILE, f"{HOSTILE}2"))
    comparison.certificates[0].environment[HOSTILE] = HOSTILE
    comparison.certificates[0].dtype = comparison.certificates[0].matmul = HOSTILE
    comparison.certificates[0].mode_mismatch = True
    comparison.noise = {HOSTILE: {HOSTILE: 1.0}}
    comparison.kinks = [replace(kink, backends=(HOSTILE, HOSTILE)) for kink in kinks(2, -1.0)]
    for certificate in comparison.certificates:
        if certificate.cause:
            certificate.cause = Cause(HOSTILE, HOSTILE, HOSTILE)
    return comparison


def test_names_that_are_markup_stay_text(records, tmp_path):
    comparison = hostile(records)
    text = written(tmp_path, comparison)
    page = Page(text)
    assert HOSTILE in page.text
    assert not [tag for tag, _ in page.tags if tag in ("script", "img", "iframe", "object", "link")]
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert "<script" not in text


def test_nothing_outside_the_file_is_referred_to(records, tmp_path):
    comparison = failed(records)
    text = written(tmp_path, comparison)
    links = [
        value
        for _, attrs in Page(text).tags
        for name, value in attrs.items()
        if name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster")
    ]
    assert links  # the figures refer to their own parts
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_no_id_stands_twice(records, tmp_path):
    page = Page(written(tmp_path, compared(records)))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids)) > 0


def test_the_same_comparison_gives_the_same_bytes(records, tmp_path):
    comparison = compared(records)
    assert written(tmp_path, comparison) == written(tmp_path, comparison)


def test_a_report_that_cannot_be_made_leaves_the_old_one(records, tmp_path):
    (tmp_path / "report.html").write_text("old")
    comparison = compared(records)
    comparison.certificates[0].checks[0] = None
    with pytest.raises(AttributeError):
        write_report(comparison, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "old"


@pytest.mark.parametrize("worst", [0.0, 0.5, 3.0, np.inf])
def test_the_map_marks_what_failed(worst):
    figure = ratio_map([(0, "Z1", 0.1), (0, "A1", 0.0), (7, "Z1", worst), (7, "A1", 0.2)])
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Z1", "A1"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "7"]
    crosses = [line.get_xydata().tolist() for line in axes.lines]
    assert crosses == ([[[1.0, 0.0]]] if worst > 1 else [])
    shown = axes.images[0].get_array()
    assert shown.mask.tolist() == [[False, worst == 0], [True, False]]
    assert to_svg(figure, "a").startswith("<svg ")


def test_what_is_within_the_bound_is_blue_and_only_what_is_beyond_is_red():
    figure = ratio_map([(0, "Z1", 1e-9), (0, "A1", 0.99), (0, "dW1", 1.0), (0, "db1", 1.01)])
    image = figure.axes[0].images[0]
    for red, green, blue, _ in image.to_rgba(image.get_array())[:3, 0]:
        assert blue > green > red
    red, green, blue, _ = image.to_rgba(image.get_array())[3, 0]
    assert red > 2 * max(green, blue)


def test_labels_can_be_read_on_a_phone():
    """The least width of a figure, below which it scrolls, makes every letter 11 pixels high."""
    style = (Path(sections.__file__).parent / "style.css").read_text()
    pixels = 16 * float(re.search(r"svg {[^}]*min-width: ([\d.]+)rem", style)[1])
    figure = ratio_map([(step, "dW1", 0.5) for step in range(50)])
    figure.draw_without_rendering()
    scale = pixels / (72 * figure.get_figwidth())
    for axes in figure.axes:
        labels = [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label]
        assert min(label.get_fontsize() for label in labels if label.get_text()) * scale >= 11


def browser(tmp_path, path, *options):
    """What Chromium makes of a page: its DOM, and what it logged on the console."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if program is None:
        pytest.skip("no Chromium here (apt-get install chromium)")
    quiet = ["--disable-gpu", "--disable-background-networking", "--disable-sync"]
    done = subprocess.run(
        [program, "--headless", "--no-sandbox", *quiet, "--no-first-run", "--enable-logging=stderr",
         "--v=0", f"--user-data-dir={tmp_path / 'profile'}", *options, "--dump-dom",
         path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_a_browser_renders_it_without_complaint(records, tmp_path):
    comparison = hostile(records)
    path = tmp_path / "report.html"
    write_report(comparison, path)
    dom, complaints = browser(tmp_path, path)
    assert complaints == []
    page = Page(dom)
    assert page.headings[1:] == SECTIONS
    assert "DIVERGED An operation lies beyond" in page.text
    assert rows(page, "Backends")["verdict"] == ["DIVERGED", "DIVERGED"]
    assert len(page.tables["Kink ledger"]) == 3
    assert sum(tag == "svg" for tag, _ in page.tags) == 2
    assert "script" not in {tag for tag, _ in page.tags}
    # that the console is heard: the same page with something that its policy refuses
    path.write_text(path.read_text().replace("<main>", "<main><img src='other.png'>"))
    assert any("other.png" in line for line in browser(tmp_path, path)[1])


@pytest.mark.parametrize("width", [390, 1280])
def test_only_tables_and_figures_scroll_sideways(width, records, tmp_path):
    comparison = hostile(records)
    path = tmp_path / "report.html"
    write_report(comparison, path)
    # a frame is as narrow as it is told to be, a window is not
    frame = f'<iframe width={width} height=800 srcdoc="{escape(path.read_text())}"></iframe>'
    measure = (
        "onload = () => { const page = frames[0].document.documentElement;"
        "document.title = [page.clientWidth, page.scrollWidth].join(); }"
    )
    path.write_text(f"<title>,</title>{frame}<script>{measure}</script>")
    dom, _ = browser(tmp_path, path)
    shown, scroll = map(int, re.search("<title>(.*),(.*)</title>", dom).groups())
    assert width - 20 <= shown <= width  # less a scroll bar
    assert scroll <= shown
