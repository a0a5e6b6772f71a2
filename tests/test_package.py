"""The package and its notebooks as they are committed: fresh, clean, small, light to import."""
import ast, json, re, shutil, subprocess, sys
from collections import Counter
from configparser import ConfigParser

import pytest
import sirenbook
from shared import NBS, PACKAGE, ROOT, fresh, write_folder

CHAPTERS = sorted(NBS.glob("*.ipynb"))
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.name[0] != "_")
BY_HAND = "__init__.py", "__main__.py"   # of the package; all else comes from the notebooks
HEAVY = "tensorflow keras scipy sklearn librosa matplotlib".split()
each_chapter = pytest.mark.parametrize("nb", CHAPTERS, ids=lambda p: p.stem)
def dotted(path): return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)

each_module = pytest.mark.parametrize("path", MODULES, ids=dotted)

def join(text): return "".join(text) if isinstance(text, list) else text

def cells(nb, kind=None):
    return [c for c in json.loads(nb.read_text(encoding="utf-8"))["cells"]
            if kind in (None, c["cell_type"])]

def source(cell): return join(cell["source"])

def outputs(nb): return [(c, o) for c in cells(nb, "code") for o in c["outputs"]]

@pytest.fixture
def copy(tmp_path):
    "A copy of what nbdev reads: settings, notebooks, and what is written by hand in the package."
    shutil.copytree(NBS, tmp_path/"nbs", ignore=shutil.ignore_patterns(".*", "_*", "sidebar.yml",
        "nbdev.yml"))
    shutil.copy(ROOT/"settings.ini", tmp_path)
    (tmp_path/"sirenbook").mkdir()
    for name in BY_HAND: shutil.copy(PACKAGE/name, tmp_path/"sirenbook")
    return tmp_path

def nbdev(module, command, folder):
    done = subprocess.run([sys.executable, "-c",
                           f"from nbdev.{module} import {command}; {command}.__wrapped__()"],
                           cwd=folder, capture_output=True, text=True)
    assert not done.returncode, done.stderr


# ---- notebooks and package agree

def test_fresh_export_is_the_package(copy):
    nbdev("doclinks", "nbdev_export", copy)
    ours, theirs = ({p.relative_to(d).as_posix(): p.read_bytes() for p in d.rglob("*.py")}
                    for d in (PACKAGE, copy/"sirenbook"))
    differ = sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name))
    assert not differ, f"not what the notebooks export (run: make export): {', '.join(differ)}"

def test_notebooks_are_clean(copy):
    nbdev("clean", "nbdev_clean", copy)
    dirty = [nb.name for nb in CHAPTERS if nb.read_bytes() != (copy/"nbs"/nb.name).read_bytes()]
    assert not dirty, f"nbdev_clean would change {', '.join(dirty)}"

def test_version_is_written_once():
    ini = ConfigParser(delimiters=["="])
    ini.read(ROOT/"settings.ini", encoding="utf-8")
    assert sirenbook.__version__ == ini["DEFAULT"]["version"]


# ---- notebooks

def test_notebooks_are_small():
    sizes = {nb.name: nb.stat().st_size for nb in CHAPTERS}
    assert sum(sizes.values()) <= 15_000_000
    assert not {name: n for name, n in sizes.items() if n > 1_500_000}

@each_chapter
def test_outputs_are_stored(nb):
    assert outputs(nb), "no output is stored (run: make refresh)"
    errors = [o["evalue"] for _, o in outputs(nb) if o["output_type"] == "error"]
    assert not errors, f"errors are stored: {errors}"

@each_chapter
def test_pictures_have_alt_text(nb):
    bare = [source(c) for c, o in outputs(nb) if "image/png" in o.get("data", {})
            and not re.search(r"^#\|\s*fig-alt:\s*\S", source(c), re.M)]
    assert not bare, \
        f"{len(bare)} cells draw a picture without #| fig-alt, the first one: {bare[0]}"

def words(text):
    "Words of prose: without tables and code."
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return len(" ".join(line for line in text.splitlines()
                        if not line.lstrip().startswith("|")).split())

@each_chapter
def test_cells_are_short(nb):
    prose = [source(c)[:60] for c in cells(nb, "markdown") if words(source(c)) > 75]
    assert not prose, f"prose cells of more than 75 words: {prose}"
    lines = lambda c: [line for line in source(c).splitlines() if line.strip()
                       and not line.startswith("#|")]
    most = lambda c: 80 if re.search(r"^class ", source(c), re.M) else 35
    code = [source(c)[:60] for c in cells(nb, "code") if len(lines(c)) > most(c)]
    assert not code, f"code cells of more than 35 lines, or 80 with a class: {code}"


# ---- importing

def test_import_is_quick_and_light():
    code = f"""import sys, time
start = time.perf_counter()
import sirenbook
print(time.perf_counter() - start, *[m for m in {HEAVY} if m in sys.modules])"""
    runs = [fresh(code).split() for _ in range(3)]
    assert not runs[0][1:], f"import sirenbook loads {runs[0][1:]}"
    assert min(float(r[0]) for r in runs) < 0.5

