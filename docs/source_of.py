"""The directive ``source-of``: the source of a function of the package, without its docstring.

    ```{source-of} portadnn.network.layers.linear_forward
    ```

So a formula stands beside the very lines that compute it; the docstring is in the API reference.
"""

import ast
import inspect
import pkgutil
import textwrap

from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective


def code_of(function) -> str:
    """The lines of a function or a class, but for its docstring."""
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    (definition,) = ast.parse("\n".join(lines)).body
    first = definition.body[0]
    if ast.get_docstring(definition) is not None:
        del lines[first.lineno - 1 : first.end_lineno]
    return "\n".join(lines).rstrip()


class SourceOf(SphinxDirective):
    """``{source-of} portadnn.room.module.name``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        function = pkgutil.resolve_name(name)
        function = getattr(function, "func", function)  # set for a cached property
        self.env.note_dependency(inspect.getfile(function))
        # to its docstring in the API reference; a warning where it has none there
        link = addnodes.pending_xref(
            "", nodes.literal("", name), refdomain="py", reftype="obj", reftarget=name, refwarn=True
        )
        code = code_of(function)
        block = nodes.literal_block(code, code, language="python")
        return [nodes.paragraph("", "", link), block]


def setup(app):
    app.add_directive("source-of", SourceOf)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
