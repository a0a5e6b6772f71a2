"""The search of the site, as a reader meets it: by keyboard, by touch, by ear, from a server and
from a file."""

import json, re, sys
from html.parser import HTMLParser

import pytest
from shared import ROOT

sys.path.insert(0, str(ROOT/"tools"))
import reference, search  # noqa: E402

LIMIT = 760_000  # bytes of the index
WIDE, PHONE = 1280, 360

class Ids(HTMLParser):
    "The ids of a page."
    def __init__(self, text):
        super().__init__()
        self.ids = set()
        self.feed(text)
    def handle_starttag(self, tag, attrs): self.ids.update(v for k, v in attrs if k == "id")

@pytest.fixture(scope="module")
def index(site):
    "The index that the pages load."
    text = (site/"search-index.js").read_text(encoding="utf-8")
    return json.loads(text.removeprefix("window.sirenbookIndex = ").rstrip().removesuffix(";"))

def names(): return {n for m in reference.modules() for n in m.defs}

@pytest.fixture
def page(visit): return visit("chunks.html", width=WIDE)

def look(page, query):
    "Type a query into the box and wait for what it brings."
    box = page.locator("#quarto-search input[type=search]")
    box.fill(query)
    page.wait_for_function("window.sirenbookIndex && !document.querySelector('.sb-results').hidden")
    return [
        dict(text=o.inner_text(), href=o.get_attribute("href"))
        for o in page.locator("#sb-results [role=option]").all()
    ]


def arrives(page):
    "Wait until what the address of the page names is on the screen."
    page.wait_for_function(
        """() => { const e = document.getElementById(decodeURIComponent(location.hash.slice(1)));
        if (!e) return false;
        const top = e.getBoundingClientRect().top;
        return top >= -1 && top < innerHeight; }""",
        timeout=5000,
    )


# ---- what the index holds

def test_index_is_small(site):
    size = (site/"search-index.js").stat().st_size
    assert size < LIMIT, f"the index has {size} bytes"

def test_entries_lead_somewhere(site, index):
    ids = {p.name: Ids(p.read_text(encoding="utf-8")).ids for p in site.glob("*.html")}
    lost = [
        e["href"]
        for e in index
        for name, _, anchor in [e["href"].partition("#")]
        if name not in ids or anchor and anchor not in ids[name]
    ]
    assert not lost, f"entries that lead nowhere: {lost}"

def test_every_term_section_and_name_is_there(site, index):
    held = lambda kind: {e["title"] for e in index if e["kind"] == kind}
    cells = json.loads((ROOT/"nbs"/"91_glossary.ipynb").read_text(encoding="utf-8"))["cells"]
    prose = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    assert {t.replace("’", "'") for t in held("term")} == set(
        re.findall(r"^#### (.+)", prose, re.M)
    )
    assert names() <= held("function") | held("class") | held("method")
    commands = {re.match(r"## (.+) \{", c)[1] for c in reference.commands()}
    assert commands and commands == held("command")
    constants = {(m.name, re.match(r"\[`(\w+)`\]", row[0])[1]) for m in reference.modules()
                 for row in reference.constants(m)}
    assert constants <= {(e["where"][0], e["title"]) for e in index if e["kind"] == "constant"}
    sections = {e["href"] for e in index if e["kind"] == "section"}
    for page in site.glob("*.html"):
        if page.name in ("glossary.html", "404.html", "changelog.html") or re.match(
            "api[._]", page.name
        ):
            continue
        found = re.findall(
            r'<section id="([^"]+)" class="level[23]"', page.read_text(encoding="utf-8")
        )
        assert {f"{page.name}#{i}" for i in found} <= sections, (
            f"{page.name} has sections that the search does not know"
        )


def test_api_cards_of_chapters_are_not_sections(index):
    found = [e["href"] for e in index if e["kind"] == "section" and "." in e["title"]]
    assert not [href for href in found if href.partition("#")[2] in {n.lower() for n in names()}]

def test_code_is_not_searched(index):
    assert not [
        e["href"]
        for e in index
        if e["kind"] == "section" and re.search(r"\bimport numpy|plt\.subplots", e.get("text", ""))
    ]


def test_players_are_known_by_their_labels(site, index):
    known = {label for e in index for label, _ in e.get("sounds", [])}
    labels = {
        label
        for page in site.glob("*.html")
        for label in re.findall(
            r'<figure [^>]*class="sb-player[^>]*>\s*<figcaption>([^<&]+)</figcaption>',
            page.read_text(encoding="utf-8"),
        )
    }
    assert len(labels) > 150
    lost = [label for label in labels if search.tidy(label) not in known]
    assert not lost, f"players that the search does not know: {lost}"

