"""Formulas: TeX to MathML, so that pages need no script and no network."""
import re

from common import BookError

FORMULA = re.compile(r"""
    (?P<skip> ^[ ]*(?P<fence>`{3,}|~{3,}).*?^[ ]*(?P=fence)[`~]*[ ]*$   # fenced code
            | (?<!`)(?P<tick>`+)(?!`).+?(?<!`)(?P=tick)(?!`)                    # code in a sentence
            | \\\$ )                                                            # a dollar sign that means dollars
    | \$\$ (?P<block>.+?) \$\$
    | (?<![\d$]) \$ (?=\S) (?P<inline>(?:\\.|(?!\n[ ]*\n)[^$\\])+?) (?<=\S) \$ (?![\d$])
    """, re.M | re.S | re.X)

def mathml(tex, display):
    "MathML for `tex`, as browsers draw it and as no Markdown reader will mistake for Markdown."
    from latex2mathml.converter import convert
    tex = re.sub(r"\\(begin|end)\{aligned\}", r"\\\1{split}", " ".join(tex.split()))  # the same, by the name the converter knows
    html = convert(tex, display="block" if display else "inline")
    if unknown := re.search(r"<mi>(\\[^<]+)</mi>", html): raise ValueError(f"{unknown[1]} is unknown")
    html = re.sub(r'columnalign="(\w+)"', r'style="text-align: \1"', html)
    html = re.sub(r"(?<=</m[in]>)(?=(?:<msub>)?<mi>[a-z]{2,}</mi>)|(?<=[a-z]{2}</mi>)(?=<m[in]>)", '<mspace width="0.167em" />', html)  # a sin x
    plain = lambda text: re.sub(r"[^\w\s&;#]|_", lambda m: f"&#{ord(m[0])};", text)
    html = "".join(part if part.startswith("<") else plain(part) for part in re.split(r"(<[^>]*>)", html))
    return f'<span class="math display">{html}</span>' if display else html

def formulas(text, where=""):
    "`text` (Markdown) with its `$...$` and `$$...$$` as MathML."
    def one(m):
        if m["skip"]: return m[0]
        tex = m["block"] or m["inline"]
        try: return mathml(tex, display=bool(m["block"]))
        except Exception as e: raise BookError(f"{where}: the formula ${tex.strip()}$ cannot be converted: {e}") from None
    return FORMULA.sub(one, text)
