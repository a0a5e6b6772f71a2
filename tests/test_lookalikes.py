"""Sounds that resemble sirens: the same from the same seed, at every rate, apart from noises."""

from functools import partial

import numpy as np
import pytest
from shared import complains, fresh
from sirenbook.lookalikes import LOOKALIKES, lookalike
from sirenbook.noises import active_mask, noise_kinds
from sirenbook.roads import scene

def draw(kind, seed=0, seconds=2, **kwargs):
    return lookalike(kind, seconds, np.random.default_rng(seed), **kwargs)


@pytest.mark.parametrize("kind", LOOKALIKES)
def test_what_a_lookalike_is(kind):
    for sr in (8000, 11025, 16000, 44100):
        for seconds in (0.05, 0.5, 2, 3.3):
            wav = draw(kind, 5, seconds, sr=sr)
            assert wav.shape == (round(seconds * sr),) and wav.dtype == np.float64
            assert np.isfinite(wav).all()
            assert abs(np.sqrt(np.mean(wav[active_mask(wav, sr)] ** 2)) - 1) < 1e-9
    assert np.array_equal(draw(kind, 1), draw(kind, 1))
    assert not np.array_equal(draw(kind, 1), draw(kind, 2))

@pytest.mark.parametrize("kind", LOOKALIKES)
def test_no_seed_is_silent_and_nothing_aliases(kind):
    for seed in range(30):
        wav = draw(kind, seed, sr=8000)
        assert active_mask(wav, 8000).mean() > 0.02
    power = np.abs(np.fft.rfft(draw(kind, 3, 4, sr=48000) * np.hanning(4 * 48000))) ** 2
    if kind not in ("wolf", "baby", "scream", "vendor", "cheer", "squeal", "pea whistle",
                    "synth lead"):                   # these have noise
        assert power[4 * 23000:].sum() < 1e-4 * power.sum()


def test_the_names():
    assert len(set(LOOKALIKES)) == 15 and LOOKALIKES[:3] == ("wolf", "loon", "baby")
    assert not {*LOOKALIKES} & {*noise_kinds()}, "scenes draw from noise_kinds() by position"

def test_the_same_seed_is_the_same_sound_in_another_process():
    code = """import hashlib, numpy as np
from sirenbook.lookalikes import LOOKALIKES, lookalike
for kind in LOOKALIKES:
    wav = lookalike(kind, 2, np.random.default_rng(8))
    print(hashlib.sha256(np.round(wav * 1000).astype("<i2")).hexdigest())"""
    assert fresh(code, PYTHONHASHSEED="1") == fresh(code, PYTHONHASHSEED="2")

def swing_share(wav):
    "How much of the loudness's swings above 5 a second is 25 to 125 a second."
    envelope = np.convolve(wav ** 2, np.hanning(80), "same")
    power = np.abs(np.fft.rfft(envelope - envelope.mean())) ** 2
    hz = np.fft.rfftfreq(len(wav), 1 / 16000)
    return power[(hz > 25) & (hz < 125)].sum() / power[(hz > 5) & (hz < 125)].sum()

def test_a_scream_is_rough():
    "Arnal and others 2015: its loudness fluctuates 30 to 150 times a second."
    rough, smooth = (np.median([swing_share(draw(kind, s)) for s in range(12)])
                     for kind in ("scream", "loon"))
    assert rough > 2 * smooth

@pytest.mark.parametrize("kind, low_hz, high_hz", [
    ("pea whistle", 1500, 4900), ("pealess whistle", 1950, 4700), ("vuvuzela", 170, 4100),
    ("loon", 290, 3100)])
def test_the_strongest_frequency(kind, low_hz, high_hz):
    for seed in range(20):
        wav = draw(kind, seed)
        assert low_hz < np.argmax(np.abs(np.fft.rfft(wav * np.hanning(len(wav))))) / 2 < high_hz

@pytest.mark.parametrize("kind", ["unicorn", "", None, [], "Wolf", "whistle"])
def test_unknown_kinds(kind):
    with complains("no look-alike is called", repr(kind), *LOOKALIKES): draw(kind)

@pytest.mark.parametrize("seconds", [0, -1, np.nan, np.inf])
def test_impossible_lengths(seconds):
    with complains("above 0 s"): draw("wolf", seconds=seconds)

@pytest.mark.parametrize("sr", [0, 4000, np.nan, np.inf])
def test_rates_too_low(sr):
    with complains("8000 Hz or more"): draw("wolf", sr=sr)

@pytest.mark.parametrize("name, value", [("seconds", "2"), ("seconds", None), ("seconds", [2]),
                                         ("sr", "16 kHz"), ("sr", None), ("sr", 1j)])
def test_what_is_no_number(name, value):
    with complains(f"{name} must be a real number", repr(value)): draw("wolf", **{name: value})

@pytest.mark.parametrize("seed", [None, 3, "x", np.random.RandomState(1)])
def test_a_seed_is_no_generator(seed):
    with complains("rng must be a generator"): lookalike("wolf", 2, seed)

@pytest.mark.parametrize("kind", LOOKALIKES)
def test_a_rate_may_be_a_float(kind):
    for seed in range(4):
        assert np.array_equal(draw(kind, seed, sr=16000.0), draw(kind, seed, sr=16000))

@pytest.mark.parametrize("kind", LOOKALIKES)
def test_in_a_street(kind):
    s = scene(2, np.random.default_rng(0), foreground=partial(lookalike, kind))
    assert "foreground" in s.parts and not s.events and np.isnan(s.snr_db).all()
    assert np.isfinite(s.mix).all() and 0.001 < np.abs(s.mix).max() <= 1
