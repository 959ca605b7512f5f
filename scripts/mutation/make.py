"""Mutants of source text: one node of a syntax tree is replaced by another, in one function.

A mutant is named by its module, the number of its node in ``ast.walk`` and the number of the
replacement among those of the node, so the same source makes the same mutants.
"""

import ast
import copy
import importlib
import itertools
from dataclasses import dataclass

MODULES = (
    "portadnn.network.activations", "portadnn.network.examples", "portadnn.network.layers",
    "portadnn.network.losses", "portadnn.network.model", "portadnn.network.optimizers",
    "portadnn.network.penalties", "portadnn.network.powers", "portadnn.training.step",
)  # fmt: skip

OPERATORS = {
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult,), ast.Pow: (ast.Mult,), ast.FloorDiv: (ast.Div,), ast.Mod: (ast.Mult,),
    ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt, ast.LtE), ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,), ast.And: (ast.Or,),
    ast.Or: (ast.And,), ast.BitAnd: (ast.BitOr,),
}  # fmt: skip
FUNCTIONS = {
    "maximum": ("minimum",), "max": ("min", "mean"), "sum": ("mean", "max"), "exp": ("expm1",),
    "log": ("log1p", "log2"), "log1p": ("log", "expm1"), "sqrt": ("square",), "tanh": ("sin",),
    "abs": ("square", "negative"), "multiply": ("divide", "add"), "divide": ("multiply",),
    "zeros_like": ("ones_like",), "full_like": (), "where": (), "matmul": (), "take": (),
    "concat": (), "astype": (),
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """``kind`` of change in a function: ``before`` became ``after``."""

    module: str
    node: int
    choice: int
    function: str
    line: int  # line of the first character of the statement
    kind: str
    before: str
    after: str

    @property
    def key(self):
        """The same for the same mutant of the same source."""
        return f"{self.module}:{self.node}:{self.choice}:{self.before}:{self.after}"

    def __str__(self):
        place = f"{self.module.removeprefix('portadnn.')}.{self.function}:{self.line}"
        return f"{place} {self.kind}: {self.before} -> {self.after}"


def source_tree(module):
    """The syntax tree of a module."""
    with open(importlib.import_module(module).__file__, encoding="utf-8") as file:
        return ast.parse(file.read())


def mutants_of(module):
    """Every mutant of a module, in the order of its source."""
    tree = source_tree(module)
    found = []
    numbers = {node: i for i, node in enumerate(ast.walk(tree))}
    for node, function, statement, names in _mathematics(tree):
        for choice, (kind, new) in enumerate(_replacements(node, names)):
            before, after = (_text(x) for x in (node, new))
            if before != after:
                found.append(Mutant(module, numbers[node], choice, function, statement.lineno,
                                    kind, before, after))  # fmt: skip
    return sorted(found, key=lambda mutant: (mutant.line, mutant.node, mutant.choice))


def mutated_tree(mutant):
    """The module's syntax tree with the node replaced."""
    tree = source_tree(mutant.module)
    target = next(itertools.islice(ast.walk(tree), mutant.node, None))
    names = next(names for node, _, _, names in _mathematics(tree) if node is target)
    _, new = list(_replacements(target, names))[mutant.choice]
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if value is target:
                setattr(parent, field, new)
            elif isinstance(value, list):
                value[:] = [new if x is target else x for x in value]
    return ast.fix_missing_locations(tree)


def _mathematics(tree):
    """Nodes that compute, with the name of their function, their statement and its local names.

    Docstrings, checks of what is given, annotations, and what only makes a text are left out.
    """
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            yield node.value, "the module", node, ()
        elif isinstance(node, ast.FunctionDef):
            yield from _of_function(node, node.name)
        elif isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, ast.FunctionDef):
                    yield from _of_function(part, f"{node.name}.{part.name}")
                elif isinstance(part, ast.AnnAssign) and isinstance(part.value, ast.Lambda):
                    lambda_ = part.value
                    names = tuple(a.arg for a in lambda_.args.args)
                    for inner in ast.walk(lambda_.body):
                        yield inner, f"{node.name}.{part.target.id}", part, names


def _of_function(function, name):
    last = name.rpartition(".")[2]
    if last.startswith(("_check", "check", "__", "usual_rate", "as_", "get_")):
        return
    arguments = [a.arg for a in (*function.args.args, *function.args.kwonlyargs)]
    assigned = [n.id for n in ast.walk(function)
                if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]  # fmt: skip
    names = tuple(dict.fromkeys([*arguments, *assigned]))
    yield from ((node, name, statement, names) for node, statement in _computing(function.body))


def _computing(body):
    for statement in body:
        if isinstance(statement, ast.Raise | ast.FunctionDef | ast.ImportFrom | ast.Import):
            continue
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # a docstring
        if isinstance(statement, ast.Expr) and "_check" in _text(statement.value):
            continue
        blocks = [getattr(statement, field, []) for field in ("body", "orelse")]
        if isinstance(statement, ast.If) and any(isinstance(s, ast.Raise) for s in blocks[0]):
            continue  # a check of what is given
        yield statement, statement
        for field, value in ast.iter_fields(statement):
            if field in ("body", "orelse", "annotation", "target", "targets"):
                continue
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, ast.AST):
                    yield from ((node, statement) for node in _walk(part))
        for block in blocks:
            yield from _computing(block)


