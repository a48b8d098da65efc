"""What benchmarks/house.py counts in sources, by `ast` and `tokenize` alone."""

import ast
import io
import math
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

Function = ast.FunctionDef | ast.AsyncFunctionDef
Graph = Mapping[str, set[str]]

NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
"""Tokens that make no line a line of code."""


def num_lines(files: Iterable[Path]) -> int:
    """Return the lines of files, blank ones and comments included."""
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)


def body_lengths(source: str) -> dict[str, int]:
    """Return the lines of code in the body of every function, by name and line.

    Docstrings, comments and blank lines do not count. A function within another counts in both. Functions of nothing
    but a docstring are left out.
    """
    code = _code_lines(source)
    lengths = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = {line for statement in body for line in _lines(statement)} & code
            if lines:
                lengths[f"{node.name}:{node.lineno}"] = len(lines)
    return lengths


def _code_lines(source: str) -> set[int]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {line for x in tokens if x.type not in NO_CODE for line in range(x.start[0], x.end[0] + 1)}


def _lines(statement: ast.stmt) -> range:
    first = min([statement.lineno, *(x.lineno for x in getattr(statement, "decorator_list", []))])
    return range(first, (statement.end_lineno or first) + 1)


def percentile(values: Iterable[int], share: float) -> int:
    """Return the smallest value that at least this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def trainer_methods(source: str) -> set[str]:
    """Return the names of the methods that trainers define, `__init__` left out.

    A trainer is a class whose name, or the name of one of its bases, ends with `Trainer`.
    """
    classes = [x for x in ast.walk(ast.parse(source)) if isinstance(x, ast.ClassDef)]
    trainers = [x for x in classes if any(name.endswith("Trainer") for name in (x.name, *map(ast.unparse, x.bases)))]
    methods = {member.name for x in trainers for member in x.body if isinstance(member, Function)}
    return methods - {"__init__"}


class Imports(NamedTuple):
    """Names that a module imports, those under `TYPE_CHECKING` left out.

    Args:
        at_once: When the module is imported.
        in_functions: When a function is called.
    """

    at_once: set[str]
    in_functions: set[str]


def imports_of(source: str, module: str, *, is_package: bool = False) -> Imports:
    """Return what a module imports: `a.b` for `import a.b`, and `a.b.c` for `from a.b import c`.

    Args:
        source: Text of the module.
        module: Its full name, which relative imports start from.
        is_package: Whether the text is that of an `__init__.py`.
    """
    package = module.split(".") if is_package else module.split(".")[:-1]
    imports = Imports(set(), set())
    for node, is_in_function in _walk(ast.parse(source), is_in_function=False):
        names = imports.in_functions if is_in_function else imports.at_once
        if isinstance(node, ast.Import):
            names.update(x.name for x in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            home = ".".join([*start, *([node.module] if node.module else [])])
            names.update(f"{home}.{x.name}" for x in node.names)
    return imports


def _walk(node: ast.AST, *, is_in_function: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Yield all nodes but those under `if TYPE_CHECKING`, and whether they are within a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            rest = ast.Module(child.orelse, [])
            yield from _walk(rest, is_in_function=is_in_function)
            continue
        yield child, is_in_function
        yield from _walk(child, is_in_function=is_in_function or isinstance(child, Function | ast.Lambda))


def own_imports(names: Iterable[str], modules: Iterable[str]) -> set[str]:
    """Return the modules among `modules` that imported names are or lie in; others' packages have none."""
    known = set(modules)
    homes = (name if name in known else name.rpartition(".")[0] for name in names)
    return {home for home in homes if home in known}


def circles(graph: Graph) -> list[list[str]]:
    """Return the strongly connected components of more than one module, and modules that import themselves."""
    reached = {module: _reachable(graph, module) for module in graph}
    found = {tuple(sorted({x for x in reached[module] if module in reached[x]})) for module in graph}
    return sorted(list(circle) for circle in found if circle)


def _reachable(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting.extend(graph[module])
    return seen


def layer_ranks(text: str) -> dict[str, int]:
    """Return the rank of every module of import-linter's `layers`, 0 for the uppermost."""
    ranks = {}
    for rank, line in enumerate(line for line in text.splitlines() if line.strip()):
        for name in line.replace("|", ":").split(":"):
            ranks[name.strip(" ()")] = rank
    return ranks


def upward_imports(graph: Graph, ranks: Mapping[str, int], root: str) -> list[str]:
    """Return the imports that lead to a higher layer, as `a -> b`; the root package stands above all layers.

    Args:
        graph: What each module imports.
        ranks: Of the children of the root package, 0 for the uppermost.
        root: Name of that package.

    Raises:
        ValueError: A module has no layer.
    """

    def rank(module: str) -> int:
        if module == root:
            return -1
        if (child := module.split(".")[1]) not in ranks:
            raise ValueError(f"{module} has no layer; every module must have one. Add {child} to setup.cfg's layers.")
        return ranks[child]

    pairs = [(one, other) for one, others in graph.items() for other in others]
    return sorted(f"{one} -> {other}" for one, other in pairs if rank(other) < rank(one))
