"""Render the site: process the notebooks as nbdev does, then let smalldocs lay them out, then make the pages whole."""
import json, os, re, shutil, tempfile, time
from pathlib import Path

import reference, search
from common import NBS, ROOT, STAGE, BookError, join, notebooks, page_name, say, shown
from finish import finish
from formulas import formulas

def nbdev_filter():
    "nbdev's own processing of a notebook, but for its API entries: a chapter shows the code itself, and leads to the reference for the rest."
    from execnb.nbio import mk_cell
    from nbdev.process import Processor
    from nbdev.processors import FilterDefaults, add_links, add_show_docs, exec_show_docs
    class Entries(Processor):
        def begin(self):
            m = next((m for m in reference.modules().values() if m.notebook == Path(self.nb.path_).name), None)
            for cell in reversed(self.nb.cells if m else []):
                if "exports" not in cell.directives_: continue
                names = [n for n in re.findall(r"^(?:def|class) (\w+)", cell.source, re.M) if reference.is_public(m, n)]
                if names: self.nb.cells.insert(cell.idx_, mk_cell("\n\n".join(reference.lead(m, n) for n in names), "markdown"))
    class Links(Processor):
        def begin(self): self.find = finder(self.nb)
        def cell(self, cell):
            if cell.cell_type == "markdown": cell.source = linked(cell.source, self.find)
    ours = {add_show_docs: Entries, add_links: Links}
    class Filter(FilterDefaults):
        def base_procs(self): return [ours.get(p, p) for p in super().base_procs() if p is not exec_show_docs]
    return Filter()

def finder(nb):
    "A function that says where a name of the package is explained, as a chapter means it: its own first, then what it imports; or None."
    modules = reference.modules()
    own = next((m for m in modules.values() if m.notebook == Path(nb.path_).name), None)
    code = "\n".join(c.source for c in nb.cells if c.cell_type == "code")
    imported = {name: module for module, names in re.findall(r"^ *from sirenbook\.(\w+) import (\([\w, \n]+\)|[\w, ]+)", code, re.M) for name in re.findall(r"\w+", names)}
    here = set(re.findall(r"^(?:def |class )(\w+)|^(\w+)(?= =)", code, re.M))  # what a cell defines is meant, and no namesake elsewhere
    here = {name for pair in here for name in pair}
    def find(name):
        *path, first = name.removeprefix("sirenbook.").split(".")
        m = modules.get(path[0]) if path else own if own and reference.is_public(own, first) else None
        if not m and not path and first not in here and f"_{first}" not in here:
            likely = [o for o in modules.values() if reference.is_public(o, first) and (o.name == imported.get(first) or "_" in first or first != first.lower())]
            m = likely[0] if len(likely) == 1 else None
        return reference.explained(m, first) if m and len(path) < 2 and first in m.defs and reference.is_public(m, first) else None
    return find

SPAN = re.compile(r"(?<![`\[])`([\w.]+)(\(\))?`(?![`\]])")

def linked(text, find):
    "`text` with the names of the package that stand in backticks as links, but for headings and code."
    parts = re.split(r"(^```.*?^```|^#.*?$)", text, flags=re.M | re.S)
    link = lambda m: f"[{m[0]}]({there})" if (there := find(m[1])) else m[0]
    return "".join(part if i % 2 else SPAN.sub(link, part) for i, part in enumerate(parts))