def test_the_renderers_search_is_gone(page, site):
    for path in site.glob("*.html"):
        assert "site_libs/fuse" not in path.read_text(encoding="utf-8"), path.name
    for name in ("search.json", "site_libs/fuse"): assert not (site/name).exists(), name
    assert (
        page.locator(".smalldocs-search").count() == 0
        and page.locator("#quarto-search").count() == 1
    )


def test_minisearch_lies_beside_its_licence(site):
    text = (ROOT/"nbs"/"minisearch.LICENSE.txt").read_text(encoding="utf-8")
    assert text.startswith("Copyright 2022 Luca Ongaro") and "Permission is hereby granted" in text
    for name in ("minisearch.js", "minisearch.LICENSE.txt"):
        assert (site/name).read_bytes() == (ROOT/"nbs"/name).read_bytes()


# ---- what it finds

FIRST = {
    "aliasing": "glossary.html#aliasing",
    "ALIASING": "glossary.html#aliasing",
    "alias": "glossary.html#aliasing",
    "sample rates": "glossary.html#sample-rate",
    "quantization": "glossary.html#quantisation",
    "what is a spectrogram": "glossary.html#spectrogram",
    "spectogram": "glossary.html#spectrogram",
    "standardization": "glossary.html#standardising",
    "log_spectrogram": "#log_spectrogram",
    "log spectrogram": "#log_spectrogram",
    "logspectrogram": "#log_spectrogram",
    "chunks.chunk": "#chunk",
    "pretrained": "api_training.html#pretrained",
    "Detector.pretrained": "#detector.pretrained",
    "hop chunk": "#chunk",
    "hear the leak": "chunks.html#hear-the-leak",
    "nine-second picture": "chunks.html#the-nine-second-picture",
    "hear a yelp": "sirens.html#yelp-and-phaser",
    "sirenbook detect": "api_cli.html#detect",
    "train detector": "api_cli.html#train-detector",
    "play": "api_viewing.html#play",
}

def test_the_first_result_is_the_right_one(page):
    first = {query: (look(page, query) or [dict(href="nothing")])[0]["href"] for query in FIRST}
    wrong = {
        query: href for query, href in first.items() if not href.lower().endswith(FIRST[query])
    }
    assert not wrong, f"these bring something else first: {wrong}"
    assert not page.trouble, "\n".join(page.trouble)

def test_a_term_brings_its_definition(page, index):
    term = next(e for e in index if e["title"] == "aliasing")
    assert term["text"] in look(page, "aliasing")[0]["text"]

def test_a_parameter_brings_its_line(page, index):
    chunk = next(e for e in index if e["title"] == "chunk" and "params" in e)
    for query in ("hop", "hop chunk"):
        line = f"hop: {dict(chunk['params'])['hop']}"
        assert any("chunk" in f["text"] and line in f["text"] for f in look(page, query)[:5]), (
            f"{query!r} does not bring {line!r}"
        )


def test_a_sound_is_found_by_its_label(page):
    found = look(page, "yelp")
    heard = [
        i
        for i, f in enumerate(found)
        if "with sound" in f["text"] and re.search(r"Hear .*yelp", f["text"])
    ]
    assert heard and heard[0] < 5, [f["text"] for f in found]

def test_all_words_must_be_found(page):
    words = re.compile(r"doppler|roads", re.I)
    assert look(page, "doppler roads") and all(
        words.search(f["text"]) for f in look(page, "doppler roads")
    )


def test_a_word_that_is_nowhere_is_left_out_and_that_is_said(page):
    found = look(page, "doppler qqqqqq")
    assert found and found == look(page, "doppler")
    look(page, "doppler qqqqqq")
    assert (
        "No results for doppler qqqqqq. These are for doppler."
        in page.locator(".sb-results").inner_text()
    )


@pytest.mark.parametrize("query", ["pip install", "install", "detect my own file", "m4a"])
def test_who_wants_to_use_it_is_led_to_the_commands(page, query):
    found = {f["href"].rpartition("/")[2] for f in look(page, query)[:4]}
    good = "index.html", "cli.html#in-your-own-files", "api_cli.html#detect"
    assert {*good, "deployment.html#what-must-be-installed"} & found

