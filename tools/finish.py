"""Make rendered pages whole: media in files, figures for the dark, reading times, downloads."""
import base64, hashlib, io, itertools, re, shutil

from common import FILES, HOME, NBS, PUBLISHED, REPOSITORY, ROOT, SETTINGS, edit, place
from pictures import dark

DATA = re.compile(r"data:(image/png|image/webp|audio/mpeg);base64,([A-Za-z0-9+/=]+)")
SUFFIX = {"image/png": ".png", "image/webp": ".webp", "audio/mpeg": ".mp3"}
PLAYER = re.compile('<figure (?=class="sb-player")')
EMBEDDED = re.compile(r'<img\b[^>]*\bsrc="data:image/(?:png|webp);base64,[^>]*>')

class Media:
    "The folder of the site's sounds and pictures, each under a name made of its bytes."
    def __init__(self, site):
        self.folder = site/"media"
        self.folder.mkdir()
    def put(self, data, suffix):
        name = hashlib.sha256(data).hexdigest()[:16] + suffix
        (self.folder/name).write_bytes(data)
        return f"media/{name}"
    def picture(self, tag):
        "An `<img>` whose picture is a file, with its size; and its twin for the dark, if any."
        from PIL import Image
        kind, data = (m := DATA.search(tag))[1], base64.b64decode(m[2])
        wide, tall = Image.open(io.BytesIO(data)).size
        def img(data, theme=""):
            new = tag.replace(m[0], self.put(data, SUFFIX[kind]))
            if 'class="' not in new: new = new.replace("<img", '<img class=""', 1)
            if theme: new = new.replace('class="', f'class="sb-{theme} ', 1)
            size = f'width="{wide}" height="{tall}" loading="lazy" decoding="async"'
            return new.replace("<img", f"<img {size}", 1)
        night = dark(data)
        return img(data) if night is data else img(data, "light") + img(night, "dark")
    def extract(self, html):
        "`html` with all that is embedded put into files."
        html = EMBEDDED.sub(lambda m: self.picture(m[0]), html)
        html = re.sub(r'preload="metadata"(?=[^>]*data:audio)', 'preload="none"', html)
        return DATA.sub(lambda m: self.put(base64.b64decode(m[2]), SUFFIX[m[1]]), html)

def minutes(html):
    "How long a page takes: 200 words a minute, 20 lines of code, its sounds; to five minutes."
    main = re.search(r"<main\b.*?</main>", html, re.S)[0]
    code = re.findall(r"<pre class=\"sourceCode.*?</pre>", main, re.S)
    unread = r"<pre\b.*?</pre>|<script\b.*?</script>|<style\b.*?</style>|<[^>]+>"
    words = len(re.sub(unread, " ", main, flags=re.S).split())
    sounds = sum(map(float, re.findall(r'data-seconds="([\d.]+)"', main)))
    spent = words / 200 + sum(len(c.splitlines()) for c in code) / 20 + sounds / 60
    return max(5, 5 * round(spent / 5))

def under_title(html, nb, last):
    "The line under a chapter's title: its number, its time, its sounds, its notebook."
    where, sounds = place(nb.name), html.count('class="sb-player"')
    parts = [where + f" of {last}" * where.startswith("Chapter"), f"about {minutes(html)} minutes"]
    parts += [f"{sounds} sound{'s' * (sounds > 1)}"] * (sounds > 0)
    parts += [f'<a href="notebooks/{nb.name}" download>download the notebook</a>']
    if PUBLISHED: parts += [f'<a href="{FILES}{NBS.name}/{nb.name}">the notebook on GitHub</a>']
    return f'<p class="sb-meta">{" · ".join(filter(None, parts))}</p>'

def contents(html):
    "The page's contents as a list that folds, for screens too narrow to show them beside the text."
    toc = re.search(r'<nav id="TOC".*?</h2>(<ul>.*?)</nav>', html, re.S)
    if not toc: return ""
    plain = re.sub(r'\s(?:id|class|data-scroll-target)="[^"]*"', "", toc[1])
    return f'<details class="sb-contents"><summary>On this page</summary>{plain}</details>'

ADDRESS = f"(?:{re.escape(REPOSITORY)}|{re.escape(HOME)})"
OUTWARD = re.compile(rf'<a\b[^>]*\bhref="({ADDRESS}[^"]*)"[^>]*>(.*?)</a>', re.S)

def at_home(html, site):
    "`html` with copies of files in place of links to a repository and a host that are not there."
    def one(m):
        path = m[1].removeprefix(FILES).partition("#")[0]
        if not (ROOT/path).is_file(): return m[2]
        (copy := site/"files"/path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT/path, copy)
        return f'<a href="files/{path}">{m[2]}</a>'
    return html if PUBLISHED else OUTWARD.sub(one, html)

def find_home(site):
    "Let the 404 page, which a server shows at any depth, find the site, and list it nowhere."
    base = f"{SETTINGS['doc_baseurl'].rstrip('/')}/"
    head = (NBS/"404-head.html").read_text(encoding="utf-8").replace("HOME", base)
    edit(site/"404.html", lambda html: html.replace("<head>", f"<head>{head}", 1))
    row = r"(?s)\s*<url>\s*<loc>[^<]*/404\.html</loc>.*?</url>"
    if PUBLISHED: edit(site/"sitemap.xml", lambda xml: re.sub(row, "", xml))

SKIP = '<a class="sb-skip" href="#quarto-document-content">Skip to the text</a>'

def finish(site, names):
    "Make the pages of the folder `site` whole; `names` maps pages to the notebooks they came from."
    media = Media(site)
    (site/"notebooks").mkdir()
    for nb in names.values(): shutil.copy(nb, site/"notebooks")
    last = max((int(nb.name[:2]) for nb in names.values() if place(nb.name)[:1] == "C"), default=0)
    for page in site.glob("*.html"):
        html = page.read_text(encoding="utf-8")
        nb, count = names.get(page.name), itertools.count(1)
        html = re.sub(r"<body[^>]*>", lambda m: m[0] + SKIP, html, count=1)
        html = PLAYER.sub(lambda m: f'<figure id="hear-{next(count)}" ', html)
        line = under_title(html, nb, last) if nb and nb.stem != "index" else ""
        header = f"{line}</header>{contents(html)}"
        html = html.replace('<div class="quarto-title-meta"></div></header>', header, 1)
        page.write_text(media.extract(at_home(html, site)), encoding="utf-8")
    fonts = re.compile(r"@import\s+url\(\s*['\"]?https?:[^)]*\)\s*;")
    for css in site.rglob("*.css"): edit(css, lambda text: fonts.sub("", text))
    find_home(site)
