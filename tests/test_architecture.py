"""The import direction: who may know whom, and what may be touched where."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1] / "vcm"

# What each package may import of vcm, beside itself. The order is that of the map in vcm/__init__.py.
ALLOWED = {
    "errors": set(),
    "version": set(),
    "core": {"errors"},
    "settings": {"core", "errors"},
    "store": {"core", "errors", "version"},
    "serve": {"store", "core", "errors", "version"},
    "http": {"core", "errors", "version"},
    "hub": {"http", "core", "errors"},
    "oci": {"http", "core", "errors"},
    "install": {"hub", "http", "store", "core", "errors"},
    "mirrors": {"install", "oci", "http", "store", "settings", "core", "errors"},
    "pushing": {"install", "oci", "http", "store", "core", "errors"},
    "resolve": {"install", "hub", "http", "store", "settings", "core", "errors"},
    "connections": {"resolve", "mirrors", "install", "hub", "store", "settings", "core"},
    "session": {"connections", "resolve", "install", "store", "settings", "core", "errors"},
    "downloader": {"session", "resolve", "install", "store", "settings", "core", "errors"},
    "enforce": {"session", "resolve", "store", "settings", "core", "errors"},
    "video": {"core", "errors"},
    "detectors": {"video", "core", "errors"},
    "analysis": {"detectors", "video", "enforce", "store", "core", "errors"},
    "testing": set(),
    "cli": {
        *(
            "analysis",
            "enforce",
            "session",
            "pushing",
            "mirrors",
            "oci",
            "install",
            "serve",
            "store",
            "settings",
            "core",
        ),
        *("errors", "version", "testing"),
    },
    "__init__": {"analysis", "enforce", "downloader", "resolve", "store", "core", "errors", "version"},
    "__main__": {"cli"},
}
# Modules that stand for the outside world, and the only packages that may touch them.
OUTSIDE = {
    "requests": {"http"},
    "urllib3": {"http"},
    "ssl": {"http"},
    "socket": {"serve", "testing"},
    "http": {"http", "serve", "testing"},
    "tqdm": {"cli"},
    "typer": {"cli"},
    "filelock": {"store"},
    "platformdirs": {"settings"},
    "time": {"http", "hub", "oci", "serve", "store", "install", "session", "enforce", "cli", "testing", "downloader"},
    "datetime": {"resolve", "testing", "core", "store", "downloader", "enforce"},
    "logging": {"enforce", "analysis", "cli"},
    "subprocess": {"oci", "store", "cli"},
    "tempfile": {"cli", "store"},
    "shutil": {"store", "cli"},
    "fcntl": {"store"},
    "av": {"video"},
    "numpy": {"video", "detectors"},
    "PIL": {"detectors"},
    "onnxruntime": {"detectors"},
    "safetensors": {"detectors"},
    "tokenizers": {"detectors"},
    "transformers": {"detectors"},
    "torch": {"detectors"},
    "huggingface_hub": {"detectors"},
}
# The rules touch nothing: no disk, no clock, no environment, no log.
PURE = {"os", "io", "pathlib", "random", "threading", *OUTSIDE}
# But what is recorded of a model, as published, holds a path and a date: values, of which nothing is asked.
VALUES = {name: {"datetime", "pathlib"} for name in ("entries.py", "installed.py")}
# Where an import may wait until it is used, because the gate must start fast.
LAZY = {"__main__", "cli", "settings", "store", "install", "session", "enforce", "analysis", "core", "detectors"}

MODULES = sorted(ROOT.rglob("*.py"))


def package_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


@cache
def nodes_of(path: Path) -> list[tuple[ast.Import | ast.ImportFrom | ast.Attribute, bool]]:
    """What the rules look at in a file, and whether it stands in a function."""
    found = []
    left: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_text(encoding="utf-8")), False)]
    while left:
        node, is_inside = left.pop()
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Attribute):
            found.append((node, is_inside))
        is_inside = is_inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        left += ((child, is_inside) for child in ast.iter_child_nodes(node))
    return found


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every imported module of a file with its line, those inside functions too."""
    for node, _ in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            assert node.module is not None
            if node.module == "vcm":
                yield from ((f"vcm.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno


def test_imports_go_in_one_direction() -> None:
    wrong = []
    for path in MODULES:
        package = package_of(path)
        for module, line in imports(path):
            top, _, rest = module.partition(".")
            where = f"{path}:{line}: "
            if top == "vcm":
                if (imported := rest.partition(".")[0]) != package and imported not in ALLOWED[package]:
                    wrong.append(f"{where}{package} imports {module}")
                continue
            if package not in OUTSIDE.get(top, {package}):
                wrong.append(f"{where}{package} imports {module}")
            if package in ("core", "errors", "version") and top in PURE - VALUES.get(path.name, set()):
                wrong.append(f"{where}the rules import {module}")
            if package == "testing" and top not in sys.stdlib_module_names:
                wrong.append(f"{where}the simulator needs {module}")
    assert wrong == []


def test_no_permission_is_left_over() -> None:
    used = {
        (package_of(path), module.removeprefix("vcm.").partition(".")[0])
        for path in MODULES
        for module, _ in imports(path)
    }
    granted = {(package, module) for package, modules in ALLOWED.items() for module in modules}
    granted |= {(package, module) for module, packages in OUTSIDE.items() for package in packages}
    assert granted - used == set()


def test_an_import_waits_only_where_it_pays() -> None:
    assert [
        f"{path}:{node.lineno}"
        for path in MODULES
        if package_of(path) not in LAZY
        for node, is_inside in nodes_of(path)
        if is_inside and not isinstance(node, ast.Attribute)
    ] == []


def test_the_environment_has_one_reader() -> None:
    # The tour hands its environment on to the commands it runs.
    readers = {"settings.py", "cli/demo.py"}
    assert [
        f"{path}:{node.lineno}"
        for path in MODULES
        if path.relative_to(ROOT).as_posix() not in readers
        for node, _ in nodes_of(path)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    ] == []


def test_no_module_is_a_drawer() -> None:
    assert not [path for path in MODULES if path.stem in ("utils", "util", "helpers", "common", "misc")]


def test_every_package_is_on_the_map() -> None:
    assert {package_of(path) for path in MODULES} <= set(ALLOWED)
    docstring = ast.get_docstring(ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert all(name in docstring for name in ALLOWED if not name.startswith("__"))
