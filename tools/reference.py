"""The API reference: a page for each module and one for all of them, read from the source; the commands are asked of argparse.

    python tools/reference.py FOLDER      write api.qmd and api_<module>.qmd there
"""
import ast, json, re, sys, tokenize
from functools import cache
from itertools import chain, takewhile
from pathlib import Path
from types import SimpleNamespace

from common import NBS, ROOT, join, notebooks

SETTINGS, KNOWN = ast.literal_eval((ROOT/"sirenbook"/"_modidx.py").read_text(encoding="utf-8").partition("d = ")[2]).values()
PACKAGE = SETTINGS["lib_path"]
WIDE, SHORT = 72, 80  # characters of a signature on one line, and of a constant's value


# ---- the source of the package

def chapter(nb):
    "Of the chapter a notebook makes: the module it exports, or None, and its title, subtitle, page and place in the book."
    cells = [join(c["source"]) for c in json.loads(nb.read_text(encoding="utf-8"))["cells"]]
    module = re.search(r"^#\| ?default_exp (\w+)", "\n".join(cells), re.M)
    title, subtitle = (re.search(rf"^{mark} (.+)", cells[0], re.M) for mark in "#>")
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


# ---- what can go wrong

@cache
def troubles():
    "The names of the package's errors and warnings, each with all that they are a kind of."
    kin = lambda m, c: {c, "Exception", "BaseException"}.union(*(kin(*find(m, b)) if find(m, b) else {b} for b in map(ast.unparse, m.defs[c].bases)))
    return {c: kin(m, c) for m in modules().values() for c in m.methods if re.search("(Error|Warning)$", c)}

def value(m, node):
    "What an expression comes to that is made of constants alone, a dict being its keys; an exception if there is more to it."
    class Constants(dict):
        def __missing__(self, name):
            if name.isupper() and (there := find(m, name)): return value(there[0], there[0].values[there[1]][0])
            raise KeyError(name)
    if isinstance(node, ast.Dict): node = ast.copy_location(ast.Tuple([k for k in node.keys if k], ast.Load()), node)
    if any(isinstance(n, (ast.comprehension, ast.Lambda)) for n in ast.walk(node)): raise NameError("computed")
    return eval(compile(ast.Expression(node), "", "eval"), {"__builtins__": {"map": map, "repr": repr, "str": str}}, Constants())

def field(m, node, inside):
    "What stands in a message for a value: it itself if it is constant and short, a name in italics, (s) for a plural, or an ellipsis."
    spelled = node if isinstance(node, ast.FormattedValue) else ast.FormattedValue(node, -1)
    node, again = spelled.value, lambda n: field(m, n, inside)
    try: text = value(m, ast.fix_missing_locations(ast.copy_location(ast.JoinedStr([spelled]), node)))
    except Exception: text = ""
    if 0 < len(text) < 60: return md(text)
    if isinstance(node, ast.JoinedStr): return "".join(md(v.value) if isinstance(v, ast.Constant) else again(v) for v in node.values)
    if isinstance(node, ast.BinOp) and ast.unparse(node.left) == "'s'": return "(s)"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and not spelled.format_spec: return f"{again(node.left)}/{again(node.right)}"
    if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in ("Path", "str", "shlex.quote", "np.asarray"): return again(node.args[0])
    if isinstance(node, ast.Attribute): return f"{base[:-1]}.{node.attr}*" if (base := again(node.value))[-1] == "*" else "…"
    if not isinstance(node, ast.Name): return "…"
    stored = [n for n in ast.walk(inside) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store) and n.id == node.id]
    given = [n.value for n in ast.walk(inside) if isinstance(n, ast.Assign) and n.targets == stored]
    own = node.id in [n.arg for n in ast.walk(inside) if isinstance(n, ast.arg)] or not given
    return f"*{node.id}*" if own else again(given[0])

