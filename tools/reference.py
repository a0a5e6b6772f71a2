"""The API reference: a page for each module and one for all of them, read from the source; the commands are asked of argparse.

    python tools/reference.py FOLDER      write api.qmd and api_<module>.qmd there
"""
import ast, json, re, sys
from functools import cache
from itertools import chain
from pathlib import Path

from source import KNOWN, PACKAGE, SETTINGS, WIDE, definition, find, is_public, line_up, md, methods, modules, parameters, result, signature
from troubles import errors, filled, fullest

SHORT = 80  # characters of a constant's value

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
    type_, says = result(m, name)
    gives, says = ("Yields", says.removeprefix("yields ")) if says.startswith("yields ") else ("Returns", says)
    returns = ": ".join(filter(None, [code(m, type_), prose(where, says, name)]))
    kind = lambda t, v: ", ".join(filter(None, [code(m, t), f"default `{v}`" if v is not None else ""]))
    rows = [[f"`{n}`", "; ".join(filter(None, [prose(m, says, name), kind(t, v)]))] for n, t, v, says in parameters(m, name)]
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
            *table(["Parameter", "What it is"], rows),
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


# ---- the commands

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
    rows = [[f"`{option(a)}`", "required" if a.required and a.option_strings else usual(a.default), prose(m, re.sub(rf" \({re.escape(str(a.default))}\)$", "", a.help))] for a in options(parser) if a.help]
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
