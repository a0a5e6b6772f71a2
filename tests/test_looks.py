"""How every page looks and behaves: in light and dark, on a phone, on paper, for a screen reader,
while it loads."""

import re, statistics

import pytest
from axe_playwright_python.sync_playwright import Axe
from test_site import PAGES, every_page

MOST_PAGE, MOST_SITE = 3_000_000, 60_000_000  # bytes

def violations(page, rules, exclude=()):
    "What axe-core calls serious or critical, one line each."
    context = {"exclude": [[e] for e in exclude]} if exclude else None
    found = (
        Axe()
        .run(page, context, {"resultTypes": ["violations"], "preload": False, **rules})
        .response["violations"]
    )
    return [
        f"{v['id']}: {v['nodes'][0]['html'][:120]} ({len(v['nodes'])} times)"
        for v in found
        if v["impact"] in ("serious", "critical")
    ]


CONTRAST = {"runOnly": ["color-contrast"]}

def turn(page, theme):
    """Put a page into the light or the dark, as the reader's system would, without a colour on its
    way to another."""
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.wait_for_function(
        "dark => document.documentElement.classList.contains('quarto-dark') === dark",
        arg=theme == "dark",
    )


SHIFTS = """async () => { let sum = 0, moved = [];
    new PerformanceObserver(list => list.getEntries().forEach(e => { if (e.hadRecentInput) return;
        sum += e.value;
        moved.push(...(e.sources || []).map(s => s.node && (s.node.outerHTML ||
            s.node.textContent || '').slice(0, 80)));
                })).observe({type: 'layout-shift', buffered: true});
    for (let y = 0; y < document.body.scrollHeight; y += 2000) { scrollTo(0, y);
        await new Promise(requestAnimationFrame); }
    scrollTo(0, 0);
    await new Promise(done => setTimeout(done, 200));
    return [sum, moved.slice(0, 3)]; }"""

def stays_still(page):
    shift, moved = page.evaluate(SHIFTS)
    assert shift < 0.02, f"the page jumps by {shift:.3f} while it loads: {moved}"

def twins(page, kind):
    return page.evaluate(
        "k => [...document.querySelectorAll('main img.sb-' + k)].map(i => i.checkVisibility())",
        kind,
    )


def have_words_and_pixels(page):
    pictures = page.evaluate("""() =>
        Promise.all([...document.querySelectorAll('img')].map(async i => {
        i.loading = 'eager'; try { await i.decode(); } catch (e) {}
        return { alt: (i.getAttribute('alt') || '').trim(), width: i.naturalWidth,
            told: [+i.getAttribute('width'), +i.getAttribute('height')],
                 is: [i.naturalWidth, i.naturalHeight], html: i.outerHTML.slice(0, 120) }; }))""")
    bad = [p["html"] for p in pictures if not p["alt"] or not p["width"] or p["told"] != p["is"]]
    assert not bad, (
        f"{len(bad)} of {len(pictures)} pictures lack alt text, pixels or their size: {bad[:5]}"
    )


@every_page
def test_light_and_dark(visit, name):
    """axe-core finds nothing serious, each theme shows its own figures, each picture has words and
    its size, nothing jumps while the page loads."""
    page = visit(name)
    stays_still(page)
    have_words_and_pixels(page)
    bad = violations(page, {"rules": {"color-contrast": {"enabled": False}}})
    assert not bad, "\n".join(bad)
    for theme, other in (("light", "dark"), ("dark", "light")):
        turn(page, theme)
        bad = violations(
            page, CONTRAST, ["pre"] + ["#quarto-sidebar"] * (name != "index.html")
        )  # code and menu, the same everywhere, are looked at once
        assert not bad, f"{theme}: " + "\n".join(bad)
        assert all(twins(page, theme)) and not any(twins(page, other)), (
            f"{theme}: a figure of the other theme is shown"
        )


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["networks.html", "api_chunks.html"])
def test_code_can_be_read(visit, theme, name):
    page = visit(name)
    turn(page, theme)
    bad = violations(page, CONTRAST)
    assert not bad, "\n".join(bad)

def test_axe_can_find_something(visit):
    page = visit("about.html")
    page.evaluate(
        "document.querySelector('main').innerHTML += '<img src=\"favicon.svg\"><p style=\"color: "
        "#999; background: #fff\">faint</p>'"
    )
    assert [v.split(":")[0] for v in violations(page, {})] == ["color-contrast", "image-alt"]

