"""The rendered site, as a reader meets it: in a browser, with the network off."""
import json, re, sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from shared import ROOT

sys.path.insert(0, str(ROOT/"tools"))
import common, formulas, pages as rendering, reference  # noqa: E402

def page_of(nb): return f"{common.page_name(nb.name)}.html"

# In reading order: the home page, then the chapters; then what is told about all modules, and the
# pages around the book.
NOTEBOOKS = sorted(common.notebooks(ROOT/"nbs"), key=lambda p: (p.stem != "index", p.name))
CHAPTERS = [page_of(nb) for nb in NOTEBOOKS]
MODULES = ["_".join(p.relative_to(ROOT/"sirenbook").with_suffix("").parts)
           for p in sorted((ROOT/"sirenbook").rglob("*.py")) if p.name[0] != "_"]
PAGES = [
    *CHAPTERS,
    "api.html",
    *(f"api_{m}.html" for m in MODULES),
    *(f"{q.stem}.html" for q in sorted((ROOT / "nbs").glob("*.qmd"))),
]
every_page = pytest.mark.parametrize("name", PAGES)
every_chapter = pytest.mark.parametrize("nb", NOTEBOOKS, ids=lambda p: p.stem)

def shown_cells(nb):
    "The cells of a notebook that its page shows, without those that nbdev takes out."
    cells = json.loads(nb.read_text(encoding="utf-8"))["cells"]
    gone = re.compile(
        r"^\s*#\s*\|\s*(export|exporti|hide|default_exp\b.*|include:\s*false|output:\s*false)\s*$",
        re.M,
    )
    return [
        c for c in cells if not (c["cell_type"] == "code" and gone.search(common.join(c["source"])))
    ]


def players(nb):
    "How many players the stored outputs of a notebook hold."
    html = [
        common.join(o.get("data", {}).get("text/html", ""))
        for c in shown_cells(nb)
        for o in c.get("outputs", [])
    ]
    return sum(len(re.findall(r"<figure[^>]*\bsb-player\b", h)) for h in html)

class Contents(HTMLParser):
    "The ids of a page, each with its tag, its links, and the words of its headings."
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.headings, self.inside = {}, [], [], False
        self.feed(text)
    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if attrs.get("id"): self.ids.setdefault(attrs["id"], tag)
        if tag == "a" and attrs.get("href"): self.links.append(attrs["href"])
        if re.fullmatch("h[1-6]", tag):
            self.inside = True
            self.headings.append("")
    def handle_data(self, data):
        if self.inside: self.headings[-1] += data
    def handle_endtag(self, tag):
        if re.fullmatch("h[1-6]", tag): self.inside = False

@pytest.fixture(scope="session")
def pages(site):
    "Name of each page and what is in it."
    return {p.name: Contents(p.read_text(encoding="utf-8")) for p in site.glob("*.html")}


def test_all_pages_are_there(site):
    assert {p.name for p in site.glob("*.html")} == set(PAGES)

@every_page
def test_page_loads_and_plays(visit, name):
    page, nb = visit(name), next((nb for nb in NOTEBOOKS if page_of(nb) == name), None)
    held = page.locator("figure.sb-player").count()
    assert held == (players(nb) if nb else 0), f"{held} players on the page"
    if name == "index.html": assert held, "the home page lets nobody hear anything"
    sounds = page.evaluate("""() => Promise.all(
        [...document.querySelectorAll('.sb-player audio')].map(a => new Promise(done => {
        const tell = () => done([a.error ? `error ${a.error.code}` : a.duration,
            +a.dataset.seconds, a.currentSrc.split('.').pop(),
                a.closest('figure').querySelector('.sb-play').ariaLabel]);
        if (a.readyState >= 1 || a.error) return tell();
        a.addEventListener('loadedmetadata', tell); a.addEventListener('error', tell);
        setTimeout(() => done(['nothing after 20 s']), 20000); a.preload = 'metadata'; a.load();
            })))""")
    bad = [
        s
        for s in sounds
        if not (
            isinstance(s[0], (int, float))
            and 0 < s[1] - 0.001 < s[0] < s[1] + 0.3
            and s[2] == "mp3"
            and len(s[3]) > len("Play: ")
        )
    ]
    if name != "404.html":
        assert not page.trouble, "\n".join(
            page.trouble
        )  # that one is for any depth below doc_baseurl: tests/test_publish.py
    assert not bad, f"of {len(sounds)} sounds these do not decode, or have no name: {bad}"
    plain = page.evaluate("""() => Promise.all(
        [...document.querySelectorAll('audio')].filter(a => !a.closest('.sb-player')).map(
        a => new Promise(done => {
            const tell = () => done(a.error ? 0 : a.duration);
            if (a.readyState >= 1 || a.error) return tell();
            a.addEventListener('loadedmetadata', tell); a.addEventListener('error', tell);
            setTimeout(() => done(0), 20000); a.preload = 'metadata'; a.load(); })))""")
    assert all(plain), f"plain audio elements that do not decode: {plain}"
    stuck = page.evaluate(PLAY_ALL)
    assert not stuck, f"time or playhead stand still: {stuck}"
    if held: assert not page.trouble, "\n".join(page.trouble)

