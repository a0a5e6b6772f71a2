"""Duplicates: found through every disguise, never where there are none; and the warning."""
import csv, io, time, warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr
from shared import ROOT, complains, is_sentence, real, write, write_folder
from sirenbook import duplicates
from sirenbook.duplicates import (DuplicatePair, autocorrelation, constellation,
                                  duplicates_across, fingerprint, loop_period,
                                  merge_duplicate_groups, near_duplicates, overlap_correlation)
from sirenbook.errors import SirenbookError, SirenbookFileError, SirenbookWarning
from sirenbook.experiments.duplicates import (DUPLICATE_COLUMNS, LOOP_COLUMNS,
                                              count_duplicates, loop_table, run, traffic_clips)
from sirenbook.files import read_csv
from sirenbook.noises import noise
from sirenbook.recordings import CLASSES, Dataset, Recording, load_dataset, load_folder, load_wav
from sirenbook.roads import band_power, propagate, scene
from sirenbook.signals import tone
from sirenbook.sirens import KINDS, render, siren

SR = 16000

def rng(*seed): return np.random.default_rng(seed)

def through_file(wav, **kwargs):
    file = io.BytesIO()
    sf.write(file, np.clip(wav, -1, 1), SR, **kwargs)
    file.seek(0)
    return sf.read(file)[0]

def through_rate(wav, sr): return soxr.resample(soxr.resample(wav, SR, sr), sr, SR)

def equalised(wav, *gains_db):
    hz = np.maximum(np.fft.rfftfreq(len(wav), 1 / SR), 60)
    gain_db = np.interp(np.log2(hz / 60), np.linspace(0, 7, len(gains_db)), gains_db)
    return np.fft.irfft(np.fft.rfft(wav) * 10 ** (gain_db / 20), len(wav))

def noisy(wav, snr_db, seed):
    "Noise of its own for each sound, as many dB below it in the band where the book takes SNR."
    extra = rng(seed, int(1e6 * np.abs(wav).sum())).standard_normal(len(wav))
    ratio = band_power(wav, SR).mean() / band_power(extra, SR).mean()
    return wav + 10 ** (-snr_db / 20) * np.sqrt(ratio) * extra

def rain_before(wav):
    return np.concatenate([0.1 * noise("rain", 1.5, rng(int(1e6 * np.abs(wav).sum()))), wav])

# name -> (the disguise, when the copy begins, s); mp3 has no delay after decoding
DISGUISES = {
    "itself": (lambda w: w, 0), "20 dB softer": (lambda w: w / 10, 0),
    "20 dB louder": (lambda w: 10 * w, 0), "upside down": (lambda w: -w, 0),
    "mp3": (lambda w: through_file(w, format="MP3"), 0),
    "ogg": (lambda w: through_file(w, format="OGG"), 0),
    "8 bits": (lambda w: through_file(w / np.abs(w).max(), format="WAV", subtype="PCM_U8"), 0),
    "8 kHz": (lambda w: through_rate(w, 8000), 0),
    "44.1 kHz": (lambda w: through_rate(w, 44100), 0),
    "bass": (lambda w: equalised(w, 10, -10), 0), "treble": (lambda w: equalised(w, -10, 10), 0),
    "bands": (lambda w: equalised(w, 6, -6, 3, -6, 6, -9), 0),
    "a second later": (lambda w: w[SR:], 1), "half a frame later": (lambda w: w[128:], 0.008),
    "an odd time later": (lambda w: w[12345:], 12345 / SR),
    "with something before": (rain_before, -1.5), "with an offset": (lambda w: w + 0.1, 0),
    "much": (lambda w: through_file(0.3 * equalised(w[7001:], 3, -6, 3), format="MP3"), 7001 / SR),
}
NOISY = {"10 dB": lambda w: noisy(w, 10, 1), "10 dB, later": lambda w: noisy(w[9999:], 10, 2)}

