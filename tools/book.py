"""Make the book out of the notebooks.

    python tools/book.py book      run every notebook, then render the site
    python tools/book.py site      render the site from the stored outputs, running nothing
    python tools/book.py refresh   run every notebook and store its outputs in nbs/

Notebooks run as copies in _book/, beside nbs/, so that relative paths hold and no tracked file changes.
"""
import argparse, base64, io, json, os, re, shutil, sys, tempfile, time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS, RUN, STAGE, DOCS = (ROOT/o for o in ("nbs", "_book", "_proc", "_docs"))
CELL_SECONDS = 600  # no cell of the book comes near this; one that does hangs

class BookError(Exception): "Something went wrong that one sentence can tell."

def say(*args): print(*args, flush=True)

def shown(path):
    "`path` as a person in the repository would write it."
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


# ---- running the notebooks

def notebooks(folder):
    "The notebooks of `folder` in the order they run: the chapters by number, then `index`, which sums them up."
    nbs = [p for p in folder.glob("*.ipynb") if p.name[0] not in "_."]
    return sorted(nbs, key=lambda p: (p.stem == "index", p.name))

def copy_notebooks():
    "A fresh copy of nbs/ in _book/."
    shutil.rmtree(RUN, ignore_errors=True)
    shutil.copytree(NBS, RUN, ignore=shutil.ignore_patterns(".*", "__pycache__"))

def is_skipped(source):
    "Whether a cell says `#| eval: false` or `#| notest`, which nbdev_test skips too."
    return bool(re.search(r"^\s*#\s*\|\s*(eval:\s*false|notest)\b", source, re.M | re.I))

NOISE = re.compile(r"^(?:WARNING: All log messages before absl::Initialize|[IWE]\d{4} [\d:.]+ +\d+ \S+:\d+\]).*\n?", re.M)  # TensorFlow's, with times

def small(png):
    "A figure (PNG as base64) in 128 colours of its own, which the eye cannot tell from all of them: a third of the size."
    from PIL import Image
    image, file = Image.open(io.BytesIO(base64.b64decode(png))), io.BytesIO()
    if image.mode == "P" or image.convert("RGBA").getextrema()[3][0] < 255: return png  # done already, or see-through
    image.convert("RGB").quantize(128, kmeans=1, dither=Image.Dither.NONE).save(file, format="PNG", optimize=True)
    return min(png, base64.b64encode(file.getvalue()).decode(), key=len)

def tidy(nb):
    "Make stored outputs small, the same from run to run, and free of the paths of this machine."
    def scrub(text):
        if "ipykernel_" in text: text = re.sub(r"[^\s'\"]{0,200}ipykernel_\d+/\d+\.py", "cell", text)
        text = re.sub(r" at 0x[0-9a-fA-F]+", "", text)
        return text.replace(f"{RUN}/", "").replace(f"{ROOT}/", "")
    for cell in nb.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code": continue
        cell.execution_count = None
        for out in cell.outputs:
            if "execution_count" in out: out.execution_count = None
            if "text" in out: out.text = scrub(NOISE.sub("", out.text))
            data = out.get("data", {})
            if "image/png" in data: data["image/png"] = small(data["image/png"])
            for kind in data:
                if kind.startswith("text/") and isinstance(data[kind], str): data[kind] = scrub(data[kind])
        cell.outputs = [o for o in cell.outputs if o.output_type != "stream" or o.text.strip()]
    nb.metadata.pop("language_info", None)
    return nb

def run_notebook(path):
    "Run one notebook where it lies and store its outputs in it."
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    nb, at = nbformat.read(path, as_version=4), 0
    def note(cell, cell_index):
        nonlocal at
        at = cell_index
    for cell in nb.cells:
        if cell.cell_type == "code" and is_skipped(cell.source): cell.metadata["tags"] = ["skip-execution"]
    client = NotebookClient(nb, timeout=CELL_SECONDS, kernel_name="python3", allow_errors=False, record_timing=False,
        coalesce_streams=True, extra_arguments=["--log-level=40"], on_cell_start=note, resources={"metadata": {"path": str(path.parent)}})
    with tempfile.TemporaryFile("w+") as said:  # what the kernel and its libraries say outside the notebook
        try: client.execute(stderr=said)
        except CellExecutionError as e: raise BookError(f"{path.name}, cell {at}: {e.ename}: {' '.join(e.evalue.split())}") from None
        except CellTimeoutError: raise BookError(f"{path.name}, cell {at}: still running after {CELL_SECONDS} s") from None
        except (DeadKernelError, RuntimeError) as e:
            said.seek(0)
            last = NOISE.sub("", said.read()).strip().splitlines()[-1:]
            raise BookError(f"{path.name}, cell {at}: its kernel died, perhaps for want of memory ({' '.join(last) or e})") from None
    nbformat.write(tidy(nb), path)