@every_page
def test_phone(visit, name):
    "Nothing scrolls sideways at 360 px, in either theme, and nothing jumps while the page loads."
    page = visit(name, width=360, height=740)
    stays_still(page)
    for theme in ("light", "dark"):
        turn(page, theme)
        wide = page.evaluate("""() => {
            const scrolls = e => e && e.tagName !== 'MAIN' &&
                (/auto|scroll|hidden/.test(getComputedStyle(e).overflowX) ||
                    scrolls(e.parentElement));
            const main = document.querySelector('main'),
                padding = parseFloat(getComputedStyle(main).paddingRight),
                column = main.getBoundingClientRect().right - padding;
            const out = [...document.querySelectorAll('main *')].filter(e =>
                e.getBoundingClientRect().right > (e.localName === 'math' ? column : innerWidth) + 1
                && !scrolls(e.parentElement));
            return { page: document.documentElement.scrollWidth, out: out.slice(0, 5).map(e =>
                e.outerHTML.slice(0, 120)) }; }""")
        assert wide["page"] <= 360 and not wide["out"], f"{theme}: wider than a phone: {wide}"

@pytest.mark.parametrize("name", ["index.html", "chunks.html", "results.html"])
@pytest.mark.parametrize("width", [360, 1280])
def test_a_picture_keeps_its_place_before_it_arrives(visit, name, width):
    page = visit("404.html", width=width)
    held = []
    page.route(re.compile(r"\.(png|webp|svg)$"), lambda route: held.append(route))
    page.goto(page.url.replace("404.html", name), wait_until="domcontentloaded")
    size = """() => [...document.querySelectorAll('main img')].filter(i => i.checkVisibility()).map(
        i => [i.complete && i.naturalWidth, i.clientWidth, i.clientHeight])"""
    before = page.evaluate(size)
    assert held and before and not any(arrived for arrived, *_ in before)
    assert all(w > 100 and h > 50 for _, w, h in before), before


def test_figures_are_drawn_for_both(site):
    text = "".join(p.read_text(encoding="utf-8") for p in site.glob("*.html"))
    light, night = (len(re.findall(rf'<img [^>]*class="sb-{k}', text)) for k in ("light", "dark"))
    assert light == night > 100

def test_weights(site):
    weight, whole = {}, sum(p.stat().st_size for p in site.rglob("*") if p.is_file())
    for name in PAGES:
        html = (site/name).read_text(encoding="utf-8")
        parts = set(
            re.findall(r'(?:src|href)="((?:media|site_libs)/[^"#]+|[\w.-]+\.(?:css|js|svg))"', html)
        )
        weight[name] = len(html.encode()) + sum((site/p).stat().st_size for p in parts)
    heavy = {n: w for n, w in weight.items() if w > MOST_PAGE}
    assert not heavy and whole <= MOST_SITE, f"too heavy: {heavy}, the site {whole}"

@pytest.mark.parametrize("name", ["index.html", "signals.html", "api.html"])
def test_first_paint_comes_soon(visit, name):
    """The first paint of a page, as a multiple of that of a page with one word on it, in the same
    browser at the same time."""

    def paint(name):
        page = visit(name)
        page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
        ms = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        page.context.close()
        return ms
    ratio = statistics.median(paint(name) / paint("bare.html") for _ in range(5))
    assert ratio < 12, f"first paint takes {ratio:.1f} times that of a bare page"

def test_paper(visit):
    page = visit("detector.html", theme="dark")
    page.emulate_media(media="print")
    gone = page.evaluate("""() => ['#quarto-sidebar', '#quarto-margin-sidebar',
        '.page-navigation', '.sb-controls', '.code-copy-button', 'img.sb-dark']
        .filter(s => [...document.querySelectorAll(s)].some(e => e.checkVisibility()))""")
    assert not gone, f"printed, though nobody can press them on paper: {gone}"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(
        "[...document.querySelectorAll('main pre')].every(p => p.scrollWidth <= p.clientWidth + 1)"
    ), "code is cut off on paper"
    assert page.locator("img.sb-light").first.is_visible() and len(page.pdf()) > 100_000
