"""Whether stored outputs belong to their notebook's source: a fingerprint of what decides them.

It counts the code of the notebook and of the modules that it imports, and theirs in turn, and the
files that they name; not prose, comments and docstrings, paths put together at run time, packages.
"""
import ast, hashlib, json, re
from collections import namedtuple
from functools import lru_cache

from common import BookError, join, notebooks

PACKAGE = "sirenbook"  # the folder beside the notebooks', and the fingerprint's metadata
DOCUMENTED = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef
Code = namedtuple("Code", "tree text strings")  # what counts; text to search for imports; strings

def load(path):
    try: return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e: raise BookError(f"{path.name} is not a notebook: {e}") from None

def is_skipped(source):
    "Whether a cell says `#| eval: false` or `#| notest`, which nbdev_test skips too."
    return bool(re.search(r"^\s*#\s*\|\s*(eval:\s*false|notest)\b", source, re.M | re.I))

def written(node):
    "A syntax tree as text without its empty fields, of which each Python has others."
    if isinstance(node, list): return f"[{' '.join(map(written, node))}]"
    if not isinstance(node, ast.AST): return repr(node)
    fields = (f"{k}={written(v)}" for k, v in ast.iter_fields(node) if v is not None and v != [])
    return f"{type(node).__name__}({' '.join(fields)})"

@lru_cache(None)
def code(source, documented=DOCUMENTED):
    "What counts of a cell or a module: not comments, nor the docstrings of what is `documented`."
    try: tree = ast.parse(source)
    except SyntaxError:  # a magic of IPython: all its text may count, except lines of comments
        text = re.sub(r"^\s*#.*\n?", "", source, flags=re.M)
        return Code(text, text, tuple(re.findall(r"[\w./-]+", text)))
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    quiet = "quiet" * bool(re.search(r";\s*(#.*)?$", source))  # a last semicolon hides the output
    strings = (getattr(n, "value", None) for n in ast.walk(tree) if isinstance(n, ast.Constant))
    strings = tuple(s for s in strings if isinstance(s, str))
    return Code(written(tree.body) + quiet, ast.unparse(tree), strings)

def uses(text, package):
    "The modules of the package that code names: imports, attributes, programs kept as strings."
    for alias in re.findall(rf"\bimport {PACKAGE} as (\w+)", text):
        text = re.sub(rf"\b{alias}\.", f"{PACKAGE}.", text)
    names = set(re.findall(rf"(?:\b{PACKAGE}|\bfrom )\.+((?:experiments\.)?\w+)", text))
    for of, listed in re.findall(rf"\bfrom (?:{PACKAGE}|\.+)\.?(experiments|) import (.+)", text):
        names |= {f"{of}.{n}".strip(".") for n in re.findall(r"\w+", listed)}
    if re.search(rf"^\s*import .*\b{PACKAGE}\b(?!\.)", text, re.M): names.add("__init__")
    return {n for n in names if file(package, n).is_file()}

def file(package, module): return package/f"{module.replace('.', '/')}.py"

def named_files(strings, folder):
    "The data files that strings name, or the files in the folders that they name, from `folder`."
    for s in set(strings):
        if len(s) > 200 or not re.fullmatch(r"[\w./-]*\w", s): continue
        path = (folder/s).resolve()
        if not path.is_relative_to(folder.parent.resolve()): continue
        found = (p for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file())
        yield from (p for p in found if p.suffix not in (".py", ".pyc", ".ipynb"))

def sources(path, kind):
    return [join(c["source"]) for c in load(path)["cells"] if c["cell_type"] == kind]

def fingerprint(path):
    "A short hash of what decides the outputs of the notebook at `path`."
    package = path.parent.parent/PACKAGE
    cells = [code(s) for s in sources(path, "code") if not is_skipped(s)]
    whole, own = "\n".join(c.text for c in cells), [s for c in cells for s in c.strings]
    modules, due = {}, uses(whole, package)
    while due:
        name = due.pop()
        text = file(package, name).read_text(encoding="utf-8")
        modules[name] = code(text, (*DOCUMENTED, ast.Module))
        due |= uses(modules[name].text, package) - modules.keys()
    counted = [c.tree for c in cells if c.tree != "[]"]
    counted += [f"{n} {modules[n].tree}" for n in sorted(modules)]
    for name in re.findall(r"'(\w+\.ipynb)'\)\.read_text", whole):  # the glossary reads its prose
        if path.with_name(name).is_file(): counted += sources(path.with_name(name), "markdown")
    files = {*named_files(own, path.parent)}
    for part, strings in ((whole, own), *((m.text, m.strings) for m in modules.values())):
        if "resources.files" in part: files.update(named_files(strings, package))
    counted += [hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(files)]
    return hashlib.sha256("\0".join(counted).encode()).hexdigest()[:16]

def stamp(path):
    nb = load(path)
    nb["metadata"][PACKAGE] = {"source": fingerprint(path)}
    path.write_text(json.dumps(nb, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

def stale(folder):
    "The notebooks of `folder` whose stored outputs are older than their source, in reading order."
    kept = {p: load(p)["metadata"].get(PACKAGE, {}).get("source") for p in notebooks(folder)}
    return [p for p in kept if kept[p] != fingerprint(p)]

def sentence(paths):
    names = ", ".join(p.stem for p in paths)
    return f"stored outputs of {names} are older than their source: make refresh"
