"""What the tools share: folders, settings, notebooks, and an error that one sentence explains."""
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS, RUN, STAGE, DOCS = (ROOT/o for o in ("nbs", "_book", "_proc", "_docs"))
_ini = ConfigParser(delimiters=["="])
_ini.read(ROOT/"settings.ini", encoding="utf-8")
SETTINGS = _ini["DEFAULT"]
PUBLISHED = SETTINGS.getboolean("published", False)  # whether pages may link to what follows
HOME = SETTINGS.get("doc_host", "") + SETTINGS.get("doc_baseurl", "")
REPOSITORY = SETTINGS.get("git_url", "")
FILES = f"{REPOSITORY}/blob/{SETTINGS.get('branch')}/"

class BookError(Exception): "Something went wrong that one sentence can explain."

def say(text): print(text, flush=True)

def shown(path):
    "`path` as a person in the repository would write it."
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path

def join(text):
    "The text of a cell or an output, which a notebook may store as a list of lines."
    return "".join(text) if isinstance(text, list) else text

def edit(path, change):
    "Put in a text file what `change` makes of its text."
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")

def notebooks(folder):
    "The notebooks of `folder` in the order they run: by number, then `index`, which sums them up."
    nbs = [p for p in folder.glob("*.ipynb") if p.name[0] not in "_."]
    return sorted(nbs, key=lambda p: (p.stem == "index", p.name))

def page_name(nb_name):
    "The page that links of nbdev lead to: `spectrograms` for `02_spectrograms.ipynb`."
    from nbdev.doclinks import _nbpath2html
    return _nbpath2html(Path(nb_name)).stem

def place(nb_name):
    "Where a notebook stands in the book: `Chapter 2`, `Workshop`, `Appendix A`, or nothing."
    if not nb_name[:2].isdigit(): return ""
    number = int(nb_name[:2])
    if number >= 90: return f"Appendix {chr(ord('A') + number - 90)}"
    return f"Chapter {number}" if number < 70 else "Workshop"
