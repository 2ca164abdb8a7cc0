"""Writes type stubs of the modules whose classes are made from grouphead/signatures.json, which no
type checker sees: `python generate_stubs.py FOLDER`. It imports nothing of the package.
"""

import ast
import json
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent / "grouphead"
BASES = {
    "layers": "Layer",
    "initializers": "Initializer",
    "regularizers": "Regularizer",
    "constraints": "Constraint",
    "losses": "Loss",
    "metrics": "Metric",
    "optimizers": "Optimizer",
    "schedules": "LearningRateSchedule",
    "callbacks": "_OfLibrary",
}
OF_EVERY_LAYER = ("activity_regularizer", "trainable", "dtype", "name")


def argument(entry):
    """`use_bias: bool = True`; what may be an object, a name or a list is Any."""
    name, *default = entry
    if not default:
        return f"{name}: Any"
    kind = "bool" if isinstance(default[0], bool) else "Any"
    return f"{name}: {kind} = {default[0]!r}"


def constructor(kind, arguments):
    parts = ["self", *map(argument, arguments)]
    if kind == "layers":
        known = {entry[0] for entry in arguments}
        parts += ["*", *(f"{name}: Any = None" for name in OF_EVERY_LAYER if name not in known)]
    return f"    def __init__({', '.join(part for part in parts)}) -> None: ..."


def function(node, indent=""):
    """A function without its body, Any where it says nothing."""
    for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
        if one.annotation is None and one.arg not in ("self", "cls"):
            one.annotation = ast.Name("Any")
    for one in (node.args.vararg, node.args.kwarg):
        if one is not None and one.annotation is None:
            one.annotation = ast.Name("Any")
    if node.returns is None:
        node.returns = ast.Name("None" if node.name == "__init__" else "Any")
    node.body = [ast.Expr(ast.Constant(...))]
    return [indent + line for line in ast.unparse(ast.fix_missing_locations(node)).splitlines()]


def takes_anything(cls):
    """Whether its arguments are those of the table: it names none itself."""
    made = [one for one in cls.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
    return not made or made[0].args.vararg is not None


def static_class(node, kind, table):
    bases = ", ".join(map(ast.unparse, node.bases))
    lines = [f"class {node.name}({bases}):" if bases else f"class {node.name}:"]
    by_table = node.name in table and takes_anything(node)
    if by_table:
        lines.append(constructor(kind, table[node.name]))
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and not (by_table and member.name == "__init__"):
            lines += function(member, "    ")
        elif isinstance(member, ast.Assign):
            lines += [f"    {target.id}: Any" for target in member.targets]
    return lines if len(lines) > 1 else [lines[0] + " ..."]


def assigned(node):
    """The name that a statement at the top gives a value."""
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return None


def stub(kind):
    table = json.loads((PACKAGE / "signatures.json").read_text(encoding="utf-8"))[kind]
    tree = ast.parse((PACKAGE / f"{kind}.py").read_text(encoding="utf-8"))
    lines = ["from typing import Any", ""]
    defined, listed, aliases = set(), [], {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            lines.append(ast.unparse(node))
            defined |= {name.asname or name.name for name in node.names}
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            lines += function(node)
            defined.add(node.name)
        elif isinstance(node, ast.ClassDef):
            lines += static_class(node, kind, table)
            defined.add(node.name)
        elif assigned(node) == "_aliases":
            aliases = ast.literal_eval(node.value)
        elif assigned(node) == "__all__":
            value = node.value.left if isinstance(node.value, ast.BinOp) else node.value
            listed = ast.literal_eval(value)
        elif isinstance(node, ast.Assign) and not assigned(node).startswith("_"):
            lines.append(ast.unparse(node))
            defined.add(assigned(node))
    for name, arguments in table.items():
        if name not in defined:
            lines += [f"class {name}({BASES[kind]}):", constructor(kind, arguments)]
    lines += [f"{alias} = {name}" for alias, name in aliases.items()]
    defined |= set(table) | set(aliases)
    lines += [
        f"def {name}(inputs: Any, **kwargs: Any) -> Any: ..."
        for name in listed
        if name not in defined
    ]
    lines.append(f"__all__ = {sorted({*listed, *table, *aliases})!r}")
    return "\n".join(lines) + "\n"


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for kind in BASES:
        (folder / f"{kind}.pyi").write_text(stub(kind), encoding="utf-8")


if __name__ == "__main__":
    main()
