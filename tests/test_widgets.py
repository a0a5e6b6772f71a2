"""The figures that move, as a reader meets them: with the keyboard, with sound, with scripts
off."""

import json, re

import numpy as np
import pytest
from shared import NBS
from sirenbook.signals import alias_hz

def moving(nb):
    "The kinds of the moving figures that the stored outputs of a notebook hold."
    cells = json.loads(nb.read_text(encoding="utf-8"))["cells"]
    html = [
        "".join(o.get("data", {}).get("text/html", "")) for c in cells for o in c.get("outputs", [])
    ]
    return re.findall(r'<sb-move kind="(\w+)"', "".join(html))

HELD = {nb.stem: moving(nb) for nb in sorted(NBS.glob("*.ipynb"))}
KINDS = ("tone", "beats", "sampling", "window", "descent", "kernel")
LAST = {
    "tone": "Time",
    "beats": "Apart by",
    "sampling": "Sample rate",
    "window": "Window",
    "descent": "Steps",
    "kernel": "Place",
}
each_kind = pytest.mark.parametrize("kind", KINDS)

def test_the_chapters_hold_all_of_them():
    assert (
        set(HELD["01_signals"]) >= {"tone", "beats", "sampling"}
        and "window" in HELD["02_spectrograms"]
        and HELD["05_learning"] == ["descent", "kernel"]
    )
    assert HELD["78_widgets"] == list(KINDS)

def figure(page, kind):
    it = page.locator(f'sb-move[kind="{kind}"]').first
    it.scroll_into_view_if_needed()
    it.locator(".sb-stage > svg").wait_for()
    return it

def told(it): return it.locator("[role=status]").inner_text()

def move(it, name, value):
    "Put a slider on a value, as a finger would."
    it.get_by_role("slider", name=name, exact=True).evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', "
        "{bubbles: true})); }",
        str(value),
    )