def filled(text, given):
    "A message whose names in italics are put as `given` has them; those that it does not have are ellipses."
    def put(f):
        new = given.get(f[1], "…")
        return new.removesuffix("*") + f"{f[2]}*" if f[2] and new.endswith("*") else "…" if f[2] else new
    return re.sub(r"(?<!\\)\*(\w+)((?:\.\w+)*)\*", put, text)

def fullest(told):
    "Errors and messages without those that say nothing, or no more than another does."
    told = [(e, re.sub("…(/?…)+", "…", text)) for e, text in told]
    words = lambda text: re.search("[a-z]", re.sub(r"\*[\w.]+\*", "", text))
    covers = lambda text: re.compile(".+".join(map(re.escape, text.split("…")))).fullmatch
    told = [t for t in told if words(t[1])] or told
    return list(dict.fromkeys((e, text) for e, text in told if not any(e == o and text != other and covers(text)(other) for o, other in told)))

def handed(m, call, to, inside):
    "What a call of the function or class `to`, a module and a name, puts in its messages for each parameter."
    if not isinstance(call, ast.Call): return {}
    names = [n for n, *_ in parameters(*to)]
    given = dict(zip(names, takewhile(lambda a: not isinstance(a, ast.Starred), call.args))) | {k.arg: k.value for k in call.keywords}
    own = {"self": "*self*"} if ast.unparse(call.func).startswith(("self.", "super().")) else {}
    return own | {n: field(m, v, inside) for n, v in given.items()}

def rounds(m, node, inside):
    "The message of an f-string, once for each round of a loop around it over a table that is written out."
    text = field(m, node, inside)
    loops = [n for n in ast.walk(inside) if isinstance(n, ast.For) and isinstance(n.target, ast.Tuple) and isinstance(n.iter, ast.Tuple)]
    for loop in (n for n in loops if any(o is node for o in ast.walk(n))):
        told = [{f"*{t.id}*": field(m, e, inside) for t, e in zip(loop.target.elts, row.elts)} for row in loop.iter.elts]
        return list(dict.fromkeys(re.sub(r"\*\w+\*", lambda f: put.get(f[0], f[0]), text) for put in told))
    return [text]

def sentences(m, node, inside):
    "The messages that an expression can be, as Markdown; `inside` is the function around it."
    again = lambda *nodes: list(chain.from_iterable(sentences(m, n, inside) for n in nodes))
    if isinstance(node, ast.Constant): return [md(node.value)] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr): return rounds(m, node, inside)
    if isinstance(node, ast.IfExp): return again(node.body, node.orelse)
    if isinstance(node, ast.BoolOp): return again(*node.values)
    if isinstance(node, ast.Name):  # given its text elsewhere in the function: by `=` or `:=`, or by a loop over a dict
        given = [n.value for n in ast.walk(inside) if isinstance(n, (ast.Assign, ast.NamedExpr))
                 and node.id in map(ast.unparse, getattr(n, "targets", None) or [n.target])]
        looped = [n.iter.func.value.id for n in ast.walk(inside) if isinstance(n, ast.For) and node.id in ast.unparse(n.target)
                  and re.fullmatch(r"\w+\.items\(\)", ast.unparse(n.iter))]
        return again(*given, *(k for name in looped for n in ast.walk(inside) if isinstance(n, ast.Assign) and isinstance(n.value, ast.Dict)
                               and ast.unparse(n.targets[0]) == name for k in n.value.keys))
    return [filled(s, given) for there, n, f, given in returned(m, node, inside) for s in sentences(there, n, f)]

def returned(m, call, inside):
    "Of a call of a function of the package: what the function returns, with its module, itself and what the call puts for its parameters."
    there = isinstance(call, ast.Call) and find(m, ast.unparse(call.func))
    f = there and there[0].defs.get(there[1])
    return [(there[0], n.value, f, handed(m, call, there, inside)) for n in ast.walk(f) if isinstance(n, ast.Return) and n.value] if f else []

