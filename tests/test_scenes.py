"""Streets and their truth: the same from the same seed, and in agreement with their parts."""

from functools import partial

import numpy as np
import pytest
from shared import complains, fresh
from sirenbook import roads
from sirenbook.errors import SirenbookError
from sirenbook.noises import noise, noise_kinds
from sirenbook.roads import FARTHEST_M, band_power, microphone, scene, street_response
from sirenbook.sirens import KINDS, siren

SEEDS = range(6)

def draw(seed, kind="", seconds=5, **kwargs):
    return scene(seconds, np.random.default_rng(seed), kind, **kwargs)


@pytest.fixture(scope="module")
def scenes():
    return [draw([s, i], kind) for s in SEEDS for i, kind in enumerate((*KINDS, "program", ""))]


def test_what_a_scene_is(scenes):
    for s in scenes:
        assert (
            s.mix.dtype == np.float32
            and s.mix.shape == (80000,)
            and 0.001 < np.abs(s.mix).max() <= 1
        )
        assert len(s.time_s) == len(s.distance_m) == len(s.snr_db) == 50 and np.allclose(
            np.diff(s.time_s), 0.1
        )
        assert 2 <= len(s.parts) <= 6 and all(
            len(p) == 80000 and np.isfinite(p).all() for p in s.parts.values()
        )
        assert ("siren" in s.parts) == bool(s.siren) and set(s.parts) - {"siren"} <= set(
            noise_kinds()
        )


def test_the_truth_of_a_siren(scenes):
    for s in (s for s in scenes if s.siren):
        assert (
            2 < s.distance_m.min() and s.distance_m.max() < FARTHEST_M + 30
        )  # at t < 0 it may be a little farther
        assert s.events and all(0 <= e.onset_s < e.offset_s <= 5 for e in s.events)
        rest = band_power(sum(p for name, p in s.parts.items() if name != "siren"))
        with np.errstate(divide="ignore"):
            measured = 10 * np.log10(
                band_power(s.parts["siren"]) / np.maximum(rest, 1e-5 * rest.max())
            )
        np.testing.assert_allclose(s.snr_db, measured, atol=1e-6)

@pytest.mark.parametrize("seconds, fastest", [(15, 19), (10, 28), (3, 40)])
def test_as_fast_as_the_data_card_says(seconds, fastest):
    rng = np.random.default_rng(0)
    speeds = [
        abs(roads._draw_trajectory(seconds, rng, 40, (0.0, 0.0, 1.5), 343.2).velocity_mps[0])
        for _ in range(3000)
    ]
    assert fastest - 1 < max(speeds) < fastest + 1 and 0.1 < np.mean(np.equal(speeds, 0)) < 0.2

def test_no_siren_no_truth(scenes):
    for s in (s for s in scenes if not s.siren):
        assert not s.events and np.isnan(s.distance_m).all() and np.isnan(s.snr_db).all()


def test_events_say_when_it_sounds():
    "In programs with pauses, the siren is far softer outside its events (only echoes are left)."
    rise_db = []
    for seed in range(40):
        s = draw(seed, "program", 8)
        inside = np.zeros(80, bool)
        for e in s.events: inside |= (s.time_s > e.onset_s - 0.1) & (s.time_s < e.offset_s + 0.1)
        late = ~inside & ~np.roll(inside, 3)
        if late.sum() >= 4:
            power = band_power(s.parts["siren"])
            rise_db.append(
                10 * np.log10(np.median(power[inside]) / (np.median(power[late]) + 1e-20))
            )
    assert len(rise_db) >= 3 and np.median(rise_db) > 15

@pytest.mark.parametrize("snr_db", [-30, 0, 20])
def test_the_ratio_asked_for(snr_db):
    for seed in SEEDS:
        s = draw(seed, "yelp", snr_db=snr_db)
        rest = band_power(sum(p for name, p in s.parts.items() if name != "siren"))
        loudest = np.convolve(band_power(s.parts["siren"]), np.ones(10) / 10, "same").max()
        assert (
            abs(10 * np.log10(loudest / np.median(np.maximum(rest, 1e-5 * rest.max()))) - snr_db)
            < 0.01
        )


def test_the_mix_is_what_the_microphone_makes_of_the_parts(monkeypatch):
    arrived = []
    monkeypatch.setattr(
        roads, "microphone", lambda wav, rng, sr: arrived.append(wav) or wav / np.abs(wav).max()
    )
    s = draw(3, "wail")
    np.testing.assert_allclose(arrived[0], sum(s.parts.values()), atol=1e-12)

def test_the_same_seed_is_the_same_street_in_another_process():
    code = """import hashlib, numpy as np
from sirenbook.roads import scene
for kind in ("wail", "program", ""):
    mix = scene(3, np.random.default_rng(8), kind).mix
    print(hashlib.sha256(np.round(mix * 32767).astype("<i2")).hexdigest())"""
    assert fresh(code, PYTHONHASHSEED="1") == fresh(code, PYTHONHASHSEED="2")
    assert not np.array_equal(draw(1, "wail").mix, draw(2, "wail").mix)

def test_at_other_rates():
    for sr in (8000, 22050, 44100):
        s = draw(4, "hi-lo", 2, sr=sr)
        assert len(s.mix) == 2 * sr and len(s.snr_db) == 20 and np.isfinite(s.mix).all()

def test_the_microphone_stays_within_bounds():
    wav = np.random.default_rng(0).standard_normal(16000) * np.linspace(0, 50, 16000)
    for seed in range(50):
        assert 0 < np.abs(microphone(wav, np.random.default_rng(seed))).max() <= 1
    assert np.isfinite(microphone(np.zeros(16000), np.random.default_rng(0))).all()

