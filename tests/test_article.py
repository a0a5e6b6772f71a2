"""The article's steps stand in the visible code, in the calls that everybody uses."""

import json, re, shutil
from functools import cache

import numpy as np
import pytest
from shared import NBS, ROOT, complains, write
from sirenbook.cli import main
from sirenbook.errors import SirenbookFileError, SirenbookWarning
from sirenbook.experiments import verdict as verdict_experiment
from sirenbook.recordings import ARTICLE_FILES, CLASSES, load_dataset
from sirenbook.results import ARTICLE as FIGURES
from sirenbook.results import load_results, verdict

ARTICLE = NBS / "92_article.ipynb"
ADDRESS = "https://www.analyticsvidhya.com/blog/2021/06/introduction-to-audio-classification/"

CALLS = {  # name: what a notebook's visible code must hold; all of one set is enough
    "librosa.load": [{r"librosa\.load\("}],
    "librosa.get_duration": [{r"librosa\.get_duration\((y|path)="}],
    "IPython.display.Audio": [
        {r"from IPython\.display import .*\bAudio\b", r"(?<![\w.])Audio\("},
        {r"import IPython\.display", r"IPython\.display\.Audio\("},
    ],
    "train_test_split": [{r"train_test_split\([^)]*stratify=[^)]*random_state=12"}],
    "ModelCheckpoint": [{r"ModelCheckpoint\([^)]*monitor=[^)]*save_best_only=True"}],
    "model.fit": [{r"\bmodel\.fit\([^)]*validation_data="}],
    "model.summary": [{r"\bmodel\.summary\(\)"}],
    "scipy.signal.spectrogram": [{r"\w+, \w+, \w+ = scipy\.signal\.spectrogram\("}],
    "plt.imshow": [{r"plt\.imshow\("}],
}

# The steps that the appendix must show, each by a word of its row in the table.
STEPS = """uses of audio|24,012|traffic light|seven steps|libraries|vibrating object|crest|cycle|
wavelength|digital|sampling|time domain|darker is louder|two files loaded|duration|positional|
audio_chunks|tails|nine seconds|1374 + 1628|45 and 29|32 and 33|labels|(3002, 32000)|the split|
(2401, ·)|timesteps|frames|vanishing|CNN's code|loss, optimiser|summary|.hdf5|fit|loss curve|
evaluate|98|LSTM's code|513|three return values|logarithm|upside down|162|standardising|
0.70 to 0.30|77.038|two files|hint"""
STEPS = [s for s in STEPS.replace("\n", "").split("|") if s]


@cache
def cells(path):
    return [
        (c["cell_type"], "".join(c["source"]), c.get("outputs", []))
        for c in json.loads(path.read_text(encoding="utf-8"))["cells"]
    ]


def visible(path):
    "The code that a reader of the page sees: neither hidden, nor exported without being shown."
    return [
        s
        for kind, s, _ in cells(path)
        if kind == "code" and not re.search(r"^#\| *(hide|export|echo: false)\s*$", s, re.M)
    ]


def chapters_with(patterns):
    "The notebooks in whose visible code each pattern occurs."
    found = []
    for path in sorted(NBS.glob("[0-9]*.ipynb")):
        text = "\n".join(re.sub(r"^\s*#.*", "", s, flags=re.M) for s in visible(path))
        if all(re.search(p, text) for p in patterns):
            found.append(path.name)
    return found


def slug(heading):
    return re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-"))


@cache
def sections():
    "Anchor -> the cells under that heading, in the appendix; the table of rows is not one of them."
    found, here = {}, None
    for kind, s, _ in cells(ARTICLE):
        if kind == "markdown" and (m := re.search(r"^## (.+)", s, re.M)):
            here = found.setdefault(slug(m[1]), [])
        if here is not None:
            here.append(s)
    return {name: texts for name, texts in found.items() if name != "every-row"}


def rows():
    "The table of the appendix: step, anchor, words of the cell that shows it."
    text = next(s for _, s, _ in cells(ARTICLE) if "## Every row" in s)
    return [
        (step, anchor, words)
        for step, anchor, words in re.findall(
            r"^\| (.+?) \| \[[^\]]+\]\(#([\w-]+)\): `(.+?)` \|", text, re.M
        )
    ]


def unproven(table, sections):
    "Rows whose section does not exist, or has no cell with those words."
    return [
        step
        for step, anchor, words in table
        if not any(words in s for s in sections.get(anchor, ()))
    ]


@pytest.mark.parametrize("name", CALLS)
def test_each_standard_call_stands_in_visible_code(name):
    found = {p: chapters_with(p) for p in map(frozenset, CALLS[name])}
    assert any(found.values()), f"no notebook shows {name}"
    assert any(ARTICLE.name in names for names in found.values()), f"the appendix lacks {name}"


def test_what_nobody_calls_is_not_found():
    assert not chapters_with({r"librosa\.no_such_call\("})


