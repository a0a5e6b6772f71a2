"""The dark variant of a figure: what is drawn on paper is turned, spectrograms keep their
colours."""

import base64, io, itertools, json, re, sys

import numpy as np
import pytest
from shared import ROOT
from PIL import Image

sys.path.insert(0, str(ROOT/"tools"))
import common, pictures  # noqa: E402

Figure = pytest.importorskip(
    "matplotlib.figure", reason="matplotlib is not installed, so no figure was drawn"
).Figure
PAGE, INK = (27, 31, 35), (223, 227, 230)
CLASSES = "#c8553d", "#2f6690"
BOOK = (
    *CLASSES,
    "#1b998b",
    "#d98e04",
    "#8e5ea2",
    "#0b7fab",
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
)


def pixels(data): return np.array(Image.open(io.BytesIO(data)).convert("RGB"))
def is_(rgb, colour): return (rgb == colour).all(-1)
def of_hex(name): return tuple(bytes.fromhex(name[1:]))

def drawn(fig, colours=128):
    "A figure as the notebooks store it: PNG in a palette."
    file, out = io.BytesIO(), io.BytesIO()
    fig.savefig(file, dpi=fig.dpi)
    Image.open(file).convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(out, "PNG")
    return out.getvalue()

def webp(rgb):
    "Pixels as WebP."
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "WEBP", quality=75)
    return file.getvalue()