def test_reverberation_takes_its_time():
    tail = street_response(np.random.default_rng(0), reverberation_s=1.0, direct_db=6)
    energy_db = 10 * np.log10(np.cumsum(tail[:0:-1] ** 2)[::-1])           # Schroeder's integral
    fall = lambda a, b: (energy_db[round(a * 16000)] - energy_db[round(b * 16000)]) / (b - a)
    assert 54 < fall(0.2, 0.6) < 66, "it does not fall by 60 dB in a second"

@pytest.mark.parametrize("seconds", [0, -1, 0.1, np.nan, np.inf])
def test_impossible_lengths(seconds):
    with complains("half a second"): scene(seconds, np.random.default_rng(0))

@pytest.mark.parametrize("sr", [0, 1000, 7999, np.nan])
def test_rates_too_low(sr):
    with complains("8000"): scene(2, np.random.default_rng(0), sr=sr)

@pytest.mark.parametrize("seed", range(12))
def test_sounds_of_the_caller_take_the_same_way(seed):
    "The default sirens and noises, handed in as functions, give the same streets bit for bit."
    kind = KINDS[seed % len(KINDS)]
    assert np.array_equal(draw(seed, kind).mix, draw(seed, kind, siren=siren).mix)
    plain = draw(seed)
    front = next(iter(plain.parts))
    if front not in noise_kinds("kerb"): return
    own = draw(seed, foreground=partial(noise, front))
    assert np.array_equal(own.mix, plain.mix) and next(iter(own.parts)) == "foreground"
    assert not own.events and np.isnan(own.distance_m).all() and not own.siren

def test_a_siren_of_the_caller():
    asked = []
    def steady(kind, seconds, rng, sr):
        asked.append((kind, seconds, sr))
        return np.sin(2 * np.pi * 900 * np.arange(round(seconds * sr)) / sr)
    s = draw(1, "yelp", 2, siren=steady, sr=8000)
    assert asked == [("yelp", 2.5, 8000)] and [e.kind for e in s.events] == ["yelp"]
    power = np.abs(np.fft.rfft(s.parts["siren"])) ** 2
    assert power[2 * 780:2 * 1020].sum() > 0.99 * power.sum()      # within Doppler's reach
    assert np.array_equal(draw(1, "program").mix, draw(1, "program", siren=steady).mix)

@pytest.mark.parametrize("wrong", [
    lambda *_: np.ones(5), lambda *_: None, lambda *_: np.full(32000, np.nan), lambda *_: "moo",
    lambda *_: np.ones((32000, 2)), lambda *_: np.ones(32000) * 1j])
def test_what_is_no_sound_is_refused(wrong):
    for kind, front in (("", dict(foreground=wrong)), ("wail", dict(siren=wrong))):
        with complains("finite real numbers", kind=SirenbookError): draw(0, kind, 2, **front)

def test_a_siren_leaves_no_room_for_a_foreground():
    with complains("foreground", "siren"): draw(0, "wail", foreground=partial(noise, "dog"))

def test_unknown_siren():
    with complains("'moo'", *KINDS): scene(2, np.random.default_rng(0), "moo")

def test_the_register_is_complete_whatever_was_imported_first():
    code = """import numpy as np, sys
from sirenbook.noises import noise, noise_kinds
assert "sirenbook.vehicles" not in sys.modules
print(len(noise("horn", 2, np.random.default_rng(0))), *noise_kinds("vehicle"), sep=",")"""
    assert fresh(code) == ("32000,tyres,engine,car,motorcycle,truck,horn,truck horn,musical horn,"
                           "reversing beeper,bicycle bell,brakes,air brake,tram,train")
    both = ("import sirenbook.{}\nfrom sirenbook.noises import noise_kinds\n"
            "print(*noise_kinds(), sep=',')")
    orders = {fresh(both.format(module)) for module in ("noises", "vehicles", "roads")}
    assert orders == {",".join(noise_kinds())}, "scenes draw by position: the order must not change"
    assert len(noise_kinds()) == 48 and noise_kinds()[:3] == ["wind", "tyres", "engine"]

def test_noises_by_place_and_by_what_they_resemble():
    places = [noise_kinds(place) for place in ("vehicle", "kerb", "ambient")]
    assert sorted(sum(places, [])) == sorted(noise_kinds())
    assert sorted(noise_kinds(confusable=True) + noise_kinds(confusable=False)) == sorted(
        noise_kinds()
    )


def test_unknown_noise():
    with complains("'siren'", "noise_kinds()", kind=SirenbookError):
        noise("siren", 2, np.random.default_rng(0))
    for seconds in (0, -1, np.nan):
        with complains("above 0 s"): noise("horn", seconds, np.random.default_rng(0))

@pytest.mark.parametrize("how, word", [
    (dict(snr_db=float("nan")), "snr_db"), (dict(snr_db="3"), "snr_db"),
    (dict(snr_db=1e6), "snr_db"),
    (dict(siren=None), "siren is a function"), (dict(program="wail"), "program is a function"),
    (dict(siren_kind="", foreground="wolf"), "foreground is a function"),
    (dict(program=lambda s, rng, sr: np.zeros(round(s * sr))), "waveform and its segments"),
    (dict(program=lambda s, rng, sr: (np.zeros(5), [("wail", 0, 1)])), "waveform of"),
    (dict(program=lambda s, rng, sr: (np.ones(round(s * sr)), [])), "segments"),
    (dict(program=lambda s, rng, sr: (np.ones(round(s * sr)), [("wail", 2, 1)])), "segments")])
def test_makers_and_levels_that_are_none(how, word):
    with complains(word): scene(2, np.random.default_rng(0), **{"siren_kind": "program"} | how)