def test_submodules_load_on_first_use():
    told = fresh("""import sys, sirenbook
before = "sirenbook.chunks" in sys.modules
import numpy as np
print(before, sirenbook.chunks.chunk(np.zeros(48000)).shape, "chunks" in dir(sirenbook),
      "sirenbook.networks" in sys.modules)
try: sirenbook.no_such_chapter
except AttributeError as e: print(e)""").splitlines()
    assert told[0] == "False (2, 32000) True False"
    assert "no_such_chapter" in told[1]

BLOCK = """import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
"""

def test_core_works_without_the_extras(tmp_path):
    told = fresh(BLOCK + """import numpy as np, sirenbook as sb
data = sb.recordings.load_dataset(sys.argv[2])
chunks = sb.chunks.chunk_dataset(data)
x = sb.spectrograms.standardize(sb.spectrograms.log_spectrogram(chunks.views[0]))
street = sb.roads.scene(3, np.random.default_rng(0), "wail")
print(len(data.recordings), len(chunks), x.shape, len(street.mix), len(sb.signals.tone(440, 1)),
      sb.sirens.KINDS[0])
print(*[m for m in sys.argv[1].split(",") if m in sys.modules])""", ",".join(HEAVY),
write_folder(tmp_path/"mine"))
    assert told == "4 8 (2, 199, 161) 48000 16000 wail"

USES = {
    "networks": (["tensorflow", "keras"], "sirenbook.networks"),
    "training": (["tensorflow", "keras"], "sirenbook.training"),
    "random_split": (["sklearn", "scipy"], "sirenbook.chunks.random_split(np.array([0, 1] * 20))"),
    "group_split": (["sklearn", "scipy"],
                    "sirenbook.chunks.group_split(np.array([0, 1] * 20), np.arange(40))"),
    "plot_wave": (["matplotlib"], "sirenbook.viewing.plot_wave(np.zeros(100))"),
    "play": (["matplotlib"], "sirenbook.viewing.play(np.full(1600, .1))"),
}

@pytest.mark.parametrize("use, missing", [(u, m) for u, (modules, _) in USES.items()
                                          for m in (*modules, ",".join(HEAVY))])
def test_what_is_missing_is_named(use, missing):
    told = fresh(BLOCK + f"""import numpy as np, sirenbook
from sirenbook.errors import SirenbookError
try: {USES[use][1]}
except Exception as e: print(isinstance(e, SirenbookError), e)""", missing,
TF_CPP_MIN_LOG_LEVEL="3")
    assert told.startswith("True "), told or "nothing was raised"
    assert "pip install '.[" in told and any(m in told for m in missing.split(",")), told

def test_every_module_has_a_notebook():
    exported = [m[1] for nb in CHAPTERS for c in cells(nb, "code")
                if (m := re.search(r"^#\|\s*default_exp\s+(\S+)", source(c), re.M))]
    assert len(exported) > 25 and sorted(exported) == sorted(map(dotted, MODULES))


# ---- promises about the text

def test_no_path_of_a_machine():
    done = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT,
                          capture_output=True, text=True)
    if done.returncode:
        pytest.skip("this is not a git repository, so there is no list of its files")
    machine = re.compile(rf"(?<![\w.~)}}])/(?:{'|'.join(['work', 'root', 'tmp'])})/")
    found = {}
    for name in done.stdout.splitlines():
        path = ROOT/name
        if path.is_file() and (m := machine.search(path.read_text(encoding="utf-8",
            errors="replace"))):
            found[name] = m[0]
    assert len(done.stdout.splitlines()) > 20 and not found, f"paths of a machine: {found}"

LABELS = {"y", "label", "labels", "y_true", "y_test", "y_train", "guess", "truth"}

def class_numbers(tree):
    "Where code compares a label with 0 or 1, or picks a class by a written number."
    is_number = lambda n: isinstance(n, ast.Constant) and type(n.value) is int and n.value in (0, 1)
    name = lambda n: n.id if isinstance(n, ast.Name) else n.attr if isinstance(n,
        ast.Attribute) else name(n.value) if isinstance(n, ast.Subscript) else ""
    for n in ast.walk(tree):
        if isinstance(n, ast.Compare) and isinstance(n.ops[0], (ast.Eq, ast.NotEq)):
            sides = [n.left, *n.comparators]
            if any(map(is_number, sides)) and any(name(s) in LABELS for s in sides):
                yield ast.unparse(n)
        if isinstance(n, ast.Subscript) and is_number(n.slice) and name(n.value) in ("CLASSES",
            "classes"):
            yield ast.unparse(n)

@each_module
def test_only_recordings_knows_the_numbers_of_classes(path):
    assert list(class_numbers(ast.parse("a[y == 0], CLASSES[1], r.label != 1"))) != []
    if path.stem != "recordings":
        assert not list(class_numbers(ast.parse(path.read_text(encoding="utf-8"))))

@each_chapter
def test_chapters_name_classes_by_name(nb):
    if "recordings" in nb.name: pytest.skip("the chapter where classes get their numbers")
    code = [source(c) for c in cells(nb, "code") if not re.match(r"\s*[%!]", source(c))]
    spelt = [s for c in code for s in class_numbers(ast.parse(c))]
    assert not spelt, f"class numbers are spelt out: {spelt}"

def test_players_and_pictures_are_many():
    kinds = Counter(k for nb in CHAPTERS for _, o in outputs(nb) for k in o.get("data", {}))
    few = f"a book of sound stores only {dict(kinds)}"
    assert kinds["image/png"] >= 10 and kinds["text/html"] >= 20, few
