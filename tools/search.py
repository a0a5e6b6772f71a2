"""The search of the site: an index of its terms, functions, sections and sounds, and the box that looks things up in it."""
import json, re, shutil, unicodedata
from html.parser import HTMLParser
from pathlib import Path

from common import BookError

HERE = Path(__file__).resolve().parent/"site"
CAP = 2400  # characters of a section's text that are searched
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
INLINE = set("a abbr b code em i kbd mark math mi mn mo mrow msub msup s small span strong sub sup".split())
UNREAD = {"script", "style", "nav", "button", "svg", "audio", ".cell", ".sb-meta", ".sb-contents", ".sb-entry"}

def tidy(text): return re.sub(r"\s+", " ", unicodedata.normalize("NFC", text)).strip()

def cut(text, longest=CAP):
    "The first words of `text`, at most `longest` characters."
    return text if len(text) <= longest else text[:longest].rsplit(" ", 1)[0]

class Section:
    "A heading of a page with what stands below it: its prose, its names in bold, its links and the labels of its players."
    def __init__(self, level, anchor="", above=None):
        self.level, self.anchor, self.above = level, anchor, above
        self.heading, self.text, self.strong, self.links, self.sounds = "", "", [], [], []

class Page(HTMLParser):
    "What a reader sees of a rendered page, section by section; code and its outputs are left out, but for commands and the labels of players."
    def __init__(self, text):
        super().__init__()
        self.open, self.crumbs, self.description = [], [], ""
        self.here = Section(1)
        self.sections = [self.here]
        main = re.search(r"<main\b.*?</main>", text, re.S)
        self.feed(re.sub(r'<pre\b(?! class="sourceCode (?:sh|bash)\b).*?</pre>|(?<=")data:[^"]*', "", main[0] if main else "", flags=re.S))
        self.title = tidy(self.sections[0].heading)
    def inside(self, *marks): return any(m in o for o in self.open for m in marks)
    def handle_starttag(self, tag, attrs):
        if tag in VOID: return
        attrs = dict(attrs)
        self.open.append({tag, *(f".{c}" for c in (attrs.get("class") or "").split())})
        here = self.here
        if tag == "section":
            self.here = Section(int(attrs["class"][-1]), attrs["id"], here)
            self.sections.append(self.here)
        elif tag == "figure": self.figure = attrs.get("id", "")
        elif tag == "figcaption" and self.inside(".sb-player"): here.sounds.append(["", self.figure])
        elif tag == "li" and self.inside(".breadcrumb"): self.crumbs.append("")
        elif tag == "strong": here.strong.append("")
        elif tag == "a": here.links.append("")
        if tag not in INLINE: here.text += " "
    def handle_endtag(self, tag):
        if not any(tag in o for o in self.open): return
        while tag not in self.open.pop(): pass
        if tag == "section": self.here = self.here.above
        if tag not in INLINE: self.here.text += " "
    def handle_data(self, data):
        here = self.here
        if self.inside("figcaption") and self.inside(".sb-player"): here.sounds[-1][0] += data
        elif self.inside(".breadcrumb") and self.inside("li"): self.crumbs[-1] += data
        elif self.inside(".description"): self.description += data
        elif self.inside(*UNREAD): return
        elif self.inside("h1", f"h{here.level}"): here.heading += data
        else:
            here.text += data
            if self.inside("strong"): here.strong[-1] += data
            if self.inside("a"): here.links[-1] += data

def entry(kind, title, where, href, text, **more):
    "An entry of the index; what is empty is left out."
    found = dict(kind=kind, title=tidy(title), where=where, href=href, text=cut(tidy(text)), **more)
    return {k: v for k, v in found.items() if v or k in ("where", "params")}

def term(section, page, name):
    "The entry of a term: its definition, its other names, and the chapter that explains it."
    text, chapter = tidy(section.text), tidy(section.links[-1]) if section.links else ""
    if chapter: text = text.removesuffix(chapter).strip()
    also = re.match(r"Also (.+?)\. ", text)
    also = [tidy(s) for s in section.strong if also and tidy(s) in also[1]]
    where = [page.title, f"explained in {chapter}"] if chapter else [page.title]
    return entry("term", section.heading, where, f"{name}#{section.anchor}", text, also=also)

