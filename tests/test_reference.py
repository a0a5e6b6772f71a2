"""The API reference says what the package does: every name, its parameters, its fields, its
commands."""

import inspect, re, runpy, sys
from types import SimpleNamespace

import pytest
from shared import ROOT

sys.path.insert(0, str(ROOT/"tools"))
import reference  # noqa: E402

INDEX = runpy.run_path(str(ROOT/"sirenbook"/"_modidx.py"))["d"]["syms"]

@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    reference.write(folder)
    return folder

@pytest.fixture(scope="module")
def pages(folder):
    "The entries of each page: of each name its text."
    parts = {p.stem: re.split(r"^##+ .*\{#(.+)\}$", p.read_text(encoding="utf-8"), flags=re.M)
             for p in folder.glob("*.qmd")}
    return {name: SimpleNamespace(begin=part[0], entries=dict(zip(part[1::2], part[2::2])))
            for name, part in parts.items()}

def rows(text):
    "The rows of the table of an entry: its first cell, and the others."
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in re.findall(r"^\|.*$", text, re.M)[2:]]
    return {c[0].strip(" `"): [o.strip() for o in c[1:]] for c in cells}

def everything(): return [(m, n, o) for m in reference.modules() for n, o in m.defs.items()]

def test_each_module_has_a_page_that_leads_to_its_chapter(pages):
    modules = reference.modules()
    there = sorted(p for p in (ROOT/"sirenbook").rglob("*.py") if p.name[0] != "_")
    names = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in there}
    assert {m.name for m in modules} == names and set(pages) == {"api", *(m.page for m in modules)}
    for m in modules:
        assert f"]({m.chapter})" in pages[m.page].begin, f"the page of {m.name} leads nowhere"
        assert f"]({m.page}.html)" in pages["api"].entries[m.name.removeprefix("sirenbook.")]

def test_every_public_name_of_the_index_has_its_entry(pages):
    "What nbdev knows of the chapters is what the package defines: no public name is left out."
    wanted = {(module, name.removeprefix(f"{module}.")) for module, names in INDEX.items()
              for name in names if not re.search(r"\._", name.removeprefix("sirenbook"))}
    public = {m.name: set(m.module.__all__) for m in reference.modules()}
    wanted = {(m, n) for m, n in wanted if n.partition(".")[0] in public.get(m, ())}
    shown = {(m.name, n) for m, n, _ in everything() if n in pages[m.page].entries}
    assert not wanted - shown, f"without an entry: {sorted(wanted - shown)}"
    for m, name, _ in everything():
        if "." not in name:
            assert f"]({m.page}.html#{name})" in pages["api"].entries[m.name[10:]], name

def test_signatures_and_tables_say_what_fastcore_reads(pages):
    "Each parameter has its row, with its docment, type and default, and stands in the signature."
    shown, lost = 0, []
    for m, name, thing in everything():
        text = pages[m.page].entries[name]
        if inspect.isclass(thing) and not reference.api.has_init(thing): continue
        table, code = rows(text), re.search(r"```python\n(.*?)\n```", text, re.S)[1]
        assert code.startswith(name), f"{name}: {code}"
        for parameter, d in reference.shared(thing, full=True).items():
            if parameter in ("self", "cls", "return"): continue
            shown += 1
            says = (d.docment or "").replace("|", r"\|")
            known = parameter in table and table[parameter][-1] == says and parameter in code
            if not known: lost.append(f"{m.name}.{name}({parameter})")
    assert not lost and shown > 300, lost

def test_properties_are_no_calls(pages):
    found = [(m, f"{c}.{n}") for m, c, thing in everything() if inspect.isclass(thing)
             for n, o in vars(thing).items() if isinstance(o, property) and n[0] != "_"]
    assert found
    for m, name in found: assert f"```python\n{name}  #" in pages[m.page].entries[name], name

def test_fields_of_named_tuples_have_their_rows(pages):
    found = [(m, n, o) for m, n, o in everything() if hasattr(o, "_fields")]
    assert found
    for m, name, thing in found:
        assert [*rows(pages[m.page].entries[name])] == [*thing._fields], name

def test_public_methods_stand_in_their_class():
    "smalldocs shows the methods that a class itself defines, so none may hide in a private base."
    hidden = [f"{m.name}.{n}: {base.__name__}.{method}" for m, n, thing in everything()
              if inspect.isclass(thing) for base in thing.__mro__[1:]
              if base.__name__[0] == "_" and base.__module__.startswith("sirenbook")
              for method in vars(base) if method[0] != "_"]
    assert not hidden

