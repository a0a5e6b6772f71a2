"""The rendered site, as a reader meets it: in a browser, with the network off."""
import json, re, runpy, sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from shared import ROOT

sys.path.insert(0, str(ROOT/"tools"))
import common, finish, formulas  # noqa: E402

def page_of(nb): return f"{common.page_name(nb.name)}.html"

# In reading order: the home page, then the chapters; then what is told about all modules, and the pages around the book.
NOTEBOOKS = sorted(common.notebooks(ROOT/"nbs"), key=lambda p: (p.stem != "index", p.name))
CHAPTERS = [page_of(nb) for nb in NOTEBOOKS]
MODULES = [p.stem for p in sorted((ROOT/"sirenbook").glob("*.py")) if p.name[0] != "_"]
PAGES = [*CHAPTERS, "api.html", *(f"api_{m}.html" for m in MODULES), *(f"{q.stem}.html" for q in sorted((ROOT/"nbs").glob("*.qmd")))]
every_page = pytest.mark.parametrize("name", PAGES)
every_chapter = pytest.mark.parametrize("nb", NOTEBOOKS, ids=lambda p: p.stem)

def shown_cells(nb):
    "The cells of a notebook that its page shows, without those that nbdev takes out."
    cells = json.loads(nb.read_text(encoding="utf-8"))["cells"]
    gone = re.compile(r"^\s*#\s*\|\s*(export|exporti|hide|default_exp\b.*|include:\s*false|output:\s*false)\s*$", re.M)
    return [c for c in cells if not (c["cell_type"] == "code" and gone.search(common.join(c["source"])))]

def players(nb):
    "How many players the stored outputs of a notebook hold."
    html = [common.join(o.get("data", {}).get("text/html", "")) for c in shown_cells(nb) for o in c.get("outputs", [])]
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
    sounds = page.evaluate("""() => Promise.all([...document.querySelectorAll('audio')].map(a => new Promise(done => {
        const tell = () => done([a.error ? `error ${a.error.code}` : a.duration, +a.dataset.seconds, a.currentSrc.split('.').pop(), a.closest('figure').querySelector('.sb-play').ariaLabel]);
        if (a.readyState >= 1 || a.error) return tell();
        a.addEventListener('loadedmetadata', tell); a.addEventListener('error', tell);
        setTimeout(() => done(['nothing after 20 s']), 20000); a.preload = 'metadata'; a.load(); })))""")
    bad = [s for s in sounds if not (isinstance(s[0], (int, float)) and 0 < s[1] - 0.001 < s[0] < s[1] + 0.3 and s[2] == "mp3" and len(s[3]) > len("Play: "))]
    if name != "404.html": assert not page.trouble, "\n".join(page.trouble)  # that one is for any depth below doc_baseurl: tests/test_publish.py
    assert not bad, f"of {len(sounds)} sounds these do not decode, or have no name: {bad}"
    stuck = page.evaluate(PLAY_ALL)
    assert not stuck, f"time or playhead stand still: {stuck}"
    if held: assert not page.trouble, "\n".join(page.trouble)

PLAY_ALL = """async () => { const stuck = [];
    for (const player of document.querySelectorAll('figure.sb-player')) {
        const audio = player.querySelector('audio'), head = player.querySelector('.sb-playhead');
        audio.muted = true; await audio.play();
        const from = head.style.left, end = performance.now() + 3000;
        while ((!audio.currentTime || head.style.left === from) && performance.now() < end) await new Promise(requestAnimationFrame);
        if (!audio.currentTime || head.style.left === from) stuck.push(audio.ariaLabel || audio.outerHTML.slice(0, 80));
        audio.pause(); }
    return stuck; }"""

@every_chapter
def test_formulas_are_mathml(site, nb):
    count = lambda text: sum(not m["skip"] for m in formulas.FORMULA.finditer(text))
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
                if url.fragment and unquote(url.fragment) not in pages[target].ids: lost.append(f"{href} in {name}")
            elif not (site/target).is_file(): lost.append(f"{href} in {name}")
    assert not lost, "links that lead nowhere: " + ", ".join(sorted(set(lost)))

def test_sidebar_is_in_reading_order(visit):
    page = visit("index.html")
    links = page.eval_on_selector_all("#quarto-sidebar .sidebar-link[href]", "links => links.map(a => a.getAttribute('href'))")
    links = [l.removeprefix("./") for l in links]
    assert [l for l in links if l in CHAPTERS] == CHAPTERS and set(links) == set(PAGES) - {"404.html"}

def test_numbers_are_those_of_the_files(visit, site):
    "A chapter has the number of its file, in the sidebar and under its title; the parts are named."
    page = visit("index.html")
    told = dict(page.eval_on_selector_all("#quarto-sidebar .sidebar-link[href]", "links => links.map(a => [a.getAttribute('href'), a.innerText])"))
    for nb in NOTEBOOKS[1:]:
        number = nb.name[:2]
        letter = "ABC"[int(number) - 90] if number >= "90" else str(int(number))
        assert told[page_of(nb)].split()[0] == letter
    parts = page.locator("#quarto-sidebar .sidebar-item-section > .sidebar-item-container").all_inner_texts()
    assert [p.strip() for p in parts] == ["Sound", "Streets", "Learning", "Using", "At the end", "Reference"]
    chapters = [nb for nb in NOTEBOOKS[1:] if nb.name < "90"]
    for i, nb in enumerate(chapters, 1):
        assert int(nb.name[:2]) == i
        assert re.search(rf'<p class="sb-meta">Chapter {i} of {len(chapters)} · about \d+\u00a0minutes', (site/page_of(nb)).read_text(encoding="utf-8"))

