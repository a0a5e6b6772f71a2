"""Render the site: notebooks processed by nbdev, laid out by smalldocs, and made whole."""
import os, re, shutil, tempfile, time
from pathlib import Path

import reference, search, sirenbook.browser as browser
from common import HOME, PUBLISHED, ROOT, SETTINGS, STAGE, BookError, edit, join
from common import notebooks, page_name, say, shown
from finish import finish
from formulas import formulas

def nbdev_filter():
    "nbdev's processing of a notebook; a chapter shows its code, and the reference has the rest."
    from execnb.nbio import mk_cell
    from nbdev import processors as nbdev
    class Leads(nbdev.Processor):
        def begin(self):
            of = [m for m in reference.modules() if m.notebook == Path(self.nb.path_).name]
            for m, cell in ((m, cell) for m in of for cell in reversed(self.nb.cells)):
                if "exports" not in cell.directives_: continue
                names = re.findall(r"^(?:def|class) (\w+)", cell.source, re.M)
                leads = "\n\n".join(reference.lead(m, n) for n in names if n in m.defs)
                if leads: self.nb.cells.insert(cell.idx_, mk_cell(leads, "markdown"))
    left_out = nbdev.add_links, nbdev.exec_show_docs, nbdev.mv_exports
    class Filter(nbdev.FilterDefaults):
        def base_procs(self):
            procs = [p for p in super().base_procs() if p not in left_out]
            return [Leads if p is nbdev.add_show_docs else p for p in procs]
    return Filter()

def stage(source):
    "Process the notebooks of `source` into _proc/ as nbdev does, under the names of their pages."
    os.chdir(ROOT)  # nbdev looks for settings.ini from here
    from execnb.nbio import read_nb, write_nb
    from nbdev.quarto import refresh_quarto_yml
    refresh_quarto_yml()
    shutil.rmtree(STAGE, ignore_errors=True)
    shutil.copytree(source, STAGE, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    names = {p.name: f"{page_name(p.name)}.ipynb" for p in notebooks(STAGE)}
    chapter, process = re.compile(r"(?<=\]\()(\d\d_\w+\.ipynb)(?=[)#])"), nbdev_filter()
    def markdown(text):
        text = formulas(installed(join(text)), path.name)
        return chapter.sub(lambda m: names.get(m[0], m[0]), text)
    for path in notebooks(STAGE):
        process(nb := read_nb(path))
        for cell in nb.cells:
            if cell.cell_type == "markdown": cell.source = markdown(cell.source)
            if cell.cell_type == "raw": cell.source = re.sub("output-file:.*\n", "", cell.source)
            for data in (out.get("data", {}) for out in cell.get("outputs", [])):
                if "text/markdown" in data: data["text/markdown"] = markdown(data["text/markdown"])
        path.unlink()
        write_nb(nb, path.with_name(names[path.name]))
    reference.write(STAGE)
    for path in STAGE.glob("*.qmd"): edit(path, markdown)
    edit(STAGE/"sidebar.yml", lambda yml: menu(yml, names))
    if not PUBLISHED: edit(STAGE/"nbdev.yml", lambda yml: ADDRESSES.sub("", yml))

ADDRESSES = re.compile(r"^ *(site-url|repo-\w+):.*\n", re.M)
CITED = rf",? <{re.escape(HOME)}/?>|^ *url *= *\{{{re.escape(HOME)}/?\}}\n"

def installed(text):
    "Text with the install lines of settings.ini; without the site's address until it is published."
    line = rf"pip install \1{SETTINGS['install']}"
    text = re.sub(r"pip install ([\"']?)\.(?=[\[\s\"'`]|$)", line, text)
    return text if PUBLISHED else re.sub(CITED, "", text, flags=re.M)

def menu(yml, names):
    indent = re.search(r"^( *)- .*api\.qmd", yml, re.M)[1]
    yml += "".join(f'{indent}- {{text: "{m.name}", href: {m.page}.qmd}}\n'
                   for m in reference.modules())
    return re.sub(r"\S+\.ipynb", lambda m: names.get(m[0], m[0]), yml)

def swap(new, out):
    "Put the folder `new` in the place of `out`, which stays as it was until `new` is whole."
    if out.exists() and any(out.iterdir()) and not (out/"site_libs").is_dir():
        raise BookError(f"{shown(out)} is neither empty nor a site; name another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as room:
        shutil.move(new, f"{room}/new")
        if out.exists(): out.rename(f"{room}/old")
        os.rename(f"{room}/new", out)

def render(source, out, preview=False):
    "Render the notebooks of `source` into the folder `out`; `preview` makes open pages reload."
    from smalldocs.config import BuildError, ConfigError
    from smalldocs.site import build
    begin, nbs = time.time(), notebooks(source)
    if not nbs: raise BookError(f"there are no notebooks in {shown(source)}")
    stage(source)
    say(f"Staged {len(nbs)} notebooks in {time.time()-begin:.1f} s.")
    try: site = build(STAGE, quiet=True, preview=preview)
    except (BuildError, ConfigError) as e: raise BookError(f"the renderer stopped: {e}") from None
    for w in (w for w in site.warnings if "broken link" not in w): say(f"  note: {w}")
    if broken := [f"{to} in {page}" for page, to in site.broken]:
        raise BookError(f"links lead nowhere: {'; '.join(broken)}")
    finish(site.out, {f"{page_name(p.name)}.html": p for p in nbs})
    if (site.out/"live.html").exists(): browser.write_browser_file(site.out, "data/unseen.csv")
    search.write(site.out)
    swap(site.out, out)
    say(f"Rendered {len(site.pages)} pages in {time.time()-begin:.1f} s.")
    say(f"The book is in {shown(out)}. Open {(out/'index.html').as_uri()}")
