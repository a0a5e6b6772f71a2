"""Make the book out of the notebooks.

    python tools/book.py book                  run every notebook, then render the site
    python tools/book.py site                  render the site from the stored outputs, running nothing
    python tools/book.py serve                 render and serve the site, and do it again at each change
    python tools/book.py refresh [NOTEBOOK …]  run every notebook, or those named, and store the outputs in nbs/
    python tools/book.py stale                 name the notebooks whose stored outputs are older than their source

Notebooks run as copies in _book/, beside nbs/, so that relative paths hold and no tracked file changes.
"""
import argparse, base64, io, os, re, shutil, sys, tempfile, time
from pathlib import Path

import freshness
from common import DOCS, NBS, ROOT, RUN, BookError, notebooks, say, shown
from freshness import is_skipped
from pages import render
from serve import serve

CELL_SECONDS = 600  # no cell of the book comes near this; one that does hangs


# ---- running the notebooks

def copy_notebooks():
    "A fresh copy of nbs/ in _book/."
    shutil.rmtree(RUN, ignore_errors=True)
    shutil.copytree(NBS, RUN, ignore=shutil.ignore_patterns(".*", "__pycache__"))

# what TensorFlow says with times, and tqdm of how it would rather draw its bars
NOISE = re.compile(r"^(?:WARNING: All log messages before absl::Initialize|[IWE]\d{4} [\d:.]+ +\d+ \S+:\d+\]).*\n?|^\S+: TqdmWarning: .*\n(?:  .*\n?)?", re.M)

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

def run_all(names=None):
    "Run copies of the notebooks called `names`, or of every one, one after another; each copy says what source it was made from."
    os.environ.update(PYTHONHASHSEED="0", JUPYTER_PLATFORM_DIRS="1", PYDEVD_DISABLE_FILE_VALIDATION="1",
        IN_TEST="1",  # a chapter's nbdev_export() does nothing
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    copy_notebooks()
    paths, begin = [p for p in notebooks(RUN) if names is None or p.name in names], time.time()
    if not paths: raise BookError(f"there are no notebooks in {shown(NBS)}")
    for path in paths: freshness.stamp(path)
    for i, path in enumerate(paths, 1):
        start = time.time()
        run_notebook(path)
        say(f"  {i:2}/{len(paths)}  {path.name:32} {time.time()-start:6.1f} s  {path.stat().st_size/1e6:5.2f} MB")
    os.environ.pop("IN_TEST")
    say(f"Ran {len(paths)} notebooks in {time.time()-begin:.0f} s.")


# ---- the commands

def book(args):
    run_all()
    render(RUN, args.out)

def site(args):
    if old := freshness.stale(NBS): say(f"  note: {freshness.sentence(old)}")
    render(NBS, args.out)

def chosen(args):
    "The notebooks of nbs/ that `refresh` is to run."
    if args.stale: return freshness.stale(NBS)
    names = [Path(name).name.removesuffix(".ipynb") for name in args.notebooks]
    if lost := set(names) - {p.stem for p in notebooks(NBS)}: raise BookError(f"there is no notebook {', '.join(sorted(lost))} in {shown(NBS)}")
    return [p for p in notebooks(NBS) if not names or p.stem in names]

def refresh(args):
    paths = chosen(args)
    before = {path: path.read_bytes() for path in paths}
    if args.stale and not paths: return say("No stored output is older than its source.")
    run_all([p.name for p in paths])
    changed = [path.stem for path in paths if path.read_bytes() != before[path]]
    if changed: raise BookError(f"{', '.join(changed)} was saved while it ran, so that no output was stored; the outputs of this run are in {shown(RUN)}")
    for path in paths: shutil.copy(RUN/path.name, path)
    os.chdir(ROOT)
    from nbdev.clean import nbdev_clean
    for path in paths: nbdev_clean.__wrapped__(str(path))
    say(f"Stored the outputs in {shown(NBS)}: {sum(p.stat().st_size for p in notebooks(NBS))/1e6:.1f} MB in all.")

def stale(args):
    if old := freshness.stale(NBS): raise BookError(freshness.sentence(old))
    say("No stored output is older than its source.")

def main():
    parser = argparse.ArgumentParser(description="Make the book out of the notebooks.")
    commands, added = parser.add_subparsers(required=True, metavar="COMMAND"), {}
    for run, text in ((book, "run every notebook, then render the site"),
                      (site, "render the site from the stored outputs, running nothing"),
                      (serve, "render and serve the site, and do it again at each change"),
                      (refresh, "run every notebook, or those named, and store the outputs in nbs/"),
                      (stale, "name the notebooks whose stored outputs are older than their source")):
        added[run] = command = commands.add_parser(run.__name__, help=text, description=text)
        command.set_defaults(run=run)
    for run in (book, site, serve):
        added[run].add_argument("--out", type=lambda s: Path(s).resolve(), default=DOCS, help="the folder to render into (default _docs)")
    added[serve].add_argument("--host", default="127.0.0.1", help="the address to serve at; 0.0.0.0 lets a phone in (default 127.0.0.1)")
    added[serve].add_argument("--port", type=int, default=8000, help="(default 8000)")
    which = added[refresh].add_mutually_exclusive_group()
    which.add_argument("notebooks", nargs="*", default=[], metavar="NOTEBOOK", help="such as 02_spectrograms (default: all)")
    which.add_argument("--stale", action="store_true", help="those whose stored outputs are older than their source")
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try: args.run(args)
    except BookError as e: sys.exit(f"book: {e}")
    except ModuleNotFoundError as e: sys.exit(f'book: the package {e.name} is missing; install what the book needs with: pip install -c constraints.txt -e ".[dev]"')
    except KeyboardInterrupt: sys.exit("book: stopped")

if __name__ == "__main__": main()
