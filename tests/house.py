"""The rules of the house as pure functions: source text in, complaints out. `test_house` applies them.

A complaint is one line that names the place and the rule. An empty list means that the rule is kept.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

# A layer imports only those above it. `project` is the facade; `__init__` and `__main__` are its doors.
LAYERS = (
    "errors",
    "model",
    "config",
    "executors",
    "storage",
    "kernels",
    "records",
    "formats",
    "catalog",
    "iterators",
    "snapshots",
    "relay",
    "diff",
    "cycle",
    "schedule",
    "project",
    "server",
    "client",
    "sinks",
    "runtime",
    "testing",
    "cli",
)
# Layers that may import less than what is above them.
NARROW = {"client": {"errors", "model", "storage", "records", "formats"}}
DOORS = {"__init__", "__main__"}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
LINES_MAX = 400

BYPASSES = {
    "differ/catalog/engine.py": "makes the empty database file, private from the start; SQLite does the rest by itself",
    "differ/catalog/locks.py": "lock files hold nothing that is read after a crash",
    "differ/runtime/control.py": "a socket",
    "differ/runtime/ask.py": "a socket",
    "differ/storage/spill.py": "rows put aside during a cycle, thrown away with it; Arrow writes them",
    "differ/iterators/scan.py": "rows put aside during a scan, thrown away with it; Arrow writes them",
    "differ/client/deadletters.py": "opens and appends to its file by itself, and announces each step to the seam",
    "differ/kernels/build.py": "runs when differ is installed",
    "differ/cli/outfile.py": "a file for the user of a command, with the mode of the user's umask",
    "differ/cli/init.py": "the files of a new project, which are the user's own",
    "differ/iterators/scaffold.py": "a new plugin, which is the user's own",
    "differ/config/reference.py": "makes the pages of the documentation",
    "differ/cli/reference.py": "makes the pages of the documentation",
    "differ/sinks/reference.py": "makes the pages of the documentation",
    "differ/cli/scaffold/demo/shop.py": "the shop of the demo is no part of differ",
}
"""Who touches files without the seam, and why that is right. differ/storage is the seam."""

_OS = {
    "rename", "replace", "renames", "unlink", "remove", "removedirs", "rmdir", "mkdir", "makedirs", "truncate",
    "ftruncate", "link", "symlink", "fsync", "fdatasync", "write", "pwrite", "writev", "sendfile", "copy_file_range",
}  # fmt: skip
_SHUTIL = {"rmtree", "move", "copy", "copy2", "copyfile", "copyfileobj", "copytree"}
_PATH = {"write_text", "write_bytes", "unlink", "rmdir", "mkdir", "symlink_to", "hardlink_to"}
_FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND"}


def layer_of(path: str) -> str:
    """Return the layer that a file of the package belongs to: `differ/relay/segment.py` -> `relay`."""
    return PurePosixPath(path).parts[1].removesuffix(".py")


def module_of(path: str) -> tuple[str, ...]:
    """Return the dotted name of a file as a tuple: `differ/relay/__init__.py` -> ("differ", "relay")."""
    parts = PurePosixPath(path).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(source: str, path: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield line and dotted name of everything imported, anywhere in the file and also by `import_module`."""
    module = module_of(path)
    package = module if path.endswith("__init__.py") else module[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = (*start, *(node.module.split(".") if node.module else ()))
            for alias in node.names:
                yield node.lineno, (*base, alias.name)
        elif isinstance(node, ast.Call) and call_name(node).endswith("import_module"):
            for argument in node.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield node.lineno, tuple(argument.value.split("."))


def layer_complaints(source: str, path: str) -> list[str]:
    """Complain of imports that go down, sideways into a door, or out of a narrow layer's few."""
    layer = layer_of(path)
    if layer in DOORS:
        return []
    if layer not in LAYERS:
        return [f"{path}: {layer} is in no layer"]
    allowed = NARROW.get(layer, set(LAYERS[: LAYERS.index(layer)])) | {layer}
    complaints = []
    for line, name in imports(source, path):
        if name[0] != "differ" or name == ("differ", "__version__"):
            continue
        # Any other name that `differ` itself offers comes from the facade.
        target = name[1] if len(name) > 1 and name[1] in LAYERS else "project"
        if target not in allowed:
            complaints.append(f"{path}:{line}: {layer} must not import {'.'.join(name)}")
    return complaints


def print_complaints(source: str, path: str) -> list[str]:
    """Complain of output outside the command line."""
    if layer_of(path) == "cli":
        return []
    banned = {"print", "click.echo", "click.secho", "echo", "secho", "rich.print"}
    banned |= {"sys.stdout.write", "sys.stderr.write"}
    return [
        f"{path}:{node.lineno}: {call_name(node)}() outside differ/cli"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and call_name(node) in banned
    ]


def environment_complaints(source: str, path: str) -> list[str]:
    """Complain of reading the environment outside the configuration."""
    if layer_of(path) == "config":
        return []
    names = {"environ", "environb", "getenv", "getenvb"}
    complaints = []
    for node in ast.walk(ast.parse(source)):
        reads = isinstance(node, ast.Attribute) and node.attr in names and dotted(node.value) == "os"
        takes = (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and any(alias.name in names for alias in node.names)
        )
        if reads or takes:
            complaints.append(f"{path}:{node.lineno}: reads the environment outside differ/config")
    return complaints


def storage_complaints(source: str, path: str) -> list[str]:
    """Complain of files that are changed outside differ/storage, but for those of BYPASSES."""
    if path.startswith("differ/storage/files.py") or path in BYPASSES:
        return []
    return [
        f"{path}:{node.lineno}: {call_name(node) or 'this call'}() does not pass differ/storage"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and _changes_files(node)
    ]


def _changes_files(node: ast.Call) -> bool:
    name = call_name(node)
    last = node.func.attr if isinstance(node.func, ast.Attribute) else name
    module, _, function = name.rpartition(".")
    if module == "os":
        return function in _OS or (
            function == "open"
            and dotted(node.args[0]) != "os.devnull"
            and any(_has_flag(argument) for argument in node.args[1:])
        )
    if module == "shutil":
        return function in _SHUTIL
    if last in _PATH:
        return True
    if last in ("rename", "replace") and module != "pc":
        return len(node.args) == 1 and not node.keywords and isinstance(node.func, ast.Attribute)
    if last == "touch":
        return not node.args
    if last in ("open", "OSFile", "fdopen"):
        return any(_is_writing(argument) for argument in (*node.args, *(keyword.value for keyword in node.keywords)))
    return last in ("FileOutputStream", "mkstemp", "NamedTemporaryFile")


def _has_flag(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Attribute) and part.attr in _FLAGS for part in ast.walk(node))


