"""The API reference says what the package does: every name, its parameters, and its errors in their own words."""
import importlib, re, runpy, sys
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT/"tools"))
import reference  # noqa: E402

INDEX = runpy.run_path(str(ROOT/"sirenbook"/"_modidx.py"))["d"]["syms"]
NAMES = [(module.removeprefix("sirenbook."), name.removeprefix(f"{module}."), where)
         for module, names in INDEX.items() for name, (where, _) in names.items() if not re.search(r"\._", name.removeprefix("sirenbook"))]

@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    "The entries of each page: of each name its text."
    folder = tmp_path_factory.mktemp("reference")
    reference.write(folder)
    parts = {p.stem: re.split(r"^##+ .*\{#(.+)\}$", p.read_text(encoding="utf-8"), flags=re.M) for p in folder.glob("*.qmd")}
    return {name: SimpleNamespace(begin=part[0], entries=dict(zip(part[1::2], part[2::2]))) for name, part in parts.items()}

def plain(text): return re.sub(r"\\([^a-zA-Z0-9\s])", r"\1", text)

def rows(text):
    "The parameters that an entry shows: name and what it is."
    table = re.search(r"^\| Parameter .*\n\| -.*\n((?:\|.*\n)+)", text, re.M)
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in (table[1].splitlines() if table else ())]
    return {c[0].strip(" `*"): plain(c[-1].strip()) for c in cells}

def test_each_module_has_a_page_that_leads_to_its_chapter(pages):
    assert set(pages) == {"api", *(f"api_{m.removeprefix('sirenbook.')}" for m in INDEX)}
    for module, names in INDEX.items():
        chapter = next(iter(names.values()))[0].partition("#")[0]
        short = module.removeprefix("sirenbook.")
        assert f"]({chapter})" in pages[f"api_{short}"].begin, f"the page of {module} does not lead to {chapter}"
        assert f"](api_{short}.html)" in pages["api"].entries[short]

def test_every_public_name_has_its_entry_and_signature(pages):
    lost = [f"{module}.{name}" for module, name, _ in NAMES
            if not re.search(rf"```python\n(?:class )?{re.escape(name)}\b", pages[f"api_{module}"].entries.get(name, ""))]
    assert not lost, f"without an entry or a signature: {', '.join(lost)}"
    links = [f"{module}.{name}" for module, name, _ in NAMES if "." not in name and f"](api_{module}.html#{name})" not in pages["api"].entries[module]]
    assert not links, f"not on the first page: {', '.join(links)}"

def test_the_public_methods_of_private_bases_are_there_too(pages):
    assert {"Detector.pretrained", "Detector.load", "Detector.score"} <= set(pages["api_detector"].entries)

def test_parameters_are_shown_with_what_the_source_says_of_them(pages):
    "What fastcore reads beside a parameter stands in its row."
    from fastcore.docments import docments
    shown, lost = 0, []
    for module, name, _ in NAMES:
        if module in ("networks", "training", "results", "flaws", "clues", "transfer", "proving", "teaching"): continue  # TensorFlow takes seconds
        thing = importlib.import_module(f"sirenbook.{module}")
        for part in name.split("."): thing = getattr(thing, part)
        if isinstance(thing, property): continue
        table = rows(pages[f"api_{module}"].entries[name])
        for parameter, said in docments(thing).items():
            if parameter in ("self", "return", "args", "kwargs") or not said: continue
            shown += 1
            told = re.sub(r"\]\([^)]*\)|\[(?=`)", "", table.get(parameter, ""))
            if told != said: lost.append(f"{module}.{name}({parameter}): {told!r}, not {said!r}")
    assert not lost, "; ".join(lost)
    assert shown > 300

def test_nothing_is_left_unsaid():
    said = reference.entries()
    silent = [f"{e['module']}.{e['name']}" for e in said if e["kind"] != "constant" and not e["summary"]]
    silent += [f"{e['module']}.{e['name']}({name})" for e in said for name, what in e["params"] if not what]
    assert not silent, f"{len(silent)} without a word: {', '.join(silent)}"