def test_words_are_marked(page):
    look(page, "log spectrogram")
    assert {m.lower() for m in page.locator("#sb-results mark").all_inner_texts()} >= {
        "log",
        "spectrogram",
    }


def test_no_result_is_said(page):
    assert look(page, "xyzzyxyzzy") == []
    assert "No results for xyzzyxyzzy." in page.locator(".sb-results").inner_text()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')").endswith("glossary.html")
    page.wait_for_function(
        "document.querySelector('#quarto-search [role=status]').textContent === 'No results for "
        "xyzzyxyzzy.'"
    )


def test_at_most_a_dozen(page): assert 1 < len(look(page, "sound")) <= 12


# ---- how it is used

def test_by_keyboard_alone(page):
    page.keyboard.press("/")
    page.keyboard.type("hann window")
    page.locator("#sb-results [role=option]").first.wait_for()
    page.keyboard.press("ArrowDown")
    chosen = page.locator("#sb-results [aria-selected=true]")
    assert chosen.count() == 1 and chosen.get_attribute("id") == page.evaluate(
        "document.activeElement.getAttribute('aria-activedescendant')"
    )
    href = chosen.get_attribute("href")
    page.keyboard.press("Enter")
    page.wait_for_url(href)
    arrives(page)
    assert not page.trouble, "\n".join(page.trouble)

def test_enter_takes_the_first_result_on_the_same_page_too(page):
    look(page, "hear the leak")
    page.keyboard.press("Enter")
    page.wait_for_url("**/chunks.html#hear-the-leak")
    arrives(page)
    assert page.locator(".sb-results").is_hidden()

def test_arrows_home_and_end(page):
    n = len(look(page, "siren"))
    chosen = lambda: page.locator("#sb-results [role=option]").evaluate_all(
        "o => o.findIndex(e => e.ariaSelected === 'true')"
    )
    assert chosen() == -1
    walk = (
        ("ArrowDown", 0),
        ("ArrowUp", n - 1),
        ("ArrowDown", 0),
        ("End", n - 1),
        ("Home", 0),
        ("ArrowDown", 1),
        ("ArrowUp", 0),
    )
    for key, where in walk:
        page.keyboard.press(key)
        assert chosen() == where, key
        assert page.evaluate("""() => {
            const o = document.querySelector('[aria-selected=true]').getBoundingClientRect(),
            r = document.querySelector('.sb-results').getBoundingClientRect();
            return o.top >= r.top - 1 && o.bottom <= r.bottom + 1; }"""), f"{key}: out of view"

def test_slash_is_a_letter_where_one_types(page):
    page.evaluate(
        "document.querySelector('main').insertAdjacentHTML('afterbegin', '<textarea "
        "id=elsewhere></textarea>')"
    )
    page.locator("#elsewhere").focus()
    page.keyboard.type("a/b")
    assert page.locator("#elsewhere").input_value() == "a/b"
    page.keyboard.press("Control+k")
    assert page.evaluate("document.activeElement.closest('#quarto-search') !== null")

def test_escape_closes(page):
    look(page, "yelp")
    box = page.locator("#quarto-search input")
    page.keyboard.press("Escape")
    assert (
        page.locator(".sb-results").is_hidden()
        and box.get_attribute("aria-expanded") == "false"
        and box.input_value() == "yelp"
    )
    page.keyboard.press("Escape")
    assert box.input_value() == "" and page.evaluate("document.activeElement === document.body")

def test_a_click_beside_it_closes(page):
    look(page, "yelp")
    page.mouse.click(WIDE - 40, 700)
    assert page.locator(".sb-results").is_hidden()

def test_a_screen_reader_is_told(page):
    n = len(look(page, "quantisation"))
    assert n > 1
    box = page.get_by_role("combobox", name="Search the book", expanded=True)
    assert (
        box.count() == 1
        and box.get_attribute("aria-controls") == "sb-results"
        and box.get_attribute("aria-autocomplete") == "list"
    )
    listed = page.get_by_role("listbox", name="Results")
    assert listed.get_by_role("option").count() == n
    assert page.get_by_role("option", name=re.compile("^quantisation term Glossary")).count() == 1
    page.wait_for_function(
        f"document.querySelector('#quarto-search [role=status]').textContent.startsWith('{n} "
        f"results')"
    )