def test_nothing_is_left_unsaid(pages):
    owners = {m.name: vars(m.module) for m in reference.modules()}
    def hook(m, name):
        "Whether a method is one that Keras or Python calls, and explains."
        owner, _, short = name.rpartition(".")
        return bool(owner) and any(short in vars(b) for b in owners[m.name][owner].__mro__[1:])
    own = [(m, n, thing) for m, n, thing in everything() if not hook(m, n)]
    silent = [f"{m.name}.{n}" for m, n, thing in own if not reference.api.doc(thing)]
    for m, name, _ in own:
        for row, cells in rows(pages[m.page].entries[name]).items():
            if not cells[-1] and row != "returns": silent.append(f"{m.name}.{name}({row})")
    silent += [f"{m.name}: {row[0]}" for m in reference.modules()
               for row in reference.constants(m) if not row[2]]
    assert not silent, f"{len(silent)} without a word: {', '.join(silent)}"

def test_entries_lead_back_to_the_chapter(pages):
    "To the code, where the chapter shows it; names whose code it folds away, to the chapter."
    for m, name, _ in everything():
        there = f"#{name.lower()}" if name.partition(".")[0] in m.shown else ""
        assert f"]({m.chapter}{there})" in pages[m.page].entries[name], name

def test_links_to_the_source_wait_for_the_repository(pages, monkeypatch):
    """Until it is published the file of each module lies on the site; then each name leads to its
    line."""
    m = next(m for m in reference.modules() if m.name == "sirenbook.signals")
    assert reference.source(m).endswith("/sirenbook/signals.py)")
    assert reference.PUBLISHED or not reference.source(m, "tone")
    monkeypatch.setattr(reference, "PUBLISHED", True)
    line = int(re.search(r"/signals\.py#L(\d+)\)$", reference.source(m, "tone"))[1])
    text = (ROOT/"sirenbook"/"signals.py").read_text(encoding="utf-8")
    assert text.splitlines()[line - 1].startswith("def tone")

def test_short_constants_show_their_value(pages):
    values = {(m.name, re.search(r"`(\w+)`", row[0])[1]): row[1] for m in reference.modules()
              for row in reference.constants(m)}
    assert values["sirenbook.audio", "SR"] == "`16000`"
    assert "0x" not in str(values) and str(ROOT) not in str(values), "a page of this machine alone"
    assert "computed" in values.values() and len(values) > 80

def test_comments_beside_and_above_a_constant_count(monkeypatch):
    text = (
        "# %% cell\n# in hertz,\n# always\nLOW, HIGH = 1, 2\nFAR = (1,\n       2)  # metres\n"
        "A, B = 1, 2  # one; two\n"
    )
    module = SimpleNamespace(
        LOW=1, HIGH=2, FAR=(1, 2), A=1, B=2, __all__=["LOW", "HIGH", "FAR", "A", "B"]
    )
    monkeypatch.setattr(reference.inspect, "getsource", lambda module: text)
    told = {row[0]: row[2] for row in reference.constants(SimpleNamespace(module=module))}
    wanted = {
        "LOW": "in hertz, always",
        "HIGH": "in hertz, always",
        "FAR": "metres",
        "A": "one",
        "B": "two",
    }
    assert told == {f"[`{n}`]{{#{n}}}": says for n, says in wanted.items()}

def test_the_command_has_all_its_commands_and_options(pages):
    "In the words of `sirenbook COMMAND --help`, and as wide everywhere."
    entries = pages["api_cli"].entries
    assert {
        "detect",
        "listen",
        "download",
        "dataset-roadside",
        "train-detector",
        "experiment",
    } <= set(entries)
    assert (
        "usage: sirenbook detect" in entries["detect"] and "--operating-point" in entries["detect"]
    )
    helps = [text for text in entries.values() if "usage: sirenbook" in text]
    assert max(len(line) for text in helps for line in text.splitlines()) < 100

def test_a_chapter_links_each_method_to_its_entry():
    m = next(m for m in reference.modules() if m.name == "sirenbook.frames")
    text = reference.lead(m, "FrontEnd")
    assert (
        "### FrontEnd\n" in text and "#### [FrontEnd.push](api_frames.html#FrontEnd.push)" in text
    )


def test_a_name_in_backticks_leads_where_one_module_alone_has_it():
    index = reference.symbols()
    assert index["detector.Detector"] == index["Detector"] == "/api_detector.qmd#Detector"
    shared = {
        n for m, n, _ in everything() for o in reference.modules() if o is not m and n in o.defs
    }
    assert shared and not shared & set(index), "a name that several modules have was guessed at"

def test_the_first_page_says_how_things_are_refused(pages):
    assert "`SirenbookError`" in pages["api"].begin and "`SirenbookFileError`" in pages["api"].begin