PLAY_ALL = """async () => { const stuck = [];
    for (const player of document.querySelectorAll('figure.sb-player')) {
        const audio = player.querySelector('audio'), head = player.querySelector('.sb-playhead');
        audio.muted = true; await audio.play();
        const from = head.style.left, end = performance.now() + 3000;
        while ((!audio.currentTime || head.style.left === from) &&
            performance.now() < end) await new Promise(requestAnimationFrame);
        if (!audio.currentTime || head.style.left === from) stuck.push(audio.ariaLabel ||
            audio.outerHTML.slice(0, 80));
        audio.pause(); }
    return stuck; }"""

@every_chapter
def test_formulas_are_mathml(site, nb):
    count = lambda text: sum(
        bool(m["block"] or m["inline"]) for m in formulas.FORMULA.finditer(text)
    )
    cells = [common.join(c["source"]) for c in shown_cells(nb) if c["cell_type"] == "markdown"]
    text = (site/page_of(nb)).read_text(encoding="utf-8")
    assert text.count("<math") >= sum(map(count, cells)), "a formula is not MathML"
    assert "katex" not in text.lower() and "mathjax" not in text.lower()

def test_links_lead_somewhere(site, pages):
    lost = []
    for name, page in pages.items():
        for href in page.links:
            url = urlsplit(href)
            if url.scheme or url.netloc: continue
            target = unquote(url.path) or name
            target = "index.html" if target in (".", "./") else target
            if target in pages:
                if url.fragment and unquote(url.fragment) not in pages[target].ids:
                    lost.append(f"{href} in {name}")
            elif not (site/target).is_file(): lost.append(f"{href} in {name}")
    assert not lost, "links that lead nowhere: " + ", ".join(sorted(set(lost)))

def test_sidebar_is_in_reading_order(visit):
    page = visit("index.html")
    links = page.eval_on_selector_all(
        "#quarto-sidebar .sidebar-link[href]", "links => links.map(a => a.getAttribute('href'))"
    )
    links = [l.removeprefix("./") for l in links]
    assert [l for l in links if l in CHAPTERS] == CHAPTERS and set(links) == set(PAGES) - {
        "404.html"
    }


def test_the_menu_lists_the_notebooks():
    "Each notebook, in the order of the numbers, and no other; a missing one is named."
    listed = re.findall(r"(\S+)\.ipynb", (ROOT/"nbs"/"sidebar.yml").read_text(encoding="utf-8"))
    there = [nb.stem for nb in NOTEBOOKS]
    assert not (gone := set(listed) - set(there)), (
        f"listed in nbs/sidebar.yml and not in nbs: {gone}"
    )
    assert not (lost := set(there) - set(listed)), f"in nbs and not in nbs/sidebar.yml: {lost}"
    assert listed == there

PARTS = ["I The experiment", "II Is it true?", "III A street of our own", "IV A detector",
         "Workshop", "Experiments", "At the end", "Reference"]

def test_numbers_are_those_of_the_files(visit, site):
    "A chapter has the number of its file, in the sidebar and under its title; the parts are named."
    page = visit("index.html")
    told = dict(
        page.eval_on_selector_all(
            "#quarto-sidebar .sidebar-link[href]",
            "links => links.map(a => [a.getAttribute('href'), a.innerText])",
        )
    )
    shown = lambda nb: (site/page_of(nb)).read_text(encoding="utf-8")
    for nb in (nb for nb in NOTEBOOKS[1:] if nb.name >= "90"):
        letter = "ABCD"[int(nb.name[:2]) - 90]
        assert told[page_of(nb)].split()[0] == letter
        assert f'<p class="sb-meta">Appendix {letter} · about ' in shown(nb)
    for nb in (nb for nb in NOTEBOOKS[1:] if "70" <= nb.name < "90"):
        assert '<p class="sb-meta">Workshop · about ' in shown(nb)
    parts = page.locator(
        "#quarto-sidebar .sidebar-item-section > .sidebar-item-container"
    ).all_inner_texts()
    assert [p.strip() for p in parts] == PARTS
    chapters = [nb for nb in NOTEBOOKS[1:] if nb.name < "70"]
    for nb in chapters:
        number, last = int(nb.name[:2]), int(chapters[-1].name[:2])
        assert told[page_of(nb)].split()[0] == str(number)
        assert re.search(
            rf'<p class="sb-meta">Chapter {number} of {last} · about \d+ minutes', shown(nb)
        )