def contrast(one, other):
    "The contrast of two colours as WCAG reckons it."
    light, dark = sorted(
        (
            np.where((c := np.array(x) / 255) <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
            @ [0.2126, 0.7152, 0.0722]
            for x in (one, other)
        ),
        reverse=True,
    )
    return (light + .05) / (dark + .05)

def hue(colour):
    "The hue of a colour in degrees."
    return np.degrees(np.arctan2(*pictures.oklab(np.array([colour]) / 255)[0, :0:-1]))

def turned(rgb, new, colour):
    "What has become of a colour, found where it was."
    here = is_(rgb, colour)
    assert here.sum() > 20, f"{colour} is not in the light figure"
    return tuple(int(x) for x in np.median(new[here], axis=0))

def box(ax):
    "The pixels within the frame of axes: rows, columns."
    at = ax.get_window_extent()
    high = ax.figure.bbox.height
    return slice(int(high - at.y1) + 3, int(high - at.y0) - 3), slice(
        int(at.x0) + 3, int(at.x1) - 3
    )


def spectrogram(ax):
    "A heat map with a colour bar, and with a white line and a word in it."
    image = ax.imshow(
        np.random.default_rng(1).normal(size=(20, 60)).cumsum(1), cmap="magma", aspect="auto"
    )
    bar = ax.figure.colorbar(image)
    ax.plot([0, 59], [3, 15], "w--")
    ax.text(20, 16, "siren", color="white")
    return ax, bar.ax

def test_lines():
    """Paper becomes the page, black the page's ink; every colour keeps its hue and stands out from
    the page about as it did from white."""
    fig = Figure(figsize=(7.2, 3), layout="constrained")
    ax = fig.subplots()
    for k, colour in enumerate(BOOK): ax.plot([0, 1], [k, k + .5], lw=5, color=colour)
    ax.set(title="A title in black", xlabel="time (s)")
    light = drawn(fig, 256)
    rgb, new = pixels(light), pixels(pictures.dark(light))
    assert (
        turned(rgb, new, (255, 255, 255)) == PAGE
        and is_(new, PAGE).sum() >= is_(rgb, (255, 255, 255)).sum()
    )
    assert turned(rgb, new, (0, 0, 0)) == INK and contrast(INK, PAGE) >= 7
    assert (new.max(-1) >= 30).all(), "something is darker than the page"
    now = {c: turned(rgb, new, of_hex(c)) for c in BOOK}
    for before, after in now.items():
        was, is_now = contrast(of_hex(before), (255, 255, 255)), contrast(after, PAGE)
        assert is_now >= max(3, 0.75 * was), (
            f"{before} stood out by {was:.1f} and now by {is_now:.1f}"
        )
        assert abs((hue(of_hex(before)) - hue(after) + 180) % 360 - 180) < 8, (
            f"{before} has changed its hue"
        )
    for a, b in itertools.combinations(BOOK, 2):
        apart = [
            np.linalg.norm(np.subtract(*pictures.oklab(np.array(pair) / 255)))
            for pair in ((of_hex(a), of_hex(b)), (now[a], now[b]))
        ]
        assert apart[1] > .5 * apart[0], f"{a} and {b} can hardly be told apart any more"

def test_greys():
    "Greys keep their order, and most of their contrast."
    greys = np.repeat(np.arange(0, 256, 5)[:, None], 3, 1) / 255
    now = np.round(pictures.turned(greys) * 255)
    assert (np.diff(now, axis=0) < 0).all()
    for before, after in zip(greys * 255, now):
        assert contrast(after, PAGE) > 0.6 * contrast(before, [255] * 3)


def test_covers():
    """A see-through colour, or the soft edge of a line, comes out as a lighter cover of the same
    colour."""
    full = np.array(of_hex(CLASSES[0])) / 255
    now = pictures.turned(1 - np.linspace(0, 1, 11)[:, None] * (1 - full))
    away = np.linalg.norm(now - pictures.PAGE, axis=1)
    assert (np.diff(away) > 0).all()
    assert all(abs(hue(255 * c) - hue(255 * full)) < 20 for c in now[3:])

@pytest.mark.parametrize("dpi, colours", [(72, 128), (100, 128), (100, 256)])
def test_pictures_are_kept(dpi, colours):
    """Within a heat map and its colour bar no pixel changes, whatever is drawn in it; lines on
    paper beside it are turned."""
    fig = Figure(figsize=(7.2, 3), layout="constrained", dpi=dpi)
    top, low = fig.subplots(2)
    kept = spectrogram(top)
    low.plot([0, 1], [0, 1], color=CLASSES[0], lw=4)
    light = drawn(fig, colours)
    rgb, new = pixels(light), pixels(pictures.dark(light))
    for ax in kept: assert (rgb[box(ax)] == new[box(ax)]).all()
    assert is_(new[box(low)], PAGE).mean() > .8 and is_(new[0], PAGE).all()

def test_filled_axes_are_turned():
    "Bars, shades and a waveform that fills its axes are drawn on paper."
    fig = Figure(figsize=(7.2, 4), layout="constrained")
    one, two, three = fig.subplots(3)
    one.fill_between([0, 1], [-1, -1], [1, 1], color=CLASSES[0])
    two.barh(range(4), [3, 4, 5, 6], height=1, color=["black", CLASSES[1], "0.6", "0.8"])
    three.axvspan(0, 1, color=CLASSES[0], alpha=.2)
    three.set(xlim=(0, 1.2))
    light = drawn(fig)
    new = pixels(pictures.dark(light))
    assert not is_(new, (255, 255, 255)).any() and not is_(new, of_hex(CLASSES[0])).any(), (
        "paper was kept"
    )
    assert is_(new[box(two)], INK).mean() > .1

def test_matrix():
    "A matrix in greys is turned, and its numbers stay legible in each cell."
    fig = Figure(figsize=(7.2, 3), layout="constrained")
    ax = fig.subplots()
    ax.imshow([[.88, .12], [.68, .32]], cmap="Greys", vmin=0, vmax=1.6, aspect="auto")
    for row, col in itertools.product(range(2), range(2)):
        ax.text(col, row, "74", ha="center", va="center")
    light = drawn(fig)
    rgb, new = pixels(light), pixels(pictures.dark(light))
    rows, cols = box(ax)
    assert turned(rgb[rows, cols], new[rows, cols], (0, 0, 0)) == INK
    corners = [(r, c) for r in (rows.start, rows.stop) for c in (cols.start, cols.stop)]
    assert sorted(corners, key=lambda at: rgb[at].sum()) == sorted(
        corners, key=lambda at: -new[at].astype(int).sum()
    )
    for at in corners: assert contrast(new[at], INK) >= 3.5

def test_webp():
    "A waveform in WebP is turned into WebP; a spectrogram without paper comes back as it was."
    wave = np.full((150, 640, 3), 255, np.uint8)
    wave[40:110] = 68
    new = pictures.dark(webp(wave))
    assert Image.open(io.BytesIO(new)).format == "WEBP"
    assert (
        abs(pixels(new)[:20].astype(int) - PAGE).mean() <= 4
        and contrast(pixels(new)[75, 300], PAGE) > 6
    )
    filled = webp(np.random.default_rng(1).integers(0, 200, (150, 640, 3)).astype(np.uint8))
    assert pictures.dark(filled) is filled

def stored():
    "Every picture that the notebooks store: (notebook and cell, bytes)."
    for nb in common.notebooks(ROOT/"nbs"):
        for k, cell in enumerate(json.loads(nb.read_text(encoding="utf-8"))["cells"]):
            for data in (o.get("data", {}) for o in cell.get("outputs", [])):
                html = common.join(data.get("text/html", ""))
                codes = [
                    common.join(data.get("image/png", "")),
                    *re.findall(r"data:image/\w+;base64,([\w+/=]+)", html),
                ]
                yield from (
                    (f"{nb.stem}, cell {k}", base64.b64decode(code)) for code in codes if code
                )


def test_stored_figures():
    """Every figure of the book has a dark variant of its own size, on the page's background, and
    not much heavier."""
    count = {"PNG": 0, "WEBP": 0}
    for where, light in stored():
        new = pictures.dark(light)
        if new is light: continue
        was, now = (Image.open(io.BytesIO(x)) for x in (light, new))
        assert (was.size, was.format) == (now.size, now.format), where
        assert len(new) <= 1.3 * len(light), f"{where}: {len(light)} bytes have become {len(new)}"
        rgb, new = pixels(light), pixels(new).astype(int)
        corner = rgb[::len(rgb) - 1, ::len(rgb[0]) - 1] == 255
        off = abs(new[::len(new) - 1, ::len(new[0]) - 1] - PAGE)[corner]
        assert off.max(initial=0) <= (0 if now.format == "PNG" else 3), (
            f"{where}: a corner is not the page's background"
        )
        count[now.format] += 1
    assert count["PNG"] > 100 and count["WEBP"] > 10