@every_chapter
def test_contents_of_the_page(visit, nb):
    "Beside the text on a wide screen, in a list that folds on a narrow one; both lead to the same places."
    page = visit(page_of(nb))
    beside = page.eval_on_selector_all("#TOC a", "links => links.map(a => a.getAttribute('href'))")
    folded = page.eval_on_selector_all(".sb-contents a", "links => links.map(a => a.getAttribute('href'))")
    assert beside == folded
    if nb.stem == "index": return
    for width, wide in ((1500, True), (1280, False), (360, False)):
        page.set_viewport_size(dict(width=width, height=740))
        assert page.locator("#TOC").is_visible() == wide and page.locator(".sb-contents summary").is_visible() == (not wide)

def test_previous_and_next_walk_the_book(site):
    for nb, after in zip(NOTEBOOKS, NOTEBOOKS[1:]):
        text = (site/page_of(nb)).read_text(encoding="utf-8")
        link = re.search(r'nav-page-next"><a href="([^"]+)"', text)
        assert link and link[1] == page_of(after), f"the page after {nb.stem} should be {after.stem}"

def test_names_lead_where_they_mean(site, pages):
    "A name in the text leads to the chapter that is meant, and a word that is only spelt like one leads nowhere."
    leads = lambda page: dict(re.findall(r'<a href="([^"]+)"><code>([^<]+)</code></a>', (site/page).read_text(encoding="utf-8")))
    assert "training.html#train" in leads("training.html") and "noises.html#train" not in leads("training.html")
    assert not {"noises.html#train", "recordings.html#download"} & set(leads("cli.html"))
    assert "sirens.html#draw" not in leads("widgets.html") and "chunks.html#chunk" in leads("chunks.html")
    assert sum(len(leads(page_of(nb))) for nb in NOTEBOOKS) > 40

def test_numbers_and_their_units_stay_together():
    kept = '<p title="x > 1 s">', "<!-- 1 s -->", "<code>1 s</code>", "<pre>1 s</pre>", "<script>'1 s <math>x</math>.'</script>", "1 sample", "<math><mi>x</mi></math> or"
    assert finish.together("".join(kept)) == "".join(kept)
    assert finish.together("<p>1 s, 16 kHz and 97 %: 0.7 ± 0.1") == "<p>1\u00a0s, 16\u00a0kHz and 97\u00a0%: 0.7\u00a0±\u00a00.1"
    assert finish.together("<math>x</math> <math>y</math>. <math>z</math>") == '<math>x</math> <span class="sb-together"><math>y</math>.</span> <math>z</math>'

@pytest.mark.parametrize("theme", ["light", "dark"])
def test_theme_toggle(visit, theme):
    "There and back, kept on the next page, and back from there."
    page = visit("index.html", theme=theme)
    colour, press = "getComputedStyle(document.body).backgroundColor", page.locator(".quarto-color-scheme-toggle:visible").click
    before = page.evaluate(colour)
    assert (before == "rgb(255, 255, 255)") == (theme == "light")
    def turned(): press(), page.wait_for_function(f"before => {colour} !== before", arg=before)
    def back(): press(), page.wait_for_function(f"before => {colour} === before", arg=before)
    turned(), back(), turned()
    page.reload()
    assert page.evaluate(colour) != before, "the choice of light or dark is forgotten on the next page"
    back()

def test_exported_names_have_api_entries(pages):
    modidx = ROOT/"sirenbook"/"_modidx.py"
    if not modidx.exists(): pytest.skip("nothing is exported yet")
    lost = []
    for module, names in runpy.run_path(str(modidx))["d"]["syms"].items():
        for name, (where, _) in names.items():
            short = name.removeprefix(f"{module}.")
            if any(part.startswith("_") for part in short.split(".")): continue
            page, _, anchor = where.partition("#")
            if page not in pages or short not in pages[page].headings: lost.append(f"{name} has no API entry on {page}")
            elif pages[page].ids.get(anchor) == "section": lost.append(f"a link to {name} leads to another heading, {where}: reword that heading")
    assert not lost, "; ".join(lost)

def test_the_first_screen_of_home_holds_all(visit):
    "What it is, a wail with its picture, the verdict, two commands and three doors, without scrolling; and each door opens."
    page = visit("index.html", width=1280, height=900)
    for what in ("h1.title", "#home-hear .sb-play", "#home-verdict img.sb-light", "main > .code-copy-outer-scaffold", "main > ul"):
        box = page.locator(what).first.bounding_box()
        assert box and box["y"] >= 0 and box["y"] + box["height"] <= 900, f"{what} is not on the first screen: {box}"
    doors = page.eval_on_selector_all("main > ul > li > a", "links => links.map(a => a.getAttribute('href'))")
    assert doors == ["signals.html", "api.html", "cli.html#in-your-own-files"]

def test_the_menu_of_a_phone_scrolls(visit):
    page = visit("index.html", width=390, height=800)
    page.locator(".quarto-btn-toggle").click()
    menu = page.locator("#quarto-sidebar")
    page.wait_for_function("e => e.getBoundingClientRect().height > 0", arg=menu.element_handle())
    box = menu.bounding_box()
    assert box["y"] + box["height"] <= 801
    last = menu.locator(".sidebar-link").last
    last.scroll_into_view_if_needed()
    assert last.bounding_box()["y"] + last.bounding_box()["height"] <= 801 and page.evaluate("scrollY") == 0

def test_a_link_into_a_page_is_there_at_once(visit):
    page = visit("sirens.html")
    page.evaluate("() => { location.hash = '#hear-9'; }")
    page.wait_for_timeout(50)
    top = page.evaluate("document.getElementById('hear-9').getBoundingClientRect().top")
    assert 0 <= top < 300, f"what the link names is {top:.0f} px down"