@every_chapter
def test_each_chapter_offers_its_notebook(site, nb):
    "As a download from the site itself, with the outputs that the page shows."
    if nb.stem == "index": return
    assert f'<a href="notebooks/{nb.name}" download>' in (site / page_of(nb)).read_text(
        encoding="utf-8"
    )
    copy = json.loads((site/"notebooks"/nb.name).read_text(encoding="utf-8"))
    assert copy == json.loads(nb.read_text(encoding="utf-8"))

@every_chapter
def test_the_minutes_in_the_text_are_those_of_the_page(site, nb):
    head = re.search(
        r"About (\d+) minutes(?:;|\. It) builds on ", nb.read_text(encoding="utf-8")
    )
    if re.match(r"[0-2]\d_", nb.name) and nb.name != "05_learning.ipynb": assert head
    if not head: return
    page = (site / page_of(nb)).read_text(encoding="utf-8")
    shown = re.search(r'class="sb-meta">[^<]*\babout (\d+) minutes', page)
    assert abs(int(head[1]) - int(shown[1])) <= 5, f"{head[0]!r}, but the page says {shown[1]}"


@every_chapter
def test_contents_of_the_page(visit, nb):
    """Beside the text on a wide screen, in a list that folds on a narrow one; both lead to the
    same places."""
    page = visit(page_of(nb))
    beside = page.eval_on_selector_all("#TOC a", "links => links.map(a => a.getAttribute('href'))")
    folded = page.eval_on_selector_all(
        ".sb-contents a", "links => links.map(a => a.getAttribute('href'))"
    )
    assert beside == folded
    if nb.stem == "index": return
    for width, wide in ((1500, True), (1280, False), (360, False)):
        page.set_viewport_size(dict(width=width, height=740))
        assert page.locator("#TOC").is_visible() == wide and page.locator(
            ".sb-contents summary"
        ).is_visible() == (not wide)


def test_previous_and_next_walk_the_book(site):
    for nb, after in zip(NOTEBOOKS, NOTEBOOKS[1:]):
        text = (site/page_of(nb)).read_text(encoding="utf-8")
        link = re.search(r'nav-page-next"><a href="([^"]+)"', text)
        assert link and link[1] == page_of(after), (
            f"the page after {nb.stem} should be {after.stem}"
        )


def test_names_lead_to_their_entries(site):
    "A name in the text that one module alone has leads to its entry; others are not guessed at."
    names, lost = {}, []
    link = re.compile(r'<a href="(api_\w+)\.html#([\w.]+)"><code>([^<]+)</code></a>')
    for nb in NOTEBOOKS:
        for page, anchor, text in link.findall((site/page_of(nb)).read_text(encoding="utf-8")):
            names.setdefault(text, set()).add(page)
            name = text.removesuffix("()").removeprefix("sirenbook.").removeprefix(f"{page[4:]}.")
            if name != anchor: lost.append(f"{text} leads to {page}.html#{anchor}")
    assert not lost and len(names) > 20, lost or names
    twice = {name: pages for name, pages in names.items() if len(pages) > 1}
    assert not twice, f"names that lead to two places: {twice}"

def test_numbers_and_their_units_stay_together():
    kept = ("`1 s`", "```\n1 s\n```", "[1 sample](x.html#1%)", '<p title="x > 1 s">', "$x$ or")
    for text in kept[:4]: assert formulas.formulas(text) == text
    told = formulas.formulas("1 s, 16 kHz and 97 %: 0.7 ± 0.1")
    assert told == "1\u00a0s, 16\u00a0kHz and 97\u00a0%: 0.7\u00a0±\u00a00.1"
    assert formulas.formulas("$x$ or").endswith("</math> or")
    assert re.fullmatch(
        r'<span class="sb-together"><math.*</math>\.</span>', formulas.formulas("$x$.")
    )


# ---- folded cells

FOLDED = """{"cells": [{"cell_type": "code", "execution_count": null, "id": "a", "metadata": {},
    "outputs": [],
 "source": "#| code-fold: true\\n#| code-summary: \\"A table as text\\"\\nprint(1)"}],
     "metadata": {},
 "nbformat": 4, "nbformat_minor": 5}"""