def stage(source):
    "Process the notebooks of `source` into _proc/: exported and hidden cells taken out, entries put before code, the API reference written."
    os.chdir(ROOT)  # nbdev looks for settings.ini from here
    from execnb.nbio import read_nb, write_nb
    from nbdev.quarto import refresh_quarto_yml
    refresh_quarto_yml()
    shutil.rmtree(STAGE, ignore_errors=True)
    shutil.copytree(source, STAGE, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    for name in ("nbdev.yml", "sidebar.yml"): shutil.copy(NBS/name, STAGE/name)
    process = nbdev_filter()
    for path in notebooks(STAGE):
        nb = read_nb(path)
        process(nb)
        write_nb(nb, path)
    reference.write(STAGE)

def prepare():
    "Ready the staged copies for the renderer: pages under the names that links use, links within the site, formulas as MathML."
    from nbdev.config import get_config
    cfg = get_config()
    home = f"{cfg.doc_host}{cfg.doc_baseurl}/"
    names = {p.name: f"{page_name(p.name)}.ipynb" for p in notebooks(STAGE)}
    to_chapter = re.compile(r"\]\((?:\./)?(" + "|".join(map(re.escape, names)) + r")(?=[)#])")
    def markdown(text, where):
        text = text.replace(f"]({home}", "](")
        return formulas(to_chapter.sub(lambda m: f"]({names[m[1]]}", text), where)
    for old, new in names.items():
        nb = json.loads((STAGE/old).read_text(encoding="utf-8"))
        for cell in nb["cells"]:
            text = join(cell["source"])
            if cell["cell_type"] == "raw": cell["source"] = re.sub(r"^output-file:.*\n", "", text, flags=re.M)
            if cell["cell_type"] == "markdown": cell["source"] = markdown(text, old)
            for out in cell.get("outputs", []):
                data = out.get("data", {})
                if "text/markdown" in data: data["text/markdown"] = markdown(join(data["text/markdown"]), old)
        (STAGE/old).unlink()
        (STAGE/new).write_text(json.dumps(nb, ensure_ascii=False), encoding="utf-8")
    sidebar = STAGE/"sidebar.yml"
    sidebar.write_text("".join(re.sub(r"\S+\.ipynb", lambda m: names.get(m[0], m[0]), line) for line in open(sidebar)))

def from_network(site):
    "What the pages of `site` would fetch from elsewhere."
    tag = re.compile(r"<(?:script|link|img|audio|video|source|iframe)\b[^>]*?\s(?:src|href)\s*=\s*[\"']?\s*((?:https?:)?//[^\"'\s>]+)", re.I)
    css = re.compile(r"(?:url\(|@import)\s*['\"]?\s*((?:https?:)?//[^'\")\s]+)")
    for path in sorted(site.rglob("*.html")): yield from ((path, url) for url in tag.findall(path.read_text(encoding="utf-8")))
    for path in sorted(site.rglob("*.css")): yield from ((path, url) for url in css.findall(path.read_text(encoding="utf-8")))

def swap(new, out):
    "Put the folder `new` in the place of `out`, which stays as it was until `new` is whole."
    if out.exists() and any(out.iterdir()) and not (out/"site_libs").is_dir():
        raise BookError(f"{shown(out)} is not empty and is not a site, so it is left alone; name another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as room:
        shutil.move(new, f"{room}/new")
        if out.exists(): out.rename(f"{room}/old")
        os.rename(f"{room}/new", out)

def render(source, out):
    "Render the notebooks of `source` into the folder `out`."
    from smalldocs.config import BuildError, ConfigError
    from smalldocs.site import build
    begin = time.time()
    if not notebooks(source): raise BookError(f"there are no notebooks in {shown(source)}")
    stage(source)
    say(f"Staged {len(notebooks(STAGE))} notebooks in {time.time()-begin:.1f} s.")
    prepare()
    try: site = build(STAGE, quiet=True)
    except (BuildError, ConfigError) as e: raise BookError(f"the renderer stopped: {e}") from None
    for warning in site.warnings:
        if "broken link" not in warning: say(f"  note: {warning}")
    if site.broken: raise BookError("links lead nowhere: " + "; ".join(f"{href} in {page}" for page, href in site.broken))
    math = [str(p.src) for p in site.pages.values() if p.env.get("math")]
    if math: raise BookError(f"a formula was left unconverted in {', '.join(math)}")
    names = {f"{page_name(p.name)}.html": p for p in notebooks(source)}
    finish(site.out, names)
    search.write(site.out, reference.entries() + reference.commands())
    outside = [f"{url} in {path.relative_to(site.out)}" for path, url in from_network(site.out)]
    if outside: raise BookError("pages must be whole with the network off, but they fetch " + "; ".join(outside))
    swap(site.out, out)
    say(f"Rendered {len(site.pages)} pages in {time.time()-begin:.1f} s.")
    say(f"The book is in {shown(out)}. Open {(out/'index.html').as_uri()}")
    say("or serve it, for a phone or another computer:  make serve HOST=0.0.0.0")