def run_all():
    "Run a copy of every notebook, one after another."
    os.environ.update(PYTHONHASHSEED="0", JUPYTER_PLATFORM_DIRS="1", PYDEVD_DISABLE_FILE_VALIDATION="1",
        IN_TEST="1",  # a chapter's nbdev_export() does nothing
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    copy_notebooks()
    paths, begin = notebooks(RUN), time.time()
    if not paths: raise BookError(f"there are no notebooks in {shown(NBS)}")
    for i, path in enumerate(paths, 1):
        start = time.time()
        run_notebook(path)
        say(f"  {i:2}/{len(paths)}  {path.name:32} {time.time()-start:6.1f} s  {path.stat().st_size/1e6:5.2f} MB")
    os.environ.pop("IN_TEST")
    say(f"Ran {len(paths)} notebooks in {time.time()-begin:.0f} s.")


# ---- formulas: TeX to MathML, so that pages need no script and no network

FORMULA = re.compile(r"""
    (?P<skip> ^[ ]*(?P<fence>`{3,}|~{3,}).*?^[ ]*(?P=fence)[`~]*[ ]*$   # fenced code
            | (?<!`)(?P<tick>`+)(?!`).+?(?<!`)(?P=tick)(?!`)                    # code in a sentence
            | \\\$ )                                                            # a dollar sign that means dollars
    | \$\$ (?P<block>.+?) \$\$
    | (?<![\d$]) \$ (?=\S) (?P<inline>(?:\\.|(?!\n[ ]*\n)[^$\\])+?) (?<=\S) \$ (?![\d$])
    """, re.M | re.S | re.X)

def mathml(tex, display):
    "MathML for `tex`, as browsers draw it and as no Markdown reader will mistake for Markdown."
    from latex2mathml.converter import convert
    tex = re.sub(r"\\(begin|end)\{aligned\}", r"\\\1{split}", " ".join(tex.split()))  # the same, by the name the converter knows
    html = convert(tex, display="block" if display else "inline")
    if unknown := re.search(r"<mi>(\\[^<]+)</mi>", html): raise ValueError(f"{unknown[1]} is unknown")
    html = re.sub(r'columnalign="(\w+)"', r'style="text-align: \1"', html)
    html = re.sub(r"(?<=</m[in]>)(?=(?:<msub>)?<mi>[a-z]{2,}</mi>)|(?<=[a-z]{2}</mi>)(?=<m[in]>)", '<mspace width="0.167em" />', html)  # a sin x
    plain = lambda text: re.sub(r"[^\w\s&;#]|_", lambda m: f"&#{ord(m[0])};", text)
    html = "".join(part if part.startswith("<") else plain(part) for part in re.split(r"(<[^>]*>)", html))
    return f'<span class="math display">{html}</span>' if display else html

def formulas(text, where=""):
    "`text` (Markdown) with its `$...$` and `$$...$$` as MathML."
    def one(m):
        if m["skip"]: return m[0]
        tex = m["block"] or m["inline"]
        try: return mathml(tex, display=bool(m["block"]))
        except Exception as e: raise BookError(f"{where}: the formula ${tex.strip()}$ cannot be converted: {e}") from None
    return FORMULA.sub(one, text)


# ---- rendering the site

@contextmanager
def quiet():
    "Keep what C libraries say on stderr as they load from the terminal."
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try: yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)

def nbdev_filter():
    "nbdev's own processing of a notebook, but with API entries made from the exported package: no cell is run."
    from importlib import import_module
    from types import FunctionType
    from nbdev.config import create_output, get_config
    from nbdev.process import Processor
    from nbdev.processors import FilterDefaults, exec_show_docs
    from nbdev.showdoc import show_doc
    class DocsFromPackage(Processor):
        def begin(self):
            module = next((c.directives_["default_exp"][0] for c in self.nb.cells if "default_exp" in c.directives_), None)
            with quiet(): self.names = vars(import_module(f"{get_config().lib_name}.{module}")) if module else {}
        def cell(self, cell):
            if cell.cell_type != "code" or cell.get("outputs") or not re.search(r"^show_doc\(", cell.source, re.M): return
            known = {**self.names, "show_doc": show_doc}
            try: docs = [eval(cell.source, known)]
            except (NameError, AttributeError) as e: raise BookError(f"{Path(self.nb.path_).name}: {e}; has nbdev_export been run?") from None
            thing = known.get((re.search(r"^show_doc\((\w+)\)", cell.source, re.M) or [None, None])[1])
            if isinstance(thing, type):  # a class brings the entries of its public methods that have none of their own
                told = "".join(c.source for c in self.nb.cells if c.cell_type == "code")
                docs += [show_doc(getattr(thing, name), title_level=4) for name, kind in vars(thing).items()
                         if name[0] != "_" and isinstance(kind, (FunctionType, property, classmethod, staticmethod))
                         and f"show_doc({thing.__name__}.{name}" not in told]
            cell["outputs"] = create_output("\n\n".join(d._repr_markdown_() for d in docs), "markdown")
    class Filter(FilterDefaults):
        def base_procs(self): return [DocsFromPackage if p is exec_show_docs else p for p in super().base_procs()]
    return Filter()

