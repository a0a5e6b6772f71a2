"""The index that nbs/search.js searches: headings, terms, names, commands, sounds of the pages."""
import json, re, shutil

from bs4 import BeautifulSoup

CAP = 2400  # characters of a section's text that are searched
UNREAD = ("script, style, nav, button, svg, audio, pre:not(.sh, .bash), "
          ".cell, .sb-meta, .sb-contents, .sb-entry")
HEADING = re.compile("^h[1-6]$")
BLOCKS = "p, li, td, th, div, h1, h2, h3, h4, pre, br, figcaption"

def tidy(text): return re.sub(r"\s+", " ", text).strip()

def entry(kind, title, where, href, text, **more):
    "An entry of the index; what is empty is left out."
    text = tidy(text)[:CAP]
    found = dict(kind=kind, title=tidy(title), where=where, href=href, text=text, **more)
    return {k: v for k, v in found.items() if v or k == "where"}

def sounds(part):
    return [[tidy(f.figcaption.get_text()), f["id"]] for f in part.select("figure.sb-player")]

def read(part):
    for junk in part.select(UNREAD): junk.decompose()
    return part.get_text()

def rows(part):
    return [[tidy(c.get_text()) for c in r.select("td")] for r in part.select("tr:has(td)")]

def name_entry(part, href, title, where):
    "The entry of a function, class, method or command of the reference."
    if title.startswith("sirenbook "):
        return entry("command", title, where, href, part.pre.get_text(), also=[title[10:]])
    says = " ".join(p.get_text() for p in part.find_all("p")[1:])
    params = [[r[0], r[-1]] for r in rows(part) if r[0] != "returns"]
    kind = "method" if "." in title else "function" if title[0].islower() else "class"
    return entry(kind, title, where, href, says, params=params)

def term(part, href, title, where):
    "The entry of a term: its definition, its other names, and the chapter that explains it."
    text, links = tidy(part.get_text()), part.find_all("a")
    chapter = tidy(links[-1].get_text()) if links else ""
    listed = (re.match(r"Also (.+?)\. ", text) or ["", ""])[1]
    also = [b for b in (tidy(o.get_text()) for o in part.find_all("strong")) if b in listed]
    where = [*where, f"explained in {chapter}"] if chapter else where
    return entry("term", title, where, href, text.removesuffix(chapter), also=also)

def page_entries(name, html):
    "The entries of a page, and of its sections from the last to the first."
    main, api = BeautifulSoup(html, "html.parser").find("main"), name.startswith("api_")
    for block in main.select(BLOCKS): block.append(" ")
    about, title = main.select_one(".description"), tidy(main.find("h1").get_text())
    crumbs = [tidy(o.get_text()) for o in main.select(".breadcrumb li")] or [title]
    for part in reversed(main.select("section[id]")):
        above = [tidy(o.find(HEADING).get_text()) for o in part.find_parents("section")[:1]]
        part, level, href = part.extract(), part["class"][0][-1], f"{name}#{part['id']}"
        heading, heard = tidy(part.find(HEADING).extract().get_text()), sounds(part)
        if api and part["id"] == "constants":
            for r, anchor in zip(rows(part), part.select("td [id]")):
                yield entry("constant", r[0], [title], f"{name}#{anchor['id']}", r[-1])
        elif api: yield name_entry(part, href, heading, [title])
        elif name == "glossary.html":
            if level == "4": yield term(part, href, heading, [title])
        elif level in "23" and name not in ("changelog.html", "api.html"):
            yield entry("section", heading, [crumbs[-1], *above], href, read(part), sounds=heard)
    heard, says = sounds(main), about.get_text() if about else ""
    main.find("header").decompose()
    yield entry("page", title, crumbs, name, says + " " + read(main) * (not api), sounds=heard)

def write(site):
    "Write the index that nbs/search.js reads, and take the renderer's own search away."
    found, fuse = [], re.compile(r'<script src="[^"]*site_libs/fuse/[^"]*"></script>')
    for page in sorted(site.glob("*.html")):
        html = page.read_text(encoding="utf-8")
        if page.name != "404.html": found += page_entries(page.name, html)
        page.write_text(fuse.sub("", html), encoding="utf-8")
    index = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    (site/"search-index.js").write_text(f"window.sirenbookIndex = {index};\n", encoding="utf-8")
    (site/"search.json").unlink(missing_ok=True)
    shutil.rmtree(site/"site_libs"/"fuse", ignore_errors=True)
