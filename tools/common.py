"""What the tools share: where things lie, what went wrong in one sentence, which notebooks there are."""
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS, RUN, STAGE, DOCS = (ROOT/o for o in ("nbs", "_book", "_proc", "_docs"))

class BookError(Exception): "Something went wrong that one sentence can tell."

def say(*args): print(*args, flush=True)

def shown(path):
    "`path` as a person in the repository would write it."
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path

def join(text):
    "The text of a cell or an output, which a notebook may store as a list of lines."
    return "".join(text) if isinstance(text, list) else text

def notebooks(folder):
    "The notebooks of `folder` in the order they run: the chapters by number, then `index`, which sums them up."
    nbs = [p for p in folder.glob("*.ipynb") if p.name[0] not in "_."]
    return sorted(nbs, key=lambda p: (p.stem == "index", p.name))

def page_name(nb_name):
    "The name nbdev's links give a notebook's page: `02_spectrograms.ipynb` is the page `spectrograms`."
    from nbdev.doclinks import _nbpath2html
    return _nbpath2html(Path(nb_name)).stem
