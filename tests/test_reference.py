"""The API reference says what the package does: every name, its parameters, and its errors in their own words."""
import html, importlib, inspect, re, runpy, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from shared import ROOT

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

COMMANDS = {words.replace(" ", "-"): words for words in reference.parsers()}

def plain(text): return re.sub(r"\\([^a-zA-Z0-9\s])", r"\1", text).replace("`", "")

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
    "What fastcore reads beside a parameter stands in its row, and then its type and its default."
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
            told = re.sub(r"\[([\w.]+)\]\([^)]*\)", r"\1", table.get(parameter, ""))
            told, ours = told.removeprefix(said.replace("`", "")), inspect.signature(thing).parameters[parameter]
            kind = r"(?:.+, )?default .+" if ours.default is not ours.empty else "(?!default).+" if ours.annotation is not ours.empty else ""
            if not re.fullmatch(f"; {kind}" if kind else "", told): lost.append(f"{module}.{name}({parameter}): {told!r} beside {said!r}")
    assert not lost, "; ".join(lost)
    assert shown > 300

def test_nothing_is_left_unsaid():
    said = reference.entries()
    silent = [f"{e['module']}.{e['name']}" for e in said if not e["summary"]]
    silent += [f"{e['module']}.{e['name']}({name})" for e in said for name, what in e["params"] if not what]
    assert not silent, f"{len(silent)} without a word: {', '.join(silent)}"

def test_signatures_are_those_of_the_package(pages):
    "Names, order, kinds and plain defaults are what Python itself finds."
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
        yield error, re.compile(".*".join(re.escape(plain(p)).replace(r"\(s\)", "s?") for p in parts), re.S)

@pytest.fixture(scope="module")
def messages(pages):
    "The errors as they are shown, `module.name: message`."
    return [f"{page.removeprefix('api_')}.{name}: {message}" for page, found in pages.items() for name, text in found.entries.items()
            for message in re.findall(r"^- \[?`\w+`(?:\]\([^)]*\))?: (.*)$", text, re.M)]

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
    assert "those of" not in pages["api_signals"].entries["read_csv"] and "another size" not in str(pages["api_recordings"].entries)
    assert "Errors" not in pages["api_cli"].entries["main"]

def test_links_to_the_source_lead_to_the_definition(pages):
    wrong = []
    for page, found in pages.items():
        lines = (ROOT/"sirenbook"/f"{page.removeprefix('api_')}.py").read_text(encoding="utf-8").splitlines() if page != "api" else []
        for name, text in found.entries.items():
            if not lines or name == "constants" or name in COMMANDS: continue
            there = re.search(rf"\[source\]\(https://\S+/blob/\w+/sirenbook/{page.removeprefix('api_')}\.py#L(\d+)\)", text)
            if not there or not re.match(rf"\s*(?:def|class) {name.rpartition('.')[2]}\b", lines[int(there[1]) - 1]): wrong.append(f"{page} {name}")
    assert not wrong, f"not at their definition: {', '.join(wrong)}"

def test_entries_lead_back_to_the_chapter(pages):
    lost = [f"{module}.{name}" for module, name, where in NAMES if f"]({where})" not in pages[f"api_{module}"].entries[name]]
    assert not lost, f"without a link to the chapter's entry: {', '.join(lost)}"

def test_short_constants_show_their_value(pages):
    text = pages["api_signals"].entries["constants"]
    assert re.search(r"\{#SR\} \| `16000` \| how many numbers", text)
    values = re.findall(r"\{#\w+\} \| ([^|]*) \|", "".join(p.entries.get("constants", "") for p in pages.values()))
    assert not [v for v in values if re.search(r"\bfor\b|^`\{\}`$", v)] and "computed" in values and len(values) > 100
    assert "0x" not in "".join(p.entries.get("constants", "") for p in pages.values())

def test_search_entries_lead_to_the_pages(pages):
    for e in reference.entries():
        page, _, name = e["href"].partition(".html#")
        held = pages[page].entries
        assert name in held or e["kind"] == "constant" and f"{{#{name}}}" in held["constants"], f"{e['href']} leads nowhere"

