"""A passing source against closed forms, tables and a rendering at four times the rate."""

import tracemalloc

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal import get_window, hilbert
from scipy.signal.windows import tukey
from shared import complains
from sirenbook.roads import GROUND, air_absorption_db, propagate
from sirenbook.signals import tone

SR, MIC = 16000, np.array([0, 0, 1.5])
DRY = dict(reflection=False, air=False)

def c_mps(temperature_c=20):
    return 343.2 * np.sqrt((temperature_c + 273.15) / 293.15)  # ISO 9613-1, equation A.5


def heard(t, start, velocity, c=c_mps()):
    "Emission time, distance and Doppler factor of the sound that arrives at `t`."
    s, v = np.subtract(start, MIC), np.asarray(velocity, float)
    k, half = c ** 2 - v @ v, c ** 2 * t + s @ v      # |s + v e|^2 = c^2 (t - e)^2, solved for e
    e = (half - np.sqrt(half ** 2 - k * (c ** 2 * t ** 2 - s @ s))) / k
    away = s + v * e[:, None]
    distance = np.linalg.norm(away, axis=1)
    return e, distance, 1 / (1 + away @ v / (distance * c))

def noise(n, seed=0): return np.random.default_rng(seed).normal(0, .1, n).astype(np.float32)

def level_db(wav, frequency_hz, sr=SR):
    "The level of a tone in `wav`."
    w = np.hanning(len(wav))
    return 20 * np.log10(
        2
        * abs(np.sum(wav * w * np.exp(-2j * np.pi * frequency_hz * np.arange(len(wav)) / sr)))
        / w.sum()
    )


