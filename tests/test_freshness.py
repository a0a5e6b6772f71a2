"""Stored outputs belong to the present source: what makes them old, what does not, and how they
are stored anew."""

import json, re, shutil, subprocess, sys

import pytest
from shared import NBS, ROOT, fresh, is_sentence

sys.path.insert(0, str(ROOT/"tools"))
import freshness  # noqa: E402

def test_stored_outputs_belong_to_the_source():
    old = freshness.stale(NBS)
    assert not old, freshness.sentence(old)


# ---- what makes outputs old

def write_nb(path, *cells):
    "A notebook of code cells, and of prose where a cell begins with `# `."
    of = lambda s: (
        dict(cell_type="markdown")
        if s[:2] == "# "
        else dict(cell_type="code", execution_count=None, outputs=[])
    )
    cells = [of(s) | dict(id=f"c{i}", metadata={}, source=s) for i, s in enumerate(cells)]
    kernel = dict(kernelspec=dict(name="python3", display_name="python3", language="python"))
    path.write_text(
        json.dumps(dict(cells=cells, metadata=kernel, nbformat=4, nbformat_minor=5)),
        encoding="utf-8",
    )


MODULES = {
    "__init__": '__version__ = "1"',
    "tones": '"""Tones"""\nPITCH_HZ = 440  # of the fork\n'
    'def tone():\n    "A tone."\n    return PITCH_HZ\n',
    "horns": "from .tones import tone",
    "walls": "from importlib import resources\n"
    'table = resources.files("sirenbook") / "walls.csv"\nheavy = "weights"',
    "hidden": "def late():\n    from sirenbook.tones import tone\n    return tone()",
    "apart": 'PROGRAM = "from sirenbook.tones import tone"',
    "named": "import sirenbook\nsaid = sirenbook.__version__",
    "alone": "one = 1",
    "experiments/first": "from ..tones import tone",
}

@pytest.fixture
def folder(tmp_path):
    "A small package, data, and a folder for notebooks."
    for name in ("nbs", "sirenbook/weights", "sirenbook/experiments", "data"):
        (tmp_path / name).mkdir(parents=True)
    for name, text in MODULES.items(): (tmp_path/"sirenbook"/f"{name}.py").write_text(text)
    for name in ("data/rows.csv", "sirenbook/walls.csv", "sirenbook/weights/net.bin"):
        (tmp_path / name).write_text("1")
    return tmp_path

def hashed(folder, *cells):
    write_nb(folder/"nbs"/"01_small.ipynb", *cells)
    return freshness.fingerprint(folder/"nbs"/"01_small.ipynb")

BASE = "x = 1", 'def f():\n    "Doc."\n    return x', "#| fig-alt: A line\nf()"
SAME = {
    "prose": ("# Title", *BASE, "# The end"),
    "comments": (
        "# Title",
        "x = 1  # one",
        'def f():\n    # why\n    "Doc."\n    return x',
        BASE[2],
    ),
    "docstrings": (BASE[0], 'def f():\n    "Another."\n    return x', BASE[2]),
    "layout": ("x  =  1\n", "def f(\n):\n    return x", "(f())"),
    "directives": ("#| export\nx = 1", BASE[1], "#| echo: false\nf()"),
    "cells of directives": ("#| default_exp small", *BASE),
}
OTHER = {
    "constant": ("x = 2", *BASE[1:]),
    "order": (BASE[1], BASE[0], BASE[2]),
    "cells": (BASE[0] + "\n" + BASE[1], BASE[2]),
    "not run": ("#| eval: false\nx = 1", *BASE[1:]),
    "no test": ("#| notest\nx = 1", *BASE[1:]),
    "hidden": ("#| hide\nx = 2", *BASE[1:]),
    "semicolon": (*BASE[:2], "f();"),
    "magic": ("%time x = 1", *BASE[1:]),
}

@pytest.mark.parametrize("change", SAME)
def test_what_decides_no_output_leaves_it_fresh(folder, change):
    assert hashed(folder, *SAME[change]) == hashed(folder, *BASE)


@pytest.mark.parametrize("change", OTHER)
def test_code_of_the_notebook_counts(folder, change):
    assert hashed(folder, *OTHER[change]) != hashed(folder, *BASE)


def test_cells_that_no_python_reads_count_as_text(folder):
    cell = "#| fig-alt: A line\n%%time\nx = {}"
    assert hashed(folder, cell.format(1)) != hashed(folder, cell.format(2))
    assert hashed(folder, cell.format(1)) == hashed(
        folder, cell.format(1).replace("A line", "A curve")
    )
    assert reached(folder, "%time import sirenbook.tones", "tones.py")