def catches(handlers, trouble):
    "Whether an error is caught for good."
    for h in handlers:
        if h.type and not troubles()[trouble] & set(re.findall(r"\w+", ast.unparse(h.type))): continue
        return not any(ast.unparse(n) in ("raise", f"return str({h.name})") for n in ast.walk(h))
    return False

def made(m, call, inside):
    "The errors and messages that an expression makes: an error of the package, or a helper that returns one."
    there = isinstance(call, ast.Call) and find(m, ast.unparse(call.func))
    if there and there[1] in troubles() | {"warn": 0}:
        return [(there[1] if there[1] in troubles() else "SirenbookWarning", s) for s in sentences(m, call.args[0], inside)]
    return [(error, filled(text, given)) for there, n, f, given in returned(m, call, inside) for error, text in made(there, n, f)]

@cache
def local(inside):
    "The names that mean something else within a function than in its module."
    given = {n.arg for n in ast.walk(inside) if isinstance(n, ast.arg)}
    return given | {n.id for n in ast.walk(inside) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}

def named(m, node, inside, owner):
    "The module, the name and, of a class, the method that a piece of a function names; None if it names nothing of the package."
    if isinstance(node, ast.Name):
        if node.id == "cls": return m, owner, None
        there = None if node.id in local(inside) else find(m, node.id)
        return there and (*there, None)
    if not isinstance(node, ast.Attribute): return None
    of = ast.unparse(node.value)
    if of == "super()":
        holder = next(c for c, held in m.methods.items() if inside in held.values())
        return next(((*up, node.attr) for up in list(line_up(m, holder))[1:] if node.attr in up[0].methods[up[1]]), None)
    there = (m, owner) if of in ("self", "cls") else find(m, of)
    return (*there, node.attr) if there and there[1] in there[0].methods and method(*there, node.attr) else None

def raised(m, node, inside, owner):
    "What goes wrong in a piece of a function: error, message, and the public function or class it comes through, or None."
    again = lambda nodes: chain.from_iterable(raised(m, n, inside, owner) for n in nodes)
    if isinstance(node, ast.Try):
        yield from (r for r in again(node.body) if not catches(node.handlers, r[0]))
        nodes = [*chain.from_iterable(h.body for h in node.handlers), *node.orelse, *node.finalbody]
    else: nodes = node.body if isinstance(node, ast.FunctionDef) else list(ast.iter_child_nodes(node))
    function = node.func if isinstance(node, ast.Call) else node
    if function is not node: nodes = [*ast.iter_child_nodes(function), *nodes[1:]]
    call = node.exc if isinstance(node, ast.Raise) else node if isinstance(node, ast.Call) and ast.unparse(node.func) == "warn" else None
    yield from ((error, text, None) for error, text in made(m, call, inside))
    if there := named(m, function, inside, owner):
        there, name, part = there
        full = f"{name}.{part}" if part else name
        through = (there.name, full) if is_public(there, name) and not (part or "").startswith("_") else None
        given = handed(m, node, (there, full), inside) if name in there.defs else {}
        yield from ((error, filled(text, given), through or via) for error, text, via in errors(there.name, full))
    yield from again(nodes)

ERRORS = {}

def errors(module, name):
    "What goes wrong in a function, a method, or the making of a class: error, message, and the public function it comes through, or None."
    if (module, name) in ERRORS: return ERRORS[module, name]
    ERRORS[module, name] = []  # for a function that calls itself
    m, owner = modules()[module], name.rpartition(".")[0]
    if name in m.methods: owner, found = name, [method(m, name, part) for part in ("__init__", "__post_init__")]
    else: found = [definition(m, name), head(m, name)] if owner or name in m.defs else []
    out = chain.from_iterable(raised(where, d, d, owner if where is m else of) for where, of, d in filter(None, found))
    ERRORS[module, name] = list(dict.fromkeys(out))
    return ERRORS[module, name]


