"""The API reference: smalldocs' entries, with chapters, fields, properties, constants, commands.

    python tools/reference.py FOLDER      write api.qmd and api_<module>.qmd there, for Quarto
"""
import ast, importlib, inspect, io, json, os, re, sys, tokenize
from argparse import ArgumentParser
from collections import Counter
from functools import cache
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace

from fastcore.docments import docments
from smalldocs import api

from common import FILES, NBS, PUBLISHED, ROOT, BookError, join, notebooks, page_name, place

@cache
def modules():
    "The modules that notebooks export, in their order: what each defines, where it is explained."
    sys.path.insert(0, str(ROOT))
    api.methods, api.docments = members, shared
    return [m for m in map(chapter, notebooks(NBS)) if m]

def members(klass, private=False):
    "The public methods of a class, and its properties, in source order."
    found = {n: getattr(o, "fget", None) or api.unwrapped(o) for n, o in vars(klass).items()}
    found = [o for n, o in found.items() if inspect.isfunction(o) and n[0] != "_"]
    return sorted(found, key=api.line_of)

def shared(sym, **more):
    "Docments in which the parameters of one line share its comment."
    found, text = docments(sym, args_kwargs=True, **more), inspect.getsource(sym)
    for name, after in reversed([*zip(found, [*found][1:] + ["return"])]):
        found[name].anno = found[name].anno or api.EMPTY  # a default of None is no type
        if not found[name].docment and re.search(rf"\b{name}\b.*\b{after}\b.*#", text):
            found[name].docment = found[after].docment
    return found

def chapter(nb):
    "The module that a notebook exports, with its chapter; None if it exports none."
    cells = [join(c["source"]) for c in json.loads(nb.read_text(encoding="utf-8"))["cells"]]
    exports = re.search(r"^#\| ?default_exp ([\w.]+)", "\n".join(cells), re.M)
    title, about = (re.search(rf"^{o} (.+)", "".join(cells[:1]), re.M) for o in "#>")
    if not exports: return None
    if not (title and about):
        raise BookError(f"{nb.name} does not begin with a cell of `# title` and `> subtitle`")
    name, file = f"sirenbook.{exports[1]}", f"sirenbook/{exports[1].replace('.', '/')}.py"
    if not (ROOT/file).is_file():
        raise BookError(f"{nb.name} exports {name}, which is not in the package yet: make export")
    module, page = importlib.import_module(name), f"{page_name(nb.name)}.html"
    shown = "\n".join(s for s in cells if "#| exports" in s)
    defs = {o.__qualname__: o for top in api.own(module)
            for o in (top, *(members(top) if inspect.isclass(top) else ()))}
    return SimpleNamespace(name=name, module=module, notebook=nb.name, file=file, defs=defs,
        page=f"api_{exports[1].replace('.', '_')}", title=title[1], about=about[1], chapter=page,
        shown=re.findall(r"^(?:def|class) (\w+)", shown, re.M),
        place=f"{place(nb.name).lower()}, [{title[1]}]({page})")

def source(m, name=None):
    "A link to the file of a module, and to the line of a name if the repository is published."
    if name and not PUBLISHED: return ""
    return f"[source]({FILES}{m.file}{f'#L{api.line_of(m.defs[name])}' if name else ''})"

def lead(m, name):
    "What a chapter says before the code of a function or a class: its name and its methods."
    inner = [f"#### [{n}]({m.page}.html#{n})" for n in m.defs if n.startswith(f"{name}.")]
    links = f"[reference]({m.page}.html#{name}) {source(m, name)}"
    return "\n\n".join(["::: {.sb-entry}", f"### {name}", links, *inner, ":::"])

def entries(m):
    "The functions and classes of a module as smalldocs writes them, with anchors and chapters."
    def begin(o):
        if not (thing := m.defs.get(o["name"])): return o[0]
        there = f"#{o['name'].lower()}" * (o["name"].partition(".")[0] in m.shown)
        where = f"Explained in [{m.title}]({m.chapter}{there}) {source(m, o['name'])}"
        fields = api.key_comments(thing) if hasattr(thing, "_fields") else {}
        rows = [[f"`{n}`", api.type_text(thing.__annotations__[n], m.module), says]
                for n, says in fields.items()]
        owner, _, short = o["name"].rpartition(".")
        code, kept = o["code"] or "", inspect.getattr_static(m.defs.get(owner), short, None)
        if isinstance(kept, property): code = re.sub(r"\(\)(?: -> )?(.*)", r"  # \1", code)
        head = f"{o['mark']} {o['name']} {{#{o['name']}}}\n\n[{where}]{{.sb-explained}}"
        return "\n\n".join([head, code, api.table(rows, ["Field", "Type", "Description"])])
    text = api.module_markdown(m.module).split("\n\n## ", 1)
    pattern = r"^(?P<mark>##+) (?:class )?(?P<name>\S+)$(?:\n\n(?P<code>```python\n.*?\n```))?"
    text = f"## {text[1]}" if text[1:] else ""
    text = re.sub(pattern, begin, text, flags=re.M | re.S)
    return re.sub(r"^(\| [^|]+ \| )([A-Z]\w+)( \|)", r"\1`\2`\3", text, flags=re.M)  # types link

