"""The dark variant of a figure: a picture drawn on white paper, as if drawn on the dark page.

Each colour on paper is read as a full ink that covers white in part, and that ink is laid over the
dark page, so that soft edges stay soft. Black becomes the page's ink. A coloured ink keeps its hue
(in OKLab) and, if dark, is lifted until it stands out as it did. Heat maps and colour bars keep
their colours: a black frame whose inside is almost wholly covered, and somewhere coloured. The same
without colour is a matrix in greys: it is turned, its greys held back.
"""
import io
import numpy as np
from PIL import Image
from scipy import ndimage

PAGE, INK = np.array([[27, 31, 35], [223, 227, 230]]) / 255  # of nbs/styles.css, in the dark
_LMS = np.array([.4122214708, .5363325363, .0514459929, .2119034982, .6806995451, .1073969566,
                 .0883024619, .2817188376, .6299787005]).reshape(3, 3)
_LAB = np.array([.2104542553, .7936177850, -.0040720468, 1.9779984951, -2.4285922050, .4505937099,
                 .0259040371, .7827717662, -.8086757660]).reshape(3, 3)

def linear(rgb):
    return np.where(rgb <= .04045, rgb / 12.92, ((rgb + .055) / 1.055) ** 2.4)

def oklab(rgb):
    "sRGB, 0 to 1, as OKLab: lightness, green to red, blue to yellow."
    return np.cbrt(linear(rgb) @ _LMS.T) @ _LAB.T

def from_oklab(lab):
    "OKLab as sRGB; a colour that no screen shows lies outside 0 to 1."
    light = (lab @ np.linalg.inv(_LAB).T) ** 3 @ np.linalg.inv(_LMS).T
    bright = 1.055 * np.maximum(light, 0) ** (1 / 2.4) - .055
    return np.where(light <= .0031308, light * 12.92, bright)

def on_dark(ink, hue):
    "Inks `(n, 3)` of white paper as inks of the dark page, in the hues `hue`; how vivid, 0 to 1."
    lab, hue, to = oklab(ink), oklab(hue)[:, 1:], oklab(INK)
    chroma = np.hypot(*lab[:, 1:].T)[:, None]
    hue *= chroma / np.maximum(np.hypot(*hue.T), 1e-9)[:, None]
    page = linear(PAGE) @ [.2126, .7152, .0722] + .05
    as_far = np.cbrt(np.maximum(1.05 * page / (lab[:, :1] ** 3 + .05) - .05, 0))  # as from white
    light = np.maximum(lab[:, :1], np.minimum(as_far, to[0] - .8 * chroma))
    few, many = np.zeros_like(chroma), np.ones_like(chroma)
    for _ in range(9):  # the most of its colour that a screen shows at this lightness
        share = (few + many) / 2
        rgb = from_oklab(np.hstack([light, hue * share + to[1:]]))
        shown = ((rgb >= 0) & (rgb <= 1)).all(1, keepdims=True)
        few, many = np.where(shown, share, few), np.where(shown, many, share)
    return from_oklab(np.hstack([light, hue * few + to[1:]])).clip(0, 1), np.minimum(5 * chroma, 1)

def turned(rgb, held=1):
    "Colours `(n, 3)` on paper as on the dark page; half covers gain a little, less if `held` > 1."
    cover = 1 - rgb.min(1, keepdims=True)
    ink, vivid = on_dark(((rgb - 1 + cover) / np.maximum(cover, 1e-9)).clip(0, 1), rgb)
    return PAGE + (cover ** held + (1 + 2 * vivid) * (cover * (1 - cover)) ** 2) * (ink - PAGE)

def framed(red, green, blue):
    "The insides of black frames that are almost wholly covered: (rows, columns, coloured?)."
    low, high = np.minimum.reduce([red, green, blue]), np.maximum.reduce([red, green, blue])
    for box in ndimage.find_objects(ndimage.label(low < 230, np.ones((3, 3)))[0]):
        if max(s.stop - s.start for s in box) < 60: continue
        black = [(high[box] < 100).sum(axis) for axis in (1, 0)]
        ends = [np.flatnonzero(n >= .6 * n.max())[[0, -1]] + s.start for n, s in zip(black, box)]
        (top, bottom), (left, right) = ends  # the outermost long lines
        sides = [high[y, left:right + 1] for y in ends[0]]
        sides += [high[top:bottom + 1, x] for x in ends[1]]
        inside = slice(top + 1, bottom), slice(left + 1, right)
        covered = low[inside] < 253
        black = min((side < 100).mean() for side in sides)
        if min(covered.shape) < 4 or covered.mean() < .8 or black < .9: continue
        coloured = (high - low)[inside].max() > 60
        full = min(covered[[1, -2]].mean(), covered[:, [1, -2]].mean()) > .9
        if full and (coloured or np.median(low[inside]) > 80): yield *inside, coloured

def dark(data):
    "The picture in `data` as drawn for the dark page; `data` itself where there is no white paper."
    picture = Image.open(io.BytesIO(data))
    planes = np.array([np.array(plane) for plane in picture.convert("RGB").split()])
    if (planes.min(0) >= 250).mean() < .01: return data
    treat = np.zeros(planes.shape[1:], int)  # 0 on paper, 1 in a matrix in greys, 2 kept
    for *inside, coloured in framed(*planes): treat[tuple(inside)] = 1 + coloured
    red, green, blue = planes.astype(np.int32)
    colours, which = np.unique(red << 16 | green << 8 | blue, return_inverse=True)
    colours = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], 1) / 255
    table = np.concatenate([turned(colours), turned(colours, held=1.8), colours])
    table = np.round(255 * table).astype(np.uint8)
    which = which.reshape(treat.shape) + treat * len(colours)
    used = np.bincount(which.ravel(), minlength=len(table)) > 0
    out, file = Image.fromarray(table[which]), io.BytesIO()
    if picture.format == "WEBP": out.save(file, "WEBP", quality=75, use_sharp_yuv=True)
    else:
        if used.sum() <= 256:
            out = Image.fromarray((np.cumsum(used) - 1)[which].astype(np.uint8), "P")
            out.putpalette(table[used].tobytes())
        out.save(file, "PNG", optimize=True)
    return file.getvalue()