@pytest.fixture(scope="module")
def streets():
    "Fourteen streets of 4 s, half of them with a siren."
    kinds = [KINDS[i // 2] if i % 2 else "" for i in range(14)]
    return [scene(4, rng(1, i), kind).mix.astype(float) for i, kind in enumerate(kinds)]


# ---- found

@pytest.mark.parametrize("name", DISGUISES)
def test_a_copy_in_disguise(streets, name):
    disguise, begins_s = DISGUISES[name]
    n = len(streets)
    found = near_duplicates(streets + [disguise(w) for w in streets])
    assert [(c.first, c.second) for c in found] == [(i, i + n) for i in range(n)]
    for c in found:
        assert abs(c.offset_s - begins_s) < 0.01
        assert 0.3 <= c.correlation <= 1 and 0.5 <= c.seconds <= 4

@pytest.mark.parametrize("name", NOISY)
def test_a_copy_in_noise(streets, name):
    "Nearly all are found, and nothing else."
    n, begins_s = len(streets), 9999 / SR if "later" in name else 0
    found = near_duplicates(streets + [NOISY[name](w) for w in streets])
    assert all(c.second == c.first + n and abs(c.offset_s - begins_s) < 0.01 for c in found)
    assert len(found) >= 0.85 * n

def test_an_exact_copy(streets):
    (c,) = near_duplicates([streets[0], streets[0].copy()])
    assert c == DuplicatePair(0, 1, 0.0, 4.0, 1.0)
    assert all(type(v) in (int, float) for v in vars(c).values())

def test_a_clip_of_a_long_recording():
    long = 0.1 * np.concatenate([noise(k, 10, rng(3)) for k in ("traffic", "rain", "tyres")])
    (c,) = near_duplicates([0.1 * noise("water", 5, rng(4)), long, long[17 * SR + 77:20 * SR + 77]])
    assert (c.first, c.second) == (1, 2)
    assert abs(c.offset_s - 17 - 77 / SR) < 1e-3 and 2 <= c.seconds <= 3

def test_a_short_piece_in_two_long_recordings():
    "Only three seconds are shared: they count, and not the minute around them."
    jingle = noise("voices", 3, rng(5))
    one, two = (0.1 * noise("rain", 25, rng(6, i)) for i in range(2))
    one[10 * SR:13 * SR], two[20 * SR:23 * SR] = 0.1 * jingle, 0.1 * jingle
    (c,) = near_duplicates([one, two])
    assert abs(c.offset_s + 10) < 0.01 and 2 <= c.seconds <= 4 and c.correlation > 0.5

def test_many_copies_of_one_clip(streets, monkeypatch):
    "More than the index compares for one landmark: not all pairs are found, but all are merged."
    monkeypatch.setattr(duplicates, "_MAX_MATCHES", 3)
    data = Dataset("many", [Recording(np.float32(streets[0][100 * i:]), SR, CLASSES[i % 2],
                                      f"{i:02}", Path(f"{i}.wav")) for i in range(12)])
    assert len(duplicates_across(data)) < 12 * 11 / 2
    assert {r.group for r in merge_duplicate_groups(data).recordings} == {"00"}

@pytest.mark.parametrize("sr", [8000, 22050, 44100, 48000])
def test_any_rate(streets, sr):
    wavs = [soxr.resample(w, SR, sr) for w in streets[:6]]
    found = near_duplicates(wavs + [w[sr // 3:] for w in wavs], sr)
    assert [(c.first, c.second) for c in found] == [(i, i + 6) for i in range(6)]
    assert all(abs(c.offset_s - (sr // 3) / sr) < 1e-3 for c in found)
    def shared(a, b): return np.mean(np.isin(fingerprint(a)[0], fingerprint(b, sr)[0]))
    same, other = map(shared, streets, wavs), map(shared, streets, wavs[1:])
    same, other = list(same), list(other)
    assert min(same) > 5 * max(other) and np.mean(same) > 0.5

@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_any_kind_of_number(streets, dtype):
    full = 32767 if dtype == np.int16 else 1
    wav = (streets[0] / np.abs(streets[0]).max() * full).astype(dtype)
    (c,) = near_duplicates([streets[0], wav])
    assert c.correlation > 0.99


# ---- not found

def test_no_duplicates_in_roadside():
    rows = read_csv(ROOT/"data"/"duplicates.csv", DUPLICATE_COLUMNS)
    assert count_duplicates(load_dataset("roadside")) == rows[0]
    assert (rows[0]["within"], rows[0]["across"]) == (0, 0)

@pytest.mark.parametrize("kind", KINDS)
def test_sirens_of_one_kind(kind):
    assert near_duplicates([siren(kind, 4, rng(2, i)) for i in range(12)]) == []

@pytest.mark.parametrize("preset", ["PA300 wail", "PA300 yelp", "phaser", "German town horn",
                                    "French police", "Q siren"])
def test_one_siren_in_several_streets(preset):
    sent, received = render(preset, 4), []
    for i in range(6):
        r = rng(7, i)
        mps = r.uniform(3, 20)
        wav = propagate(sent, SR, (-mps * r.uniform(0, 4), r.uniform(4, 30), 1.5), (mps, 0, 0))
        received.append(wav / np.std(wav) + 0.4 * noise("traffic", 4, r))
    assert near_duplicates(received) == []

@pytest.mark.parametrize("kind", ["traffic", "rain", "wind", "voices", "tyres", "engine"])
def test_two_takes_of_one_street(kind):
    assert near_duplicates([noise(kind, 4, rng(8, i)) for i in range(10)]) == []

def test_a_step_at_the_end_is_no_duplicate():
    "An offset or strong bass makes a step where a recording is cut, and all steps are alike."
    r = rng(15)
    assert near_duplicates([0.01 * r.standard_normal(64000) + 0.5 for _ in range(100)]) == []
    assert near_duplicates([1e-3 * np.cumsum(r.standard_normal(64000)) for _ in range(100)]) == []
    one, two = (0.01 * r.standard_normal(SR) + 0.5 for _ in range(2))
    assert overlap_correlation(one, two)[0] < 0.1

def test_machines_at_nearly_one_speed_are_false_alarms():
    "A limit that the chapter shows: few pairs, and only where little but the speed differs."
    found = near_duplicates([siren("mechanical", 5, rng(7, i)) for i in range(40)])
    assert 0 < len(found) < 40

def test_cuts_without_overlap_are_not_seen():
    "A limit that the chapter shows."
    for i, kind in enumerate(("traffic", "rain", "crowd", "water")):
        wav = noise(kind, 8, rng(9, i))
        assert near_duplicates([wav[:4 * SR], wav[4 * SR:]]) == []
        assert near_duplicates([wav[:5 * SR], wav[4 * SR:]]) != []

def test_four_landmarks_are_no_proof(streets, monkeypatch):
    "The correlation decides: every pair that shares a landmark is tried, and none passes."
    monkeypatch.setattr(duplicates, "_MIN_MATCHES", 1)
    assert near_duplicates(streets) == []

EMPTY = {"silence": np.zeros(SR), "a constant": np.full(SR, 0.4), "a tone": tone(440, 1),
         "a frame": np.ones(1024), "short": np.ones(500), "one sample": np.ones(1),
         "none": np.zeros(0), "integers": np.zeros(SR, np.int16)}

@pytest.mark.parametrize("name", EMPTY)
def test_sounds_without_a_fingerprint(streets, name):
    wav = EMPTY[name]
    assert len(constellation(wav)) == 0 and [len(x) for x in fingerprint(wav)] == [0, 0]
    assert near_duplicates([wav, wav]) == [] and near_duplicates([wav]) == []
    found = near_duplicates([wav, streets[0], wav, streets[0][SR:], wav])
    assert [(c.first, c.second) for c in found] == [(1, 3)]
    assert loop_period(wav) is None and np.isfinite(autocorrelation(wav)).all()

def test_no_recordings(): assert near_duplicates([]) == []

@pytest.mark.parametrize("bad, words", [
    (np.full(SR, np.nan), "NaN"), (np.append(np.zeros(SR), np.inf), "infinity"),
    (np.zeros((2, SR)), "(2, 16000)"), (np.zeros(SR, complex), "complex"),
    (np.array(["a"]), "(1,)"), (np.float64(3), "()")],
    ids=["NaN", "inf", "stereo", "complex", "words", "a number"])
def test_not_a_waveform(bad, words):
    for call in (constellation, fingerprint, autocorrelation, loop_period,
                 lambda w: near_duplicates([w])):
        with complains(words): call(bad)

@pytest.mark.parametrize("sr", [0, -1, 100, np.nan, np.inf, "16000", None, [16000, 8000]])
def test_not_a_rate_for_all(sr):
    with complains("sr", "1000 Hz or more", sr): near_duplicates([np.zeros(SR)], sr)

@pytest.mark.parametrize("sr", [0, -1, np.nan, np.inf, "16000", None, [16000, 8000]])
def test_not_a_rate(sr):
    for call in (constellation, fingerprint, autocorrelation, loop_period,
                 lambda w, sr: overlap_correlation(w, w, sr)):
        with complains("sr", sr): call(np.ones(SR), sr)

@pytest.mark.parametrize("bad, words", [
    (np.full(SR, np.nan), "NaN"), (np.zeros((2, SR)), "(2, 16000)"), (np.array(["a"]), "(1,)"),
    (3.0, "()")])
def test_not_a_waveform_to_correlate(bad, words):
    for pair in ((bad, np.ones(SR)), (np.ones(SR), bad)):
        with complains(words): overlap_correlation(*pair)

@pytest.mark.parametrize("offset_s", [np.nan, np.inf, -np.inf, 1e308, "1", None])
def test_not_an_offset(offset_s):
    wav = np.ones(SR)
    with complains("offset_s", offset_s): overlap_correlation(wav, wav, SR, offset_s)

@pytest.mark.parametrize("shortest_s", [0, -1, 0.06, np.nan, np.inf, "1", None])
def test_not_a_shortest_loop(shortest_s):
    wav = noise("traffic", 4, rng(12))
    with complains("shortest_s", "0.064", shortest_s): loop_period(wav, SR, shortest_s)

def test_the_shortest_loops():
    wav = noise("traffic", 4, rng(12))
    assert loop_period(wav, SR, 0.064) is None and loop_period(wav, SR, 1e307) is None
    assert loop_period(np.tile(wav[:SR // 4], 8), SR, 0.064) == 0.25

@pytest.mark.parametrize("factor", [1e3, 1e30, 1e200, 1e308])
def test_large_samples(streets, factor):
    "No overflow, and the same duplicates."
    wav = streets[1] / np.abs(streets[1]).max()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        huge = factor * wav
        assert np.mean(np.isin(fingerprint(wav)[0], fingerprint(huge)[0])) > 0.99
        found = near_duplicates([wav, streets[0], huge[SR:]])
        assert [(c.first, c.second) for c in found] == [(0, 2)]
        assert overlap_correlation(wav, huge)[0] == pytest.approx(1)
        assert loop_period(np.tile(huge[:2 * SR], 4)) == 2

def test_integers(streets):
    wav = np.int16(32767 * streets[1] / np.abs(streets[1]).max())
    wav[np.argmin(wav)] = -32768
    assert np.abs(duplicates._waveform(wav)).max() == 1
    (c,) = near_duplicates([streets[1], wav[SR:]])
    assert c.offset_s == 1 and c.correlation > 0.98

def test_samples_within_one_are_left_alone(streets):
    for wav in (np.float32(streets[1]), np.float32([-1, 1, 1e-30, 0])):
        assert np.abs(wav).max() <= 1
        assert duplicates._waveform(wav).tobytes() == wav.tobytes()


# ---- how it works

def test_the_same_every_time(streets):
    wavs = streets + [noisy(w, 15, 1)[3000:] for w in streets]
    assert near_duplicates(wavs) == near_duplicates(wavs)

def test_blocks_and_batches_change_nothing(streets, monkeypatch):
    wavs = streets[:6] + [noisy(w, 20, 1)[3000:] for w in streets[:6]]
    wavs.append(np.concatenate(streets[6:]))
    peaks, found = constellation(wavs[-1]), near_duplicates(wavs)
    monkeypatch.setattr(duplicates, "_BLOCK", 97)
    monkeypatch.setattr(duplicates, "_BATCH", 1000)
    assert np.array_equal(peaks, constellation(wavs[-1]))
    assert near_duplicates(wavs) == found and len(found) >= 5

def test_order_of_recordings(streets):
    a, b = streets[0], streets[0][SR:]
    (one,), (two,) = near_duplicates([a, b]), near_duplicates([b, a])
    assert one.offset_s == -two.offset_s == 1
    assert one.correlation == pytest.approx(two.correlation, abs=0.01)

def test_time_grows_with_the_sound():
    "Four times the recordings take about four times as long; all pairs would be sixteen times."
    kinds = ("traffic", "rain", "crowd", "tyres")
    clips = [0.1 * noise(kinds[i % 4], 3, rng(10, i)) for i in range(40)]
    clips += [np.roll(np.flip(w), 999) for w in clips]          # backwards: nothing in common
    def took(n):
        start = time.perf_counter()
        near_duplicates(clips[:n])
        return time.perf_counter() - start
    took(4)
    assert min(took(80) for _ in range(3)) < 9 * min(took(20) for _ in range(3))

def test_overlap_correlation(streets):
    a, b = streets[:2]
    assert overlap_correlation(a, b)[0] < 0.1 and overlap_correlation(a, a)[0] == pytest.approx(1)
    assert overlap_correlation(a, a[777:], offset_s=800 / SR)[1] == pytest.approx(777 / SR)
    assert overlap_correlation(a, a, offset_s=100) == (0.0, 100)
    assert overlap_correlation(np.zeros(SR), np.zeros(SR))[0] == 0

def test_odd_lengths_are_as_fast_and_as_exact():
    "A transform of a prime number of samples takes many times as long, so none is made."
    wav = rng(16).standard_normal(160001)
    def took(n):
        start = time.perf_counter()
        overlap_correlation(wav[:n], wav[:n])
        return time.perf_counter() - start
    took(100)
    assert min(took(159979) for _ in range(5)) < 4 * min(took(160000) for _ in range(5))
    for n, lag in ((63997, 1), (63997, 777), (159979, 5333), (1999, 3)):
        c, offset_s = overlap_correlation(wav[:n], wav[lag:n + lag], SR, lag / SR + 0.001)
        assert offset_s == lag / SR and c > 0.9


# ---- loops

@pytest.mark.parametrize("seconds", [1.7, 2.5, 3.21])
def test_a_loop(seconds):
    loop = 0.1 * np.tile(noise("traffic", seconds, rng(11)), 4)
    for wav in (loop, noisy(loop, 10, 1), equalised(loop, 6, -6, 6),
                through_file(loop, format="MP3"), loop[:round(1.9 * seconds * SR)]):
        assert loop_period(wav) == pytest.approx(round(seconds * SR) / SR, abs=1e-3)

@pytest.mark.parametrize("kind", ["traffic", "rain", "voices", "crowd", "tyres"])
def test_no_loop(kind): assert loop_period(noise(kind, 8, rng(12))) is None

def test_no_loop_in_a_street(streets): assert [loop_period(w) for w in streets[::2]] == [None] * 7

def test_autocorrelation_by_definition():
    wav = noise("traffic", 0.5, rng(13))
    c = autocorrelation(wav)
    n = len(wav)
    spectrum, _ = duplicates._whitened(duplicates._waveform(wav).astype(float), 2 * n, SR)
    x = np.fft.irfft(spectrum, 2 * n)[:n]
    for lag in (0, 1, 5, 4000):
        a, b = x[:len(x) - lag], x[lag:]
        assert c[lag] == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=1e-9)


# ---- tables

def test_loop_table():
    pieces = [noise("rain", 1, rng(14, i)) for i in range(5)]
    rows = loop_table([noisy(pieces[i % 5], 20, i) for i in range(12)])
    assert [r["distance"] for r in rows if r["median"] > 0.9] == [5, 10]
    assert [r["pairs"] for r in rows] == list(range(11, 0, -1))

def test_count_duplicates(streets):
    wavs = [*streets[:3], streets[0], streets[1]]
    data = Dataset("one", [Recording(np.float32(w), SR, "emergency", g, Path("a.wav"))
                           for w, g in zip(wavs, "abcac")])
    assert count_duplicates(data) == {"dataset": "one", "recordings": 5, "minutes": 0.33,
                                      "within": 1, "across": 1}

def test_run_resumes(tmp_path, monkeypatch):
    folder = write_folder(tmp_path/"mine")
    (row,) = run([folder], out=tmp_path)
    assert row["dataset"] == "mine"
    assert read_csv(tmp_path/"duplicates.csv", DUPLICATE_COLUMNS) == [row]
    monkeypatch.setattr("sirenbook.experiments.duplicates.load_dataset", None)     # not needed
    assert run([folder], out=tmp_path) == [row] and not (tmp_path/"loop.csv").exists()

def test_between_two_data_sets(tmp_path):
    one, two = (write_folder(tmp_path/name, seconds=4) for name in ("one", "two"))
    sounds = [p for d in (one, two) for p in sorted(d.rglob("*.wav"))]
    for i, p in enumerate(sounds): write(p, 0.1 * noise("traffic", 4, rng(20, i)))
    write(two/"emergency"/"copy.wav", sf.read(sounds[0])[0][SR:])
    rows = run([one, two], out=tmp_path)
    assert [r["dataset"] for r in rows] == ["one", "two", "one+two"]
    assert [r["across"] for r in rows] == [0, 0, 1]
    assert rows[2]["recordings"] == rows[0]["recordings"] + rows[1]["recordings"]

def test_no_sound_of_street_is_in_esvs():
    rows = {r["dataset"]: r for r in read_csv(ROOT/"data"/"duplicates.csv", DUPLICATE_COLUMNS)}
    both = rows["esvs+street"]
    assert both["across"] == 0
    assert both["within"] == sum(rows[d][c] for d in ("esvs", "street")
                                 for c in ("within", "across"))

def test_run_without_a_folder(tmp_path):
    with complains("nowhere", kind=SirenbookFileError): run(["roadside"], out=tmp_path/"nowhere")

def test_traffic_without_numbers():
    clip = Recording(np.zeros(9), SR, "non-emergency", "a", Path("street.wav"))
    with complains("mine", "numbered", kind=SirenbookError):
        traffic_clips(Dataset("mine", [clip]))

HEAD = b"distance,pairs,least,median,greatest\n"

@pytest.mark.parametrize("content", [b"", b"distance\n1\n", HEAD, HEAD + b"1,2,3", HEAD + b"1,2\n",
                                     b"\xff\xfe", HEAD + b"1,2,a,b,c\n"])
def test_a_damaged_table(tmp_path, content):
    (tmp_path/"t.csv").write_bytes(content)
    with complains("t.csv", kind=SirenbookFileError): read_csv(tmp_path/"t.csv", LOOP_COLUMNS)
    with complains("none.csv", kind=SirenbookFileError): read_csv(tmp_path/"none.csv", LOOP_COLUMNS)

def traffic():
    clips = traffic_clips(load_dataset(real("esvs")))
    assert len(clips) == 200
    return clips

def test_the_loop_of_esvs():
    "Rows of data/loop.csv, measured again on the first eighty clips and the last twenty."
    wavs = traffic()
    rows = {r["distance"]: r for r in read_csv(ROOT/"data"/"loop.csv", LOOP_COLUMNS)}
    assert list(rows) == list(range(1, 200))
    assert all(r["pairs"] == 200 - d for d, r in rows.items())
    for d, n in ((60, 20), (180, 20), (1, 79), (59, 21)):
        c, r = [np.corrcoef(wavs[i], wavs[i + d])[0, 1] for i in range(n)], rows[d]
        assert r["least"] - 1e-3 <= min(c) and max(c) <= r["greatest"] + 1e-3
        assert np.median(c) == pytest.approx(r["median"], abs=0.02)
    assert loop_period(np.concatenate(wavs[:80])) == pytest.approx(180, abs=1e-3)

def test_duplicates_in_esvs():
    "All of them are within its groups; those of the first forty ambulances, measured again."
    rows = {r["dataset"]: r for r in read_csv(ROOT/"data"/"duplicates.csv", DUPLICATE_COLUMNS)}
    assert rows["esvs"]["across"] == 0
    assert rows["esvs"]["within"] == 240 + 49, "the traffic's loop, and the sirens"
    folder = real("esvs")
    with open(folder/"manifest.csv", newline="", encoding="utf-8") as f:
        some = [r for r in csv.DictReader(f) if r["kind"] == "ambulance"][:40]
    found = near_duplicates([load_wav(folder/r["file"]) for r in some])
    assert len(found) > 10
    assert all(some[c.first]["group"] == some[c.second]["group"] for c in found)

def test_duplicates_in_the_traffic():
    "They are its loop, pair for pair: 60, 120 and 180 clips apart, and no others."
    found = near_duplicates(traffic())
    pairs = sorted((i, i + d) for d in (60, 120, 180) for i in range(200 - d))
    assert [(c.first, c.second) for c in found] == pairs

def test_duplicates_in_street():
    folder = real("street")
    with pytest.warns(SirenbookWarning, match="2 pairs") as caught:
        data = load_dataset(folder, duplicates=True)
    assert len(caught) == 1
    assert read_csv(ROOT/"data"/"duplicates.csv", DUPLICATE_COLUMNS)[2] == count_duplicates(data)
    groups = lambda data: {r.group for r in data.recordings}
    assert len(groups(data)) - len(groups(merge_duplicate_groups(data))) == 2


# ---- loading

def folder_with_a_copy(tmp_path, label="emergency", cut=SR):
    "Four noises of 4 s, and the copy of one of them through mp3."
    mine = write_folder(tmp_path/"mine", seconds=4)
    wav = sf.read(mine/"emergency"/"1.wav")[0]
    write(mine/label/"copy.mp3", 0.5 * wav[cut:], format="MP3")
    return mine

def warnings_of(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return result, [w for w in caught if issubclass(w.category, SirenbookWarning)]

@pytest.mark.parametrize("load", [load_dataset, load_folder])
def test_one_warning(tmp_path, load):
    mine = folder_with_a_copy(tmp_path)
    write(mine/"emergency"/"third.flac", sf.read(mine/"emergency"/"1.wav")[0] / 3)
    _, (w,) = warnings_of(lambda: load(mine, duplicates=True))        # three pairs, one warning
    text = str(w.message)
    assert is_sentence(text.replace("manifest.csv", "manifest")) or "\n" not in text
    for words in ("mine", "3 pairs", "emergency/1.wav", "emergency/copy.mp3", "1.00 s into it",
                  "manifest.csv", "sirenbook.duplicates.merge_duplicate_groups(dataset)"):
        assert words in text, text
    assert "under two labels" not in text and Path(w.filename) == Path(__file__)

def test_a_copy_under_two_labels(tmp_path):
    mine = folder_with_a_copy(tmp_path, "non-emergency", cut=0)
    data, (w,) = warnings_of(lambda: load_dataset(mine, duplicates=True))
    for words in ("1 pair of", "1 of them under two labels", "begins"):
        assert words in str(w.message)
    assert {r.group for r in merge_duplicate_groups(data).recordings} == {
        f"{c}/{i}.wav" for c in CLASSES for i in range(2)}

def test_no_warning(tmp_path):
    assert not warnings_of(lambda: load_dataset("roadside", duplicates=True))[1]
    other = write_folder(tmp_path/"other")
    assert not warnings_of(lambda: load_dataset(other, duplicates=True))[1]
    mine = folder_with_a_copy(tmp_path)
    (mine/"manifest.csv").write_text("file,label,group\nemergency/1.wav,emergency,siren\n"
                                     "emergency/copy.mp3,emergency,siren\n")
    assert not warnings_of(lambda: load_dataset(mine, duplicates=True))[1]

def test_only_on_request(tmp_path, monkeypatch):
    def searched(*args): raise AssertionError("searched")
    monkeypatch.setattr(duplicates, "near_duplicates", searched)
    mine = folder_with_a_copy(tmp_path)
    for load in (load_dataset, load_folder):
        assert not warnings_of(lambda load=load: load(mine))[1]
        with pytest.raises(AssertionError, match="searched"): load(mine, duplicates=True)
    load_dataset("roadside")

def test_merge_duplicate_groups(tmp_path):
    data = load_dataset(folder_with_a_copy(tmp_path))
    one = merge_duplicate_groups(data)
    assert [r.group for r in one.recordings] == [
        "emergency/0.wav", "emergency/1.wav", "emergency/1.wav", "non-emergency/0.wav",
        "non-emergency/1.wav"]
    assert data.recordings[2].group == "emergency/copy.mp3", "the data set given was changed"
    assert duplicates_across(one) == [] and one.name == data.name
    assert all(a.wav is b.wav for a, b in zip(one.recordings, data.recordings))

def test_merge_through_a_chain(streets):
    "The first shares with the second, the second with the third: one group, in any order."
    whole = np.float32(np.concatenate(streets[:2]))
    cuts = {"c": whole[:3 * SR], "b": whole[2 * SR:5 * SR], "a": whole[4 * SR:7 * SR],
            "d": np.float32(streets[5])}
    for names in ("cbad", "abcd", "dbac"):
        data = Dataset("chain", [Recording(cuts[g], SR, "emergency", g, Path(g)) for g in names])
        assert {r.group for r in merge_duplicate_groups(data).recordings} == {"a", "d"}

def test_merge_at_two_rates(streets):
    data = Dataset("odd", [Recording(streets[0], sr, "emergency", str(sr), Path("a"))
                           for sr in (SR, 8000)])
    with complains("odd", "sample rates"): merge_duplicate_groups(data)
    assert merge_duplicate_groups(Dataset("empty", [])).recordings == []


# ---- a split in the manifest

def with_manifest(folder, *rows):
    (folder/"manifest.csv").write_text("\n".join(("file,label,group,split", *rows, "")))
    return folder

def test_a_group_in_two_parts(tmp_path):
    mine = write_folder(tmp_path/"mine")
    with_manifest(mine, "emergency/0.wav,emergency,red car,train",
                  "emergency/1.wav,emergency,red car,test",
                  "non-emergency/0.wav,non-emergency,street,train")
    with complains("manifest.csv", "red car", "test and train", kind=SirenbookFileError):
        load_dataset(mine)

def test_groups_that_keep_to_their_part(tmp_path):
    mine = write_folder(tmp_path/"mine")
    with_manifest(mine, "emergency/0.wav,emergency,red car,train",
                  "emergency/1.wav,emergency,red car, ",
                  "non-emergency/0.wav,non-emergency,street,test")
    assert len(load_dataset(mine).recordings) == 4
    with_manifest(mine, "emergency/0.wav,emergency,red car")
    assert len(load_dataset(mine).recordings) == 4
