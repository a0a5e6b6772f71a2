"""Make the book out of the notebooks.

    book                  run every notebook, then render the site
    site                  render the site from the stored outputs, running nothing
    serve                 render and serve the site, and again at each change
    refresh [NOTEBOOK …]  run every notebook, or those named, and store the outputs in nbs/
    stale                 name the notebooks whose stored outputs are older than their source

Notebooks run as copies in _book/, beside nbs/: relative paths hold, and no tracked file changes.
"""
import argparse, base64, io, os, re, shutil, subprocess, sys, tempfile, time
from pathlib import Path

import freshness
from common import DOCS, NBS, ROOT, RUN, BookError, notebooks, say, shown
from pages import render

CELL_SECONDS = 600  # no cell of the book comes near this; one that does hangs
FRESH = "No stored output is older than its source."

# what TensorFlow prints with times, and tqdm of how it would rather draw its bars
NOISE = re.compile(r"^(?:WARNING: All log messages before absl::Initialize|[IWE]\d{4} [\d:.]+ +\d+ "
                   r"\S+:\d+\]).*\n?|^\S+: TqdmWarning: .*\n(?:  .*\n?)?", re.M)

def small(png):
    "A figure (PNG as base64) in 128 colours of its own, if that is smaller; none looks different."
    from PIL import Image
    image, file = Image.open(io.BytesIO(base64.b64decode(png))), io.BytesIO()
    if image.mode == "P" or image.convert("RGBA").getextrema()[3][0] < 255: return png
    image = image.convert("RGB").quantize(128, kmeans=1, dither=Image.Dither.NONE)
    image.save(file, format="PNG", optimize=True)
    return min(png, base64.b64encode(file.getvalue()).decode(), key=len)

def scrub(text):
    "Printed text without what another machine, or the next run, would print in another way."
    if "ipykernel_" in text: text = re.sub(r"[^\s'\"]{0,200}ipykernel_\d+/\d+\.py", "cell", text)
    return NOISE.sub("", text).replace(f"{RUN}/", "").replace(f"{ROOT}/", "")

def tidy(nb):
    "Make stored outputs small, and the same from run to run."
    from nbdev.clean import clean_nb
    clean_nb(nb, allowed_metadata_keys=[freshness.PACKAGE])
    for cell in (c for c in nb.cells if c.cell_type == "code"):
        for out in cell.outputs:
            if "text" in out: out.text = scrub(out.text)
            data = out.get("data", {})
            if "image/png" in data: data["image/png"] = small(data["image/png"])
            texts = [k for k, v in data.items() if k.startswith("text/") and isinstance(v, str)]
            data.update({kind: scrub(data[kind]) for kind in texts})
        cell.outputs = [o for o in cell.outputs if o.output_type != "stream" or o.text.strip()]
    return nb

def run_notebook(path):
    "Run one notebook in its folder and store its outputs in it."
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    nb, at = nbformat.read(path, as_version=4), [0]
    for cell in (c for c in nb.cells if c.cell_type == "code" and freshness.is_skipped(c.source)):
        cell.metadata["tags"] = ["skip-execution"]
    client = NotebookClient(nb, timeout=CELL_SECONDS, kernel_name="python3", record_timing=False,
        coalesce_streams=True, resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=["--log-level=40"],
        on_cell_start=lambda cell, cell_index: at.append(cell_index))
    with tempfile.TemporaryFile("w+") as log:  # what the kernel prints outside the notebook
        try: client.execute(stderr=log)
        except CellExecutionError as e: why = f"{e.ename}: {' '.join(e.evalue.split())}"
        except CellTimeoutError: why = f"still running after {CELL_SECONDS} s"
        except (DeadKernelError, RuntimeError) as e:
            log.seek(0)
            last = " ".join(NOISE.sub("", log.read()).strip().splitlines()[-1:]) or e
            why = f"its kernel died, perhaps out of memory ({last})"
        else: return nbformat.write(tidy(nb), path)
    raise BookError(f"{path.name}, cell {at[-1]}: {why}")