def _is_writing(node: ast.AST) -> bool:
    """Whether it is a mode such as `"wb"`."""
    mode = node.value if isinstance(node, ast.Constant) else None
    return (
        isinstance(mode, str) and 0 < len(mode) <= 3 and set(mode) <= set("rwaxbt+") and bool(set(mode) & set("wax+"))
    )


def is_bypassed(source: str) -> bool:
    """Whether a file needs its place in BYPASSES."""
    return any(isinstance(node, ast.Call) and _changes_files(node) for node in ast.walk(ast.parse(source)))


def docstring_complaints(source: str, path: str) -> list[str]:
    """Complain of a module, or a public function or class at its top level, that has no docstring."""
    tree = ast.parse(source)
    complaints = [] if ast.get_docstring(tree) else [f"{path}: the module has no docstring"]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            overload = any(dotted(decorator).endswith("overload") for decorator in node.decorator_list)
            if not node.name.startswith("_") and not overload and not ast.get_docstring(node):
                complaints.append(f"{path}:{node.lineno}: {node.name} has no docstring")
    return complaints


def file_complaints(source: str, path: str) -> list[str]:
    """Complain of a file whose name says nothing, or that is too long."""
    complaints = []
    if VAGUE_NAMES.intersection(PurePosixPath(path).with_suffix("").parts):
        complaints.append(f"{path}: a name that says nothing")
    if (lines := len(source.splitlines())) > LINES_MAX:
        complaints.append(f"{path}: {lines} lines, more than {LINES_MAX}")
    return complaints