def test_every_row_is_shown_by_the_cell_that_it_names():
    table = rows()
    text = next(s for _, s, _ in cells(ARTICLE) if "## Every row" in s)
    assert len(table) == text.count("\n| ") - 1, "a row of the table cannot be read"
    assert len(table) >= len(STEPS)
    assert not (lost := unproven(table, sections())), f"rows without their cell: {lost}"
    steps = " | ".join(step for step, *_ in table)
    assert not (lost := [s for s in STEPS if s not in steps]), f"steps without a row: {lost}"


def test_a_rotten_row_is_found():
    good, there = ("a", "one", "x = 1"), {"one": ["x = 1"]}
    assert unproven([good, ("b", "two", "x = 1"), ("c", "one", "x = 2")], there) == ["b", "c"]


def test_the_appendix_says_that_it_runs_on_other_data():
    prose = "\n".join(s for kind, s, _ in cells(ARTICLE) if kind == "markdown")
    assert "Rebuilt, run on other data" in prose
    faults = [s for s in visible(ARTICLE) if "FAULT" in s]
    assert len(faults) >= 7


def test_the_article_is_linked_and_no_other():
    "Each link to its publisher is the article's address, beside its author's name."
    places = [*NBS.glob("*.ipynb"), *NBS.glob("*.qmd"), *ROOT.glob("*.md"), ROOT / "CITATION.cff"]
    linked = []
    for path in places:
        text = path.read_text(encoding="utf-8")
        for link in re.findall(r"https?://[^\s)>\"\\]*analyticsvidhya[^\s)>\"\\]*", text):
            assert link == ADDRESS, f"{path.name} links to {link}"
            assert "Neha Seth" in text, f"{path.name} links to the article without its author"
            linked.append(path.name)
    assert {"README.md", "index.ipynb", "about.qmd"} <= set(linked)


def test_home_draws_no_plain_accuracy_on_an_axis_of_balanced_accuracy():
    code = "\n".join(s for kind, s, _ in cells(NBS / "index.ipynb") if kind == "code")
    assert "balanced_accuracy" in code and "ARTICLE" not in code


@pytest.fixture
def two_files(tmp_path, monkeypatch):
    "A data folder with two short files under the article's names."
    monkeypatch.setenv("SIRENBOOK_DATA", str(tmp_path))
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *a, **k: str(tmp_path / "cache"))
    for i, name in enumerate(ARTICLE_FILES.values()):
        noise = np.random.default_rng(i).normal(0, 0.1, 16000 * (9 + i))
        write(tmp_path / "article" / name, noise)
    return tmp_path / "article"


def test_the_two_files_are_loaded_as_one_group_each(two_files):
    with pytest.warns(SirenbookWarning, match="lasts 0.15 minutes, the article's file 22.92"):
        data = load_dataset("article")
    assert [r.label for r in data.recordings] == [r.group for r in data.recordings] == [*CLASSES]
    assert [r.seconds for r in data.recordings] == [9, 10]


def test_absent_and_truncated_files_are_one_sentence(two_files):
    path = two_files / ARTICLE_FILES["emergency"]
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.warns(SirenbookWarning, match="emergency.wav: the file is cut off .* of 9.0 s"):
        load_dataset("article")
    path.write_bytes(b"")
    with complains("emergency.wav", "empty", kind=SirenbookFileError):
        load_dataset("article")
    path.unlink()
    with complains("sirenbook download article", kind=SirenbookFileError):
        load_dataset("article")
    shutil.rmtree(two_files)
    with complains("sirenbook download article", kind=SirenbookFileError):
        load_dataset("article")


@pytest.mark.filterwarnings("ignore:.*the article's figures are not of this file")
def test_the_experiment_runs_on_the_two_files(two_files, tmp_path, capsys):
    "What the appendix's command calls, with one quick network, and the article's figure beside it."
    for i, name in enumerate(ARTICLE_FILES.values()):
        write(two_files / name, np.random.default_rng(i).normal(0, 0.1, 16000 * (30 + i)))
    setting = ("cnn", "spectrogram", "printed")
    options = dict(fold_ids=[0], epochs=1, settings=[setting])
    with pytest.warns(SirenbookWarning, match="only the random one is run"):
        verdict_experiment.run(["article"], tmp_path, **options)
    assert "the article prints 97.0 %" in capsys.readouterr().out
    table = verdict(load_results(tmp_path / "results.csv"), "article")
    [row] = [r for r in table if r["random split"] != "not run"]
    assert row["article"] == FIGURES[setting[:2]] == 97.0
    with complains("article", "1 group"):
        verdict_experiment.run(["article"], tmp_path, **options | {"splits": ["grouped"]})


def test_the_command_of_the_appendix_is_one(two_files, tmp_path, monkeypatch):
    "The command as it is printed, with the runs themselves taken out."
    text = "\n".join(s for _, s, _ in cells(ARTICLE))
    command = re.search(r"^sirenbook (experiment verdict --datasets article .*)$", text, re.M)[1]
    asked = []
    monkeypatch.setattr(verdict_experiment, "run", lambda *a, **k: asked.append((a, k)))
    assert main(command.split()) in (0, None)
    assert asked == [((["article"], "mine"), {})]
