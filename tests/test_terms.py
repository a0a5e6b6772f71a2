"""No term before it is explained: the glossary against the chapters, in reading order."""
import json, re
from collections import Counter

import pytest
from shared import NBS

GLOSSARY = NBS/"91_glossary.ipynb"
CHAPTERS = sorted(nb for nb in NBS.glob("[0-9]*.ipynb") if int(nb.name[:2]) < 90)
THEORY = CHAPTERS[:3]  # sound, its pictures and its numbers: what everything after builds on

# Terms that are everyday words as well, which a reader meets in their plain sense before they get a
# strict one.
EVERYDAY = {
    "signal": "the title of the first chapter",
    "sound": "what the book is about, and a verb: it sounds dull",
}

def prose(text):
    "Prose alone: no code, formulas, tables, markup and addresses of links."
    text = re.sub(r"^(```|~~~).*?^\1", " ", text, flags=re.M | re.S)
    text = re.sub(r"`[^`]*`|\$\$.*?\$\$|\$[^$\n]*\$|<[^>]*>", " ", text, flags=re.S)
    text = re.sub(r"^\s*\|.*$", " ", text, flags=re.M)
    return re.sub(r"\]\([^)]*\)", "]", text)

def cells(nb):
    return [
        "".join(c["source"])
        for c in json.loads(nb.read_text(encoding="utf-8"))["cells"]
        if c["cell_type"] == "markdown"
    ]


def italics(text):
    """What stands *between single asterisks*: terms. (For stress and for titles of books there is
    _the other way_.)"""
    return [m.lower() for m in re.findall(r"(?<![*\w])\*([^\s*][^*]*?)\*(?![*\w])", prose(text))]

def forms(names):
    "A pattern for a term by any of its names, in singular and plural."
    def one(n):
        ending = n[:-1] + "(?:y|ies)" if re.search(r"[^aeiou]y$", n) else n + "(?:s|es)?"
        return re.sub(r"[ -]", r"[\\s-]+", ending)
    either = "|".join(one(n) for n in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?<![\w-])(?:{either})(?![\w-])", re.I)

class Term:
    def __init__(self, name, text):
        self.name, self.chapter = (
            name,
            (re.findall(r"\]\((\w+\.ipynb)(?:#[\w-]+)?\)", text) or [""])[-1],
        )
        self.names = [name, *re.findall(r"\*\*(.+?)\*\*", text)]
        self.pattern = forms(self.names)
    def is_explained_in(self, text): return any(self.pattern.fullmatch(i) for i in italics(text))

def entries(text):
    return [
        Term(name.strip(), body)
        for name, body in re.findall(r"^#### (.+)\n((?:(?!^#).*\n?)*)", text, re.M)
    ]


def slug(name): return re.sub(r"[^\w-]", "", name.lower().replace(" ", "-"))

def unexplained(terms, chapters):
    "Terms that their chapter does not set in italics."
    return [
        f"{t.name} ({name})"
        for t in terms
        for name, texts in chapters.items()
        if t.chapter == name and not any(map(t.is_explained_in, texts))
    ]


def too_early(terms, chapters):
    """Uses of terms in cells before the one that explains them; `chapters` maps names to cells, in
    reading order."""
    flow = [(name, i, text) for name, texts in chapters.items() for i, text in enumerate(texts)]
    found = []
    for t in terms:
        if t.chapter not in chapters or t.name in EVERYDAY: continue
        for name, i, text in flow:
            if t.is_explained_in(text): break
            words = without_longer(prose(text), t, terms)
            if m := t.pattern.search(words):
                found.append(
                    f"{t.name}: "
                    f"“{' '.join(words[max(0, m.start() - 25) : m.end() + 15].split())}” in "
                    f"{name}, prose cell {i}"
                )
    return found

def without_longer(text, term, terms):
    "`text` without the longer terms that hold this one, such as `sample rate` for `sample`."
    for other in terms:
        if other is not term and any(term.pattern.search(n) for n in other.names):
            text = other.pattern.sub(" ", text)
    return text