# ---- the pages

WORD_FOR_WORD = r"""`[^`]+`|(?:\b\w+=)?(?<!\w)(["'])(?:[^\s"'`](?:[^"'`]*[^\s"'`])?)?\1(?!\w)|(?<![\w-])--[a-z][\w-]*|\(\.\.\.,[^()]*\)|\.\.\."""

def md(text):
    "Plain text as Markdown that reads the same: what typography would change (quoted values, options, dots) is code, as is all between backticks."
    escaped = lambda p: re.sub(r"[\\*\[\]<>$@^~|{}\"']|(?<![a-zA-Z0-9])_|_(?![a-zA-Z0-9])", r"\\\g<0>", p)
    begin, out = 0, []
    for o in re.finditer(WORD_FOR_WORD, text):
        out += [escaped(text[begin:o.start()]), f"`{o[0].strip('`')}`"]
        begin = o.end()
    return "".join(out) + escaped(text[begin:])

def page(m): return f"api_{m.name}.html"

def code(m, text, on=None):
    "Code as Markdown, which leads to its entry where the package has one."
    if not text: return ""
    there = find(m, text)
    linked = there and is_public(*there) and text != on
    return f"[`{text}`]({page(there[0])}#{there[1]})" if linked else f"`{text}`"

def prose(m, text, on=None):
    "A docstring or a docment as Markdown, in which names of the package lead to their entries."
    return re.sub(r"(?<!\[)`([\w.]+)`", lambda o: code(m, o[1], on), re.sub(r"(?<=[a-z])\\'", "'", md(text)))

def table(titles, rows):
    "A table as Markdown without its empty columns, or nothing where it has no rows."
    used = [i for i, h in enumerate(titles) if h == titles[-1] or any(r[i] for r in rows)]
    titles, *rows = ([cells[i] for i in used] for cells in (titles, *rows))
    line = lambda cells: "| " + " | ".join(re.sub(r"(?<!\\)\|", r"\|", c) for c in cells) + " |"
    return [line(titles), line("-" * (20 if h is titles[-1] else 6) for h in titles), *map(line, rows), ""] if rows else []

def doc(m, name): return ast.get_docstring(definition(m, name)[2]) or ""

def first_line(text): return text.partition("\n")[0]

def public(m): return [n for n in m.defs if is_public(m, n)]

def everything(m): return [n for top in public(m) for n in (top, *(f"{top}.{o}" for o in (methods(m, top) if top in m.methods else ())))]

def source(m, name):
    "The address of the line that defines a name."
    where, _, d = definition(m, name)
    return f"{SETTINGS['git_url']}/blob/{SETTINGS['branch']}/{PACKAGE}/{where.name}.py#L{d.lineno}"

def explained(m, name):
    "Where the chapter explains a name: at its entry, or at that of its class."
    known = KNOWN[f"{PACKAGE}.{m.name}"]
    return (known.get(f"{PACKAGE}.{m.name}.{name}") or known[f"{PACKAGE}.{m.name}.{name.rpartition('.')[0]}"])[0]

def shown_value(m, name):
    "The value of a constant if it is short, or what it is."
    node = m.values[name][0]
    text = " ".join(ast.unparse(node).split())
    if len(text) <= SHORT and not re.search(r"\b_|lambda|\bfor\b|\{\}", text): return f"`{text}`"
    parts = getattr(node, "keys", None) or getattr(node, "elts", ())
    return f"{len(parts)} entries" if parts and not any(isinstance(p, ast.Starred) for p in parts) else "computed"