def numbers(text): return [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", text)]

@pytest.mark.parametrize(
    "name, kinds",
    [(n, k) for n, k in HELD.items() if k],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_each_moves_by_the_keyboard(visit, name, kinds):
    page = visit(f"{name.split('_', 1)[1]}.html")
    assert page.locator("sb-move").count() == len(kinds)
    for kind in set(kinds):
        it = figure(page, kind)
        for slider in it.get_by_role("slider").all():
            before = (
                slider.input_value(),
                it.locator(".sb-stage").inner_html(),
                told(it),
                slider.get_attribute("aria-valuetext"),
            )
            slider.focus()
            page.keyboard.press(
                "ArrowRight" if slider.input_value() != slider.get_attribute("max") else "ArrowLeft"
            )
            after = (
                slider.input_value(),
                it.locator(".sb-stage").inner_html(),
                told(it),
                slider.get_attribute("aria-valuetext"),
            )
            assert before[0] != after[0] and before[1] != after[1] and before[3] != after[3], (
                f"{kind}: a slider moves nothing"
            )
    assert not page.trouble, "\n".join(page.trouble)

@each_kind
def test_a_screen_reader_gets_names_and_words(visit, kind):
    it = figure(visit("widgets.html"), kind)
    assert all(
        s.get_attribute("aria-label") and s.get_attribute("aria-valuetext")
        for s in it.get_by_role("slider").all()
    )
    assert it.locator(".sb-stage > svg[role=img]").get_attribute("aria-label") == told(it) != ""
    assert it.get_by_role("slider", name=LAST[kind], exact=True).count() == 1

def test_tone_obeys_its_law(visit):
    from math import radians, sin, tau
    it = figure(visit("widgets.html"), "tone")
    for amplitude, hz, degrees, ms in ((0.5, 250, 0, 1), (1, 400, 90, 2.5), (0.3, 100, 45, 7)):
        for name, value in (
            ("Amplitude", amplitude),
            ("Frequency", hz),
            ("Phase", degrees),
            ("Time", ms),
        ):
            move(it, name, value)
        assert numbers(told(it)) == pytest.approx(
            [hz, round(1000 / hz, 2), ms, amplitude * sin(tau * hz * ms / 1000 + radians(degrees))],
            abs=0.006,
        )


def test_beats_obey_their_law(visit):
    it = figure(visit("widgets.html"), "beats")
    for hz, apart in ((300, 4), (440, 0.5), (200, 20)):
        move(it, "First tone", hz), move(it, "Apart by", apart)
        assert numbers(told(it)) == pytest.approx([hz, hz + apart, apart, 1 / apart], abs=0.006)
    move(it, "Apart by", 0)
    assert "no beat" in told(it)

def test_sampling_folds_as_the_book_says(visit):
    it = figure(visit("widgets.html"), "sampling")
    for hz, sr in ((2500, 4000), (1000, 16000), (7900, 6000), (8000, 3000), (5000, 4500)):
        move(it, "Tone", hz), move(it, "Sample rate", sr)
        assert numbers(told(it))[:3] == [hz, sr, alias_hz(hz, sr)]
    for hz, sr in ((4000, 8000), (8000, 8000)):
        move(it, "Tone", hz), move(it, "Sample rate", sr)
        assert "nothing is heard" in told(it)

def test_window_trades_time_for_frequency(visit):
    it = figure(visit("widgets.html"), "window")
    pictures = set()
    for power in range(5, 13):
        move(it, "Window", power)
        n, sr, ms, rows_hz = numbers(told(it))
        assert (
            (n, sr) == (2**power, 8000)
            and ms == n / 8
            and rows_hz == pytest.approx(8000 / n, abs=0.006)
        )
        pictures.add(it.locator("image").get_attribute("href"))
    assert len(pictures) == 8

def lit(it):
    "The share of a heat map's rows that are bright, at the time of the knock and half-way between."
    return it.locator("image").evaluate("""async image => {
        const picture = new Image(); picture.src = image.getAttribute("href");
            await picture.decode();
        const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [picture.width, picture.height];
        const ink = canvas.getContext("2d"); ink.drawImage(picture, 0, 0);
        const share = x => { const p = ink.getImageData(x, 0, 1, picture.height).data;
            let n = 0; for (let i = 0; i < p.length; i += 4) n += p[i] > 60;
                return n / picture.height; };
        return [share(picture.width >> 1), share(picture.width >> 2)]; }""")

def test_window_shows_knock_and_tone(visit):
    it = figure(visit("widgets.html"), "window")
    move(it, "Window", 7)
    knock, tone = lit(it)
    assert knock > 0.85 and tone < 0.6          # a stroke from top to bottom beside lines
    move(it, "Window", 8)
    assert lit(it)[1] < tone                    # the lines get thinner with a longer window

def brightest_hz(it, at_s):
    "Where a heat map is brightest at a time, by the sum of its colours: the middle of those rows."
    return it.locator("image").evaluate(
        """async (image, at_s) => {
        const picture = new Image(); picture.src = image.getAttribute("href");
            await picture.decode();
        const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [picture.width, picture.height];
        const ink = canvas.getContext("2d"); ink.drawImage(picture, 0, 0);
        const p = ink.getImageData(Math.round(at_s * 100), 0, 1, picture.height).data, sum = i =>
            p[4 * i] + p[4 * i + 1] + p[4 * i + 2];
        const rows = [...Array(picture.height).keys()], most = Math.max(...rows.map(sum)),
            best = rows.filter(i => sum(i) === most);
        return picture.height - 1 - best.reduce((a, b) => a + b) / best.length; }""",
        at_s,
    )

def test_window_shows_the_tune(visit):
    it = figure(visit("widgets.html"), "window")
    for power in (7, 8, 9):
        move(it, "Window", power)
        hz = [brightest_hz(it, at_s) * 8000 / 2 ** power for at_s in (0.25, 0.5, 1.25, 1.5)]
        assert hz == pytest.approx([700, 1000, 700, 1000], abs=8000 / 2 ** power)

def test_descent_walks_as_the_book_says(visit):
    it = figure(visit("widgets.html"), "descent")
    given = json.loads(it.get_attribute("data-numbers"))
    x, y = np.array(given["x"]), np.array(given["y"])
    slope = lambda w: np.mean((1 / (1 + np.exp(-w * x)) - y) * x)
    for power, steps in ((0, 0), (0, 5), (-1, 30), (1, 12), (2, 3)):
        move(it, "Step size", power), move(it, "Steps", steps)
        w = 3.0
        for _ in range(steps): w -= 10**power * slope(w)
        loss = np.mean(np.log1p(np.exp((1 - 2 * y) * w * x)))
        assert numbers(told(it)) == pytest.approx([steps, 10**power, w, loss, slope(w)], abs=0.006)


def test_kernel_answers_the_wave_of_its_own_frequency(visit):
    it = figure(visit("widgets.html"), "kernel")
    k, n = np.arange(13), 3840 + np.arange(320)
    wave = 0.7 * np.sin(2 * np.pi * np.where(n < 4000, 500, 3000) * n / 16000)
    for hz, place in ((3000, 0), (3000, 250), (0, 40), (500, 307)):
        move(it, "Pattern", hz), move(it, "Place", place)
        fade, cos = np.hanning(15)[1:-1], np.cos(2 * np.pi * hz * (k - 6) / 16000)
        answers = np.convolve(wave, (fade * cos / np.sum(fade * cos**2))[::-1], "valid")
        slow, fast = np.abs(answers[:147]).max(), np.abs(answers[160:]).max()
        assert numbers(told(it)) == pytest.approx(
            [place, 13, answers[place], 500, slow, 3000, fast], abs=0.006
        )
        assert (fast > 3 * slow) if hz == 3000 else (slow > 3 * fast)


HEARD = """window.nodes = []; window.made = 0;
AudioContext = class extends AudioContext { constructor(...a) { super(...a); made++; } };
for (const name of ["GainNode", "OscillatorNode", "AudioBufferSourceNode"])
  window[name] = class extends window[name] { constructor(...a) { super(...a);
      nodes.push([name, this, performance.now()]); } };"""


@each_kind
def test_sound_is_soft_and_waits_for_a_click(visit, kind):
    page = visit("index.html")
    page.add_init_script(HEARD)
    page.goto(page.url.replace("index", "widgets"))
    it = figure(page, kind)
    for slider in it.get_by_role("slider").all(): slider.focus(), page.keyboard.press("ArrowLeft")
    assert page.evaluate("[made, nodes.length]") == [0, 0], "sound was made before a click"
    button = it.get_by_role("button").first
    button.click()
    page.wait_for_timeout(300)
    assert button.get_attribute("aria-pressed") == "true"
    loudest = page.evaluate("nodes.filter(([n]) => n === 'GainNode')[0][1].gain.value")
    assert 0.05 < loudest <= 0.1001, f"the loudest it can be is {loudest} of full scale"
    inner = page.evaluate(
        "nodes.filter(([n]) => n === 'GainNode').slice(1).map(([, g]) => g.gain.value)"
    )
    assert 0 < sum(inner) <= 1.0001
    button.focus(), page.keyboard.press("Space")
    assert button.get_attribute("aria-pressed") == "false"
    page.wait_for_timeout(300)
    assert page.evaluate("nodes[0][1].gain.value") < 0.001, "it does not fade"

def test_tones_follow_the_slider(visit):
    page = visit("index.html")
    page.add_init_script(HEARD)
    page.goto(page.url.replace("index", "widgets"))
    it = figure(page, "sampling")
    it.get_by_role("button", name="Hear its samples").click()
    move(it, "Tone", 3000), move(it, "Sample rate", 4000)
    page.wait_for_timeout(200)
    assert page.evaluate(
        "nodes.find(([n]) => n === 'OscillatorNode')[1].frequency.value"
    ) == pytest.approx(1000, abs=2)


def test_one_sound_at_a_time(visit):
    page = visit("signals.html")
    tone, beats = (
        figure(page, "tone").get_by_role("button").first,
        figure(page, "beats").get_by_role("button").first,
    )
    pressed = lambda: [b.get_attribute("aria-pressed") for b in (tone, beats)]
    tone.click(), beats.click()
    assert pressed() == ["false", "true"]
    page.locator("audio").first.evaluate("a => { a.muted = true; return a.play(); }")
    assert pressed() == ["false", "false"]
    tone.click()
    assert page.locator("audio").first.evaluate("a => a.paused"), "a player goes on under a figure"

@each_kind
def test_a_still_stands_where_scripts_are_off(browser, address, kind):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}widgets.html")
    it = page.locator(f'sb-move[kind="{kind}"]')
    still = it.locator("img:visible")
    assert (
        still.is_visible()
        and still.bounding_box()["width"] > 300
        and len(still.get_attribute("alt")) > 20
    )
    assert not it.locator("input, button, svg").count()
    context.close()

def test_jupyterlab_does_not_get_the_keys_of_a_slider(visit):
    page = visit("widgets.html")
    page.evaluate(
        "window.seen = []; document.addEventListener('keydown', e => seen.push(e.key), true)"
    )
    slider = figure(page, "tone").get_by_role("slider").first
    slider.focus()
    for key in ("ArrowRight", "d", "Control+Enter"): page.keyboard.press(key)
    assert page.evaluate("seen.filter(k => !['Control'].includes(k))") == ["Enter"], (
        "arrows stay with the slider, Ctrl+Enter runs the cell"
    )