def _walk(node):
    """As ``ast.walk``, but not into texts."""
    if isinstance(node, ast.JoinedStr):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _walk(child)


def _replacements(node, names):
    """Kind of change and new node, for everything that can be done to a node."""
    change = lambda **fields: _changed(node, **fields)  # noqa: E731
    if isinstance(node, ast.AugAssign):
        yield "omitted", ast.Pass()
        for op in OPERATORS.get(type(node.op), ()):
            yield "operator", change(op=op())
    elif isinstance(node, ast.Assign) and _is_rebound(node):
        yield "omitted", ast.Pass()
    elif isinstance(node, ast.If):
        yield "condition", change(test=ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
        for i in range(len(node.value.elts) - 1):
            yield "order", change(value=_swapped(node.value, i, i + 1))
    elif isinstance(node, ast.BinOp):
        for op in OPERATORS.get(type(node.op), ()):
            yield "operator", change(op=op())
        yield "omitted", node.left
        yield "omitted", node.right
        if isinstance(node.op, ast.Sub | ast.Div | ast.Pow):
            yield "order", change(left=node.right, right=node.left)
        yield "dtype", _call("float16", node)
        for field in ("left", "right"):
            for other in _others(getattr(node, field), names):
                yield "operand", change(**{field: other})
    elif isinstance(node, ast.UnaryOp):
        yield "omitted", node.operand
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for op in OPERATORS.get(type(node.ops[0]), ()):
            yield "operator", change(ops=[op()])
    elif isinstance(node, ast.BoolOp):
        for op in OPERATORS.get(type(node.op), ()):
            yield "operator", change(op=op())
    elif isinstance(node, ast.IfExp):
        yield "condition", change(test=ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.List) and len(node.elts) == 2:
        yield "order", _swapped(node, 0, 1)
    elif isinstance(node, ast.Attribute) and node.attr == "T":
        yield "operand", node.value
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif _is_call_of_xp(node):
        yield from _calls(node, names)


def _is_call_of_xp(node):
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return called and node.func.attr in FUNCTIONS


def _calls(node, names):
    name, args = node.func.attr, node.args
    for other in FUNCTIONS[name]:
        yield "operator", _changed(node, func=_changed(node.func, attr=other))
    for arg in args[:3]:
        yield "omitted", arg
    if len(args) > 1:
        yield "order", _changed(node, args=[args[1], args[0], *args[2:]])
    if len(args) > 2:
        yield "order", _changed(node, args=[args[0], args[2], args[1]])
    for i, arg in enumerate(args[:3]):
        for other in _others(arg, names):
            yield "operand", _changed(node, args=[*args[:i], other, *args[i + 1 :]])
    for i, keyword in enumerate(node.keywords):
        if keyword.arg == "axis":
            for axis in (0, 1, None):
                new = _changed(keyword, value=ast.Constant(axis))
                rest = node.keywords
                yield "axis", _changed(node, keywords=[*rest[:i], new, *rest[i + 1 :]])
    yield "dtype", _call("float16", node)
    yield "dtype", _call("bfloat16", node)
    if name == "matmul":
        low = [_call("tf32", arg) for arg in args]
        for pair in (low, [low[0], args[1]], [args[0], low[1]]):
            yield "dtype", _changed(node, args=pair)
    if name in ("sum", "matmul"):  # one example or one unit less
        short = _call("all_but_one", args[0]), *(_call("all_but_one_row", a) for a in args[1:])
        yield "off by one", _changed(node, args=list(short))


def _constants(node):
    value = node.value
    if isinstance(value, bool) or value is None:
        if isinstance(value, bool):
            yield "constant", ast.Constant(not value)
    elif isinstance(value, int):
        yield "off by one", ast.Constant(value + 1)
        yield "off by one", ast.Constant(value - 1)
    elif isinstance(value, float):
        yield "constant", ast.Constant(value * 1.001 if value else 0.001)
        yield "constant", ast.Constant(-value if value else 1.0)


def _others(node, names):
    """The two local names after this one, in its place."""
    if not isinstance(node, ast.Name) or node.id not in names:
        return []
    known = [name for name in names if name not in ("xp", "self", "network", "recipe")]
    if node.id not in known:
        return []
    i = known.index(node.id)
    others = [*known[i + 1 :], *known[:i]][:2]
    return [ast.copy_location(ast.Name(other, ast.Load()), node) for other in others]


def _is_rebound(node):
    """``x = f(x)``: without it, x stays what it was."""
    (target,) = node.targets if len(node.targets) == 1 else (None,)
    return isinstance(target, ast.Name) and any(
        isinstance(n, ast.Name) and n.id == target.id for n in ast.walk(node.value)
    )


def _swapped(node, i, j):
    elements = list(node.elts)
    elements[i], elements[j] = elements[j], elements[i]
    return _changed(node, elts=elements)


def _changed(node, **fields):
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _call(name, argument):
    return ast.Call(ast.Name(f"mutant_{name}", ast.Load()), [argument], [])


def _text(node):
    if isinstance(node, ast.If):
        return f"if {ast.unparse(node.test)}"
    if isinstance(node, ast.For):
        return f"for ... in {ast.unparse(node.iter)}"
    return ast.unparse(ast.fix_missing_locations(copy.deepcopy(node)))