def stage(source):
    "Process the notebooks of `source` into _proc/: API entries made, exported and hidden cells taken out."
    os.chdir(ROOT)  # nbdev looks for settings.ini from here
    from execnb.nbio import read_nb, write_nb
    from nbdev.quarto import nbdev_sidebar, refresh_quarto_yml
    refresh_quarto_yml()
    nbdev_sidebar.__wrapped__()
    shutil.rmtree(STAGE, ignore_errors=True)
    shutil.copytree(source, STAGE, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    for name in ("nbdev.yml", "sidebar.yml"): shutil.copy(NBS/name, STAGE/name)
    process = nbdev_filter()
    for path in notebooks(STAGE):
        nb = read_nb(path)
        process(nb)
        write_nb(nb, path)

def page_name(nb_name):
    "The name nbdev's links give a notebook's page: `03_spectrograms.ipynb` is the page `spectrograms`."
    from nbdev.doclinks import _nbpath2html
    return _nbpath2html(Path(nb_name)).stem

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
    join = lambda s: "".join(s) if isinstance(s, list) else s
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

SEARCH_FROM_FILE = """// A page opened as a file may not fetch the search index, but it may load it as a script.
if (location.protocol === "file:") window.fetch = (url) => new Promise((done, failed) => {
  const script = document.createElement("script");
  script.onload = () => done({ json: async () => window.searchIndex });
  script.onerror = failed;
  script.src = String(url).replace(/json$/, "js");
  document.head.append(script);
});
"""

def finish(site):
    "Make a rendered site whole: no fonts from the network, and a search that works from a file too."
    for css in site.rglob("*.css"):
        text = css.read_text(encoding="utf-8")
        clean = re.sub(r"@import\s+url\(\s*['\"]?https?:[^)]*\)\s*;", "", text)
        if clean != text: css.write_text(clean, encoding="utf-8")
    index = (site/"search.json").read_text(encoding="utf-8")
    (site/"search.js").write_text(f"window.searchIndex = {index};\n", encoding="utf-8")
    (site/"site_libs"/"search-from-file.js").write_text(SEARCH_FROM_FILE, encoding="utf-8")
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace("</head>", '<script src="site_libs/search-from-file.js"></script></head>', 1), encoding="utf-8")

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
    fresh, old = (out.with_name(f"{out.name}.{o}") for o in ("new", "old"))
    for folder in (fresh, old): shutil.rmtree(folder, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(new, fresh)
    if out.exists(): out.rename(old)
    fresh.rename(out)
    shutil.rmtree(old, ignore_errors=True)

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
    finish(site.out)
    outside = [f"{url} in {path.relative_to(site.out)}" for path, url in from_network(site.out)]
    if outside: raise BookError("pages must be whole with the network off, but they fetch " + "; ".join(outside))
    swap(site.out, out)
    say(f"Rendered {len(site.pages)} pages in {time.time()-begin:.1f} s.")
    say(f"The book is in {shown(out)}. Open {(out/'index.html').as_uri()}")
    say(f"or serve it, for a phone or another computer:  python3 -m http.server -d {shown(out)} 8000")


# ---- the commands

def book(args):
    run_all()
    render(RUN, args.out)

def site(args): render(NBS, args.out)

def refresh(args):
    run_all()
    for path in notebooks(RUN): shutil.copy(path, NBS/path.name)
    os.chdir(ROOT)
    from nbdev.clean import nbdev_clean
    nbdev_clean.__wrapped__(str(NBS))
    say(f"Stored the outputs in {shown(NBS)}: {sum(p.stat().st_size for p in notebooks(NBS))/1e6:.1f} MB in all.")

def main():
    parser = argparse.ArgumentParser(description="Make the book out of the notebooks.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for run, text in ((book, "run every notebook, then render the site"),
                      (site, "render the site from the stored outputs, running nothing"),
                      (refresh, "run every notebook and store its outputs in nbs/")):
        command = commands.add_parser(run.__name__, help=text, description=text)
        command.set_defaults(run=run)
        if run is not refresh:
            command.add_argument("--out", type=lambda s: Path(s).resolve(), default=DOCS, help="the folder to render into (default _docs)")
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try: args.run(args)
    except BookError as e: sys.exit(f"book: {e}")
    except ModuleNotFoundError as e: sys.exit(f'book: the package {e.name} is missing; install what the book needs with: pip install -c constraints.txt -e ".[dev]"')
    except KeyboardInterrupt: sys.exit("book: stopped")

if __name__ == "__main__": main()