def test_signatures_are_those_of_the_package(pages):
    "Names, order, kinds and plain defaults are what Python itself finds."
    import inspect
    from sirenbook import chunks, detector, noises, recordings, roads, signals, viewing
    for module, name, thing in (("signals", "tone", signals.tone), ("roads", "propagate", roads.propagate), ("noises", "wind", noises.wind),
                                ("chunks", "chunk", chunks.chunk), ("viewing", "play", viewing.play), ("recordings", "Dataset", recordings.Dataset),
                                ("detector", "FrontEnd", detector.FrontEnd), ("detector", "find_events", detector.find_events)):
        text = re.search(r"```python\n(.*?)```", pages[f"api_{module}"].entries[name], re.S)[1]
        known = {"np": np} | vars(sys.modules[f"sirenbook.{module}"])
        exec(f"def {text.strip()}: pass", known)
        shape = lambda f: [(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]
        assert shape(known[name]) == shape(thing), f"sirenbook.{module}.{name} is not called as its entry says"

def bad_calls():
    from sirenbook import detector, noises, recordings, roads, sirens, signals, viewing
    wav = np.zeros(16000, np.float32)
    here = dict(sr=16000, velocity_mps=(0, 0, 0), start_m=(0, 5, 1))
    return [("viewing", "plot_spectrum", lambda: viewing.plot_spectrum(wav[None])),               # in the function itself
            ("signals", "quantize", lambda: signals.quantize(wav, 40)),
            ("recordings", "load_wav", lambda: recordings.load_wav("nowhere.wav")),               # in a helper
            ("roads", "propagate", lambda: roads.propagate(wav, **here | dict(start_m=(0, 0, 1.5)))),   # in a loop over a dict
            ("noises", "wind", lambda: noises.wind(-1, np.random.default_rng(0))),                # in a decorator
            ("sirens", "render", lambda: sirens.render("kazoo", 1)),
            ("detector", "Detector", lambda: detector.Detector("nowhere")),                       # in the __init__ of a base
            ("detector", "Detector.score", lambda: detector.Detector.pretrained().score("nowhere.wav")),
            ("detector", "Detector.threshold_at", lambda: detector.Detector.pretrained().threshold_at("never"))]

def patterns(text):
    "The errors that an entry shows, as patterns: error, message."
    for error, message in re.findall(r"^- \[?`(\w+)`(?:\]\([^)]*\))?: (.*)$", text, re.M):
        parts = re.split(r"(?<!\\)\*(?:[^*]+)(?<!\\)\*|…", message)
        yield error, re.compile(".*".join(re.escape(plain(p)) for p in parts), re.S)

@pytest.mark.parametrize("i", range(len(bad_calls())), ids=lambda i: ".".join(bad_calls()[i][:2]))
def test_errors_are_those_that_come(pages, i):
    module, name, call = bad_calls()[i]
    with pytest.raises(ValueError) as e: call()
    shown = list(patterns(pages[f"api_{module}"].entries[name]))
    assert any(error == type(e.value).__name__ and p.fullmatch(str(e.value)) for error, p in shown), f"{e.value!r} is not among {shown}"

def test_errors_of_what_a_function_calls_are_a_link_away(pages):
    assert re.search(r"those of .*\[`draw`\]\(api_sirens.html#draw\)", pages["api_sirens"].entries["siren"])

def test_an_error_that_is_caught_is_not_shown(pages):
    "A card that cannot be read as one is an error of `Detector`; the ValueErrors behind it, and the command's own errors, reach nobody."
    assert "those of" not in pages["api_signals"].entries["load_rows"] and "another size" not in str(pages["api_recordings"].entries)
    assert "Errors" not in pages["api_cli"].entries["main"]

def test_links_to_the_source_lead_to_the_definition(pages):
    wrong = []
    for page, found in pages.items():
        lines = (ROOT/"sirenbook"/f"{page.removeprefix('api_')}.py").read_text(encoding="utf-8").splitlines() if page != "api" else []
        for name, text in found.entries.items():
            if not lines or name == "constants": continue
            there = re.search(rf"\[source\]\(https://\S+/blob/\w+/sirenbook/{page.removeprefix('api_')}\.py#L(\d+)\)", text)
            if not there or not re.match(rf"\s*(?:def|class) {name.rpartition('.')[2]}\b", lines[int(there[1]) - 1]): wrong.append(f"{page} {name}")
    assert not wrong, f"not at their definition: {', '.join(wrong)}"

def test_entries_lead_back_to_the_chapter(pages):
    lost = [f"{module}.{name}" for module, name, where in NAMES if f"]({where})" not in pages[f"api_{module}"].entries[name]]
    assert not lost, f"without a link to the chapter's entry: {', '.join(lost)}"

def test_short_constants_show_their_value(pages):
    text = pages["api_signals"].entries["constants"]
    assert re.search(r"\{#SR\} \| `16000` \| how many numbers", text)
    assert "0x" not in "".join(p.entries.get("constants", "") for p in pages.values())

def test_search_entries_lead_to_the_pages(pages):
    for e in reference.entries():
        page, _, name = e["href"].partition(".html#")
        held = pages[page].entries
        assert name in held or e["kind"] == "constant" and f"{{#{name}}}" in held["constants"], f"{e['href']} leads nowhere"
