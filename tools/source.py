"""The source of the package as the API reference reads it: modules, what they define, and how each thing is called."""
import ast, json, re, tokenize
from functools import cache
from itertools import chain, takewhile
from types import SimpleNamespace

from common import NBS, ROOT, BookError, join, notebooks

SETTINGS, KNOWN = ast.literal_eval((ROOT/"sirenbook"/"_modidx.py").read_text(encoding="utf-8").partition("d = ")[2]).values()
PACKAGE = SETTINGS["lib_path"]
WIDE = 72  # characters of a signature on one line

def chapter(nb):
    "Of the chapter a notebook makes: the module it exports, or None, and its title, subtitle, page and place in the book."
    cells = [join(c["source"]) for c in json.loads(nb.read_text(encoding="utf-8"))["cells"]]
    module = re.search(r"^#\| ?default_exp (\w+)", "\n".join(cells), re.M)
    title, subtitle = (re.search(rf"^{mark} (.+)", "".join(cells[:1]), re.M) for mark in "#>")
    if not (title and subtitle): raise BookError(f"{nb.name} does not begin with a cell of `# title` and `> subtitle`")
    number, page = re.match(r"(?:(\d+)\w?_)?(.+)", nb.stem).groups()
    place = f"chapter {int(number)}" if number and int(number) < 90 else "the appendix"
    return SimpleNamespace(name=module and module[1], title=title[1], subtitle=subtitle[1], page=f"{page}.html", place=place, notebook=nb.name)

def pairs(target, value):
    "Each name that an assignment gives a value to, and the value."
    if isinstance(target, ast.Name): yield target.id, value
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for t, v in zip(target.elts, value.elts): yield from pairs(t, v)