def test_results_float_over_the_page(page):
    look(page, "siren")
    page.wait_for_timeout(100)
    panel, side = (
        page.locator(".sb-results").bounding_box(),
        page.locator("#quarto-sidebar").bounding_box(),
    )
    assert (
        panel["width"] > side["width"]
        and panel["x"] + panel["width"] <= WIDE
        and panel["y"] + panel["height"] <= 900
    )
    seen = page.evaluate("""() => {
        const r = document.querySelector('.sb-results').getBoundingClientRect();
        return [[5, 5], [r.width - 25, 5], [r.width - 25, r.height - 5]].every(([x, y]) =>
            document.elementFromPoint(r.left + x, r.top + y).closest('.sb-results')); }""")
    assert seen, "something lies over the results"

@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_a_phone(visit, theme):
    page = visit("chunks.html", width=PHONE, height=740)
    page.emulate_media(color_scheme=theme)
    box, button = (
        page.locator("#quarto-search input"),
        page.get_by_role("button", name="Search the book"),
    )
    assert not box.is_visible() and button.bounding_box()["width"] >= 40
    button.click()
    assert page.evaluate(
        "document.activeElement === document.querySelector('#quarto-search input')"
    )
    assert box.evaluate("b => parseFloat(getComputedStyle(b).fontSize)") >= 16, (
        "a phone zooms in on small type"
    )
    found = look(page, "hop chunk")
    assert page.evaluate(
        "['html', '.sb-search-dialog', '.sb-results'].every(e => "
        "document.querySelector(e).scrollWidth <= innerWidth)"
    )
    page.locator("#sb-results [role=option]").first.click()
    page.wait_for_url(found[0]["href"])
    arrives(page)
    assert page.locator("dialog[open]").count() == 0
    assert not page.trouble, "\n".join(page.trouble)

def test_the_panel_of_a_phone_closes(visit):
    page = visit("chunks.html", width=PHONE, height=740)
    button = page.get_by_role("button", name="Search the book")
    for leave in (
        lambda: page.keyboard.press("Escape"),
        lambda: page.get_by_role("button", name="Close the search").click(),
    ):
        button.click()
        look(page, "yelp")
        leave()
        assert page.locator("dialog[open]").count() == 0 and page.evaluate(
            "document.activeElement.classList.contains('sb-search-button')"
        )


@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_one_box_in_the_order_of_the_tab_key(visit, width):
    page = visit("chunks.html", width=width)
    stops = (
        "[...document.querySelectorAll('input[type=search], .sb-search-button')].filter(e => "
        "e.checkVisibility()).length"
    )
    assert page.locator("input[type=search]").count() == 1 and page.evaluate(stops) == 1
    page.set_viewport_size(dict(width=WIDE + PHONE - width, height=800))
    page.wait_for_timeout(100)
    assert page.locator("input[type=search]").count() == 1 and page.evaluate(stops) == 1
    if width == PHONE: assert look(page, "yelp"), "a screen that grew wide has no search"

def test_from_a_file(visit, site):
    page = visit("index.html")
    page.context.unroute_all()
    page.goto((site/"chunks.html").as_uri())
    found = look(page, "aliasing")
    page.keyboard.press("Enter")
    page.wait_for_url(found[0]["href"])
    arrives(page)
    assert found[0]["href"].startswith("file:")
    assert not page.trouble, "\n".join(page.trouble)

def test_the_index_waits_for_the_first_focus(page):
    assert page.evaluate("window.sirenbookIndex") is None
    page.locator("#quarto-search input").focus()
    page.wait_for_function("window.sirenbookIndex")

def test_prints_nothing(page):
    look(page, "yelp")
    page.emulate_media(media="print")
    page.evaluate("document.querySelector('.sb-results').hidden = false")
    assert (
        not page.locator(".sb-results").is_visible()
        and not page.locator("#quarto-search").is_visible()
    )


def test_a_key_costs_less_than_the_index(page):
    "What one letter costs is little beside reading the index."
    ratio = page.evaluate("""async () => { const load = performance.now();
        const box = document.querySelector('#quarto-search input'),
            results = document.querySelector('.sb-results');
        box.value = 'spectrogram'; box.focus();
        while (results.hidden) await new Promise(f => setTimeout(f, 1));
        await new Promise(f => setTimeout(f));
            const loaded = performance.now() - load, begin = performance.now();
        for (let i = 0; i < 20; i++) { box.value = 'spectrogram of a siren'.slice(0, 2 + i);
            box.dispatchEvent(new Event('input')); await null; }
        await new Promise(f => setTimeout(f)); return (performance.now() - begin) / 20 / loaded;
            }""")
    assert ratio < .5, f"a letter takes {ratio:.2f} of the time that reading the index takes"
