"""The page that listens: the package's scores, files, a microphone, and what goes wrong."""
import base64, gzip, io, json, shutil, time, wave

import numpy as np
import pytest
import soundfile as sf
import soxr
from conftest import BROWSERS
from shared import PACKAGE, complains
from sirenbook.audio import SR
from sirenbook.browser import browser_weights, example_sounds, threshold_costs
from sirenbook.detector import Detector, Scores, find_events
from sirenbook.noises import noise, noise_kinds
from sirenbook.recordings import load_dataset
from sirenbook.sirens import PRESETS, render

PASSING = "A passing ambulance"
ONE = "document.getElementById('sb-live-said').textContent.includes('1 siren')"

@pytest.fixture(scope="module")
def detector(): return Detector.pretrained()

@pytest.fixture(scope="module")
def sounds():
    "Thirty: sirens in a street, what recalls them, recordings, noise, silence, scraps."
    rng, found = np.random.default_rng(20), []
    for name in [*PRESETS][:9]:
        found.append(0.05 * render(PRESETS[name], 4, SR) + 0.02 * noise("traffic", 4, rng))
    for kind in noise_kinds(confusable=True)[:9]:
        wav = noise(kind, 4, rng)
        found.append(0.1 * wav / np.abs(wav).max())
    found += [r.wav[:5 * SR] for r in load_dataset("roadside").recordings[::8][:8]]
    found += [np.zeros(2 * SR), 0.1 * rng.standard_normal(700), 0.1 * rng.standard_normal(20_000),
              rng.standard_normal(3 * SR)]
    assert len(found) == 30
    return [np.clip(wav, -1, 1).astype(np.float32) for wav in found]

def as_text(wav): return base64.b64encode(np.asarray(wav, "<f4").tobytes()).decode()

SCORE = """([text, sr, block]) => {
  const wav = new Float32Array(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
  const stream = new Siren.Stream(globalThis.net ??= new Siren.Network(SIREN_WEIGHTS), sr);
  const found = [];
  for (let a = 0; a < wav.length; a += block)
    found.push(...stream.push(wav.subarray(a, a + block)));
  found.push(...stream.push(new Float32Array(0), true));
  return [found.map(s => s.time), found.map(s => s.probability)];
}"""

@pytest.fixture
def page(visit): return visit("live.html")

# ---- the same detector

@pytest.mark.parametrize("sr, most", [(SR, 1e-5), (44_100, 1e-2), (48_000, 1e-2)])
def test_a_page_scores_as_the_package_does(page, detector, sounds, sr, most):
    worst = 0
    for i, wav in enumerate(sounds):
        if sr != SR: wav = np.clip(soxr.resample(wav, SR, sr), -1, 1)
        times, p = page.evaluate(SCORE, [as_text(wav), sr, 1000 + 137 * i])
        ours = detector.score(wav, sr)
        np.testing.assert_allclose(times, ours.times, atol=1e-9)
        worst = max(worst, np.abs(p - ours.probability).max(initial=0))
    assert worst < most

def test_blocks_of_any_size_give_the_same(page, sounds):
    for sr in (SR, 44_100):
        one, other = (page.evaluate(SCORE, [as_text(sounds[0]), sr, n]) for n in (97, 90_000))
        np.testing.assert_allclose(one, other, atol=1e-6)

def test_a_microphone_has_its_first_score_early_and_then_the_same(page, detector, sounds):
    early = SCORE.replace("sr);", "sr, {warm: 24});", 1)
    for wav in (sounds[2], sounds[12], sounds[20]):
        times, p = page.evaluate(early, [as_text(wav), SR, 512])
        ours = detector.score(wav)
        np.testing.assert_allclose(times, ours.times, atol=1e-9)
        np.testing.assert_allclose(p[8:], ours.probability[8:], atol=1e-5)
        some = detector.score(wav[:25 * 256]).probability              # as if it ended there
        np.testing.assert_allclose(p[:3], some, atol=1e-5)