def reached(folder, cell, name, text="PITCH_HZ = 441"):
    "Whether a change of a file of the package or of the data makes a notebook of this cell old."
    path = folder/name if "/" in name else folder/"sirenbook"/name
    kept, before = path.read_text(), hashed(folder, cell)
    path.write_text(text)
    after = hashed(folder, cell)
    path.write_text(kept)
    return before != after

IMPORTS = [
    "from sirenbook.tones import tone",
    "import sirenbook.tones",
    "import sirenbook\nsirenbook.tones.tone()",
    "from sirenbook import tones as t",
    "import sirenbook as sb\nsb.tones",
    "def f():\n    from sirenbook.tones import (\n        tone)",
    "import sirenbook.horns",
    "import sirenbook.hidden",
    "import sirenbook.apart",
    "run('import sirenbook.tones')",
    "import sirenbook.experiments.first",
    "from sirenbook.experiments import first",
    "from sirenbook.experiments.first import tone",
]

@pytest.mark.parametrize("cell", IMPORTS)
def test_imported_modules_count(folder, cell):
    assert reached(folder, cell, "tones.py")
    reworded = (
        MODULES["tones"]
        .replace("fork", "string")
        .replace("A tone.", "It sounds.")
        .replace("Tones", "On tones")
    )
    assert not reached(folder, cell, "tones.py", reworded)
    assert not reached(folder, cell, "alone.py")

@pytest.mark.parametrize(
    "cell", ["import sirenbook\nsirenbook.__version__", "import sirenbook.named"]
)
def test_version_counts_where_it_can_be_shown(folder, cell):
    assert reached(folder, cell, "__init__.py", '__version__ = "2"')
    assert not reached(folder, "import sirenbook.tones", "__init__.py", '__version__ = "2"')

def test_data_that_code_names_count(folder):
    assert reached(folder, 'read("../data/rows.csv")', "data/rows.csv")
    assert reached(folder, 'read("../data")', "data/rows.csv")
    assert not reached(folder, '"rows", "lost.ipynb", "../nbs", "/", "..", "\\0"', "data/rows.csv")
    for name in ("walls.csv", "weights/net.bin"):
        assert reached(folder, "import sirenbook.walls", f"sirenbook/{name}")
        assert not reached(folder, 'column = "weights"', f"sirenbook/{name}")

def test_prose_counts_where_a_notebook_reads_it(folder):
    cell = 'own = Path("01_small.ipynb").read_text()'
    assert hashed(folder, cell, "# A term") != hashed(folder, cell, "# Another")


# ---- the book's own notebooks

@pytest.fixture(scope="module")
def book(tmp_path_factory):
    "A copy of the notebooks and what they read, with outputs that count as fresh."
    root = tmp_path_factory.mktemp("book")
    for name in ("nbs", "sirenbook", "data"):
        shutil.copytree(
            ROOT / name, root / name, ignore=shutil.ignore_patterns(".*", "__pycache__")
        )
    shutil.copy(ROOT/"settings.ini", root)
    for path in freshness.notebooks(root/"nbs"): freshness.stamp(path)
    return root

def test_cleaning_keeps_fingerprints(book):
    subprocess.run(
        [sys.executable, "-c", "from nbdev.clean import nbdev_clean; nbdev_clean.__wrapped__()"],
        cwd=book,
        check=True,
    )
    assert freshness.notebooks(book/"nbs") and not freshness.stale(book/"nbs")

def test_each_process_finds_the_same(book):
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); import "
        "freshness; print(freshness.stale(Path(sys.argv[1])))"
    )
    for seed in "123":
        assert fresh(code, book/"nbs", ROOT/"tools", PYTHONHASHSEED=seed) == "[]"

def edited(book, path, change):
    "The names of notebooks that a change of one file makes old."
    path = book/path
    kept = path.read_text(encoding="utf-8")
    assert change(kept) != kept
    path.write_text(change(kept), encoding="utf-8")
    try: return [p.stem for p in freshness.stale(book/"nbs")]
    finally: path.write_text(kept, encoding="utf-8")

def test_a_constant_of_viewing_reaches_every_chapter_that_draws(book):
    draw = [
        p.stem
        for p in freshness.notebooks(book / "nbs")
        if re.search(r"from sirenbook\.viewing import", p.read_text(encoding="utf-8"))
    ]
    old = edited(
        book,
        "sirenbook/viewing.py",
        lambda s: re.sub(r"^CMAP = .*", 'CMAP = "grey"', s, flags=re.M),
    )
    assert len(draw) > 20 and set(draw) <= set(old) and "75_viewing" not in old

