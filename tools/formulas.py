"""Formulas: TeX to MathML, so that pages need no script and no network; units on their lines."""
import re

from common import BookError

FORMULA = re.compile(r"""
    (?P<skip> ^[ ]*(?P<fence>`{3,}|~{3,}).*?^[ ]*(?P=fence)[`~]*[ ]*$   # fenced code
            | (?<!`)(?P<tick>`+)(?!`).+?(?<!`)(?P=tick)(?!`)                # code in a sentence
            | \]\([^)\s]*\) | </?[a-zA-Z!](?:"[^"]*"|'[^']*'|[^'">])*> | \\\$ )  # links, HTML
    | \$\$ (?P<block>.+?) \$\$
    | (?<![\d$]) \$ (?=\S) (?P<inline>(?:\\.|(?!\n[ ]*\n)[^$\\])+?) (?<=\S) \$ (?![\d$])
      (?P<stop>[.,;:?!)]*)
    | (?P<unit> (?<=\d)[ ](?=(?:k?Hz|dB|m?s|k?m|[kM]B|bits?|seconds?|minutes?|hours?)\b|%|°C|±[ ]\d)
              | (?<=\d[ ]±)[ ](?=\d) )
    """, re.M | re.S | re.X)
CLOSE = re.compile(r"(?<=</m[in]>)(?=(?:<msub>)?<mi>[a-z]{2,}</mi>)|(?<=[a-z]{2}</mi>)(?=<m[in]>)")

def mathml(tex, display):
    "MathML for `tex`, as browsers draw it and as no Markdown reader mistakes for Markdown."
    from latex2mathml.converter import convert
    tex = re.sub(r"\\(begin|end)\{aligned\}", r"\\\1{split}", " ".join(tex.split()))  # one thing
    html = convert(tex, display="block" if display else "inline")
    if lost := re.search(r"<mi>(\\[^<]+)</mi>", html): raise ValueError(f"{lost[1]} is unknown")
    html = re.sub(r'columnalign="(\w+)"', r'style="text-align: \1"', html)
    html = CLOSE.sub('<mspace width="0.167em" />', html)  # a sin x
    plain = lambda text: re.sub(r"[^\w\s&;#]|_", lambda m: f"&#{ord(m[0])};", text)
    html = "".join(o if o.startswith("<") else plain(o) for o in re.split(r"(<[^>]*>)", html))
    return f'<span class="math display">{html}</span>' if display else html

def formulas(text, where=""):
    "Markdown with `$...$` and `$$...$$` as MathML, and numbers on one line with their units."
    def one(m):
        if m["skip"] or m["unit"]: return m["skip"] or "\u00a0"
        tex = (m["block"] or m["inline"]).strip()
        try: html = mathml(tex, display=bool(m["block"]))
        except Exception as e:
            raise BookError(f"{where}: the formula ${tex}$ cannot be converted: {e}") from None
        return f'<span class="sb-together">{html}{m["stop"]}</span>' if m["stop"] else html
    return FORMULA.sub(one, text)
