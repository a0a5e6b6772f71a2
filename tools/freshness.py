"""Whether the stored outputs of a notebook belong to the source as it is now: a fingerprint of all that decides them.

It counts the code of the notebook, the code of the modules of sirenbook that it imports, and theirs in turn, and the files that they
name. Prose, comments and docstrings decide no output, so they do not count. It cannot see a path or a module's name that the code
puts together as it runs, a docstring that a cell prints, or what other packages do.
"""
import ast, hashlib, json, re
from collections import namedtuple
from functools import lru_cache

from common import BookError, join, notebooks

PACKAGE = "sirenbook"  # the package beside the notebooks' folder, and the notebook's metadata where the fingerprint is stored
DOCUMENTED = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef

Code = namedtuple("Code", "tree text strings")  # what counts; the same to search for imports; the strings, any of which may name a file

def load(path):
    try: return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e: raise BookError(f"{path.name} is not a notebook: {e}") from None

def is_skipped(source):
    "Whether a cell says `#| eval: false` or `#| notest`, which nbdev_test skips too."
    return bool(re.search(r"^\s*#\s*\|\s*(eval:\s*false|notest)\b", source, re.M | re.I))

def told(node):
    "A syntax tree as text without its empty fields, of which each Python has others."
    if isinstance(node, list): return f"[{' '.join(map(told, node))}]"
    if not isinstance(node, ast.AST): return repr(node)
    return f"{type(node).__name__}({' '.join(f'{k}={told(v)}' for k, v in ast.iter_fields(node) if v is not None and v != [])})"

@lru_cache(None)
def code(source, documented=DOCUMENTED):
    "What counts of a cell or a module: not its comments, nor the docstrings of what is `documented`."
    try: tree = ast.parse(source)
    except SyntaxError:  # a magic of IPython; all its text may count, so only directives and comments on their own lines are left out
        text = re.sub(r"^\s*#.*\n?", "", source, flags=re.M)
        return Code(text, text, tuple(re.findall(r"[\w./-]+", text)))
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node) is not None: node.body = node.body[1:] or [ast.Pass()]
    quiet = "quiet" if re.search(r";\s*(#.*)?$", source) else ""  # a last semicolon hides what the cell gives
    strings = (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))
    return Code(told(tree.body) + quiet, ast.unparse(tree), tuple(strings))

def uses(text, package):
    "The modules of the package that code names: in imports at the top or in functions, as attributes, in programs kept as strings."
    for alias in re.findall(rf"\bimport {PACKAGE} as (\w+)", text): text = re.sub(rf"\b{alias}\.", f"{PACKAGE}.", text)
    names = set(re.findall(rf"(?:\b{PACKAGE}|\bfrom )\.(\w+)", text))
    for listed in re.findall(rf"\bfrom (?:{PACKAGE}|\.) import (.+)", text): names.update(re.findall(r"\w+", listed))
    if re.search(rf"^\s*import .*\b{PACKAGE}\b(?!\.)", text, re.M): names.add("__init__")  # where the version is
    return {n for n in names if (package/f"{n}.py").is_file()}

def named_files(strings, folder):
    "The data files that strings name, or the files in the folders that they name, seen from `folder`."
    for s in set(strings):
        if len(s) > 200 or not re.fullmatch(r"[\w./-]*\w", s): continue
        path = (folder/s).resolve()
        if not path.is_relative_to(folder.parent.resolve()): continue
        found = [path] if path.is_file() else path.rglob("*")
        yield from (p for p in found if p.is_file() and p.suffix not in (".py", ".pyc", ".ipynb"))

def sources(path, *kinds): return [join(c["source"]) for c in load(path)["cells"] if c["cell_type"] in kinds]

def fingerprint(path):
    "A short hash of what decides the outputs of the notebook at `path`."
    package = path.parent.parent/PACKAGE
    cells = [code(s) for s in sources(path, "code") if not is_skipped(s)]
    text = "\n".join(c.text for c in cells)
    modules, due = {}, uses(text, package)
    while due:
        name = due.pop()
        modules[name] = code((package/f"{name}.py").read_text(encoding="utf-8"), (*DOCUMENTED, ast.Module))
        due |= uses(modules[name].text, package) - modules.keys()
    counted = [c.tree for c in cells if c.tree != "[]"] + [f"{n} {modules[n].tree}" for n in sorted(modules)]
    for name in re.findall(r"'(\w+\.ipynb)'\)\.read_text", text):  # the glossary makes its table of what its own prose says
        if path.with_name(name).is_file(): counted += sources(path.with_name(name), "markdown")
    own = [s for c in cells for s in c.strings]
    files = {*named_files(own, path.parent)}
    for written, strings in ((text, own), *((m.text, m.strings) for m in modules.values())):
        if "resources.files" in written: files.update(named_files(strings, package))  # it reads data of the package
    counted += [hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(files)]
    return hashlib.sha256("\0".join(counted).encode()).hexdigest()[:16]

def stamp(path):
    "Write into the notebook at `path` what its outputs are made from."
    nb = load(path)
    nb["metadata"][PACKAGE] = {"source": fingerprint(path)}
    path.write_text(json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")

def stale(folder):
    "The notebooks of `folder` whose stored outputs are not those of their source, in reading order."
    return [p for p in notebooks(folder) if load(p)["metadata"].get(PACKAGE, {}).get("source") != fingerprint(p)]

def sentence(paths): return f"stored outputs of {', '.join(p.stem for p in paths)} are older than their source: make refresh"