def test_prose_of_the_package_reaches_none(book):
    assert (
        edited(
            book,
            "sirenbook/viewing.py",
            lambda s: re.sub(r'^    "(\w.*)"$', r'    "So: \1"', s, flags=re.M) + "\n# the end\n",
        )
        == []
    )


def test_weights_reach_the_chapters_of_the_detector(book):
    old = edited(book, "sirenbook/weights/detector.json", lambda s: s + "\n")
    assert {"24_detector", "29_deployment", "30_cli", "index"} <= set(old) and not {
        "01_signals",
        "04_chunks",
    } & set(old)


def test_results_reach_the_chapters_that_read_them(book):
    old = edited(book, "data/results.csv", lambda s: s + "\n")
    readers = {"12_results", "14_ablations", "15_interpretability", "92_article", "index"}
    assert readers <= set(old)
    experiments = [name for name in old if "_experiment_" in name]
    assert len(old) - len(experiments) == len(readers), old



# ---- storing outputs anew

PAGES = '''"""In place of the renderer: the prose of each notebook, at once."""
import json, shutil
from common import BookError, notebooks, say
from smalldocs.layout import Layout

SCRIPT = '<meta name="smalldocs:offset" content=""><script>%s</script>'
SCRIPT = SCRIPT % Layout.preview_script(None)

def render(source, out, preview=False):
    (source/"nbdev.yml").write_text("project: {}")  # as nbdev does each time
    new = out.with_name("new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    for path in notebooks(source):
        try: cells = json.loads(path.read_text())["cells"]
        except ValueError: raise BookError(f"{path.name} is not a notebook") from None
        text = " ".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        if "](" in text: raise BookError(f"links lead nowhere: {path.name}")
        head = SCRIPT if preview else ""
        (new/f"{path.stem}.html").write_text(f"<html><head>{head}</head><body>{text}</body></html>")
    (new/"site_libs").mkdir()
    shutil.rmtree(out, ignore_errors=True)
    new.rename(out)
'''

def tiny_book(root):
    """Two notebooks and the tools, with a renderer that takes no time; its own package, so that
    nothing else decides its outputs."""
    for name in ("tools", "nbs", "sirenbook"): (root/name).mkdir(parents=True)
    for name in ("settings.ini", *(f"tools/{o}.py" for o in ("book", "common", "freshness"))):
        shutil.copy(ROOT/name, root/name)
    (root/"tools"/"pages.py").write_text(PAGES)
    write_nb(root/"nbs"/"01_small.ipynb", "# Small", "print(6 * 7)")
    write_nb(root/"nbs"/"index.ipynb", "# Home", "print('home')")
    return root

def told(root, *args):
    "What a command of the tiny book says, and whether it ended well."
    done = subprocess.run(
        [sys.executable, "tools/book.py", *args],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, (done.stdout + done.stderr).strip()

def stored(root):
    return {
        p.stem: json.loads(p.read_text())["cells"][1]["outputs"] != []
        for p in (root / "nbs").glob("*.ipynb")
    }


def test_refresh_stores_what_is_named_and_what_is_old(tmp_path):
    root = tiny_book(tmp_path)
    code, text = told(root, "stale")
    assert code == 1 and "01_small, index" in text and is_sentence(text.removeprefix("book: "))
    assert "note: stored outputs of 01_small, index are older" in told(root, "site")[1]
    assert told(root, "refresh", "nbs/01_small.ipynb")[0] == 0
    assert (
        stored(root) == {"01_small": True, "index": False}
        and "of index are" in told(root, "stale")[1]
    )
    code, text = told(root, "refresh", "--stale")
    assert (
        code == 0
        and "index.ipynb" in text
        and "01_small" not in text
        and all(stored(root).values())
    )
    assert told(root, "stale")[0] == 0 and "note:" not in told(root, "site")[1]
    assert told(root, "refresh", "--stale") == (0, "No stored output is older than its source.")

def test_refresh_stores_all_or_nothing(tmp_path):
    root = tiny_book(tmp_path)
    write_nb(root/"nbs"/"index.ipynb", "# Home", "1 / 0")
    before = {p: p.read_bytes() for p in (root/"nbs").glob("*.ipynb")}
    code, text = told(root, "refresh")
    assert code == 1 and "index.ipynb, cell 1: ZeroDivisionError" in text.splitlines()[-1]
    assert {p: p.read_bytes() for p in before} == before

def test_a_notebook_that_is_not_there_is_named(tmp_path):
    code, text = told(tiny_book(tmp_path), "refresh", "01_small", "99_lost")
    assert code == 1 and text == "book: there is no notebook 99_lost in nbs"