@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_block_that_is_not_finite_is_silence(page, detector, bad):
    wav = 0.1 * np.random.default_rng(0).standard_normal(4 * SR).astype(np.float32)
    wav[SR + 5] = bad
    stream = detector.stream(SR)
    with pytest.warns(UserWarning): ours = [stream.push(wav[a:a + 4000]).probability
                                            for a in range(0, len(wav), 4000)]
    _, p = page.evaluate(SCORE, [as_text(wav), SR, 4000])
    np.testing.assert_allclose(p, np.concatenate([*ours, stream.finish().probability]), atol=1e-5)

def test_a_tone_above_what_16_khz_hold_is_not_folded_back(page):
    tone = 0.5 * np.sin(2 * np.pi * 9500 * np.arange(48_000) / 48_000)
    left = page.evaluate("""text => { const wav = new Float32Array(Uint8Array.from(atob(text),
        c => c.charCodeAt(0)).buffer), out = new Siren.Resampler(48000).push(wav, true);
        return [out.length, Math.max(...out.slice(100, -100))]; }""", as_text(tone))
    assert left[0] == SR and left[1] < 1e-3

def test_the_same_scores_give_the_same_events(page, detector):
    rng = np.random.default_rng(5)
    for seed in range(20):
        p = 1 / (1 + np.exp(-np.cumsum(rng.normal(0, 0.7, 200))))
        times = (np.arange(200) + 1.125) * detector.timing.hop_s
        for threshold in (0.119203, 0.401312, 0.9):
            found = page.evaluate("""([times, p, threshold]) => {
                const t = new Siren.EventTracker(threshold, SIREN_WEIGHTS.timing), ended = [];
                times.forEach((time, i) => ended.push(...t.push([{time, probability: p[i]}])));
                return [...ended, ...t.finish()].map(e => [e.start, e.end, e.peak]);
            }""", [times.tolist(), p.tolist(), threshold])
            ours = find_events(type(detector.score(np.zeros(SR)))(times, p), threshold,
                               timing=detector.timing)
            np.testing.assert_allclose(np.array(found).reshape(-1, 3),
                                       np.array(ours).reshape(-1, 3), atol=1e-9)

def test_only_our_network_is_packed(tmp_path, detector):
    weights = browser_weights()
    assert weights["points"] == detector.card["operating_points"]
    with complains("detector.json"): browser_weights(tmp_path)

def test_costs_need_sirens():
    with complains("no recording of a siren"): threshold_costs([], (0.5,))

# ---- files

def street(seconds, siren=False):
    "Traffic, the same each time, with a siren or without."
    wav = 0.01 * noise("traffic", seconds, np.random.default_rng(6))
    return (wav + siren * 0.2 * render(PRESETS["PA300 yelp"], seconds, SR)).astype(np.float32)

def wav_file(wav, sr=SR, **kwargs):
    file = io.BytesIO()
    sf.write(file, wav, sr, format=kwargs.pop("format", "WAV"), **kwargs)
    return file.getvalue()

def drop(page, content, name="street.wav"):
    "Give the page a file, and what it says in the end."
    page.evaluate("document.getElementById('sb-live-said').textContent = ''")
    page.locator("#sb-live-file").set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": content})
    page.wait_for_function("""() => { const said = document.getElementById('sb-live-said');
        return said.textContent && !/decoded\\.|scored\\./.test(said.textContent); }""")
    page.wait_for_timeout(100)
    return said(page)

def events(page):
    return [[float(x) for x in row.split(",")[:2]] for row in saved(page, "csv").split("\n")[1:-1]]

def said(page): return page.locator("#sb-live-said").inner_text()

def saved(page, what):
    with page.expect_download() as caught: page.locator(f"#sb-live-{what}").click()
    with open(caught.value.path(), encoding="utf-8") as f: return f.read()

@pytest.mark.parametrize("sr, n, form", [
    (16_000, 1, "WAV"), (44_100, 2, "FLAC"), (48_000, 1, "OGG")])