def page_entries(name, text):
    "The entries of a page: itself, and its terms or its sections."
    page = Page(text)
    top, crumbs = page.sections[0], [tidy(c) for c in page.crumbs] or [page.title]
    sounds = lambda s: [[tidy(label), anchor] for label, anchor in s.sounds]
    reference, glossary = re.match(r"api[_.]", name), name == "glossary.html"
    where = crumbs if page.crumbs else ["API"] if reference else []
    said = [page.description] if reference or glossary or name == "changelog.html" else [re.sub(r"(\w)$", r"\1.", page.description), top.text]
    yield entry("page", page.title, where, name, " ".join(said), sounds=sounds(top))
    if reference or name == "changelog.html": return
    for s in page.sections[1:]:
        if glossary:
            if s.level == 4: yield term(s, page, name)
        elif s.level in (2, 3) and s.anchor:
            where = [crumbs[-1], *([tidy(s.above.heading)] if s.above.level > 1 else [])]
            yield entry("section", s.heading, where, f"{name}#{s.anchor}", s.text, sounds=sounds(s))

def function_entry(f):
    "The entry of a record of the API reference."
    plain = lambda text: tidy(text.replace("`", ""))
    return entry(f["kind"], f["name"], [f["module"]], f["href"], plain(f["summary"]), also=f.get("also"), params=[[n, plain(t)] for n, t in f["params"]])

def index(site, functions):
    "What the search knows of the pages in `site` and of the `functions` of the API reference."
    pages = sorted(p for p in site.glob("*.html") if p.name != "404.html")
    entries = [e for p in pages for e in page_entries(p.name, p.read_text(encoding="utf-8"))]
    return entries + [function_entry(f) for f in functions]

BOX = """<div class="sb-search" id="quarto-search" role="search"><i class="bi bi-search" aria-hidden="true"></i><input type="search"
 class="form-control form-control-sm" placeholder="Search" aria-label="Search the book" aria-keyshortcuts="/ Control+K" autocomplete="off"
 autocapitalize="off" spellcheck="false" enterkeyhint="go"><kbd aria-hidden="true">/</kbd></div>"""
BUTTON = """<button type="button" class="btn sb-search-button" aria-label="Search the book" aria-haspopup="dialog"><i class="bi bi-search"
 aria-hidden="true"></i></button>"""

def put_box(text, name):
    "The text of the page `name` with this search in the place of the renderer's."
    head = r'<link rel="stylesheet" href="\1site_libs/search.css"><script src="\1site_libs/search.js" defer></script>'
    for old, new in ((r'<script src="([^"]*)site_libs/fuse/[^"]*"></script>', head),
                     (r'<div class="smalldocs-search" id="quarto-search">.*?</div></div>', BOX),
                     (r'(<nav class="quarto-secondary-nav">.*?)(</div></nav></header>)', rf"\1{BUTTON}\2")):
        text, n = re.subn(old, new, text, count=1, flags=re.S)
        if not n: raise BookError(f"the page {name} has no place for the search: nothing in it is like {old}")
    return text

def write(site, functions):
    "Give the pages of `site` their search, and take the renderer's away."
    libs = site/"site_libs"
    said = ",\n".join(json.dumps(e, ensure_ascii=False, separators=(",", ":")) for e in index(site, functions))
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        if 'id="quarto-search"' in text: page.write_text(put_box(text, page.name), encoding="utf-8")
    (libs/"search-index.js").write_text(f"window.sirenbookIndex = [\n{said}\n];\n", encoding="utf-8")
    for name in ("search.js", "search.css"): shutil.copy(HERE/name, libs/name)
    shutil.rmtree(libs/"fuse", ignore_errors=True)
    for old in (site/"search.json", site/"search.js", libs/"search-from-file.js"): old.unlink(missing_ok=True)