def word_complaints(text: str, path: str) -> list[str]:
    """Complain of notes to self, and of telling people to install a package of another name."""
    patterns = {
        r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b": "a note to self",
        r"pip3? install (?:-\S+ )*[\"']?differ\b(?!-cdc)": "the distribution is called differ-cdc",
    }
    return [
        f"{path}:{text.count(chr(10), 0, found.start()) + 1}: {rule}"
        for pattern, rule in patterns.items()
        for found in re.finditer(pattern, text)
    ]


def lock_complaints(text: str, path: str) -> list[str]:
    """Complain of whatever in a lock is not a name, a version, a marker, a hash or a comment."""
    requirement = re.compile(r"[a-z0-9][a-z0-9._-]*(?:\[[a-z0-9,_-]+\])?==[^\s;/:]+(?: ; [^/:]+)? \\")
    digest = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")
    comment = re.compile(r"\s*#[^/:@]*(?::|\(pyproject\.toml(?::[a-z]+)?\))?[^/@]*")
    return [
        f"{path}:{number}: {line.strip()}"
        for number, line in enumerate(text.splitlines(), start=1)
        if not any(kind.fullmatch(line) for kind in (requirement, digest, comment))
    ]


def wheel_complaints(names: list[str]) -> list[str]:
    """Complain of anything in the wheel beside the package and its metadata, and of what must be there."""
    strays = [
        name for name in names if not re.match(r"differ(?:_cdc-[^/]+\.dist-info)?/", name) or "__pycache__" in name
    ]
    complaints = [f"wheel: {name} does not belong there" for name in strays]
    if "differ/py.typed" not in names:
        complaints.append("wheel: differ/py.typed is missing")
    return complaints


def call_name(node: ast.Call) -> str:
    """Return the dotted name that is called, or "" for something computed."""
    return dotted(node.func)


def dotted(node: ast.expr) -> str:
    """Return the dotted name of an expression, or "" where it is not one."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := dotted(node.value)):
        return f"{base}.{node.attr}"
    return ""


CODE_MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "code", "pty"}
CODE_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "commands.getoutput"}
CODE_CALLS |= {"subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell"}
CODE_CALLS |= {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load"}
CODE_METHODS = {"read_pickle", "to_pickle", "loads_pickle"}
CODE_NOQA = re.compile(r"#\s*noqa:[^#\n]*\bS(?:102|30[1-7]|40[1-3]|506|60[24-79])\b")


def code_complaints(source: str, path: str) -> list[str]:
    """Complain of whatever turns data into code: pickles, eval, exec, shells, YAML with tags; and of silencing ruff."""
    complaints = [
        f"{path}:{line}: imports {name[0]}, which turns bytes into code"
        for line, name in imports(source, path)
        if name[0] in CODE_MODULES
    ]
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = call_name(node)
        if name in CODE_CALLS or name.rpartition(".")[2] in CODE_METHODS:
            complaints.append(f"{path}:{node.lineno}: {name}() turns data into code")
        for keyword in node.keywords:
            is_off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg in ("shell", "allow_pickle") and not is_off:
                complaints.append(f"{path}:{node.lineno}: {name}({keyword.arg}=...)")
    for number, line in enumerate(source.splitlines(), 1):
        if CODE_NOQA.search(line):
            complaints.append(f"{path}:{number}: silences a rule against running data as code")
    return complaints
