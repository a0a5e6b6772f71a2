"""Make rendered pages whole: media in files of their own, figures for the dark, sizes that keep a page still, reading times."""
import base64, hashlib, io, itertools, re

from pictures import dark

DATA = re.compile(r"data:(image/png|image/webp|audio/mpeg);base64,([A-Za-z0-9+/=]+)")
SUFFIX = {"image/png": ".png", "image/webp": ".webp", "audio/mpeg": ".mp3"}

class Media:
    "The folder of the site that holds its sounds and pictures, each under a name made of its bytes."
    def __init__(self, site):
        self.folder = site/"media"
        self.folder.mkdir()
    def put(self, data, suffix):
        name = hashlib.sha256(data).hexdigest()[:16] + suffix
        (self.folder/name).write_bytes(data)
        return f"media/{name}"
    def picture(self, tag):
        "An `<img>` whose picture is in a file, with its size; and, if it is drawn on paper, another one for the dark."
        from PIL import Image
        kind, data = (m := DATA.search(tag))[1], base64.b64decode(m[2])
        wide, tall = Image.open(io.BytesIO(data)).size
        def img(data, theme=""):
            new = tag.replace(m[0], self.put(data, SUFFIX[kind]))
            more = f' width="{wide}" height="{tall}" loading="lazy" decoding="async"'
            if theme: new = re.sub(r'class="', f'class="sb-{theme} ', new) if 'class="' in new else new.replace("<img", f'<img class="sb-{theme}"', 1)
            return new.replace("<img", "<img" + more, 1)
        night = dark(data)
        return img(data) if night is data else img(data, "light") + img(night, "dark")
    def extract(self, html):
        "`html` with all that is embedded put into files."
        html = re.sub(r"<img\b[^>]*\bsrc=\"data:image/(?:png|webp);base64,[^>]*>", lambda m: self.picture(m[0]), html)
        html = re.sub(r'preload="metadata"(?=[^>]*data:audio)', 'preload="none"', html)
        return DATA.sub(lambda m: self.put(base64.b64decode(m[2]), SUFFIX[m[1]]), html)


# ---- what stands under a title

def minutes(html):
    "How long a page takes: its words at 200 a minute, its lines of code at 20, and its sounds, to the next five minutes."
    main = re.search(r"<main\b.*?</main>", html, re.S)[0]
    code = re.findall(r"<pre class=\"sourceCode.*?</pre>", main, re.S)
    words = len(re.sub(r"<pre\b.*?</pre>|<script\b.*?</script>|<style\b.*?</style>|<[^>]+>", " ", main, flags=re.S).split())
    sounds = sum(map(float, re.findall(r'data-seconds="([\d.]+)"', main)))
    spent = words / 200 + sum(len(c.splitlines()) for c in code) / 20 + sounds / 60
    return max(5, 5 * round(spent / 5))

def under_title(html, nb, of):
    "The line under a chapter's title: its number, its time, its sounds, its notebook."
    number, sounds = re.match(r"\d*", nb.name)[0], html.count('class="sb-player"')
    parts = [f"Chapter {int(number)} of {of}" if number < "90" else f"Appendix {chr(ord('A') + int(number) - 90)}"] if number else []
    parts += [f"about {minutes(html)} minutes"] + [f"{sounds} sound{'s' * (sounds > 1)}"] * (sounds > 0)
    parts += [f'<a href="{notebook_address(nb)}">the notebook on GitHub</a>']
    return f'<p class="sb-meta">{" · ".join(parts)}</p>'

def notebook_address(nb):
    from nbdev.config import get_config
    cfg = get_config()
    return f"{cfg.git_url}/blob/{cfg.branch}/{cfg.nbs_path.name}/{nb.name}"

def contents(html):
    "The page's contents as a list that folds, for narrow screens, where they do not stand beside the text."
    toc = re.search(r'<nav id="TOC".*?</h2>(<ul>.*?)</nav>', html, re.S)
    if not toc: return ""
    plain = re.sub(r'\s(?:id|class|data-scroll-target)="[^"]*"', "", toc[1])
    return f'<details class="sb-contents"><summary>On this page</summary>{plain}</details>'


