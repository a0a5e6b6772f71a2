"""The players, as fingers, keys and ears meet them."""
import numpy as np
import pytest
import soundfile as sf

LOUDEST_DB = -13  # below full scale, over 0.4 s: no louder than streams play music

def test_no_sound_startles(site):
    loud = {}
    for path in (site/"media").glob("*.mp3"):
        wav, sr = sf.read(path)
        n = min(len(wav), int(0.4 * sr))
        loud[path.name] = 10 * np.log10(
            max(np.mean(wav[i : i + n] ** 2) for i in range(0, len(wav) - n + 1, max(1, n // 4)))
            + 1e-12
        )
    assert len(loud) > 150
    assert max(loud.values()) < LOUDEST_DB, max(loud.items(), key=lambda o: o[1])

@pytest.fixture
def page(visit):
    "A page whose sounds are mute, and so slow that none ends unasked on a busy machine."
    page = visit("sirens.html")
    page.evaluate(
        "document.querySelectorAll('audio').forEach(a => { a.muted = true; a.defaultPlaybackRate "
        "= a.playbackRate = 0.2; })"
    )
    return page

def state(player):
    return player.evaluate(
        "p => { const a = p.querySelector('audio'); return [!a.paused, a.currentTime, "
        "a.duration]; }"
    )


def playing(page):
    return page.evaluate("[...document.querySelectorAll('audio')].filter(a => !a.paused).length")


def test_a_button_a_slider_and_a_time(page):
    for player in page.locator("figure.sb-player").all():
        label = player.locator("figcaption").inner_text()
        assert player.get_by_role("button", name=f"Play: {label}", exact=True).count() == 1
        slider = player.get_by_role("slider", name=f"Position in: {label}", exact=True)
        assert slider.get_attribute("aria-valuetext").startswith("0.0 of ")
        assert player.locator(".sb-time").inner_text().startswith("0.0 / ")
        assert not player.locator("audio").is_visible(), (
            "the browser's own controls stand beside ours"
        )


def test_keys(page):
    player = page.locator("figure.sb-player").first
    button, slider = player.get_by_role("button"), player.get_by_role("slider")
    button.scroll_into_view_if_needed(), button.focus()
    page.keyboard.press("Space")
    page.wait_for_function("a => a.currentTime > 0", arg=player.locator("audio").element_handle())
    assert button.get_attribute("aria-label").startswith("Pause: ")
    page.keyboard.press("Enter")
    assert not state(player)[0] and button.get_attribute("aria-label").startswith("Play: ")
    page.keyboard.press("Tab")
    assert slider.evaluate("s => s === document.activeElement")
    at, seconds = state(player)[1], float(slider.get_attribute("max"))
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "([a, s]) => Math.abs(a.currentTime - s) < 0.02",
        arg=[player.locator("audio").element_handle(), at + seconds / 20],
    )
    assert (
        slider.get_attribute("aria-valuetext") == f"{state(player)[1]:.1f} of {seconds:.1f} seconds"
    )
    page.keyboard.press("Home")
    page.wait_for_function("a => a.currentTime === 0", arg=player.locator("audio").element_handle())
    page.keyboard.press("Space")
    assert state(player)[0], "the space bar on the slider does not play"

@pytest.mark.parametrize("theme", ["light", "dark"])
def test_focus_is_seen(visit, theme):
    page = visit("sirens.html", theme=theme)
    player = page.locator("figure.sb-player").first
    for part in (player.get_by_role("button"), player.get_by_role("slider")):
        part.focus(), page.keyboard.press("Shift+Tab"), page.keyboard.press("Tab")
        style, width = part.evaluate(
            "e => [getComputedStyle(e).outlineStyle, parseFloat(getComputedStyle(e).outlineWidth)]"
        )
        assert style != "none" and width >= 2

def test_a_tap_on_the_picture_plays_from_there(page):
    player = page.locator("figure.sb-player").first
    audio, box = player.locator("audio"), player.locator(".sb-picture").bounding_box()
    audio.evaluate("""a => {
        const time = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "currentTime");
        window.from = [];  // asked where it is, a sound would tell how far it has got since
        Object.defineProperty(a, "currentTime", {get() { return time.get.call(a);
            }, set(s) { from.push(s / a.dataset.seconds); time.set.call(a, s); }});
    }""")
    player.locator(".sb-picture").click(position=dict(x=box["width"] / 2, y=10))
    page.wait_for_function("from.some(share => Math.abs(share - 0.5) < 0.1)")
    page.wait_for_function(
        "a => a.ended || !a.paused && a.currentTime > a.dataset.seconds / 2",
        arg=audio.element_handle(),
    )


def test_a_link_to_a_sound_leads_to_its_button(visit):
    page = visit("sirens.html#hear-3")
    for n in (3, 5):
        page.wait_for_function(
            "n => document.activeElement === document.querySelector(`#hear-${n} .sb-play`)", arg=n
        )
        page.evaluate("location.hash = '#hear-5'")

def test_only_one_plays(page):
    for player in page.locator("figure.sb-player").all()[:4]:
        player.get_by_role("button").click()
        page.wait_for_function(
            "a => !a.paused && a.currentTime > 0", arg=player.locator("audio").element_handle()
        )
        assert playing(page) <= 1  # a short one may have ended

def test_a_sound_that_ends_can_be_played_again(page):
    player = page.locator("figure.sb-player").first
    button = player.get_by_role("button")
    player.locator("audio").evaluate("a => { a.defaultPlaybackRate = a.playbackRate = 4; }")
    button.click()
    page.wait_for_function("a => a.ended", arg=player.locator("audio").element_handle())
    player.locator("audio").evaluate(
        "a => { a.playbackRate = 0.2; window.times = []; a.addEventListener('timeupdate', () => "
        "times.push(a.currentTime / a.duration)); }"
    )
    assert button.get_attribute("aria-label").startswith("Play: ")
    button.click()
    page.wait_for_function("times.some(share => share > 0 && share < 0.5)")

def test_without_scripts_the_browser_plays(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}sirens.html")
    assert (
        page.locator("figure.sb-player audio").first.is_visible()
        and not page.locator(".sb-controls").count()
    )
    context.close()