def entry(m, name):
    "What a module's page says of a function, a class or a method."
    where = definition(m, name)[0]
    kind, says = result(m, name)
    gives, says = ("Yields", says.removeprefix("yields ")) if says.startswith("yields ") else ("Returns", says)
    returns = ": ".join(filter(None, [code(m, kind), prose(where, says, name)]))
    rows = [[f"`{n}`", code(m, t), f"`{v}`" if v is not None else "", prose(m, says, name)] for n, t, v, says in parameters(m, name)]
    faults = errors(m.name, name)
    fields = {r[0].lstrip("*"): f"*{r[0].lstrip('*')}*" for r in parameters(m, name)}
    told = dict.fromkeys((e, filled(text.replace("*self.", "*") if name in m.methods else text, fields)) for e, text, via in faults if not via)
    own = [f"- {code(next(o for o in modules().values() if e in o.methods), e)}: {text}" for e, text in fullest(told)]
    through = dict.fromkeys(via for *_, via in faults if via and via != (m.name, name))
    more = [code(n, o) for n, o in line_up(m, name) if o != name and is_public(n, o) and methods(n, o)] if name in m.methods else []
    links = [f"[`{n}`]({page(modules()[o])}#{n})" for o, n in through]
    title = f"{'###' if '.' in name else '##'} {md(name)} {{#{name}}}"
    return [title, "", "```python", signature(m, name), "```", "", prose(m, doc(m, name), name), "",
            *([f"It has the methods of {' and '.join(more)} too.", ""] if more else []),
            *table(["Parameter", "Type", "Default", "What it is"], rows),
            *([f"**{gives}** {returns}", ""] if returns else []),
            *(["**Errors**", "", *own, ""] if own else []),
            *([f"{'Also those' if own else '**Errors** are those'} of {', '.join(links)}.", ""] if links else []),
            f"Explained in [{m.title}]({explained(m, name)}) · [source]({source(m, name)})", ""]

def lead(m, name):
    "What a chapter says before the code of a function or a class: its name, as an anchor, and where more is said of it."
    inner = [f"#### [{md(f'{name}.{o}')}]({page(m)}#{name}.{o})" for o in (methods(m, name) if name in m.methods else ())]
    return "\n\n".join(["::: {.sb-entry}", f"### {md(name)}", f"[reference]({page(m)}#{name}) [source]({source(m, name)})", *inner, ":::"])

def front(title, description): return ["---", f"title: {json.dumps(title)}", f"description: {json.dumps(description, ensure_ascii=False)}", "---", ""]

def contents(m): return table(["Name", "What it does"], [[f"[`{n}`]({page(m)}#{n})", prose(m, first_line(doc(m, n)), n)] for n in public(m)])

def constants(m): return [n for n in m.values if is_public(m, n)]

def about(m, constant):
    "The comment beside a constant; its own part of one that tells of several."
    _, last, first = m.values[constant]
    together, parts = [n for n, (_, end, _) in m.values.items() if end == last], (m.comments.get(last) or m.comments.get(first, "")).split("; ")
    return parts[together.index(constant)] if len(parts) == len(together) else "; ".join(parts)

def module_page(m):
    "The page of a module, as Markdown."
    rows = [[f"[`{n}`]{{#{n}}}", shown_value(m, n), prose(m, about(m, n), n)] for n in constants(m)]
    begin = [*front(f"{PACKAGE}.{m.name}", m.subtitle), f"Made and explained, with sounds and pictures, in {m.place}, [{m.title}]({m.page}).", ""]
    end = ["## Constants {#constants}", "", *table(["Name", "Value", "What it is"], rows)] if rows else []
    told = chain.from_iterable(command(m, *c) for c in parsers().items()) if m.name == "cli" else ()
    return "\n".join([*begin, *contents(m), *told, *chain.from_iterable(entry(m, n) for n in everything(m)), *end])

def first_page():
    "The page of all modules, as Markdown."
    out = front("API", "Every function and class of the package, module by module, in the order of the chapters")
    for m in modules().values():
        place = f"[`{PACKAGE}.{m.name}`]({page(m)}), explained in {m.place}, [{m.title}]({m.page})"
        out += [f"## {PACKAGE}.{m.name} {{#{m.name}}}", "", f"{prose(m, m.subtitle)}: {place}.", "", *contents(m)]
    return "\n".join(out)

