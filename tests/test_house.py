"""Who may import whom (docs/design.md), and that a name means one thing in the whole house."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = (".", "services/producer", "services/sink_function", "services/dashboard")
"""Where the import system finds our modules; see pythonpath in pyproject.toml."""
ABOVE = ("bench", "tests")
"""They may import anything of the house; nothing of it imports them."""
STAND_INS = ("local.x", "local.pubsub", "local.bigquery")
DASHBOARD = "services/dashboard"
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "infra": (),
    "producer": (),
    "operations": ("producer",),
    "sink": (),
    DASHBOARD: (),
    "local.standin": (),
    **dict.fromkeys(STAND_INS, ("local.standin",)),
    "local.machine": ("local.standin", *STAND_INS),
    "local.engine": ("local.standin", *STAND_INS, "local.machine"),
    "local.demo": ("local.standin", *STAND_INS, "local.machine", "local.engine"),
    "local.chaos": (
        *("producer", "operations"),
        *("local.standin", *STAND_INS, "local.machine", "local.engine", "local.demo"),
    ),
}
"""Room: the rooms below it."""


def modules(root: Path) -> dict[str, Path]:
    """Each module of the house by the name that an import gives it."""
    found = {}
    for top in ("infra", "services", "local", *ABOVE):
        for file in sorted((root / top).rglob("*.py")):
            base = max(
                (root / source for source in SOURCES if file.is_relative_to(root / source)),
                key=lambda each: len(each.parts),
            )
            parts = file.relative_to(base).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            if file.is_relative_to(root / DASHBOARD):  # flat: its modules have no package
                name = f"{DASHBOARD}/{name}"
            found[name] = file
    return found


def room(module: str) -> str:
    """The room of a module: a package, or a part of local/."""
    if module.startswith(DASHBOARD):
        return DASHBOARD
    parts = module.split(".")
    if module == "main":  # the entry that Cloud Run functions ask for, at the archive's root
        return "sink"
    return ".".join(parts[:2] if parts[0] == "local" else parts[:1])


def imports(module: str, file: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Modules of the house that `module` names anywhere: in functions and TYPE_CHECKING too."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            stem = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                stem = ".".join([*above, *([stem] if stem else [])])
            whole = [f"{stem}.{alias.name}" for alias in node.names]
            names = [each if each in known else stem for each in whole]
        else:
            continue
        for name in names:
            flat = f"{DASHBOARD}/{name}"
            if module.startswith(DASHBOARD) and flat in known:
                yield flat
            elif name in known:
                yield name


def graph(root: Path) -> dict[str, set[str]]:
    """For each module of the house the modules of the house that it imports."""
    known = modules(root)
    return {name: set(imports(name, file, known)) - {name} for name, file in known.items()}


def upward(root: Path) -> list[str]:
    """Imports that go to a room which is not below."""
    return [
        f"{module} imports {other}"
        for module, others in graph(root).items()
        for other in sorted(others)
        if room(module) not in ABOVE
        if room(other) != room(module) and room(other) not in MAY_IMPORT.get(room(module), ())
    ]


def circles(root: Path) -> list[str]:
    """One circle for each import that closes one."""
    edges, state, path, found = graph(root), dict[str, int](), list[str](), list[str]()

    def visit(module: str) -> None:
        state[module] = 1
        path.append(module)
        for other in sorted(edges[module]):
            if state.get(other) == 1:
                found.append(" -> ".join([*path[path.index(other) :], other]))
            elif other not in state:
                visit(other)
        path.pop()
        state[module] = 2

    for module in edges:
        if module not in state:
            visit(module)
    return found


def twice(root: Path) -> dict[str, list[str]]:
    """Public classes that more than one file outside tests/ defines.

    Each service may have its Settings and SettingsError: deployed apart, they share no code.
    """
    where = defaultdict(list)
    for module, file in modules(root).items():
        if room(module) != "tests":
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    where[node.name].append(str(file.relative_to(root)))
    return {
        name: files
        for name, files in where.items()
        if len(files) > 1 and name not in ("Settings", "SettingsError")
    }


def test_imports_go_down() -> None:
    """A room imports from the rooms below it only; infra/ and services/ nothing of local/."""
    assert upward(ROOT) == []


def test_no_imports_in_a_circle() -> None:
    """No module imports one that needs it in turn, within a room or across."""
    assert circles(ROOT) == []


def test_every_module_is_in_a_room() -> None:
    """A new folder, or a file on the floor of local/, gets a place in MAY_IMPORT first."""
    rooms = {room(name) for name in modules(ROOT)} - {*ABOVE, "local"}
    assert rooms <= set(MAY_IMPORT), "rooms without a rule"
    assert sorted(path.name for path in (ROOT / "local").glob("*.py")) in (
        ["__init__.py"],
        ["__init__.py", "standin.py"],
    )


def test_a_public_class_has_one_meaning() -> None:
    """Two classes of one name are two meanings of one word."""
    assert twice(ROOT) == {}


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("infra/topic.py", "from local.engine import program", "infra.topic imports local.engine"),
        (
            "services/producer/producer/reader.py",
            "import operations.gaps",
            "producer.reader imports operations.gaps",
        ),
        (
            "services/dashboard/app.py",
            "def f(): from sink.rows import columns",
            "services/dashboard/app imports sink.rows",
        ),
        ("local/x/posts.py", "from ..demo import stack", "local.x.posts imports local.demo.stack"),
        ("local/demo/stack.py", "import tests.parts", "local.demo.stack imports tests.parts"),
    ],
)
def test_an_arrow_that_goes_up_is_seen(
    tmp_path: Path, file: str, line: str, complaint: str
) -> None:
    """The reader of imports sees each way of writing one, in each part of the house."""
    others = (
        *("local/engine/__init__.py", "local/engine/program.py", "local/demo/stack.py"),
        *("services/producer/operations/gaps.py", "services/sink_function/sink/rows.py"),
    )
    for path in (*others, "tests/parts.py", file):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / file).write_text(line)
    assert [each.startswith(complaint) for each in upward(tmp_path)] == [True]


def test_a_circle_is_seen(tmp_path: Path) -> None:
    """An import for types alone closes a circle too."""
    (tmp_path / "local" / "demo").mkdir(parents=True)
    (tmp_path / "local/demo/stack.py").write_text("from local.demo.figures import read")
    (tmp_path / "local/demo/figures.py").write_text(
        "if TYPE_CHECKING:\n    from local.demo.stack import LocalStack"
    )
    assert circles(tmp_path) == [
        "local.demo.figures -> local.demo.stack -> local.demo.figures",
    ]


def test_a_name_with_two_meanings_is_seen(tmp_path: Path) -> None:
    """Classes inside functions count; private ones, those of tests/ and `Settings` do not."""
    for folder in ("infra", "local/x", "tests"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "infra/sink.py").write_text("class Sink: ...\nclass Settings: ...\nclass _P: ...")
    (tmp_path / "local/x/sink.py").write_text(
        "def f():\n    class Sink: ...\nclass Settings: ...\nclass _P: ...\nclass Other: ..."
    )
    (tmp_path / "tests/test_sink.py").write_text("class Other: ...")
    assert twice(tmp_path) == {"Sink": ["infra/sink.py", "local/x/sink.py"]}
