"""The junction from above: what a record must hold, how small it gets, and how it plays."""
import base64, html, json, re

import numpy as np
import pytest
from shared import complains
from sirenbook.replay import captions, check_record, pack_numbers, replay
from test_looks import CONTRAST, turn, violations

N, STEP_S = 240, 0.25
ARMS = ["W", "N", "E", "S"]
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

def unpack(text, order=1):
    values, number, shift = [], 0, 0
    for digit in map(DIGITS.index, text):
        number, shift = number + (digit % 32 << shift), shift + 5
        if digit < 32:
            values.append(-(number + 1) // 2 if number % 2 else number // 2)
            number = shift = 0
    for _ in range(order): values = np.cumsum(values, dtype=int).tolist()
    return values

def record(n=N, seed=0, n_vehicles=100, title="with it", asked=(40, 100)):
    "A run of a minute, about 25 vehicles at a time, an ambulance among them."
    rng, vehicles = np.random.default_rng(seed), []
    for i in range(n_vehicles):
        first, long = int(rng.integers(0, n - 60)), 60
        speed = 25 + 10 * np.sin(np.arange(long) / 9 + rng.uniform(0, 6))
        s = np.cumsum(speed).round()
        x, y = (s - 750, np.full(long, -20)) if i % 2 else (np.full(long, 20), s - 750)
        vehicles.append({"kind": "car", "first": first, "x": x.astype(int).tolist(),
                         "y": y.astype(int).tolist()})
    vehicles[3]["kind"] = "ambulance"
    vehicles[3]["first"] = 50 if n > 120 else 0
    request = "".join("W" if asked and asked[0] <= i < asked[1] else "." for i in range(n))
    lights = "".join("g" if 60 <= i < 110 else "y" if 110 <= i < 122 else "r" for i in range(n))
    return {"title": title, "step_s": STEP_S, "bounds": [-75, -75, 75, 75],
            "streets": [{"width": 12, "points": [[-75, 0], [75, 0]]},
                        {"width": 12, "points": [[0, -75], [0, 75]]}],
            "buildings": [], "arms": ARMS, "threshold": 40, "lost_s": 3.5,
            "stop_lines": {"W": [[-9, 0], [-9, -6]], "N": [[0, 9], [-6, 9]],
                           "E": [[9, 0], [9, 6]], "S": [[0, -9], [6, -9]]},
            "mast": {"W": [-9, -7], "N": [-7, 9], "E": [9, 7], "S": [7, -9]},
            "signals": {a: lights if a in "WE" else lights.replace("g", "r") for a in ARMS},
            "request": request, "vehicles": vehicles,
            "scores": {a: rng.integers(0, 100, n).tolist() for a in ARMS}}

def packed(shown):
    return [json.loads(html.unescape(d)) for d in re.findall(r'data-run="([^"]*)"', shown.markup)]


# ---- numbers

@pytest.mark.parametrize("order", [0, 1, 2])
def test_numbers_come_back(order):
    rng = np.random.default_rng(order)
    for numbers in ([], [0], [7], [-1, 0, 1], [31, 32, -32, -33, 10**8],
                    rng.integers(-900, 900, 200).tolist()):
        text = pack_numbers(numbers, order)
        assert unpack(text, order) == numbers and re.fullmatch(r"[\w-]*", text)

def test_the_page_holds_the_record():
    given = record()
    its, = packed(replay(given))
    assert its["request"] == given["request"] and its["signals"] == given["signals"]
    assert all(unpack(its["scores"][a]) == given["scores"][a] for a in ARMS)
    for (kind, first, x, y, angle), v in zip(its["vehicles"], given["vehicles"], strict=True):
        n = len(v["x"])
        assert (kind, first) == (v["kind"], v["first"])
        assert unpack(x, 2)[:n] == v["x"] and unpack(y, 2)[:n] == v["y"]
        assert n <= len(unpack(angle, 2)) <= n + 8 and first + len(unpack(x, 2)) <= N

def test_it_is_small():
    two = replay([record(title="without an ear", asked=None), record(seed=1)])
    there = np.zeros(N)
    for v in record()["vehicles"]: there[v["first"]:v["first"] + len(v["x"])] += 1
    assert there.mean() > 20 and len(two.markup) < 150_000, len(two.markup)

def test_headings_follow_the_way_and_stay_where_a_car_stands():
    given = record(n_vehicles=4)
    given["vehicles"][0] |= {"first": 0, "x": [-600, -570, -540, -540, -540], "y": [-20] * 5}
    given["vehicles"][1] |= {"first": 0, "x": [20] * 4, "y": [300, 270, 240, 240]}
    given["vehicles"][2] |= {"first": 0, "x": [-100] * 4, "y": [0] * 4}      # never moves: inwards
    turns = [unpack(v[4], 2) for v in packed(replay(given))[0]["vehicles"]]
    assert turns[0] == [0] * 5 and {t % 360 for t in turns[1]} == {270} and turns[2] == [0] * 4

def test_words():
    told = captions(record())
    assert [i for i, *_ in told] == sorted({i for i, *_ in told}) and told[0][0] == 0
    said = [s for *_, s in told]
    for wanted in ("Heard from the west", "West green", "Released"):
        assert any(s.startswith(wanted) for s in said), said
    assert said.index("West green: the way is free.") > said.index(
        "Heard from the west: it asks for green.")
    quiet = captions(record(asked=None))
    assert not any("Heard" in s or "Released" in s for *_, s in quiet)
    assert quiet[-1][2].endswith("lost 4 s.")

def test_the_still_is_the_most_telling_step():
    still = lambda r: float(re.search(r'data-still="([\d.]+)"', replay(r).markup)[1])
    assert still(record()) == (50 + 50 // 3) * STEP_S    # asked until 100, there from 50 on
    assert still(record(asked=(180, 200))) == 180 * STEP_S       # it has left
    assert still(record(asked=None)) == N // 2 * STEP_S
    assert still([record(asked=None), record()]) == still(record())

def test_labels_are_text():
    shown = replay({**record(), "title": '<b>"&'}, label="<i>&")
    assert "<i>&" not in shown.markup and "<b>\"&" not in shown.markup
    assert "&lt;i&gt;&amp;" in shown.markup and shown._repr_html_() == shown.markup

def test_sound_is_inside():
    wav = 0.2 * np.sin(np.arange(8000 * 60) / 3)
    markup = replay([record(), record()], wav, 8000).markup
    assert len(base64.b64decode(re.search(r"audio/mpeg;base64,([^\"]+)", markup)[1])) > 10_000
    assert "http" not in re.sub(r"base64,[^\"]+", "", markup)


# ---- what is refused

def without(key):
    r = record()
    del r[key]
    return r

@pytest.mark.parametrize("key", [k for k in record() if k != "buildings"])
def test_a_missing_key_is_named(key):
    with complains(key, "record 2"): replay([record(), without(key)])
    check_record(without("buildings"))

@pytest.mark.parametrize("key, value", [
    ("step_s", 0), ("step_s", -1), ("step_s", "soon"), ("step_s", float("nan")),
    ("request", ""), ("request", "."), ("request", "W" * (N - 1)), ("request", "X" * N),
    ("request", ["."] * N), ("signals", {a: "g" * (N - 1) for a in ARMS}),
    ("signals", {a: "b" * N for a in ARMS}), ("signals", {"W": "g" * N}), ("signals", "g" * N),
    ("scores", {a: [0] * (N + 1) for a in ARMS}), ("scores", {a: [101] * N for a in ARMS}),
    ("scores", {a: [None] * N for a in ARMS}), ("scores", {a: [] for a in ARMS}),
    ("bounds", [0, 0, 0, 1]), ("bounds", [0, 1]), ("bounds", None), ("arms", []), ("arms", "WNES"),
    ("arms", ["W", "Q"]), ("streets", [{"width": 3}]), ("streets", 5),
    ("streets", [{"width": 0, "points": [[0, 0]]}]),
    ("streets", [{"width": 3, "points": [0, 1]}]), ("buildings", [[[0, "a"]]]),
    ("stop_lines", {a: [[0, 0]] for a in ARMS}), ("mast", {a: [0] for a in ARMS}),
    ("mast", {"W": [0, 0]}), ("threshold", 101), ("threshold", None), ("lost_s", "much"),
    ("title", None), ("vehicles", {}), ("vehicles", [{"kind": "car"}]),
    ("vehicles", [{"kind": "tram", "first": 0, "x": [0], "y": [0]}]),
    ("vehicles", [{"kind": "car", "first": 0, "x": [], "y": []}]),
    ("vehicles", [{"kind": "car", "first": 0, "x": [0, 1], "y": [0]}]),
    ("vehicles", [{"kind": "car", "first": N - 1, "x": [0, 1], "y": [0, 1]}]),
    ("vehicles", [{"kind": "car", "first": -1, "x": [0], "y": [0]}]),
    ("vehicles", [{"kind": "car", "first": 0, "x": [float("inf")], "y": [0]}]), ("vehicles", [3]),
], ids=lambda v: str(v)[:24])
def test_bad_values_are_named(key, value):
    with complains(key): replay({**record(), key: value})

@pytest.mark.parametrize("records", [[], [record()] * 3])
def test_one_or_two(records):
    with complains("records"): replay(records)

def test_no_record():
    with complains("record"): replay([5])

@pytest.mark.parametrize("wav", [np.zeros(8000 * 58), np.zeros(8000 * 62), np.full(480_000, np.nan),
                                 np.zeros((2, 480_000)), np.zeros(0), np.full(480_000, np.inf)])
def test_a_sound_that_does_not_fit(wav):
    with complains("wav"): replay(record(), wav, 8000)


# ---- in a browser

@pytest.fixture
def page(visit): return visit("replay.html")

def figures(page): return page.locator("sb-replay")

def time(it): return it.evaluate("r => r.t")

def cars(it):
    "Where the vehicles that are shown are, of each picture."
    return it.evaluate("""r => [...r.querySelectorAll('.sb-cars')].map(g => [...g.children].map(
        c => c.style.display ? '' : c.getAttribute('transform').split(' rotate')[0]))""")

def scrub(it, seconds):
    it.get_by_role("slider").evaluate("""(s, t) => { s.value = t;
        s.dispatchEvent(new Event('input', {bubbles: true})); }""", seconds)

def test_two_figures_one_with_sound(page):
    assert figures(page).count() == 2 and page.locator("sb-replay audio").count() == 1
    first, second = figures(page).all()
    assert first.locator(".sb-map").count() == 2 and second.locator(".sb-map").count() == 1
    for it in (first, second):
        label = it.locator("figcaption").inner_text()
        assert it.get_by_role("button", name=f"Play: {label}", exact=True).count() == 1
        slider = it.get_by_role("slider", name=f"Time in: {label}", exact=True)
        assert slider.get_attribute("aria-valuetext") == f"{time(it):.1f} s"
        assert it.evaluate("r => r.t === +r.dataset.still")
        assert not it.locator("audio").count() or not it.locator("audio").is_visible()
    assert not page.trouble, "\n".join(page.trouble)

def test_the_script_draws_what_python_drew(browser, address):
    "The first picture is the same with and without scripts."
    seen = []
    for on in (False, True):
        context = browser.new_context(java_script_enabled=on)
        page = context.new_page()
        page.goto(f"{address}replay.html")
        its = page.locator("sb-replay").first
        seen.append([sorted(re.findall(
            r'translate\(([-\d.]+) ([-\d.]+)\)', g)) for g in
            [h for h in its.locator(".sb-cars").evaluate_all(
                "g => g.map(e => [...e.children].filter(c => !c.style.display)"
                ".map(c => c.getAttribute('transform')).join())") ]] if on else
            [sorted(re.findall(r'translate\(([-\d.]+) ([-\d.]+)\)', h)) for h in
             re.findall(r'<g class="sb-cars">(.*?)</g><g class="sb-mast"',
                        page.content().partition("</sb-replay>")[0])])
        context.close()
    for still, live in zip(*seen, strict=True):
        both = [np.array(sorted([float(a), float(b)] for a, b in s)) for s in (still, live)]
        assert len(both[0]) > 3 and np.allclose(*both, atol=0.02)

@pytest.mark.parametrize("n", [0, 1])
def test_play_moves_and_pause_stops(page, n):
    it = figures(page).nth(n)
    it.scroll_into_view_if_needed()
    button = it.get_by_role("button")
    button.focus()
    page.keyboard.press("Space")
    page.wait_for_function("r => r.t > 0.3 && r.t < 5", arg=it.element_handle())   # from 0
    assert button.get_attribute("aria-label").startswith("Pause: ")
    before = cars(it)
    page.wait_for_timeout(500)
    assert cars(it) != before
    page.keyboard.press("Space")
    assert button.get_attribute("aria-label").startswith("Play: ")
    at, where = time(it), cars(it)
    page.wait_for_timeout(300)
    assert time(it) == at and cars(it) == where
    button.click()
    page.wait_for_function("([r, t]) => r.t > t", arg=[it.element_handle(), at])
    assert time(it) < at + 5, "it began again"
    assert not page.trouble, "\n".join(page.trouble)

def test_a_frame_older_than_the_press(page):
    "A browser may hand out the time of a frame that began before Play was pressed."
    it = figures(page).nth(1)
    it.evaluate("r => { r.draw(0); r.last = 100; r.tick(95); cancelAnimationFrame(r.frame); }")
    assert time(it) == 0 and not page.trouble, "\n".join(page.trouble)

def test_sound_is_the_clock(page):
    it = figures(page).first
    it.scroll_into_view_if_needed()
    it.get_by_role("button").click()
    page.wait_for_function("r => r.audio.currentTime > 0.5", arg=it.element_handle())
    apart = it.evaluate("""async r => { const out = [];
        for (let i = 0; i < 30; i++) { await new Promise(requestAnimationFrame);
            out.push(Math.abs(r.t - r.audio.currentTime)); }
        return out; }""")
    assert np.median(apart) < 0.15, apart
    scrub(it, 20)
    page.wait_for_function("r => r.audio.currentTime > 20.2 && !r.audio.paused",
                           arg=it.element_handle())
    assert abs(it.evaluate("r => r.t - r.audio.currentTime")) < 0.3
    it.evaluate("r => r.audio.pause()")                 # as another player of the page does
    page.wait_for_function("r => !r.playing", arg=it.element_handle())
    assert not page.trouble, "\n".join(page.trouble)

def test_one_sound_at_a_time(page):
    it = figures(page).first
    page.evaluate("""() => { window.other = new Audio(document.querySelector('audio').src);
        document.body.append(other); other.muted = true; return other.play(); }""")
    it.get_by_role("button").click()
    page.wait_for_function("other.paused")

def test_it_ends_and_begins_again(page):
    it = figures(page).nth(1)
    button = it.get_by_role("button")
    scrub(it, it.evaluate("r => r.seconds - 0.3"))
    button.click()
    page.wait_for_function("r => r.t === r.seconds && !r.playing", arg=it.element_handle())
    button.click()
    page.wait_for_function("r => r.t > 0 && r.t < 3", arg=it.element_handle())

def test_scrub_by_slider_and_by_keyboard(page):
    it = figures(page).first
    slider, seen = it.get_by_role("slider"), []
    for seconds in (0, 5.5, 12, 28):
        scrub(it, seconds)
        assert time(it) == seconds and slider.get_attribute("aria-valuetext") == f"{seconds:.1f} s"
        assert it.locator(".sb-clock").inner_text().startswith(f"{seconds:.1f} / ")
        head = it.locator(".sb-rows").first.evaluate("r => +r.style.getPropertyValue('--at')")
        assert head == pytest.approx(seconds / it.evaluate("r => r.seconds"))
        seen.append(str(cars(it)))
    assert len({*seen}) == 4
    slider.focus()
    end = it.evaluate("r => r.seconds")
    for key, at in (("Home", 0), ("ArrowRight", 0.5), ("ArrowUp", 1), ("PageUp", 6),
                    ("ArrowLeft", 5.5), ("PageDown", 0.5), ("End", end), ("ArrowRight", end)):
        page.keyboard.press(key)
        assert time(it) == at, key
        assert float(slider.input_value()) == pytest.approx(at)
    page.keyboard.press("Space")
    assert it.evaluate("r => r.playing")

def test_the_two_pictures_are_in_step(page):
    it = figures(page).first
    for seconds in (0, 2, 9, 20):
        scrub(it, seconds)
        lights = it.evaluate("""r => r.runs.map((run, i) => [run.drawn, Object.keys(run.signals)
            .every(a => r.querySelectorAll('.sb-run')[i].querySelector(`.sb-light[data-arm=${a}]`)
            .dataset.is === run.signals[a][run.drawn])])""")
        assert lights == [[int(seconds / 0.25), True]] * 2
    scrub(it, 0)                                        # nothing differs before the siren is heard
    assert len({*map(str, cars(it))}) == 1

def test_words_change_and_are_read_out(page):
    it = figures(page).first
    said = it.locator(".sb-said")
    assert said.count() == 2 and {s.get_attribute("aria-live") for s in said.all()} == {"polite"}
    told = []
    for seconds in range(0, 30):
        scrub(it, seconds)
        told.append(said.nth(1).inner_text())
    for wanted in ("No siren", "Heard from the west", "West green", "Released", "through"):
        assert any(wanted in t for t in told), (wanted, told)
    n = it.evaluate("""async r => { let n = 0; const p = r.querySelector('.sb-said');
        new MutationObserver(all => n += all.length).observe(p, {childList: true,
            characterData: true, subtree: true});
        for (let t = 9; t < 11; t += 0.05) r.seek(t);
        await new Promise(done => setTimeout(done)); return n; }""")
    assert n <= 1, "a sentence is set again while it stays the same"

def test_lights_differ_by_shape_and_line(page):
    it = figures(page).first
    shapes = {}
    for seconds in (0, 2, 12):
        scrub(it, seconds)
        for light in it.locator(".sb-light").all():
            shapes.setdefault(light.get_attribute("data-is"), set()).add(light.evaluate("""g =>
                [[...g.querySelectorAll('.sb-g, .sb-y, .sb-r')].filter(e =>
                    getComputedStyle(e).display !== 'none').map(e => e.className.baseVal).join(),
                 getComputedStyle(g.querySelector('polyline')).strokeDasharray].join('|')"""))
    assert set(shapes) == {*"gyr"} and all(len(s) == 1 for s in shapes.values())
    assert len(set.union(*shapes.values())) == 3

def test_jupyterlab_does_not_get_the_keys(page):
    page.evaluate(
        "window.seen = []; document.addEventListener('keydown', e => seen.push(e.key), true)"
    )
    figures(page).first.get_by_role("slider").focus()
    for key in ("ArrowRight", "d", "Control+Enter"): page.keyboard.press(key)
    assert page.evaluate("seen.filter(k => k !== 'Control')") == ["Enter"]

def test_less_motion_if_asked_for(visit):
    for motion, n in (("no-preference", 2), ("reduce", 1)):
        page = visit("replay.html")
        page.emulate_media(reduced_motion=motion)
        it = figures(page).first
        looks = set()
        for seconds in (11.1, 11.35):
            scrub(it, seconds)
            looks.add(str(it.locator(".sb-blue").evaluate_all(
                "all => all.map(e => getComputedStyle(e).fill)")))
        assert len(looks) == n, motion

@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_serious_in_both_themes(visit, theme):
    page = visit("replay.html")
    turn(page, theme)
    bad = violations(page, {"rules": {"color-contrast": {"enabled": False}}})
    bad += violations(page, CONTRAST, ["pre", "#quarto-sidebar"])
    assert not bad and not page.trouble, (bad, page.trouble)
    land = page.locator(".sb-map").first.evaluate("m => getComputedStyle(m).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", land)[:3])) > 380) == (theme == "light")

