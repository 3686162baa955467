"""The rules of the house that a tool can read: who imports whom, how long, and what must not be."""

import ast
import re
import subprocess
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import satlens

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "satlens").rglob("*.py"))
RECIPES = sorted((ROOT / "hooks").glob("*.py"))
CODE = [*PACKAGE, *RECIPES, *sorted((ROOT / "tests").rglob("*.py"))]

ORDER = (
    {"version", "errors"},
    {"conventions", "files"},
    {"resampling", "storage"},
    {"verdicts", "significance"},
    {"zoo"},
    {"models"},
    {"lenses"},
    {"saturation"},
    {"nulls"},
    {"order", "probes", "patching", "exits", "reranking"},
    {"routing", "theory"},
    {"survey"},
    {"report"},
    {"runs"},
    {"claims"},
    {"cli", "pytest_plugin"},
)
"""docs/design.md, "the way the data goes": imports only from sets above, or from the own folder."""
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}


def name_of(path: Path) -> str:
    """satlens/order/tau.py -> satlens.order.tau, a package by its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in PACKAGE}


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Dotted names imported here; ``from a import b`` is a.b where that is a module."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


def top_level(tree: ast.Module) -> Iterator[ast.AST]:
    """Statements run on import: not those inside functions, not under TYPE_CHECKING."""
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        todo.extend(ast.iter_child_nodes(node))


def relative(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda p: str(p.relative_to(ROOT)))


@relative([path for path in PACKAGE if name_of(path) != "satlens"])
def test_a_folder_imports_only_from_folders_above_it(path):
    folder = name_of(path).split(".")[1]
    assert folder in LEVEL, f"{folder} has no place in ORDER: say in docs/design.md where it stands"
    for found in imports(ast.walk(parse(path))):
        parts = found.split(".")
        if parts[0] != "satlens":
            continue
        if len(parts) == 1:
            assert folder == "cli", "import from the module that defines the name, not from satlens"
            continue
        assert parts[1] == folder or LEVEL[parts[1]] < LEVEL[folder], f"{folder} imports {found}"


def test_imports_make_no_circle():
    """Between modules, on import. A package's own __init__ gathers its modules and is left out."""
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    graph = {
        name: {found for found in imports(top_level(parse(path))) if found in MODULES} - packages
        for name, path in MODULES.items()
        if name not in packages
    }
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")


@relative(CODE)
def test_files_and_functions_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            start = node.body[0].lineno
            if ast.get_docstring(node) is not None:
                start = node.body[0].end_lineno + 1
            assert node.end_lineno - start < 50, f"{node.name} is over 50 lines, docstring apart"


@relative([*PACKAGE, *RECIPES])
def test_no_print_no_pickle_no_error_swallowed(path):
    tree = parse(path)
    assert not {"pickle", "joblib", "dill", "cloudpickle"} & set(imports(ast.walk(tree)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("print", "eval", "exec"), f"line {node.lineno}: {called}"
            if called == "torch.load":
                assert "weights_only=True" in ast.unparse(node), f"line {node.lineno} unpickles"
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            reraised = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            assert reraised or not broad, f"line {node.lineno} swallows every error"


@relative(RECIPES)
def test_recipes_stand_alone(path):
    assert not [found for found in imports(ast.walk(parse(path))) if found.startswith("satlens")]


def test_the_public_names_are_sorted_and_there():
    assert list(satlens.__all__) == sorted(satlens.__all__)
    assert len(set(satlens.__all__)) == len(satlens.__all__)
    missing = [name for name in satlens.__all__ if not hasattr(satlens, name)]
    assert not missing


def test_the_version_is_said_once():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.+)$", citation, re.M).group(1) == satlens.__version__
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def tracked() -> list[Path]:
    """Text files under version control."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: nothing says which files belong to the project")
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()]


def test_no_file_names_a_place_on_somebodys_machine():
    """Absolute paths of homes and work folders, and hosts of package registries."""
    pattern = re.compile(
        r"(?<![\w.$}/-])/(?:home|root|Users|work|mnt|tmp/v)/|[A-Z]:\\\\|pypi\.org|pythonhosted\.org"
    )
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in tracked()
        if path != Path(__file__).resolve()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)