def not_listed(terms, chapters):
    "Words in italics that are no term of the glossary."
    return [
        f"{i} ({name})"
        for name, texts in chapters.items()
        for text in texts
        for i in italics(text)
        if not any(t.pattern.fullmatch(i) for t in terms)
    ]


@pytest.fixture(scope="module")
def terms(): return entries("\n\n".join(cells(GLOSSARY)))

@pytest.fixture(scope="module")
def theory(): return {nb.name: cells(nb) for nb in THEORY}


def test_the_glossary_is_whole(terms):
    assert len(terms) >= 90
    text = "\n\n".join(cells(GLOSSARY))
    assert len(terms) == len(re.findall(r"^#### ", text, re.M))
    assert not [t.name for t in terms if t.chapter not in {nb.name for nb in CHAPTERS}], (
        "terms without a chapter that explains them"
    )
    twice = [a for a, n in Counter(slug(t.name) for t in terms).items() if n > 1]
    assert not twice, f"anchors that occur twice: {twice}"
    assert [t.name.lower() for t in terms] == sorted(t.name.lower() for t in terms)

@pytest.mark.parametrize("nb", CHAPTERS, ids=lambda p: p.stem)
def test_terms_are_explained_where_the_glossary_says(nb, terms):
    lost = unexplained(terms, {nb.name: cells(nb)})
    assert not lost, f"not in italics in their chapter: {', '.join(lost)}"

def test_no_term_before_it_is_explained(terms, theory):
    early = too_early(terms, theory)
    assert not early, f"{len(early)} uses before the explanation:\n" + "\n".join(early)

def test_what_is_explained_is_in_the_glossary(terms, theory):
    lost = not_listed(terms, theory)
    assert not lost, (
        f"in italics, but not in the glossary (stress and titles go between _underscores_): "
        f"{', '.join(lost)}"
    )


def test_links_to_the_glossary_lead_somewhere(terms):
    known, lost = {slug(t.name) for t in terms}, []
    for nb in sorted(NBS.glob("*.ipynb")):
        text = "\n".join(cells(nb))
        here = r"(?:91_glossary\.ipynb)?" if nb == GLOSSARY else r"91_glossary\.ipynb"
        lost += [
            f"#{a} in {nb.name}"
            for a in re.findall(rf"\]\({here}#([^)]*)\)", text)
            if a not in known
        ]
    assert not lost, f"links to no term: {lost}"

def test_everyday_words_are_terms(terms):
    assert not set(EVERYDAY) - {t.name for t in terms}

def test_these_tests_can_fail():
    "Each rule, broken on purpose in a book of two chapters."
    book = (
        "#### bin\n\nOne frequency. [A](a.ipynb)\n\n#### hop\n\nAlso **step**. From frame to "
        "frame. [B](b.ipynb)\n\n#### hop size\n\nIts length. [B](b.ipynb)\n"
    )
    terms = entries(book)
    good = {
        "a.ipynb": ["A *bin* is", "bins, `hop`, [x](hop.html)\n\n| hop |"],
        "b.ipynb": ["*Hops* are; the *hop\nsize* is"],
    }
    assert [t.name for t in terms] == ["bin", "hop", "hop size"]
    assert not (unexplained(terms, good) or too_early(terms, good) or not_listed(terms, good))
    assert unexplained(terms, {**good, "a.ipynb": ["A **bin** is", "a _bin_"]}) == ["bin (a.ipynb)"]
    for early in ("two hops", "One step.", "## Hop"):
        assert len(too_early(terms, {**good, "a.ipynb": [early, "A *bin* is"]})) == 1, early
    assert (
        len(too_early(terms, {**good, "a.ipynb": ["A hop size", "A *bin* is"]})) == 1
    )  # of the longer term only
    assert not too_early(terms, {**good, "a.ipynb": ["shops hopping", "A *bin* is"]})
    assert not_listed(terms, {**good, "b.ipynb": ["A *frame* and a *hop*"]}) == ["frame (b.ipynb)"]