@pytest.mark.parametrize("theme", ["light", "dark"])
def test_phone(visit, theme):
    page = visit("replay.html", width=360, height=740, theme=theme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    over = page.evaluate("""() =>
        [...document.querySelectorAll('sb-replay, sb-replay *')].filter(e =>
        !e.closest('svg') && e.getBoundingClientRect().right > innerWidth + 1).map(e =>
        e.outerHTML.slice(0, 80))""")
    assert not over
    one, two = (m.bounding_box() for m in figures(page).first.locator(".sb-map").all())
    assert two["y"] > one["y"] + one["height"] and one["width"] > 300

def test_nothing_jumps_when_the_script_begins(browser, address):
    boxes = []
    for on in (False, True):
        context = browser.new_context(java_script_enabled=on)
        page = context.new_page()
        page.goto(f"{address}replay.html")
        boxes.append([m.bounding_box() for m in page.locator("sb-replay .sb-rows").all()])
        context.close()
    for still, live in zip(*boxes, strict=True):
        assert still["height"] == pytest.approx(live["height"], abs=1)

def test_a_still_and_the_browsers_own_player_without_scripts(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}replay.html")
    its = page.locator("sb-replay")
    assert its.locator(".sb-map").first.is_visible() and its.locator(".sb-van").count() >= 2
    assert its.locator("audio").is_visible() and not its.locator("button, input").count()
    assert len(its.locator(".sb-map").first.get_attribute("aria-label")) > 20
    assert "West green" in its.first.locator(".sb-said").nth(1).inner_text()
    context.close()

@pytest.mark.parametrize("theme", ["light", "dark"])
def test_from_a_file(browser, tmp_path, theme):
    "A figure on a page of its own, opened from the disk, twice."
    wav = 0.1 * np.sin(np.arange(8000 * 60) / 3)
    two = replay([record(asked=None), record(seed=1)], wav, 8000).markup + replay(record()).markup
    dark = ' class="quarto-dark"' * (theme == "dark")
    (tmp_path/"a.html").write_text(f"<!doctype html><html{dark}><meta charset=utf-8>{two}",
                                   encoding="utf-8")
    page = browser.new_page()
    trouble = []
    page.on("pageerror", lambda e: trouble.append(str(e)))
    page.on("console", lambda m: m.type == "error" and trouble.append(m.text))
    page.goto((tmp_path/"a.html").as_uri())
    it = page.locator("sb-replay").first
    scrub(it, 30)
    it.get_by_role("button").click()
    page.wait_for_function("r => r.t > 30.2 && r.audio.currentTime > 30", arg=it.element_handle())
    assert page.locator("sb-replay").count() == 2 and not trouble
    page.close()