@cache
def modules():
    "The public modules by name, in the order of their chapters, each with what its source defines."
    out = {}
    for m in map(chapter, notebooks(NBS)):
        if not m.name: continue
        out[m.name] = m
        if not (ROOT/PACKAGE/f"{m.name}.py").is_file(): raise BookError(f"{m.notebook} exports {m.name}, which is not in the package yet: make export")
        with open(ROOT/PACKAGE/f"{m.name}.py", encoding="utf-8") as f: tokens = list(tokenize.generate_tokens(f.readline))
        tree = ast.parse((ROOT/PACKAGE/f"{m.name}.py").read_text(encoding="utf-8"))
        m.comments = {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}
        m.defs = {n.name: n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
        m.methods = {c: {n.name: n for n in d.body if isinstance(n, ast.FunctionDef)} for c, d in m.defs.items() if isinstance(d, ast.ClassDef)}
        m.values = {n: (v, a.end_lineno, a.lineno) for a in tree.body if isinstance(a, ast.Assign) for n, v in pairs(a.targets[0], a.value)}
        m.imports = {a.asname or a.name: (n.module, a.name) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level for a in n.names}
        m.all = ast.literal_eval(m.values["__all__"][0])
    return out

def find(m, name):
    "The module that defines a name as `m` knows it, and the name there; None if that is not in the package."
    first, _, rest = name.partition(".")
    if rest and first in modules(): return find(modules()[first], rest)
    if name in m.defs or name in m.values: return m, name
    module, name = m.imports.get(name, (None, None))
    return find(modules()[module], name) if module in modules() else None

def is_public(m, name): return name in m.all and (name in m.defs or name.isupper())

def line_up(m, owner):
    "A class and the classes of the package that it is made from, nearest first."
    yield m, owner
    for base in filter(None, (find(m, ast.unparse(b)) for b in m.defs[owner].bases)): yield from line_up(*base)

def method(m, owner, name):
    "The module and class that a class has a method from, and its definition; None if it has none."
    return next(((n, o, n.methods[o][name]) for n, o in line_up(m, owner) if name in n.methods[o]), None)

def methods(m, owner):
    "The public methods of a class, with those of its private bases."
    kin = takewhile(lambda b: b == (m, owner) or b[1][0] == "_", line_up(m, owner))
    return [name for name in dict.fromkeys(chain.from_iterable(n.methods[o] for n, o in kin)) if name[0] != "_"]

def definition(m, name):
    "The module and class that hold what `name` stands for, a function, a class or a method as `Class.method`; and the definition."
    owner, _, short = name.rpartition(".")
    return method(m, owner, short) if owner else (m, None, m.defs[name])

def head(m, name):
    "What says how a thing is called: the function, what a decorator of the package puts in its place, or the `__init__` of a class."
    m, owner, d = definition(m, name)
    if isinstance(d, ast.ClassDef): return method(m, name, "__init__") or (m, owner, d)
    for there in filter(None, (find(m, ast.unparse(o.func)) for o in d.decorator_list if isinstance(o, ast.Call))):
        inside = [n for n in ast.walk(there[0].defs[there[1]]) if isinstance(n, ast.FunctionDef)]
        made = [n for n in inside if any("wraps(" in ast.unparse(o) for o in n.decorator_list)]
        if made: return there[0], owner, made[0]
    return m, owner, d

def is_property(d): return any(ast.unparse(o) == "property" for o in getattr(d, "decorator_list", ()))

def default(m, node):
    "A default as Python: the value itself, where a short one stands behind the name of a constant."
    there = isinstance(node, ast.Name) and find(m, node.id)
    behind = ast.unparse(there[0].values[there[1]][0]) if there and there[1] in there[0].values else ""
    return behind if re.fullmatch(r"[-+.\w']{1,20}", behind) else " ".join(ast.unparse(node).split())

def parameters(m, name):
    "The parameters of a function, a class or a method: name, type, default and docment of each."
    m, _, d = head(m, name)
    typed = lambda node: ast.unparse(node) if node else ""
    if isinstance(d, ast.ClassDef):
        return [(f.target.id, typed(f.annotation), f.value and default(m, f.value), m.comments.get(f.end_lineno, ""))
                for f in d.body if isinstance(f, ast.AnnAssign)]
    a, rows = d.args, []
    plain = [*a.posonlyargs, *a.args]
    given = [None] * (len(plain) - len(a.defaults)) + a.defaults
    for star, arg, value in (*(("", *p) for p in zip(plain, given)), ("*", a.vararg, None),
                             *(("", *p) for p in zip(a.kwonlyargs, a.kw_defaults)), ("**", a.kwarg, None)):
        if arg is None or arg.arg in ("self", "cls"): continue
        line = (value or arg).end_lineno
        rows.append((star + arg.arg, typed(arg.annotation), value and default(m, value), m.comments.get(line, "") if line < result_line(d) else ""))
    return rows

def result_line(d):
    "The line on which the head of a function ends."
    names = [d.returns] if d.returns else [n for n in ast.walk(d.args) if hasattr(n, "end_lineno")]
    last = max([n.end_lineno for n in names], default=d.lineno)
    return last if d.returns or last == d.lineno else min(last + 1, d.body[0].lineno - 1)

def result(m, name):
    "The type and the docment of what a function or a method returns."
    if name in m.methods: return "", ""
    m, _, d = head(m, name)
    return ast.unparse(d.returns) if d.returns else "", m.comments.get(result_line(d), "") if result_line(d) < d.body[0].lineno else ""

def signature(m, name):
    "How a thing is called, on one line or with a line for each parameter."
    _, _, d = head(m, name)
    rows, kind = parameters(m, name), result(m, name)[0]
    if is_property(d): return f"{name}: {kind}" if kind else name
    if isinstance(d, ast.ClassDef) and not rows: return f"class {ast.unparse(d).splitlines()[0].removeprefix('class ').rstrip(':')}"
    parts = [n + (f": {t}" if t else "") + ("" if v is None else f" = {v}" if t else f"={v}") for n, t, v, _ in rows]
    if isinstance(d, ast.FunctionDef) and d.args.kwonlyargs and not d.args.vararg:
        parts.insert(next(i for i, r in enumerate(rows) if r[0] == d.args.kwonlyargs[0].arg), "*")
    arrow = f" -> {kind}" if kind else ""
    line = f"{name}({', '.join(parts)}){arrow}"
    return line if len(line) <= WIDE else "\n".join([f"{name}(", *(f"    {p}," for p in parts), f"){arrow}"])

WORD_FOR_WORD = r"""`[^`]+`|(?:\b\w+=)?(?<!\w)(["'])(?:[^\s"'`](?:[^"'`]*[^\s"'`])?)?\1(?!\w)|(?<![\w-])--[a-z][\w-]*|\(\.\.\.,[^()]*\)|\.\.\."""

def md(text):
    "Plain text as Markdown that reads the same: what typography would change (quoted values, options, dots) is code, as is all between backticks."
    escaped = lambda p: re.sub(r"[\\*\[\]<>$@^~|{}\"']|(?<![a-zA-Z0-9])_|_(?![a-zA-Z0-9])", r"\\\g<0>", p)
    begin, out = 0, []
    for o in re.finditer(WORD_FOR_WORD, text):
        out += [escaped(text[begin:o.start()]), f"`{o[0].strip('`')}`"]
        begin = o.end()
    return "".join(out) + escaped(text[begin:])
