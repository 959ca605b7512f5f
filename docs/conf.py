"""The site that scripts/docs builds: furo, and myst-nb, which runs every code cell at the build."""

import logging
import os
import sys
from functools import partialmethod
from pathlib import Path

from nbclient import NotebookClient

import portadnn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

# the kernel's settings are these and not the user's; Figures are shown without pyplot
os.environ["IPYTHONDIR"] = str(HERE / "_build" / "ipython")
profile = HERE / "_build" / "ipython" / "profile_default"
profile.mkdir(parents=True, exist_ok=True)
(profile / "ipython_kernel_config.py").write_text(
    """c.IPKernelApp.matplotlib = "inline"
c.IPKernelApp.log_level = "ERROR"
c.InlineBackend.print_figure_kwargs = {"dpi": 144, "bbox_inches": None}
c.HistoryManager.enabled = False
"""
)
# a cold, busy machine took more than nbclient's 60 s to start a kernel; myst-nb has no setting
NotebookClient.__init__ = partialmethod(NotebookClient.__init__, startup_timeout=300)
logging.getLogger("traitlets").setLevel(logging.WARNING)  # not a line for each page

project = "portadnn"
release = portadnn.__version__
copyright = "the authors of portadnn"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "source_of",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"portadnn {release}"
html_copy_source = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # the links within a page are those of GitHub

nitpicky = True  # a link to a function that is not in the reference is an error
nitpick_ignore_regex = [("py:class", ".*")]  # the words of a docstring's types

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120  # seconds, a cell
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say shapes and dtypes
autosummary_generate = False
napoleon_google_docstring = False
# the types say shapes, "array, shape (n_l, m)": words, not names to link
napoleon_use_param = napoleon_use_rtype = False
napoleon_use_ivar = True
suppress_warnings = ["myst.header"]  # measurements are printed by scripts, tables under ###


def tables_as_they_are(app, what, name, obj, options, lines):
    """The tables of the docstrings, drawn with bars, as blocks of fixed width."""
    found, inside = [], False
    for line in lines:
        row = line.lstrip().startswith("|")
        if row and not inside:
            found += ["::", ""]
        elif inside and not row:
            found.append("")
        found.append(f"    {line}" if row else line)
        inside = row
    lines[:] = found


def setup(app):
    app.connect("autodoc-process-docstring", tables_as_they_are)