def passing(frequency_hz, speed, offset, seconds=4, **kwargs):
    "A tone that drives by: its analytic signal away from both ends, and the theory there."
    start, velocity = (-speed * seconds / 2, offset, 1.5), (speed, 0, 0)
    y = propagate(
        tone(frequency_hz, seconds, SR, amplitude=1),
        SR,
        start,
        velocity,
        reflection=False,
        **kwargs,
    )
    t = np.arange(len(y)) / SR
    e, distance, pitch = heard(t, start, velocity)
    first = np.searchsorted(e, 0)
    z = np.zeros(len(y), complex)
    z[first:] = hilbert(y[first:] * tukey(len(y) - first, .1))
    keep = slice(first + SR // 4, len(y) - SR // 4)
    assert e[keep][0] * speed < speed * seconds / 2 < e[keep][-1] * speed, (
        "the closest approach is not in the middle"
    )
    return z[keep], distance[keep], pitch[keep]

def smooth(x, n=33): return np.convolve(x, np.ones(n) / n, "valid")


# ---- pitch and level

PASSES = [(f, v, d) for f in (300, 1000, 3000) for v in (5, 15, 40) for d in (3, 10)]

@pytest.mark.parametrize("frequency_hz, speed, offset", PASSES)
def test_pitch_of_a_passing_source(frequency_hz, speed, offset):
    z, _, pitch = passing(frequency_hz, speed, offset, air=False)
    measured = np.diff(np.unwrap(np.angle(z))) * SR / (2 * np.pi)
    expected = frequency_hz * (pitch[1:] + pitch[:-1]) / 2
    assert np.ptp(expected) > frequency_hz * speed / c_mps()  # it does fall from one to the other
    np.testing.assert_allclose(smooth(measured), smooth(expected), rtol=1e-3)

@pytest.mark.parametrize("frequency_hz, speed, offset", PASSES)
def test_level_of_a_passing_source(frequency_hz, speed, offset):
    "The level follows from the distance at the time of emission."
    z, distance, _ = passing(frequency_hz, speed, offset, air=False)
    np.testing.assert_allclose(20 * np.log10(abs(z) * distance), 0, atol=.1)

def test_level_falls_by_six_decibels_a_doubling():
    wav = tone(1000, 1.5, SR, amplitude=1)
    levels = [
        level_db(propagate(wav, SR, MIC + (d, 0, 0), (0, 0, 0), **DRY)[SR // 2 :], 1000)
        for d in 3.0 * 2 ** np.arange(6)
    ]
    np.testing.assert_allclose(np.diff(levels), -20 * np.log10(2), atol=.1)
    assert abs(levels[0] + 20 * np.log10(3)) < .1                   # and is 1 at a metre

@pytest.mark.parametrize("temperature_c", [-20, 0, 20, 40])
@pytest.mark.parametrize("distance", [2, 7.3, 40, 100])
@pytest.mark.parametrize("air", [False, True])
def test_a_standing_source_is_heard_later(distance, temperature_c, air):
    sr, n = 16000, 16000
    wav = np.zeros(n)
    wav[:4096] = np.convolve(
        np.random.default_rng(0).standard_normal(4096) * tukey(4096, 0.1), [0.25, 0.5, 0.25], "same"
    )
    y = propagate(
        wav,
        sr,
        MIC + np.array([0.6, -0.8, 0]) * distance,
        (0, 0, 0),
        temperature_c=temperature_c,
        reflection=False,
        air=air,
    )
    f = np.fft.rfftfreq(2 * n, 1 / sr)
    band = (100 < f) & (f < 6000)
    delay = distance / c_mps(temperature_c)
    rest = (
        np.fft.rfft(y, 2 * n) * np.conj(np.fft.rfft(wav, 2 * n)) * np.exp(2j * np.pi * f * delay)
    )  # has no phase if the delay is right
    late = -np.sum(f * np.unwrap(np.angle(rest)) * band) / np.sum(2 * np.pi * f ** 2 * band) * sr
    assert abs(late) < .02
    if not air:
        np.testing.assert_allclose(
            abs(rest / abs(np.fft.rfft(wav, 2 * n)) ** 2)[band] * distance, 1, rtol=0.01
        )
    arrival = int(delay * sr)
    assert np.abs(y[:arrival]).max(initial=0) < 1e-3 * np.abs(y).max()
    assert not y[
        : max(0, arrival - 1024)
    ].any()  # a filter may ring a little ahead of the sound, no more


# ---- air

# ISO 9613-1:1993, table 1: dB per km at the exact midband frequencies of the octaves 0.5 to 8 kHz
OCTAVES_HZ = 1000 * 10 ** (np.array([-3, 0, 3, 6, 9]) / 10)
AIR = {
    (-20, 70): (5.29, 11.5, 16.6, 20.2, 27.8),
    (0, 70): (1.61, 4.64, 16.1, 55.5, 153),
    (10, 70): (1.93, 3.66, 9.66, 32.8, 117),
    (20, 30): (2.52, 5.01, 14.1, 48.5, 166),
    (20, 50): (2.73, 4.66, 9.86, 29.4, 104),
    (20, 70): (2.80, 4.98, 9.02, 22.9, 76.6),
    (30, 70): (3.14, 7.41, 12.7, 23.1, 59.3),
}
# and more of it at 1, 4 and 8 kHz, for the cold, the hot and the dry
EDGES = {
    (-20, 10): (1.65, 3.86, 10.9),
    (0, 10): (14.0, 19.0, 26.4),
    (50, 10): (9.95, 46.4, 155),
    (50, 70): (8.03, 48.2, 80.3),
    (-20, 100): (11.1, 31.4, 41.1),
}


def published(temperature_c, humidity_percent, frequency_hz):
    "ISO 9613-1 (equations 3 to 5 and annex B) at one atmosphere, dB per metre, step by step."
    kelvin = temperature_c + 273.15
    ratio = kelvin / 293.15
    vapour = humidity_percent * 10 ** (4.6151 - 6.8346 * (273.16 / kelvin) ** 1.261)
    relax_o = 24 + 40400 * vapour * (.02 + vapour) / (.391 + vapour)
    relax_n = (9 + 280 * vapour * np.exp(-4.17 * (ratio ** (-1 / 3) - 1))) / np.sqrt(ratio)
    classical = 1.84e-11 * np.sqrt(ratio)
    oxygen = .01275 * np.exp(-2239.1 / kelvin) * relax_o / (relax_o ** 2 + frequency_hz ** 2)
    nitrogen = .1068 * np.exp(-3352 / kelvin) * relax_n / (relax_n ** 2 + frequency_hz ** 2)
    return 8.686 * frequency_hz ** 2 * (classical + ratio ** -2.5 * (oxygen + nitrogen))

@pytest.mark.parametrize("weather, table", [*AIR.items(), *EDGES.items()], ids=str)
def test_air_absorption_as_in_the_table(weather, table):
    f = OCTAVES_HZ if len(table) == 5 else OCTAVES_HZ[[1, 3, 4]]
    np.testing.assert_allclose(
        1000 * air_absorption_db(f, *weather), table, rtol=0.005
    )  # three figures; far less than 1 dB in 1 km
    np.testing.assert_allclose(100 * air_absorption_db(f, *weather), np.divide(table, 10), atol=.1)

@pytest.mark.parametrize("temperature_c", [-20, 0, 20, 50])
@pytest.mark.parametrize("humidity_percent", [1, 10, 50, 100])
def test_air_absorption_as_in_the_standard(temperature_c, humidity_percent):
    f = np.geomspace(20, 48000, 200)
    np.testing.assert_allclose(
        air_absorption_db(f, temperature_c, humidity_percent),
        published(temperature_c, humidity_percent, f),
        rtol=1e-9,
    )
    assert air_absorption_db(0.) == 0 and np.ndim(air_absorption_db(1000.)) == 0

@pytest.mark.parametrize("sr", [32000, 44100])
@pytest.mark.parametrize("weather", [(-20, 70), (10, 70), (20, 30), (20, 50), (30, 70)], ids=str)
def test_air_takes_from_a_tone_what_the_table_says(weather, sr):
    for f, table in zip(OCTAVES_HZ, AIR[weather]):
        wav = tone(f, 1.2, sr, amplitude=1)
        near, far = (
            level_db(
                propagate(
                    wav, sr, MIC + (0, d, 0), (0, 0, 0), (0, 0, 1.5), *weather, reflection=False
                )[-sr // 2 :],
                f,
                sr,
            )
            for d in (50, 150)
        )
        assert abs(near - far - 20 * np.log10(3) - table / 10) < .1, f

@pytest.mark.parametrize("frequency_hz", [3000, 6000])
@pytest.mark.parametrize("speed", [15, 40])
def test_air_takes_from_a_passing_tone_by_its_pitch_and_distance(frequency_hz, speed):
    z, distance, pitch = passing(frequency_hz, speed, 10, air=True)
    lost = -20 * np.log10(abs(z) * distance)
    np.testing.assert_allclose(
        smooth(lost), smooth(distance * published(20, 50, frequency_hz * pitch)), atol=0.03
    )


# ---- ground

@pytest.mark.parametrize("air", [False, True])
@pytest.mark.parametrize(
    "mic_height, source_height, apart", [(1.5, 1, 10), (1.5, 0.5, 5), (1.2, 2, 25), (4, 1, 30)]
)
def test_first_notch_of_the_reflection(mic_height, source_height, apart, air):
    wav = np.zeros(4 * SR // 10)
    wav[50] = 1
    with_, without = (
        np.fft.rfft(
            propagate(
                wav,
                SR,
                (apart, 0, source_height),
                (0, 0, 0),
                (0, 0, mic_height),
                reflection=r,
                air=air,
            ),
            2**17,
        )
        for r in (True, False)
    )
    r1, r2 = (
        np.hypot(apart, mic_height - source_height),
        np.hypot(apart, mic_height + source_height),
    )
    expected = c_mps() / (2 * (r2 - r1))
    f = np.fft.rfftfreq(2 ** 17, 1 / SR)
    ratio = np.abs(with_ / without)
    near = f < min(2 * expected, 6500)  # the second is at three times the first
    assert GROUND > 0 and 100 < expected < 5000
    assert abs(f[near][ratio[near].argmin()] / expected - 1) < .01
    strength = GROUND * r1 / r2
    np.testing.assert_allclose(
        [ratio[near].max(), ratio[near].min()], [1 + strength, 1 - strength], atol=0.02
    )


# ---- nothing folds back

def chirp(e, seconds=2.6):
    "A sweep from a quarter of the sample rate to half of it, at any time, and its frequency."
    rate = SR / 4 / seconds
    fade = np.clip(np.minimum(e, seconds - e) / .1, 0, 1)
    return np.sin(np.pi / 2 * fade) ** 2 * np.sin(
        2 * np.pi * (SR / 4 + rate / 2 * e) * e
    ), SR / 4 + rate * e


RIDES = {
    "approaching": ((-170, 3, 1.5), (40, 0, 0)),
    "receding": ((10, 3, 1.5), (40, 0, 0)),
    "passing": ((-50, 5, 1.5), (40, 0, 0)),
}


@pytest.mark.parametrize("air", [False, True])
@pytest.mark.parametrize("ride", RIDES)
def test_nothing_folds_back(ride, air):
    "Away from the sweep, which goes beyond sr/2, everything is 60 dB below it."
    n = round(3.4 * SR)
    e, distance, pitch = heard(np.arange(n) / SR, *RIDES[ride])
    y = (
        propagate(chirp(np.arange(n) / SR)[0], SR, *RIDES[ride], reflection=False, air=air)
        * distance
    )
    window, middle = get_window("blackmanharris", 1024), slice(512, n - 511, 128)
    levels = np.abs(np.fft.rfft(sliding_window_view(y, 1024)[::128] * window)) / (window.sum() / 2)
    sweep_hz, sounds = (chirp(e)[1] * pitch)[middle], ((e > 0) & (e < 2.6))[middle]
    elsewhere = np.abs(np.fft.rfftfreq(1024, 1 / SR) - sweep_hz[:, None]) > 400
    if ride == "approaching":
        assert sweep_hz[sounds].max() > 1.1 * SR / 2, "it never got beyond half the sample rate"
    worst = (levels * elsewhere)[sounds].max()
    assert worst < 1e-3, f"{20 * np.log10(worst):.1f} dB"

@pytest.mark.parametrize("ride", RIDES)
def test_as_rendered_at_four_times_the_rate(ride):
    "What a perfect microphone hears, 60 dB deep, up to 0.85 of half the sample rate."
    n = round(3.4 * SR)
    t4 = np.arange(4 * n) / (4 * SR)
    e, distance, _ = heard(t4, *RIDES[ride])
    spectrum = np.fft.rfft(chirp(e)[0] / distance)
    truth = np.fft.irfft(spectrum[:n // 2 + 1], n) / 4
    y = propagate(chirp(np.arange(n) / SR)[0], SR, *RIDES[ride], **DRY)
    f = np.fft.rfftfreq(n, 1 / SR)
    difference = np.fft.irfft(np.fft.rfft(y - truth) * (f < .85 * SR / 2), n) * distance[::4]
    worst = np.sqrt(np.convolve(difference ** 2, np.ones(1024) / 1024, "valid").max() / .5)
    assert worst < 1e-3, f"{20 * np.log10(worst):.1f} dB"


# ---- a plain function

SCENE = dict(start_m=(-40, 6, .8), velocity_mps=(25, .5, 0))

@pytest.mark.parametrize("kwargs", [{}, DRY, dict(air=False)], ids=str)
def test_any_block_gives_the_same_samples(kwargs):
    wav = noise(3 * SR + 17)
    y = propagate(wav, SR, **SCENE, **kwargs)
    assert np.abs(y).max() > 0
    for block in (777, 1000, 4096, 4097, 16384, len(wav) - 1, len(wav), 10 ** 6):
        np.testing.assert_array_equal(
            propagate(wav, SR, **SCENE, **kwargs, block_samples=block), y, err_msg=str(block)
        )


def test_memory_does_not_grow_with_the_length():
    def peak(seconds):
        wav = noise(seconds * SR)
        propagate(wav[:100], SR, **SCENE)
        tracemalloc.start()
        try:
            y = propagate(wav, SR, (-20, 6, .8), (1, 0, 0))
            return tracemalloc.get_traced_memory()[1] - y.nbytes
        finally: tracemalloc.stop()
    short, long = peak(8), peak(64)
    assert long < 1.05 * short, f"{short / 1e6:.1f} MB, then {long / 1e6:.1f} MB"

def test_a_pure_function(tmp_path):
    wav = noise(SR)
    before, start = wav.copy(), np.array(SCENE["start_m"])
    y = propagate(wav, SR, start, SCENE["velocity_mps"])
    assert (
        y.dtype == np.float32
        and y.shape == wav.shape
        and not np.shares_memory(y, wav)
        and y.flags.writeable
    )
    np.testing.assert_array_equal(wav, before)
    np.testing.assert_array_equal(start, SCENE["start_m"])
    wide = np.repeat(wav, 3)
    mapped = np.memmap(tmp_path/"wav", np.float32, "w+", shape=wav.shape)
    mapped[:] = wav
    mapped.flush()
    locked = wav.copy()
    locked.flags.writeable = False
    for same in (
        wav,
        locked,
        wide[::3],
        wav[::-1].copy()[::-1],
        wav.astype(np.float64),
        np.memmap(tmp_path / "wav", np.float32, "r"),
        wav.astype(">f4"),
    ):
        again = propagate(same, SR, **SCENE)
        assert type(again) is np.ndarray and again.dtype == np.float32
        np.testing.assert_array_equal(again, y)
    np.testing.assert_array_equal(wide[::3], before)

@pytest.mark.parametrize("kwargs", [{}, DRY], ids=str)
def test_linear_and_silent(kwargs):
    a, b = noise(SR), noise(SR, 1)
    both = propagate(2 * a.astype(float) - 3 * b.astype(float), SR, **SCENE, **kwargs)
    apart = 2. * propagate(a, SR, **SCENE, **kwargs) - 3. * propagate(b, SR, **SCENE, **kwargs)
    np.testing.assert_allclose(both, apart, atol=1e-6 * np.abs(both).max())
    assert not propagate(np.zeros(SR), SR, **SCENE, **kwargs).any()

@pytest.mark.parametrize("n", [0, 1, 2, 100])
def test_short_sounds(n):
    y = propagate(np.ones(n, np.float32), SR, (.5, 0, 1.5), (1, 0, 0))
    assert y.shape == (n,) and y.dtype == np.float32 and np.isfinite(y).all()

@pytest.mark.parametrize("sr", [8000, 11025, 22050, 48000, 16000.0])
def test_any_sample_rate(sr):
    wav = tone(500, 1, round(sr), amplitude=1)
    y = propagate(wav, sr, MIC + (4, 0, 0), (0, 0, 0), **DRY)
    assert abs(level_db(y[len(y) // 2:], 500, sr) + 20 * np.log10(4)) < .1


# ---- what cannot be

WAV = noise(3 * SR)
BAD = {
    "through the microphone": (
        ["microphone"],
        dict(start_m=(-20, 0, 1.5), velocity_mps=(20, 0, 0)),
    ),
    "at the microphone": (["microphone"], dict(start_m=(0, 0, 1.5), velocity_mps=(0, 0, 0))),
    "as fast as sound": (["sound"], dict(velocity_mps=(343.3, 0, 0))),
    "faster than sound": (["sound"], dict(velocity_mps=(300, 200, 0))),
    "starts below ground": (["ground"], dict(start_m=(-40, 6, -0.5))),
    "goes below ground": (["ground"], dict(velocity_mps=(10, 0, -1))),
    "microphone below ground": (["ground"], dict(mic_m=(0, 0, -1))),
    **{
        f"{what} in {name}": ([name], {name: (5, value, 1)})
        for name in ("start_m", "velocity_mps", "mic_m")
        for what, value in (("nan", np.nan), ("inf", np.inf))
    },
    **{
        f"{name} of shape {np.shape(value)}": ([name], {name: value})
        for name in ("start_m", "velocity_mps", "mic_m")
        for value in (3.0, (1, 2), (1, 2, 3, 4), [[1, 2, 3]])
    },
    "words for a place": (["start_m"], dict(start_m="here")),
    "stereo": (["wav"], dict(wav=np.zeros((100, 2)))),
    "a number": (["wav"], dict(wav=1.0)),
    "complex": (["wav"], dict(wav=np.zeros(100, complex))),
    "nan in wav": (["wav"], dict(wav=np.where(np.arange(3 * SR) == 40000, np.nan, WAV))),
    "inf in wav": (["wav"], dict(wav=np.where(np.arange(3 * SR) == 2, -np.inf, WAV))),
    "nan at the end, too late to be heard": (
        ["wav"],
        dict(wav=np.where(np.arange(3 * SR) == 3 * SR - 1, np.nan, WAV)),
    ),
    **{f"sr of {sr}": (["sr"], dict(sr=sr)) for sr in (0, -16000, np.nan, np.inf)},
    **{f"humidity of {h}": (["humidity"], dict(humidity_percent=h)) for h in (-1, 101, np.nan)},
    **{
        f"temperature of {t}": (["temperature"], dict(temperature_c=t))
        for t in (-274, -40, 60, np.nan, np.inf)
    },
    **{f"blocks of {b}": (["block_samples"], dict(block_samples=b)) for b in (0, -5)},
}

@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be(what):
    names, bad = BAD[what]
    given = dict(wav=WAV, sr=SR, **SCENE) | bad
    with complains(*names): propagate(given.pop("wav"), given.pop("sr"), **given)

@pytest.mark.parametrize(
    "humidity_percent, temperature_c, name",
    [(-1, 20, "humidity"), (101, 20, "humidity"), (50, -274, "temperature")],
)
def test_what_air_cannot_be(humidity_percent, temperature_c, name):
    with complains(name): air_absorption_db(1000, temperature_c, humidity_percent)

def test_a_path_that_stops_before_the_microphone():
    y = propagate(WAV[:SR // 4], SR, (-20, 0, 1.5), (20, 0, 0))
    assert np.isfinite(y).all() and y.any()

@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kwargs", [{}, DRY], ids=str)
@pytest.mark.parametrize("hops", [1, 4, 10])
def test_a_path_whose_line_meets_the_microphone_outside_its_time(hops, kwargs):
    "What is worked on goes a little beyond what is heard, and there the source may be anywhere."
    meets_s = hops * 256 / SR
    for speed in np.arange(8, 40, 1.7):
        n = int((meets_s - .11 / speed) * SR)
        for start, v, n in ((-speed * meets_s, speed, n), (speed * meets_s, speed, 1000)):
            y = propagate(WAV[:n], SR, (start, 0, 1.5), (v, 0, 0), **kwargs)
            assert np.isfinite(y).all()