# ---- the whole page

SKIP = '<a class="sb-skip" href="#quarto-document-content">Skip to the text</a>'
SWITCH = re.compile(r'<a class="quarto-color-scheme-toggle([^"]*)"[^>]*>.*?</a>')

def switch(more=""):
    "The button for light or dark."
    return (f'<button type="button" class="quarto-color-scheme-toggle btn{more}" aria-label="Light or dark" title="Light or dark"'
            ' onclick="window.smalldocsToggleScheme()"><i class="bi" aria-hidden="true"></i></button>')

LOST = """<base href="HOME"><script>{
  const base = document.querySelector("base"), at = location.pathname;
  if (at.endsWith("/404.html")) base.remove();
  else if (!at.startsWith(base.getAttribute("href"))) base.href = "/";
  addEventListener("DOMContentLoaded", () => document.querySelectorAll('a[href^="#"]').forEach(a => a.href = at + a.hash));
}</script>"""

def find_home(site):
    "Let the 404 page, which a server shows at any depth, find the site; and keep it out of the list of pages."
    from nbdev.config import get_config
    page, pages = site/"404.html", site/"sitemap.xml"
    base = LOST.replace("HOME", f"{get_config().doc_baseurl.rstrip('/')}/")
    page.write_text(page.read_text(encoding="utf-8").replace("<head>", f"<head>{base}", 1), encoding="utf-8")
    rows = re.sub(r"\s*<url>\s*<loc>[^<]*/404\.html</loc>.*?</url>", "", pages.read_text(encoding="utf-8"), flags=re.S)
    pages.write_text(rows, encoding="utf-8")

APART = re.compile(r"""
    (?P<kept> <(?P<tag>pre|code|script|style)\b.*?</(?P=tag)> | <!--.*?--> )
    | (?P<formula> <math\b(?:(?!</math>).)*</math>[.,;:?!)]+ )
    | (?P<markup> </?[a-zA-Z!](?:"[^"]*"|'[^']*'|[^'">])*> )
    | (?<=\d)[ ](?=(?:k?Hz|dB|m?s|k?m|[kM]B|bits?|seconds?|minutes?|hours?)\b|%|°C|±[ ]\d) | (?<=\d[ ]±)[ ](?=\d)
    """, re.S | re.X)

def together(html):
    "`html` in whose text no line ends between a number and its unit, or between a formula and its full stop."
    return APART.sub(lambda m: f'<span class="sb-together">{m[0]}</span>' if m["formula"] else "\u00a0" if m[0] == " " else m[0], html)

def finish(site, names):
    "Make the pages of the folder `site` whole; `names` maps pages to the notebooks they came from."
    media, chapters = Media(site), sum(nb.name[:2] < "90" for nb in names.values() if nb.stem != "index")
    for page in site.glob("*.html"):
        html = page.read_text(encoding="utf-8")
        nb, count = names.get(page.name), itertools.count(1)
        html = re.sub(r"<body[^>]*>", lambda m: m[0] + SKIP, html, count=1)
        html = SWITCH.sub(lambda m: switch(m[1]), html)
        html = re.sub(r'(<nav class="quarto-secondary-nav">.*?)(</div></nav></header>)', lambda m: m[1] + switch() + m[2], html, count=1, flags=re.S)
        html = re.sub('<figure class="sb-player"', lambda m: f'<figure id="hear-{next(count)}" class="sb-player"', html)
        line = under_title(html, nb, chapters) if nb and nb.stem != "index" else ""
        html = html.replace('<div class="quarto-title-meta"></div></header>', f"{line}</header>{contents(html)}", 1)
        html = together(html)
        page.write_text(media.extract(html), encoding="utf-8")
    for css in site.rglob("*.css"):  # no fonts from the network
        text = css.read_text(encoding="utf-8")
        css.write_text(re.sub(r"@import\s+url\(\s*['\"]?https?:[^)]*\)\s*;", "", text), encoding="utf-8")
    find_home(site)