def test_a_file_gives_the_events_of_the_command(page, detector, tmp_path, sr, n, form):
    rng = np.random.default_rng(2)
    street = lambda seconds: 0.01 * noise("traffic", seconds, rng)
    wav = np.concatenate([street(6), example_sounds()[PASSING], street(8)])
    wav = np.clip(soxr.resample(wav, SR, sr), -1, 1)
    content = wav_file(np.stack([wav] * n, 1), sr, format=form)
    (tmp_path / "s").write_bytes(content)
    ours = detector.events(tmp_path / "s")
    assert "1 siren at this threshold" in drop(page, content) and len(ours) == 1
    np.testing.assert_allclose(events(page), [[e.start, e.end] for e in ours], atol=0.1)
    start, end, label = saved(page, "labels").strip().split("\t")
    assert abs(float(start) - ours[0].start) < 0.1 and label.startswith("siren 0.")
    with page.expect_download() as caught: page.get_by_role("button", name="Save the siren").click()
    clip, rate = sf.read(caught.value.path())
    assert rate == SR and abs(len(clip) / SR - (ours[0].end - ours[0].start) - 2) < 1.2
    assert page.trouble == []

def test_rows_stay_while_nothing_changes(page):
    "A button that is replaced in each frame cannot be pressed."
    drop(page, wav_file(example_sounds()[PASSING]))
    page.evaluate("document.querySelector('#sb-live-events tr').dataset.mark = 'mine'")
    page.locator("#sb-live-sound").evaluate("a => { a.muted = true; return a.play(); }")
    page.wait_for_timeout(300)
    assert page.locator("#sb-live-events tr").get_attribute("data-mark") == "mine"
    assert -40 < float(saved(page, "csv").split("\n")[1].split(",")[3]) < -10

def test_channels_that_cancel_each_other_are_heard(page):
    wav = example_sounds()[PASSING]
    assert "1 siren" in drop(page, wav_file(np.stack([wav, -wav], 1)))

def test_the_slider_counts_again(page):
    drop(page, wav_file(example_sounds()["A wolf"]))
    slider, cost = page.locator("#sb-live-threshold"), page.locator("#sb-live-cost")
    before = cost.inner_text(), len(page.locator("#sb-live-events tr").all())
    slider.focus()
    for _ in range(30): page.keyboard.press("ArrowLeft")
    page.wait_for_function("document.querySelectorAll('#sb-live-events tr').length > 0")
    assert before[1] == 0 and cost.inner_text() != before[0]
    assert "false alarms an hour" in cost.inner_text()
    said = page.locator("#sb-live-said").inner_text()
    assert f"{len(page.locator('#sb-live-events tr').all())} siren" in said

def test_a_file_that_is_refused_leaves_no_player_of_the_one_before(page):
    drop(page, wav_file(street(2)))
    assert page.locator("#sb-live-sound").is_visible()
    drop(page, b"no sound, but a text" * 99)
    assert page.locator("#sb-live-sound").is_hidden()

@pytest.mark.parametrize("content, word", [
    (b"", "is empty"), (b"no sound, but a text" * 99, "cannot decode"),
    (wav_file(np.zeros(0)), "no sound|cannot decode"), (wav_file(np.zeros(SR)), "silent"),
    (wav_file(np.r_[np.nan, np.zeros(SR)], subtype="FLOAT"), "no numbers"),
    (wav_file(3e4 * np.ones(SR), subtype="FLOAT"), "full scale")])
def test_a_bad_file_gets_a_sentence_and_the_page_goes_on(page, content, word):
    said = drop(page, content)
    assert said.startswith("street.wav: ") and any(w in said for w in word.split("|"))
    assert "1 siren" in drop(page, wav_file(example_sounds()[PASSING]))

def test_two_hours_are_refused_before_they_are_decoded(page):
    file = io.BytesIO()
    with wave.open(file, "wb") as w:
        w.setnchannels(1), w.setsampwidth(1), w.setframerate(3000)
        w.writeframes(bytes([128, 130] * 3000 * 3600))
    assert "longer than an hour" in drop(page, file.getvalue())

def test_examples_are_at_hand(page):
    for name, n in ((PASSING, 1), ("A car horn", 0), ("A wolf", 0)):
        page.get_by_role("button", name=name).click()
        page.wait_for_function("name => document.getElementById('sb-live-said').textContent"
                               ".startsWith(name + ': 8.0 s')", arg=name)
        assert len(page.locator("#sb-live-events tr").all()) == n
        page.wait_for_function("document.getElementById('sb-live-sound').currentTime > 0")
        if not n: page.get_by_text("No siren at this threshold.", exact=True).wait_for()
    assert page.trouble == []