def entries():
    "What a search of the reference looks through: one record for each function, class, method and constant."
    record = lambda m, name, kind, summary, rows=(): dict(
        name=name, module=f"{PACKAGE}.{m.name}", kind=kind, href=f"{page(m)}#{name}", summary=summary, params=[[r[0], r[3]] for r in rows])
    kind = lambda m, name: "method" if "." in name else "class" if name in m.methods else "function"
    return [r for m in modules().values() for r in (
        *(record(m, n, kind(m, n), first_line(doc(m, n)), parameters(m, n)) for n in everything(m)),
        *(record(m, n, "constant", about(m, n)) for n in constants(m)))]

@cache
def parsers():
    "The commands of `sirenbook` by their words, each with what argparse knows of it."
    from argparse import ArgumentParser
    from sirenbook.cli import COMMANDS
    top = ArgumentParser(PACKAGE)
    names = top.add_subparsers()
    for add in COMMANDS: add(names)
    def walk(parser, words):
        for action in parser._actions:
            for name, sub in (action.choices or {}).items() if action.nargs == "A..." else ():
                yield f"{words}{name}", sub
                yield from walk(sub, f"{words}{name} ")
    return dict(walk(top, ""))

def option(action):
    "How an option or an argument is written."
    takes = action.metavar or (f"{{{','.join(action.choices)}}}" if action.choices else action.dest.upper())
    return " ".join([*action.option_strings, *([] if action.nargs == 0 else [takes + "..." * (action.nargs == "+")])])

def options(parser):
    "The arguments of a command, then its options."
    return sorted((a for a in parser._actions if a.dest != "help"), key=lambda a: bool(a.option_strings))

def usage(words, parser):
    "How a command is called, in lines that are the same everywhere."
    lines, together = [f"{PACKAGE} {words}"], [g._group_actions for g in parser._mutually_exclusive_groups]
    for a in options(parser):
        kin = next((g for g in together if a in g), [a])
        if a is not kin[0]: continue
        part = option(a) if a.required else f"[{' | '.join(map(option, kin))}]"
        if len(lines[-1]) + len(part) < WIDE: lines[-1] += f" {part}"
        else: lines.append(f"    {part}")
    return lines

def command(m, words, parser):
    "What the page of the command says of one of its commands."
    usual = lambda v: "" if v is None or v is False or v == [] else f"`{' '.join(map(str, v)) if isinstance(v, list) else v}`"
    rows = [[f"`{option(a)}`", "required" if a.required and a.option_strings else usual(a.default), prose(m, a.help)] for a in options(parser) if a.help]
    return [f"{'###' if ' ' in words else '##'} {PACKAGE} {words} {{#{anchor(words)}}}", "",
            f"{prose(m, parser.description[0].upper() + parser.description[1:])}.", "",
            "```bash", *usage(words, parser), "```", "", *table(["Option", "Default", "What it is"], rows)]

def anchor(words): return words.replace(" ", "-")

def commands():
    "The commands of `sirenbook`, as records for the same search."
    m = modules()["cli"]
    return [dict(name=f"{PACKAGE} {words}", also=[words], module=f"{m.notebook[:2]} {m.title}", kind="command", summary=parser.description,
                 href="cli.html#in-your-own-files" if words == "detect" else f"{page(m)}#{anchor(words)}",
                 params=[[option(a), a.help] for a in options(parser) if a.help]) for words, parser in parsers().items()]

def write(folder):
    "Write the pages of the reference into `folder`."
    pages = {"api": first_page(), **{f"api_{m.name}": module_page(m) for m in modules().values()}}
    for name, text in pages.items(): (Path(folder)/f"{name}.qmd").write_text(text, encoding="utf-8")

if __name__ == "__main__": write(Path(sys.argv[1]))
