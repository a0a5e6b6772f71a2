"""The house rules: names, words, the order of chapters, the length of the path, sizes of rooms."""

import ast, json, re
from collections import Counter
from functools import cache

import pytest
from shared import NBS, PACKAGE, ROOT

# Names that the book once had; the changelog has the table from old to new.
OLD = set(
    """
    proving teaching copies clues flaws figures joined likeness Copy vary Heard hear Windows Mixture
    teach learn divided part highest gather Rule gradient without mix alarms waits bare_events folds
    percent interval measures maker call comb between lay unit sing
    """.split()
)
OLD_IN = {
    ("roads", "Path"),
    ("training", "Scores"),
    ("detector_training", "finish"),
    ("roads", "Event"),
}
BANNED = [
    r"\banew\b",
    r"\bwhoever\b",
    r"\bcomplains? of\b",
    r"\bcomes? to lie\b",
    r"\b(goes|go|went) on where\b",
    r"\ball begins\b",
    r"\bin the midst\b",
    r"\b[Hh]ad (?!been|to|a |an |the |no |not )\w+ (been|not been) \w+, ",
    r"(?<=[.:] )Were (it|they|there|he|she) ",
    r"\bwhat (nears|lies|sticks out|rings on|neighbours)\b",
    r"\bwait for ever\b",
    r"\bwoe\b",
]
WORKSHOP = {"errors", "files", "runs", "containers", "audio", "viewing"}  # import only each other
EXEMPT = {"rendering", "downloads", "widgets"}  # and experiments: may import any module
PATH_WORDS, PATH_LINES = 6000, 1500  # before the chapter on networks; 7500 and 2000 with learning


@cache
def cells(path):
    return [
        (c["cell_type"], "".join(c["source"]))
        for c in json.loads(path.read_text(encoding="utf-8"))["cells"]
    ]


def notebooks():
    return sorted(NBS.glob("*.ipynb"))


def chapters():
    return [p for p in notebooks() if re.match(r"(0|1|2)\d_", p.name)]


def sources():
    return sorted(p for p in PACKAGE.rglob("*.py") if p.name not in ("_modidx.py", "__init__.py"))