def run_all(names=None):
    "Run copies of the notebooks called `names`, or of all; each holds its source's fingerprint."
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.environ.update(PYTHONHASHSEED="0", JUPYTER_PLATFORM_DIRS="1", PATH=path, IN_TEST="1",
                      PYDEVD_DISABLE_FILE_VALIDATION="1", TQDM_DISABLE="1")
    shutil.rmtree(RUN, ignore_errors=True)
    shutil.copytree(NBS, RUN, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    paths, begin = [p for p in notebooks(RUN) if names is None or p.name in names], time.time()
    if not paths: raise BookError(f"there are no notebooks in {shown(NBS)}")
    for path in paths: freshness.stamp(path)
    for i, path in enumerate(paths, 1):
        start = time.time()
        run_notebook(path)
        seconds, size = time.time() - start, path.stat().st_size / 1e6
        say(f"  {i:2}/{len(paths)}  {path.name:32} {seconds:6.1f} s  {size:5.2f} MB")
    os.environ.pop("IN_TEST")
    say(f"Ran {len(paths)} notebooks in {time.time()-begin:.0f} s.")

def book(args):
    run_all()
    render(RUN, args.out)

def site(args):
    if old := freshness.stale(NBS): say(f"  note: {freshness.sentence(old)}")
    render(NBS, args.out, args.preview)

def serve(args):
    "Serve with smalldocs' own preview, from a folder of its own: those pages reload themselves."
    from smalldocs import serve as smalldocs
    smalldocs.IGNORE |= {"_docs", "_proc", "_book", "_streets", "_detector", "tests", "dist"}
    sources = lambda: {(path, time) for path, time in smalldocs.snapshot(ROOT, args.out).items()
                       if not path.endswith("nbdev.yml")}  # rendering writes it
    def rebuild(root):
        command, before = [sys.executable, __file__, "site", "--preview", "--out", args.out], None
        while before != (before := sources()):
            done = subprocess.run(command, stdout=subprocess.DEVNULL)
        return None if done.returncode else args.out
    smalldocs.rebuild = rebuild
    sys.exit(smalldocs.preview(ROOT, args.host, args.port, open_browser=False))

def refresh(args):
    from nbdev.clean import nbdev_clean
    names, there = {Path(name).stem for name in args.notebooks}, notebooks(NBS)
    if lost := sorted(names - {p.stem for p in there}):
        raise BookError(f"there is no notebook {', '.join(lost)} in {shown(NBS)}")
    paths = [p for p in there if p.stem in names or not names]
    if args.stale: paths = freshness.stale(NBS)
    if not paths: return say(FRESH)
    before = {path: path.read_bytes() for path in paths}
    run_all([p.name for p in paths])
    if changed := [path.stem for path in paths if path.read_bytes() != before[path]]:
        raise BookError(f"{', '.join(changed)} was saved while it ran, so no output was stored; "
                        f"the outputs of this run are in {shown(RUN)}")
    os.chdir(ROOT)
    for path in paths:
        shutil.copy(RUN/path.name, path)
        nbdev_clean.__wrapped__(str(path))
    size = sum(p.stat().st_size for p in notebooks(NBS)) / 1e6
    say(f"Stored the outputs in {shown(NBS)}: {size:.1f} MB in all.")

def stale(args):
    if old := freshness.stale(NBS): raise BookError(freshness.sentence(old))
    say(FRESH)

def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    commands, add = parser.add_subparsers(required=True, metavar="COMMAND"), {}
    for run in (book, site, serve, refresh, stale):
        add[run] = commands.add_parser(run.__name__)
        add[run].set_defaults(run=run)
    for run, folder in ((book, DOCS), (site, DOCS), (serve, ROOT/"_preview")):
        add[run].add_argument("--out", type=lambda s: Path(s).resolve(), default=folder)
    add[site].add_argument("--preview", action="store_true")
    add[serve].add_argument("--host", default="127.0.0.1")
    add[serve].add_argument("--port", type=int, default=8000)
    which = add[refresh].add_mutually_exclusive_group()
    which.add_argument("notebooks", nargs="*", default=[], metavar="NOTEBOOK")
    which.add_argument("--stale", action="store_true")
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try: args.run(args)
    except BookError as e: sys.exit(f"book: {e}")
    except ModuleNotFoundError as e:
        sys.exit(f"book: {e.name} is missing: pip install -c constraints.txt -e '.[dev]'")
    except ImportError as e: sys.exit(f"book: the package cannot be imported: {e}")
    except KeyboardInterrupt: sys.exit(0 if args.run is serve else "book: stopped")

if __name__ == "__main__": main()