def test_a_folded_cell_says_what_it_holds():
    """`#| code-fold: true` passes through nbdev, and smalldocs makes it a `<details>` with its
    summary."""
    from execnb.nbio import dict2nb
    from smalldocs.markdown import make_parser
    from smalldocs.notebook import to_markdown
    nb = dict2nb(json.loads(FOLDED))
    nb.path_ = "nbs/00_folded.ipynb"
    rendering.nbdev_filter()(nb)
    cells = [dict(c) | {"outputs": []} for c in nb.cells]
    text = to_markdown(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}, default=str))[1]
    html = make_parser().render(text, {"code_copy": True})
    assert (
        re.search(r"<details[^>]*>\s*<summary>A table as text</summary>", html) and "print" in html
    )


@every_chapter
def test_folded_cells_say_what_they_hold(nb):
    for cell in shown_cells(nb):
        source = common.join(cell["source"])
        if re.search(r"^#\| *code-fold: *true", source, re.M):
            assert re.search(r"^#\| *code-summary: *\S", source, re.M), source


# ---- whole without a network

def test_pages_fetch_nothing_from_elsewhere(site):
    tag = re.compile(r"<(?:script|link|img|audio|video|source|iframe)\b[^>]*?\s(?:src|href)"
                     r"\s*=\s*[\"']?\s*((?:https?:)?//[^\"'\s>]+)", re.I)
    css = re.compile(r"(?:url\(|@import)\s*['\"]?\s*((?:https?:)?//[^'\")\s]+)")
    found = [
        (path.name, url)
        for kind, pattern in (("html", tag), ("css", css))
        for path in site.rglob(f"*.{kind}")
        for url in pattern.findall(path.read_text(encoding="utf-8"))
    ]
    assert not found

@pytest.mark.parametrize("theme", ["light", "dark"])
def test_theme_toggle(visit, theme):
    "There and back, kept on the next page, and back from there."
    page = visit("index.html", theme=theme)
    colour, press = (
        "getComputedStyle(document.body).backgroundColor",
        page.locator(".quarto-color-scheme-toggle:visible").click,
    )
    before = page.evaluate(colour)
    assert (before == "rgb(255, 255, 255)") == (theme == "light")
    def turned(): press(), page.wait_for_function(f"before => {colour} !== before", arg=before)
    def back(): press(), page.wait_for_function(f"before => {colour} === before", arg=before)
    turned(), back(), turned()
    page.reload()
    assert page.evaluate(colour) != before, (
        "the choice of light or dark is forgotten on the next page"
    )
    back()

def test_exported_names_have_their_headings(pages):
    "What a chapter shows the code of has a heading there, to which links of nbdev lead."
    lost = []
    for m in reference.modules():
        page = pages[m.chapter]
        for name in (n for n in m.defs if n.partition(".")[0] in m.shown):
            if name not in page.headings:
                lost.append(f"{name} has no heading on {m.chapter}")
            elif page.ids.get(name.lower()) == "section":
                lost.append(f"{m.chapter}#{name.lower()} is another heading: reword that")
    assert not lost, "; ".join(lost)

def test_the_first_screen_of_home_holds_all(visit):
    """What it is, a wail with its picture, the verdict, two commands and three doors, without
    scrolling; and each door opens."""
    page = visit("index.html", width=1280, height=900)
    for what in (
        "h1.title",
        "#home-hear .sb-play",
        "#home-verdict img.sb-light",
        "main > .code-copy-outer-scaffold",
        "main > ul",
    ):
        box = page.locator(what).first.bounding_box()
        assert box and box["y"] >= 0 and box["y"] + box["height"] <= 900, (
            f"{what} is not on the first screen: {box}"
        )
    doors = page.eval_on_selector_all(
        "main > ul > li > a", "links => links.map(a => a.getAttribute('href'))"
    )
    assert doors == ["live.html", "cli.html#in-your-own-files", "signals.html", "api.html"]

def test_the_menu_of_a_phone_scrolls(visit):
    page = visit("index.html", width=390, height=800)
    page.locator(".quarto-btn-toggle").click()
    menu = page.locator("#quarto-sidebar")
    page.wait_for_function("e => e.getBoundingClientRect().height > 0", arg=menu.element_handle())
    box = menu.bounding_box()
    assert box["y"] + box["height"] <= 801
    last = menu.locator(".sidebar-link").last
    last.scroll_into_view_if_needed()
    assert (
        last.bounding_box()["y"] + last.bounding_box()["height"] <= 801
        and page.evaluate("scrollY") == 0
    )


def test_a_link_into_a_page_is_there_at_once(visit):
    page = visit("sirens.html")
    page.evaluate("() => { location.hash = '#hear-9'; }")
    page.wait_for_timeout(50)
    top = page.evaluate("document.getElementById('hear-9').getBoundingClientRect().top")
    assert 0 <= top < 300, f"what the link names is {top:.0f} px down"