def test_a_phone_shows_each_button_whole(visit):
    page = visit("live.html", width=360)
    choose(page, own_weights(), "my_street_" * 9 + ".json")
    page.get_by_role("button", name=PASSING).click()
    page.wait_for_function(ONE)
    page.locator("#sb-live-events tr").wait_for()
    inner = page.locator("#sb-live").bounding_box()
    for button in page.locator("#sb-live button:visible").all():
        box = button.bounding_box()
        assert inner["x"] <= box["x"] and box["x"] + box["width"] <= inner["x"] + inner["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 360

# ---- weights of one's own

def own_weights(**changed): return json.dumps(browser_weights() | changed).encode()

def choose(page, content, name="mine.json"):
    "Give the page weights, and what it says to them."
    if not page.locator("#sb-live details[open]").count(): page.get_by_text("Weights:").click()
    page.evaluate("document.getElementById('sb-live-own-said').textContent = ''")
    page.get_by_label("Choose a JSON file").set_input_files(
        {"name": name, "mimeType": "application/json", "buffer": content})
    page.wait_for_function("document.getElementById('sb-live-own-said').textContent")
    return page.locator("#sb-live-own-said").inner_text()

def logit(p): return np.log(p / (1 - p))

@pytest.mark.parametrize("through", ["offset", "sirenBias"])
def test_own_weights_hear_until_the_books_are_back(page, detector, through):
    wav, card = np.r_[street(4), street(8, siren=True), street(6)], browser_weights()
    timing = detector.timing._replace(onset_s=1.5, offset_s=0.9)
    changed = {"timing": timing._asdict(), "points": {"mine": 0.5}, "default": "mine"}
    if through == "offset": changed["offset"] = card["offset"] - 3
    else:
        data = np.frombuffer(base64.b64decode(card["data"]), "<f4").copy()
        data[-1] -= 3 / card["slope"]
        changed["data"] = as_text(data)
    texts = lambda: [page.locator(f"#sb-live-{k}").inner_text() for k in ("at", "cost", "whose")]
    heard = lambda: (drop(page, wav_file(wav)), page.locator("#sb-live-now").inner_text(),
                     saved(page, "csv"))
    before, words = heard(), texts()
    assert "named 10/h" in words[0] and words[2] == "those of the book"

    assert choose(page, own_weights(**changed)).startswith("mine.json is in use")
    assert page.locator("#sb-live-now").inner_text() == "–" and said(page) == "Ready."
    at, cost, whose = texts()
    assert at == "40 %" and whose == "mine.json"
    assert "not measured for these weights" in cost and "%" not in cost and "hour" not in cost
    times, p = detector.score(wav)
    p = 1 / (1 + np.exp(3 - logit(p.astype(float))))
    ours = find_events(Scores(times, p), detector.threshold, timing=timing)
    _, now, table = heard()
    now, book, most = float(now.split()[0]), float(before[1].split()[0]), 100 * p.max()
    assert abs(now - most) < 1 < book - most and table != before[2] and len(ours) == 1
    np.testing.assert_allclose(events(page), [[e.start, e.end] for e in ours], atol=0.02)

    page.get_by_role("button", name="Back to the book's weights").press("Enter")
    assert page.evaluate("document.activeElement.id") == "sb-live-own"
    assert texts() == words and page.locator("#sb-live-book").is_hidden()
    assert heard() == before
    assert "in use" in choose(page, own_weights(**changed))            # the same file again
    assert page.evaluate("document.getElementById('sb-live-own').value") == ""
    assert page.trouble == []

def test_the_clean_weights_of_the_package_fit(page):
    own = browser_weights(PACKAGE / "weights" / "clean")
    assert "in use" in choose(page, json.dumps(own).encode())
    drop(page, wav_file(example_sounds()[PASSING]))
    ours = Detector.pretrained(weights="clean").score(example_sounds()[PASSING])
    now = float(page.locator("#sb-live-now").inner_text().split()[0])
    assert abs(now - 100 * ours.probability.max()) < 1

def test_the_weights_are_reached_by_keys(page):
    page.locator("#sb-live summary").press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "sb-live-own"

def test_own_weights_end_what_is_listened_to(driven):
    feed(driven, street(3), street(3, siren=True))
    assert said(driven).startswith("Siren heard")
    choose(driven, own_weights())
    assert said(driven) == "Ready." and driven.evaluate("heard.track.readyState") == "ended"
    driven.get_by_role("button", name="Listen").wait_for()
    feed(driven, street(3, siren=True))                                # too late
    driven.wait_for_timeout(200)
    assert not driven.locator("#sb-live-events tr, #sb-live-picture:visible").count()
    assert driven.locator("#sb-live-wav").is_disabled() and said(driven) == "Ready."

def test_own_weights_end_a_file(page):
    wav = np.concatenate([street(300), street(4, siren=True)])
    page.locator("#sb-live-file").set_input_files(
        {"name": "long.wav", "mimeType": "audio/wav", "buffer": wav_file(wav)})
    page.wait_for_function("document.getElementById('sb-live-said').textContent.includes('0 % sc')")
    choose(page, own_weights())
    page.wait_for_timeout(500)
    assert said(page) == "Ready." and page.locator("#sb-live-now").inner_text() == "–"

def broken():
    "Files that are no weights, and a word of what the page says."
    card = browser_weights()
    raw = np.frombuffer(base64.b64decode(card["data"]), "<f4")
    part = lambda name, **changed: own_weights(**{name: {**card[name], **changed}})
    lack = lambda name, key: own_weights(**{
        name: {k: v for k, v in card[name].items() if k != key}})
    data = lambda at, value: own_weights(data=as_text(np.r_[raw[:at], value, raw[at + 1:]]))
    shape = [["kernel1", 3, 24, 3, 1], *card["tensors"][1:]]
    return [
        (b"", "JSON"), (b"no weights", "JSON"), (own_weights()[:-9], "JSON"),
        (own_weights(share=np.nan), "JSON"), (own_weights() + b" " * 5_000_000, "5 MB"),
        (b"null", "holds no weights"), (b"[]", "holds no weights"), (b"7", "holds no weights"),
        (b"{}", "tensors"), (own_weights(tensors=shape), "tensors"),
        (own_weights(tensors=card["tensors"][::-1]), "tensors"),
        (own_weights(data=as_text(raw[:-1])), "data"), (own_weights(data="§"), "data"),
        (own_weights(data=7), "data"), (own_weights(data=[card["data"]]), "data"),
        (data(5, np.nan), "not finite"), (data(len(raw) - 1, np.inf), "not finite"),
        *[(json.dumps({k: v for k, v in card.items() if k != key}).encode(), word)
          for key, word in dict(tensors="tensors", data="data", share="share", slope="slope",
                                offset="offset", points="points", default="default",
                                timing="timing", pcen="pcen").items()],
        (own_weights(slope=0), "slope"), (own_weights(slope="1"), "slope"),
        (own_weights(offset=None), "offset"), (own_weights(share=True), "share"),
        (own_weights(points={}), "points"), (part("points", mine=1), "points"),
        (part("points", mine=0), "points"), (part("points", mine=None), "points"),
        (own_weights(points=[0.5], default="0"), "points"),
        (own_weights(default="11/h"), "default"), (own_weights(default=["10/h"]), "default"),
        (lack("timing", "hop_s"), "timing"), (part("timing", onset_s=0), "timing"),
        (part("timing", first_s="1"), "timing"), (lack("pcen", "eps"), "pcen"),
        (part("pcen", gain=None), "pcen"), (part("pcen", bias=-9), "no probability")]

def test_broken_weights_get_a_sentence_and_nothing_changes(driven, detector):
    parts = [street(3), street(4, siren=True)], [street(6)]
    feed(driven, *parts[0])
    driven.locator("#sb-live-events tr").wait_for()
    now = lambda: [driven.locator(f"#sb-live-{k}").inner_text()
                   for k in ("listen", "said", "what", "now", "at", "cost", "events", "whose")]
    before = now()
    assert before[0] == "Stop" and before[1].startswith("Siren heard")
    for content, word in broken():
        told = choose(driven, content, "odd.json")
        assert told.startswith("odd.json: ") and word in told and told.count(".") == 2, (word, told)
        assert now() == before and driven.locator("#sb-live-book").is_hidden(), word
    feed(driven, *parts[1])
    driven.get_by_role("button", name="Stop").click()
    ours = find_events(detector.score(np.concatenate(sum(parts, []))), detector.threshold)
    np.testing.assert_allclose(events(driven), [[e.start, e.end] for e in ours], atol=0.02)
    assert len(ours) == 1 and driven.trouble == []

# ---- the microphone

@pytest.fixture(scope="module")
def microphone(browser, address, tmp_path_factory):
    "`microphone(wav, allowed)`: a page whose microphone hears a sound once, from its first use."
    opened = []
    def microphone(wav, allowed=True):
        path = tmp_path_factory.mktemp("microphone") / "heard.wav"
        sf.write(path, np.clip(soxr.resample(wav, SR, 48_000), -1, 1), 48_000, subtype="PCM_16")
        b = browser.browser_type.launch(executable_path=next(filter(None, map(
            shutil.which, BROWSERS))), args=[
            "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={path}%noloop"])
        context = b.new_context()
        if allowed: context.grant_permissions(["microphone"])
        page = context.new_page()
        page.asked = []
        page.on("request", lambda r: page.asked.append(r.url))
        page.goto(address + "live.html")
        opened.append(b)
        return page
    yield microphone
    for b in opened: b.close()

def test_a_siren_is_announced_within_three_seconds(microphone):
    rng = np.random.default_rng(6)
    quiet = lambda s: 0.01 * noise("traffic", s, rng)
    siren = 0.2 * render(PRESETS["PA300 yelp"], 8, SR) + quiet(8)
    page = microphone(np.concatenate([quiet(6), siren, quiet(6)]))
    page.get_by_role("button", name="Listen").click()
    page.wait_for_function("document.getElementById('sb-live-now').textContent !== '–'")
    page.wait_for_function("document.getElementById('sb-live-said').textContent.startsWith('Siren')",
                           timeout=20_000)
    assert page.locator("#sb-live-said").inner_text().startswith("Siren heard, since")
    start = float(page.locator("#sb-live-events td").first.inner_text().split()[0])
    now = page.evaluate("document.querySelector('#sb-live-events td:nth-child(2)').textContent")
    assert now == "…" and 4 < start < 9.5                    # six seconds of street came before it
    page.wait_for_function("document.getElementById('sb-live-said').textContent.includes('ended')",
                           timeout=25_000)
    page.get_by_role("button", name="Stop").click()
    assert "Stopped" in page.locator("#sb-live-said").inner_text()
    at_home = page.url.rsplit("/", 1)[0], "blob:", "data:"
    assert not [url for url in page.asked if not url.startswith(at_home)]
    assert len(page.locator("#sb-live-events tr").all()) == 1

def test_a_street_without_a_siren_stays_silent(microphone):
    page = microphone(0.02 * noise("traffic", 20, np.random.default_rng(7)))
    page.get_by_role("button", name="Listen").click()
    page.wait_for_timeout(8000)
    assert page.locator("#sb-live-now").inner_text() != "–"
    assert page.locator("#sb-live-said").inner_text() == "Listening."
    assert page.locator("#sb-live-none").is_visible()

def test_a_stereo_microphone_is_heard_on_both_sides(microphone):
    page = microphone(np.stack([street(15), street(15, siren=True)], 1))
    page.evaluate("""() => { const ask = AudioContext.prototype.createMediaStreamSource;
        AudioContext.prototype.createMediaStreamSource = function(media) {
            window.channels = media.getAudioTracks()[0].getSettings().channelCount;
            return ask.call(this, media); }; }""")
    page.get_by_role("button", name="Listen").click()
    page.wait_for_function("document.getElementById('sb-live-said').textContent.startsWith('Siren')",
                           timeout=20_000)
    assert page.evaluate("window.channels") == 2

def test_what_the_microphone_heard_is_saved(microphone):
    page = microphone(street(20, siren=True))
    save = page.get_by_role("button", name="Save the sound")
    assert save.is_disabled()
    page.get_by_role("button", name="Listen").click()
    page.wait_for_function(                       # "Listening.", or already "Siren heard ..."
        "/Listening|iren/.test(document.getElementById('sb-live-said').textContent)")
    begun = time.monotonic()
    page.wait_for_timeout(5000)
    for stopped in (False, True):
        if stopped: page.get_by_role("button", name="Stop").click()
        with page.expect_download() as caught: save.click()
        passed = time.monotonic() - begun                              # a busy page lags behind
        assert caught.value.suggested_filename == "street.wav"
        wav, rate = sf.read(caught.value.path(), dtype="float32")
        assert rate == SR and wav.ndim == 1 and passed / 2 < len(wav) / SR < passed + 1.5
        assert Detector.pretrained().score(wav).probability.max() > 0.9
    drop(page, wav_file(street(2)))
    assert save.is_disabled()

DRIVE = """sr => {
  const heard = globalThis.heard = {frame: 0, port: {}}, Context = AudioContext;
  const media = new Context().createMediaStreamDestination().stream;
  heard.track = media.getAudioTracks()[0];
  navigator.mediaDevices.getUserMedia = async () => media;
  globalThis.AudioContext = class extends Context {
    constructor() { super({sampleRate: sr}); heard.context = this; } };
  globalThis.AudioWorkletNode = class extends AudioWorkletNode {
    get port() { return heard.port; } };
  heard.feed = (text, lost) => {
    const wav = new Float32Array(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
    heard.frame += lost;
    for (let a = 0; a < wav.length; a += 2048) {
      heard.port.onmessage({data: [heard.frame, wav.subarray(a, a + 2048)]});
      heard.frame += Math.min(2048, wav.length - a);
    }
  };
}"""

@pytest.fixture
def driven(page):
    "A page that listens at 16 kHz to what `feed` gives it, in no time."
    page.evaluate(DRIVE, SR)
    page.get_by_role("button", name="Listen").click()
    page.wait_for_function("document.getElementById('sb-live-said').textContent === 'Listening.'")
    return page

def feed(page, *parts, lost=0):
    "What the microphone delivers, `lost` samples after what came before."
    wav = np.concatenate(parts)
    page.evaluate("([text, lost]) => heard.feed(text, lost)", [as_text(wav), lost])

def happens(page, what, to="track"):
    page.evaluate("([to, what]) => heard[to].dispatchEvent(new Event(what))", [to, what])

def wrong(page): return page.locator("#sb-live-said.sb-wrong").count() == 1

@pytest.mark.parametrize("lost", [0.5, 5, 200])
def test_lost_sound_parts_events_as_in_the_package(driven, detector, lost):
    a, b = np.r_[street(3), street(4, siren=True)], np.r_[street(4, siren=True), street(6)]
    feed(driven, a)
    feed(driven, b, lost=round(lost * SR))
    driven.get_by_role("button", name="Stop").click()
    stream = detector.stream(SR)
    parts = [stream.push(a), stream.gap(lost), stream.push(b), stream.finish()]
    ours = find_events(Scores(*map(np.concatenate, zip(*parts))), detector.threshold)
    found = events(driven)
    assert len(ours) == (1 if lost < 2 else 2)
    np.testing.assert_allclose(found, [[e.start, e.end] for e in ours], atol=0.02)
    slider = driven.locator("#sb-live-threshold")
    for key in ("ArrowLeft", "ArrowRight"): slider.press(key)            # counted again
    assert events(driven) == found
    with driven.expect_download() as caught: driven.locator("#sb-live-wav").click()
    wav, _ = sf.read(caught.value.path())
    heard = np.r_[a, np.zeros(round(lost * SR)), b][-120 * SR:]          # the last two minutes
    np.testing.assert_allclose(wav, heard, atol=1e-4)

def test_a_muted_microphone_is_named_and_events_stay(driven, detector):
    parts = [street(3), street(4, siren=True), np.zeros(5 * SR), street(4, siren=True), street(6)]
    feed(driven, *parts[:2])
    assert said(driven).startswith("Siren heard") and not wrong(driven)
    happens(driven, "mute")
    assert said(driven) == "The microphone is muted." and wrong(driven)
    feed(driven, parts[2])                                               # what a muted one delivers
    happens(driven, "unmute")
    assert said(driven) == "Listening." and not wrong(driven)
    feed(driven, parts[3])
    assert said(driven).startswith("Siren heard")
    feed(driven, parts[4])
    assert said(driven).startswith("The siren has ended")
    feed(driven, np.zeros(4 * SR))
    assert "only silence" in said(driven) and wrong(driven)              # muted, and not told
    feed(driven, street(1))
    assert said(driven) == "Listening." and not wrong(driven)
    driven.get_by_role("button", name="Stop").click()
    happens(driven, "mute")
    assert said(driven).startswith("Stopped")
    wav = np.concatenate([*parts, np.zeros(4 * SR), street(1)])
    ours = find_events(detector.score(wav), detector.threshold)
    assert len(ours) == 2
    np.testing.assert_allclose(events(driven), [[e.start, e.end] for e in ours], atol=0.02)

def test_a_pause_parts_events(driven, detector):
    a, b = np.r_[street(3), street(4, siren=True)], np.r_[street(4, siren=True), street(6)]
    feed(driven, a)
    driven.evaluate("heard.context.suspend()")
    driven.wait_for_function("document.getElementById('sb-live-said').textContent.includes('paused')")
    driven.wait_for_timeout(2500)
    driven.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # the reader returns
    driven.wait_for_function("document.getElementById('sb-live-said').textContent === 'Listening.'")
    feed(driven, b)
    driven.get_by_role("button", name="Stop").click()
    one, two = events(driven)
    [first], [second] = (find_events(detector.score(wav), detector.threshold) for wav in (a, b))
    np.testing.assert_allclose(one, first[:2], atol=0.02)
    lost = two[0] - second.start - 7
    assert 2.4 < lost < 5
    np.testing.assert_allclose(two[1], second.end + 7 + lost, atol=0.02)

def test_a_microphone_that_is_pulled_out_leaves_what_was_heard(driven):
    feed(driven, street(3), street(4, siren=True))
    happens(driven, "ended")
    assert "disconnected" in said(driven)
    driven.get_by_role("button", name="Listen").wait_for()
    assert len(events(driven)) == 1 and driven.locator("#sb-live-wav").is_enabled()

def test_a_refusal_gets_a_sentence(visit):
    page = visit("live.html")
    page.get_by_role("button", name="Listen").click()
    page.wait_for_function("document.querySelector('#sb-live-said.sb-wrong')")
    said = page.locator("#sb-live-said").inner_text()
    assert "microphone" in said and said.endswith(".")
    page.get_by_role("button", name=PASSING).click()
    page.wait_for_function(ONE)

@pytest.mark.parametrize("missing, word", [
    ("delete window.AudioWorkletNode", "AudioWorklet"),
    ("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})", "choose a file")])
def test_a_browser_without_the_means_gets_a_sentence(visit, missing, word):
    page = visit("live.html")
    page.evaluate(missing)
    page.get_by_role("button", name="Listen").click()
    assert word in page.locator("#sb-live-said").inner_text()

# ---- off the network

def test_the_page_opens_without_a_network_the_next_time(browser, address):
    context = browser.new_context()
    page = context.new_page()
    page.goto(address + "live.html")
    page.evaluate("""async () => {          // wait_for_function does not wait for a promise
        const kept = await caches.open("sirenbook-live");
        const later = () => new Promise(requestAnimationFrame);
        for (const file of ["live.html", "live.js", "live.css", "detector.js", "weights.js"])
            while (!await kept.match(file)) await later();
        while (!navigator.serviceWorker.controller) await later();
    }""")
    context.set_offline(True)
    page.reload()
    page.get_by_role("button", name=PASSING).click()
    page.wait_for_function(ONE)
    context.close()

def test_the_page_works_from_a_folder(browser, site):
    context = browser.new_context()
    page = context.new_page()
    page.goto((site / "live.html").as_uri())
    assert "in use" in choose(page, own_weights())
    page.get_by_role("button", name=PASSING).click()
    page.wait_for_function(ONE)
    context.close()

def test_the_detector_weighs_less_than_a_megabyte(site):
    files = ("weights.js", "detector.js", "live.js", "live.css")
    assert sum(len(gzip.compress((site / f).read_bytes())) for f in files) < 1e6
    text = (site / "weights.js").read_text(encoding="utf-8")
    assert json.loads(text.split("\n")[0].split(" = ", 1)[1].rstrip(";"))["default"] == "10/h"