def module(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def exported(path):
    return next(
        (m[1] for kind, s in cells(path) if (m := re.search(r"^#\| default_exp (\S+)", s, re.M))),
        None,
    )


def is_exported(source):
    return re.search(r"^#\| *exports?\b", source, re.M) is not None


@pytest.mark.parametrize("path", sources(), ids=module)
def test_the_code_speaks_the_fields_language(path):
    found, tree = [], ast.parse(path.read_text(encoding="utf-8"))
    methods = {f for c in ast.walk(tree) if isinstance(c, ast.ClassDef) for f in c.body}
    assert not {*module(path).split(".")} & OLD
    for n in ast.walk(tree):
        if not isinstance(n, (ast.FunctionDef, ast.ClassDef)):
            continue
        if n.name in OLD or n not in methods and (module(path), n.name) in OLD_IN:
            found.append(n.name)
        if isinstance(n, ast.FunctionDef) and not n.name.startswith("_"):
            a = n.args
            found += [
                f"{n.name}({p.arg})"
                for p in (*a.posonlyargs, *a.args, *a.kwonlyargs)
                if p.arg in OLD
            ]
    assert not found


def prose():
    "Everything that a person reads: notebooks, pages, the source, by its place."
    for p in notebooks():
        for i, (_, s) in enumerate(cells(p)):
            yield f"{p.name} cell {i}", s
    for p in (
        *NBS.glob("*.qmd"),
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "data" / "README.md",
        ROOT / "data" / "roadside" / "README.md",
        *sorted((ROOT / "tools").glob("*.py")),
    ):
        yield p.name, p.read_text(encoding="utf-8")


def test_no_banned_phrase_stands_anywhere():
    found = [
        f"{place}: {m[0]}"
        for place, text in prose()
        for b in BANNED
        for m in re.finditer(b, text, re.M)
    ]
    assert not found, "\n".join(found)


def test_the_banned_phrases_are_found():
    for text in (
        "all begins anew",
        "Whoever measures".lower(),
        "the rows come to lie in out.csv",
        "it goes on where it stopped",
        "what nears sr/2",
    ):
        assert any(re.search(b, text) for b in BANNED), text


def imports(source, within_functions=False):
    "The modules of ours that a source imports at its top level."
    tree = ast.parse(re.sub(r"^[%!].*$", "pass", source, flags=re.M))
    nodes = ast.walk(tree) if within_functions else tree.body
    for n in nodes:
        if isinstance(n, ast.ImportFrom) and n.module and n.level == 0:
            if n.module == "sirenbook":
                yield from (a.name for a in n.names)
            elif n.module.startswith("sirenbook."):
                yield n.module.removeprefix("sirenbook.")
        if isinstance(n, ast.Import):
            yield from (
                a.name.removeprefix("sirenbook.")
                for a in n.names
                if a.name.startswith("sirenbook.")
            )


def place(path):
    return int(path.name[:2]) if path.name[:2].isdecimal() else 99


@pytest.mark.parametrize("path", notebooks(), ids=lambda p: p.stem)
def test_chapters_import_from_lower_chapters_and_the_workshop(path):
    where, own = {exported(p): place(p) for p in notebooks() if exported(p)}, exported(path)
    if own in EXEMPT or (own or "").startswith("experiments.") or place(path) >= 90:
        return
    for kind, source in cells(path):
        if kind != "code":
            continue
        for name in imports(source):
            if name == own or name not in where:
                continue
            if own in WORKSHOP and is_exported(source):
                assert name in WORKSHOP, f"{path.name} imports {name}"
            elif own not in WORKSHOP:
                assert where[name] < place(path) or where[name] in range(70, 90), (
                    f"{path.name} imports {name}"
                )


def test_modules_make_no_circle_and_share_no_private_names():
    wanted = {}
    for p in sources():
        text, package = (
            p.read_text(encoding="utf-8"),
            ("sirenbook", *p.relative_to(PACKAGE).parent.parts),
        )
        wanted[module(p)] = set()
        for n in ast.walk(ast.parse(text)):
            if not isinstance(n, ast.ImportFrom) or not (
                n.level or (n.module or "").startswith("sirenbook")
            ):
                continue
            private = [a.name for a in n.names if a.name.startswith("_") and a.name != "_modidx"]
            assert not private, f"{p.name} imports {private}"
        for n in ast.parse(text).body:
            if isinstance(n, ast.ImportFrom) and n.level:
                base = [
                    *package[1 : len(package) - n.level + 1],
                    *filter(None, (n.module or "").split(".")),
                ]
                wanted[module(p)] |= {".".join(base)} if base else {a.name for a in n.names}
    done, on = set(), []

    def visit(m):
        assert m not in on, " -> ".join([*on, m])
        if m in done or m not in wanted:
            return
        on.append(m)
        for other in wanted[m]:
            visit(other)
        on.pop(), done.add(m)

    for m in wanted:
        visit(m)


def test_a_network_is_met_within_the_first_hour():
    before = [
        p
        for p in chapters()
        if place(p) < next(place(q) for q in chapters() if exported(q) == "networks")
    ]
    words, lines = PATH_WORDS, PATH_LINES
    if any("learning" in p.name for p in before):
        words, lines = 7500, 2000
    n_words = sum(len(s.split()) for p in before for kind, s in cells(p) if kind == "markdown")
    shown = [
        s
        for p in before
        for kind, s in cells(p)
        if kind == "code" and not re.search(r"^#\| *(exports?|hide|default_exp)\b", s, re.M)
    ]
    n_lines = sum(
        bool(line.strip()) and not line.startswith("#|") for s in shown for line in s.splitlines()
    )
    assert [exported(p) for p in before if exported(p)] == [
        "signals",
        "spectrograms",
        "recordings",
        "chunks",
    ]
    assert n_words < words and n_lines < lines, (
        f"{n_words} words and {n_lines} lines stand before the first network"
    )


@pytest.mark.parametrize("path", chapters(), ids=lambda p: p.stem)
def test_a_chapter_says_what_it_builds_on(path):
    opening = [s for kind, s in cells(path) if kind == "markdown"][1]
    head = re.search(r"About \d+ minutes[^.;]*(?:;|\. It) builds on (.+?)\.(?: |$)", opening, re.M)
    assert head, f"{path.name} does not say how long it takes and what it builds on"
    named = re.findall(r"\((\w+\.ipynb)\)", head[1])
    assert named or "no other chapter" in head[1], f"{path.name} builds on nothing: {head[1]}"
    assert all((NBS / n).exists() and int(n[:2]) < place(path) for n in named), head[1]


@pytest.mark.parametrize(
    "path", [p for p in chapters() if place(p) <= 15], ids=lambda p: p.stem
)
def test_a_chapter_of_parts_one_and_two_has_an_open_exercise_with_an_answer(path):
    last = "\n".join(s for _, s in cells(path)).rpartition("## Exercises")[2]
    assert re.search(r"\bopen\b", last) and re.search(r"\b[Ll]isten|\bhear\b", last)
    answers = "\n".join(s for _, s in cells(NBS / "90_answers.ipynb"))
    mine = answers.partition(f"]({path.name})")[2].partition("\n## ")[0]
    assert "The open one: " in mine, f"the answers lack the open exercise of {path.name}"


def test_rooms_are_small():
    lines = lambda p: len(p.read_text(encoding="utf-8").splitlines())
    full = [f"{p.name}: {lines(p)} lines of at most 549" for p in sources() if lines(p) >= 550]
    full += [f"{p.name}: {n} cells of at most 85" for p in notebooks()
             if (n := len(cells(p))) > 85 and place(p) < 90]
    tools = sum(lines(p) for p in (ROOT / "tools").rglob("*")
                if p.suffix in (".py", ".sh", ".css", ".js"))
    full += [f"tools: {tools} lines of at most 899"] * (tools >= 900)
    assert not full, f"part or shorten what is too long: {full}"


def test_the_makefile_hides_no_program():
    programs = re.findall(
        r"^.*python3? -c.*$|^.*\(PYTHON\) -c.*$|^.*/python -c.*$",
        (ROOT / "Makefile").read_text(),
        re.M,
    )
    assert len(programs) == 1 and "version_info" in programs[0]


def public(path):
    "Each public name that a notebook exports: the cell it is defined in, and its name."
    for i, (kind, s) in enumerate(cells(path)):
        if kind != "code" or not is_exported(s):
            continue
        for n in ast.parse(re.sub(r"^[%!].*$", "pass", s, flags=re.M)).body:
            if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and not n.name.startswith("_"):
                yield i, n.name


def test_what_is_exported_is_asserted_nearby():
    lacking, n = [], Counter()
    for p in notebooks():
        for i, name in public(p):
            near = [
                s for kind, s in cells(p)[i + 1 : i + 13] if kind == "code" and not is_exported(s)
            ]
            good = any(re.search(rf"\b{name}\b", s) for s in near) and any(
                "assert" in s for s in near if re.search(rf"\b{name}\b", s)
            )
            n[good] += 1
            if not good:
                lacking.append(f"{p.stem}: {name}")
    assert n[True] >= 0.9 * n.total(), (
        f"{n[True]} of {n.total()}; without an assert: {', '.join(lacking)}"
    )


def test_no_stored_output_is_a_complaint_of_the_machine():
    "Fonts that a broken cache does not know, drivers, deprecations: no reader can do anything."
    for path in notebooks():
        for c in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            text = "".join("".join(o["text"]) for o in c.get("outputs", []) if "text" in o)
            noise = re.search(r"findfont|cuda|oneDNN|DeprecationWarning", text)
            assert not noise, (path.name, text)