def constants(m):
    "The public constants of a module: name, value, and the comment beside it, or above it."
    text, out = inspect.getsource(m.module), {}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = {t.start[0]: t.string for t in tokens if t.type == tokenize.COMMENT}
    alone = lambda n: re.match(r"# (?!%%)", text.splitlines()[n - 1])
    for a in (a for a in ast.parse(text).body if isinstance(a, ast.Assign)):
        above = [*takewhile(alone, range(a.lineno - 1, 0, -1))][::-1]
        beside = [n for n in (a.end_lineno, a.lineno) if n in comments][:1]
        says = " ".join(comments[n].strip("# ") for n in beside or above)
        names = [n.id for t in a.targets for n in ast.walk(t) if isinstance(n, ast.Name)]
        parts = says.split("; ") if says.count("; ") == len(names) - 1 else [says] * len(names)
        out |= {n: s for n, s in zip(names, parts) if n.isupper() and n in m.module.__all__}
    return [[f"[`{n}`]{{#{n}}}", value(getattr(m.module, n)), says] for n, says in out.items()]

def value(it):
    plain = len(repr(it)) <= 80 and not re.search(r"[/<]|array\(|^\{\}$", repr(it))
    many = f"{len(it)} entries" if isinstance(it, (dict, list, tuple, set)) and it else "computed"
    return f"`{it!r}`" if plain else many

def commands():
    "The commands of `sirenbook`, each with its own help."
    from sirenbook.commands import ALL_COMMANDS
    os.environ["COLUMNS"] = "80"  # as wide everywhere
    names = (top := ArgumentParser("sirenbook")).add_subparsers()
    for add in ALL_COMMANDS: add(names)
    def walk(parser):
        for action in (a for a in parser._actions if a.nargs == "A..."):
            for sub in action.choices.values():
                anchor = "-".join(sub.prog.split()[1:])
                yield f"## {sub.prog} {{#{anchor}}}\n\n```text\n{sub.format_help().strip()}\n```"
                yield from walk(sub)
    return walk(top)

def front(title, about): return f"---\ntitle: {title}\ndescription: {json.dumps(about)}\n---"

def contents(m):
    rows = [[f"[`{n}`]({m.page}.html#{n})", api.summary(o)]
            for n, o in m.defs.items() if "." not in n]
    return api.table(rows, ["Name", "What it does"])

def module_page(m):
    begin = f"Made and explained, with sounds and pictures, in {m.place} · {source(m)}"
    values = api.table(constants(m), ["Name", "Value", "What it is"])
    told = commands() if m.name == "sirenbook.cli" else ()
    values = f"## Constants {{#constants}}\n\n{values}" if values else ""
    return "\n\n".join([front(m.name, m.about), begin, contents(m), *told, entries(m), values])

ERRORS = """What cannot be done is refused in one sentence, as a `SirenbookError`, which is a
`ValueError`; trouble with a file is a `SirenbookFileError`, which is an `OSError` too."""

def first_page():
    parts = [f"## {m.name} {{#{m.name.partition('.')[2]}}}\n\n{m.about}: "
             f"[`{m.name}`]({m.page}.html), explained in {m.place}.\n\n{contents(m)}"
             for m in modules()]
    about = "Every function and class, in the order of the chapters"
    return "\n\n".join([front("API", about), ERRORS, *parts])

def symbols():
    "Where names in backticks lead: those that one module alone has, and those with their module."
    found = [(n, m.name[10:], f"/{m.page}.qmd#{n}") for m in modules() for n in m.defs]
    often = Counter(n for n, *_ in found)
    forms = lambda n, of: (f"sirenbook.{of}.{n}", f"{of}.{n}", *[n] * (often[n] == 1))
    return {form: there for n, of, there in found for form in forms(n, of)}

def write(folder):
    "Write the pages of the reference into `folder`, and the index that smalldocs links names by."
    pages = {"api": first_page()} | {m.page: module_page(m) for m in modules()}
    for name, text in pages.items(): (folder/f"{name}.qmd").write_text(text, encoding="utf-8")
    (folder/"_symbols.json").write_text(json.dumps(symbols()), encoding="utf-8")

if __name__ == "__main__": write(Path(sys.argv[1]))