def test_messages_and_docments_are_word_for_word_on_the_site(pages, messages):
    "The renderer makes no dash of two hyphens, no curly quotes and no single dots of what a program says or takes."
    from smalldocs.markdown import make_parser
    parser = make_parser()
    def shown_as(text): return html.unescape(parser.render(text))
    changed = [m for m in messages if re.search("[–—“”‘’]", shown_as(m)) or m.count("…") != shown_as(m).count("…")]
    assert not changed, "; ".join(changed)
    assert sum("<code>--out" in shown_as(m) for m in messages) > 2
    docments = [f"{e['name']}: {what}" for e in reference.entries() for _, what in e["params"]]
    quoted = [d for d in docments if re.search(r"[–—“”‘]|\W’|’\W", shown_as(reference.prose(reference.modules()["signals"], d)))]
    assert not quoted, "; ".join(quoted)
    assert sum('"' in d for d in docments) > 20

@pytest.mark.parametrize("message", [
    "detector.Stream: sr is a whole number of samples a second from 4000 to 384000, not *sr*",  # constants
    "results.split_for: there are folds 0 to 4, not *seed*",                                    # and what is made of them
    "sirens.wail_hz: no sweep is shaped *shape*; there are cosine, triangle, charge",
    "detector.EventTracker: a threshold is a number between 0 and 1, not *threshold*",          # a helper's `value`
    "training.evaluate: the test part is empty",                                                # what a helper is told
    "recordings.load_wav: *path*: the file is empty",
    "recordings.load_folder: *folder*/manifest.csv: needs the columns file, label and group",   # a name for part of a parameter
    "roads.propagate: start_m is three finite numbers (x, y, z), not *start_m*",                # a loop
    "chunks.group_split: class … has … group(s); a leak-free split needs 3, one each to train, validate and test"])
def test_messages_say_what_stands_in_them(messages, message): assert message in messages

def test_messages_name_nothing_but_parameters(pages, messages):
    foreign = []
    for message in messages:
        where, _, text = message.partition(": ")
        module, _, name = where.partition(".")
        known = set(rows(pages[f"api_{module}"].entries[name]))
        foreign += [message for field in re.findall(r"(?<!\\)\*(\w+)[\w.]*\*", text) if field not in known]
    assert not foreign, "; ".join(foreign)

def test_a_message_that_says_nothing_is_shown_only_if_there_is_no_other():
    holes, empty = ("SirenbookError", "*name*: …"), ("SirenbookError", "the part is empty")
    assert reference.fullest([holes, empty]) == [empty] and reference.fullest([holes]) == [holes]
    assert reference.fullest([("SirenbookError", "… is empty"), ("SirenbookError", "*path* is empty")]) == [("SirenbookError", "*path* is empty")]

def test_messages_that_differ_in_a_word_are_told_as_one():
    ours, theirs, other = (("SirenbookError", f"the {part} is empty") for part in ("training part", "test part", "whole data set"))
    assert reference.fullest([ours, other, theirs]) == [("SirenbookError", "the training or test part is empty"), other]

def test_the_command_has_all_its_commands_and_options(pages):
    "As argparse itself tells them in `sirenbook COMMAND --help`."
    assert {"detect", "listen", "download", "dataset-roadside", "train-detector", "experiment"} <= set(COMMANDS)
    ask = lambda words: subprocess.run([sys.executable, "-c", f"from sirenbook.cli import main; main({[*words.split(), '--help']})"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    with ThreadPoolExecutor(2) as pool: answers = dict(zip(COMMANDS, pool.map(ask, COMMANDS.values())))
    for name, words in COMMANDS.items():
        text = pages["api_cli"].entries[name]
        told = set(re.findall(r"^  (--[\w-]+)", answers[name], re.M)) - {"--help"}
        assert set(re.findall(r"^\| `(--[\w-]+)", text, re.M)) == told, f"the options of {words} are not those of its help"
        assert f"```bash\nsirenbook {words}" in text and told == set(re.findall(r"--[\w-]+", re.search(r"```bash\n(.*?)```", text, re.S)[1]))

def test_commands_in_a_search_lead_to_the_pages(pages):
    for c in reference.commands():
        page, _, name = c["href"].partition(".html#")
        assert page == "cli" or name in pages[page].entries, f"{c['href']} leads nowhere"

def test_a_chapter_links_each_method_to_its_entry():
    told = reference.lead(reference.modules()["detector"], "FrontEnd")
    assert "### FrontEnd\n" in told and "#### [FrontEnd.push](api_detector.html#FrontEnd.push)" in told

def test_what_yields_is_said_to_yield(pages):
    texts = [text for p in pages.values() for text in p.entries.values()]
    assert any("**Yields** " in t for t in texts) and not any(re.search(r"\*\*Returns\*\*.*: yields", t) for t in texts)
