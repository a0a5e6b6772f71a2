"""Copies of sounds: found through every disguise, never where there are none; and what loading says of them."""
import csv, io, time, warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr
from shared import ROOT, complains, is_sentence, real, write, write_folder
from sirenbook import duplicates
from sirenbook.duplicates import COPIES_COLUMNS, LOOP_COLUMNS, DuplicatePair, autocorrelation, constellation, fingerprint, overlap_correlation, loop_period, near_duplicates, run_copies, run_loop
from sirenbook.errors import SirenbookFileError, SirenbookWarning
from sirenbook.noises import noise
from sirenbook.duplicates import duplicates_across, merge_duplicate_groups
from sirenbook.recordings import CLASSES, Dataset, Recording, load_dataset, load_folder, load_wav
from sirenbook.roads import band_power, propagate, scene
from sirenbook.files import read_csv
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
    return np.fft.irfft(np.fft.rfft(wav) * 10 ** (np.interp(np.log2(hz / 60), np.linspace(0, 7, len(gains_db)), gains_db) / 20), len(wav))

def noisy(wav, snr_db, seed):
    "Noise of its own for each sound, as many dB below it in the band where the book takes SNR."
    extra = rng(seed, int(1e6 * np.abs(wav).sum())).standard_normal(len(wav))
    return wav + 10 ** (-snr_db / 20) * np.sqrt(band_power(wav, SR).mean() / band_power(extra, SR).mean()) * extra

# name -> (what is done, when the copy begins, s; `mp3` adds nothing that the decoder does not take away)
DISGUISES = {
    "itself": (lambda w: w, 0), "20 dB softer": (lambda w: w / 10, 0), "20 dB louder": (lambda w: 10 * w, 0), "upside down": (lambda w: -w, 0),
    "mp3": (lambda w: through_file(w, format="MP3"), 0), "ogg": (lambda w: through_file(w, format="OGG"), 0),
    "8 bits": (lambda w: through_file(w / np.abs(w).max(), format="WAV", subtype="PCM_U8"), 0),
    "8 kHz": (lambda w: through_rate(w, 8000), 0), "44.1 kHz": (lambda w: through_rate(w, 44100), 0),
    "bass": (lambda w: equalised(w, 10, -10), 0), "treble": (lambda w: equalised(w, -10, 10), 0), "bands": (lambda w: equalised(w, 6, -6, 3, -6, 6, -9), 0),
    "a second later": (lambda w: w[SR:], 1), "half a frame later": (lambda w: w[128:], 0.008), "an odd time later": (lambda w: w[12345:], 12345 / SR),
    "with something before": (lambda w: np.concatenate([0.1 * noise("rain", 1.5, rng(int(1e6 * np.abs(w).sum()))), w]), -1.5),
    "with an offset": (lambda w: w + 0.1, 0),
    "much": (lambda w: through_file(0.3 * equalised(w[7001:], 3, -6, 3), format="MP3"), 7001 / SR),
}
NOISY = {"10 dB": lambda w: noisy(w, 10, 1), "10 dB, later": lambda w: noisy(w[9999:], 10, 2)}

@pytest.fixture(scope="module")
def streets():
    "Fourteen streets of 4 s, half of them with a siren."
    return [scene(4, rng(1, i), KINDS[i // 2] if i % 2 else "").mix.astype(float) for i in range(14)]


# ---- copies

@pytest.mark.parametrize("name", DISGUISES)
def test_a_copy_in_disguise(streets, name):
    disguise, begins_s = DISGUISES[name]
    n = len(streets)
    found = near_duplicates(streets + [disguise(w) for w in streets])
    assert [(c.first, c.second) for c in found] == [(i, i + n) for i in range(n)]
    for c in found:
        assert abs(c.offset_s - begins_s) < 0.01 and 0.3 <= c.correlation <= 1 and 0.5 <= c.seconds <= 4

@pytest.mark.parametrize("name", NOISY)
def test_a_copy_in_noise(streets, name):
    "Nearly all are found, and nothing else."
    n, begins_s = len(streets), 9999 / SR if "later" in name else 0
    found = near_duplicates(streets + [NOISY[name](w) for w in streets])
    assert all(c.second == c.first + n and abs(c.offset_s - begins_s) < 0.01 for c in found)
    assert len(found) >= 0.85 * n

def test_a_clean_copy_is_known_whole(streets):
    (c,) = near_duplicates([streets[0], streets[0].copy()])
    assert c == DuplicatePair(0, 1, 0.0, 4.0, 1.0) and all(type(v) in (int, float) for v in vars(c).values())

def test_a_clip_of_a_long_recording():
    long = 0.1 * np.concatenate([noise(k, 10, rng(3)) for k in ("traffic", "rain", "tyres")])
    (c,) = near_duplicates([0.1 * noise("water", 5, rng(4)), long, long[17 * SR + 77:20 * SR + 77]])
    assert (c.first, c.second) == (1, 2) and abs(c.offset_s - 17 - 77 / SR) < 1e-3 and 2 <= c.seconds <= 3

def test_a_short_piece_in_two_long_recordings():
    "Only three seconds are shared: they count, and not the minute around them."
    jingle = noise("voices", 3, rng(5))
    one, two = (0.1 * noise("rain", 25, rng(6, i)) for i in range(2))
    one[10 * SR:13 * SR], two[20 * SR:23 * SR] = 0.1 * jingle, 0.1 * jingle
    (c,) = near_duplicates([one, two])
    assert abs(c.offset_s + 10) < 0.01 and 2 <= c.seconds <= 4 and c.correlation > 0.5

def test_many_copies_of_one_clip(streets, monkeypatch):
    "More than an entry of the index looks at: all hang together, if not each with each."
    monkeypatch.setattr(duplicates, "NEIGHBOURS", 3)
    data = Dataset("many", [Recording(np.float32(streets[0][100 * i:]), SR, CLASSES[i % 2], f"{i:02}", Path(f"{i}.wav")) for i in range(12)])
    assert len(duplicates_across(data)) < 12 * 11 / 2 and {r.group for r in merge_duplicate_groups(data).recordings} == {"00"}

@pytest.mark.parametrize("sr", [8000, 22050, 44100, 48000])
def test_any_rate(streets, sr):
    wavs = [soxr.resample(w, SR, sr) for w in streets[:6]]
    found = near_duplicates(wavs + [w[sr // 3:] for w in wavs], sr)
    assert [(c.first, c.second) for c in found] == [(i, i + 6) for i in range(6)]
    assert all(abs(c.offset_s - (sr // 3) / sr) < 1e-3 for c in found)
    same = [np.mean(np.isin(fingerprint(a)[0], fingerprint(b, sr)[0])) for a, b in zip(streets, wavs)]
    other = [np.mean(np.isin(fingerprint(a)[0], fingerprint(b, sr)[0])) for a, b in zip(streets, wavs[1:])]
    assert min(same) > 5 * max(other) and np.mean(same) > 0.5

@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_any_kind_of_number(streets, dtype):
    wav = (streets[0] / np.abs(streets[0]).max() * (32767 if dtype == np.int16 else 1)).astype(dtype)
    (c,) = near_duplicates([streets[0], wav])
    assert c.correlation > 0.99


# ---- no copies

def test_no_copies_in_roadside():
    data = load_dataset("roadside")
    assert near_duplicates([r.wav for r in data.recordings]) == []
    rows = read_csv(ROOT/"data"/"duplicates.csv", COPIES_COLUMNS)
    assert [(r["within"], r["across"]) for r in rows if r["dataset"] == "roadside"] == [(0, 0)]

@pytest.mark.parametrize("kind", KINDS)
def test_sirens_of_one_kind(kind):
    assert near_duplicates([siren(kind, 4, rng(2, i)) for i in range(12)]) == []

@pytest.mark.parametrize("preset", ["PA300 wail", "PA300 yelp", "phaser", "German town horn", "French police", "Q siren"])
def test_one_siren_in_several_streets(preset):
    sent, heard = render(preset, 4), []
    for i in range(6):
        r = rng(7, i)
        mps = r.uniform(3, 20)
        wav = propagate(sent, SR, (-mps * r.uniform(0, 4), r.uniform(4, 30), 1.5), (mps, 0, 0))
        heard.append(wav / np.std(wav) + 0.4 * noise("traffic", 4, r))
    assert near_duplicates(heard) == []

@pytest.mark.parametrize("kind", ["traffic", "rain", "wind", "voices", "tyres", "engine"])
def test_two_takes_of_one_street(kind):
    assert near_duplicates([noise(kind, 4, rng(8, i)) for i in range(10)]) == []

def test_a_step_at_the_end_is_no_sound():
    "An offset or strong bass makes a step where a recording is cut; steps are alike, sounds are not."
    r = rng(15)
    assert near_duplicates([0.01 * r.standard_normal(64000) + 0.5 for _ in range(100)]) == []
    assert near_duplicates([1e-3 * np.cumsum(r.standard_normal(64000)) for _ in range(100)]) == []
    assert overlap_correlation(0.01 * r.standard_normal(SR) + 0.5, 0.01 * r.standard_normal(SR) + 0.5)[0] < 0.1

def test_machines_at_one_speed_are_taken_for_copies():
    "A limit that the chapter tells of; few pairs, and only where hardly anything but the speed differs."
    found = near_duplicates([siren("mechanical", 5, rng(7, i)) for i in range(40)])
    assert 0 < len(found) < 40

def test_cuts_without_overlap_are_not_seen():
    "What cannot be found: the chapter says so."
    for i, kind in enumerate(("traffic", "rain", "crowd", "water")):
        wav = noise(kind, 8, rng(9, i))
        assert near_duplicates([wav[:4 * SR], wav[4 * SR:]]) == []
        assert near_duplicates([wav[:5 * SR], wav[4 * SR:]]) != []

def test_four_landmarks_are_no_proof(streets, monkeypatch):
    "The correlation decides: every pair that shares a landmark at all is tried, and none of the strangers passes."
    monkeypatch.setattr(duplicates, "LEAST", 1)
    assert near_duplicates(streets) == []

NOTHING = {"silence": np.zeros(SR), "a constant": np.full(SR, 0.4), "a tone": tone(440, 1), "a frame": np.ones(1024), "short": np.ones(500),
           "one sample": np.ones(1), "none": np.zeros(0), "whole numbers": np.zeros(SR, np.int16)}

@pytest.mark.parametrize("name", NOTHING)
def test_what_has_no_fingerprint(streets, name):
    wav = NOTHING[name]
    assert len(constellation(wav)) == 0 and [len(x) for x in fingerprint(wav)] == [0, 0]
    assert near_duplicates([wav, wav]) == [] and near_duplicates([wav]) == []
    found = near_duplicates([wav, streets[0], wav, streets[0][SR:], wav])
    assert [(c.first, c.second) for c in found] == [(1, 3)]
    assert loop_period(wav) is None and np.isfinite(autocorrelation(wav)).all()

def test_no_recordings(): assert near_duplicates([]) == []

@pytest.mark.parametrize("bad, words", [
    (np.full(SR, np.nan), "NaN"), (np.append(np.zeros(SR), np.inf), "infinity"), (np.zeros((2, SR)), "(2, 16000)"),
    (np.zeros(SR, complex), "complex"), (np.array(["a"]), "(1,)"), (np.float64(3), "()")], ids=["NaN", "inf", "stereo", "complex", "words", "a number"])
def test_what_is_no_waveform(bad, words):
    for call in (constellation, fingerprint, autocorrelation, loop_period, lambda w: near_duplicates([w])):
        with complains(words): call(bad)

@pytest.mark.parametrize("sr", [0, -1, 100, np.nan, np.inf, "16000", None, [16000, 8000]])
def test_what_is_no_rate(sr):
    with complains("sr", "1000 Hz or more", sr): near_duplicates([np.zeros(SR)], sr)

@pytest.mark.parametrize("sr", [0, -1, np.nan, np.inf, "16000", None, [16000, 8000]])
def test_what_is_no_rate_for_one(sr):
    for call in (constellation, fingerprint, autocorrelation, loop_period, lambda w, sr: overlap_correlation(w, w, sr)):
        with complains("sr", sr): call(np.ones(SR), sr)

@pytest.mark.parametrize("bad, words", [(np.full(SR, np.nan), "NaN"), (np.zeros((2, SR)), "(2, 16000)"), (np.array(["a"]), "(1,)"), (3.0, "()")])
def test_what_is_no_waveform_to_be_alike(bad, words):
    for pair in ((bad, np.ones(SR)), (np.ones(SR), bad)):
        with complains(words): overlap_correlation(*pair)

@pytest.mark.parametrize("offset_s", [np.nan, np.inf, -np.inf, 1e308, "1", None])
def test_what_is_no_offset(offset_s):
    with complains("offset_s", offset_s): overlap_correlation(np.ones(SR), np.ones(SR), SR, offset_s)

@pytest.mark.parametrize("shortest_s", [0, -1, 0.06, np.nan, np.inf, "1", None])
def test_what_is_no_shortest_loop(shortest_s):
    with complains("shortest_s", "0.064", shortest_s): loop_period(noise("traffic", 4, rng(12)), SR, shortest_s)

def test_the_shortest_loops_there_are():
    wav = noise("traffic", 4, rng(12))
    assert loop_period(wav, SR, 0.064) is None and loop_period(wav, SR, 1e307) is None
    assert loop_period(np.tile(wav[:SR // 4], 8), SR, 0.064) == 0.25

@pytest.mark.parametrize("factor", [1e3, 1e30, 1e200, 1e308])
def test_large_samples(streets, factor):
    "Finite is finite: no overflow, and the same duplicates."
    wav = streets[1] / np.abs(streets[1]).max()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        huge = factor * wav
        assert np.mean(np.isin(fingerprint(wav)[0], fingerprint(huge)[0])) > 0.99
        assert [(c.first, c.second) for c in near_duplicates([wav, streets[0], huge[SR:]])] == [(0, 2)]
        assert overlap_correlation(wav, huge)[0] == pytest.approx(1) and loop_period(np.tile(huge[:2 * SR], 4)) == 2

def test_whole_numbers_are_as_good(streets):
    whole = np.int16(32767 * streets[1] / np.abs(streets[1]).max())
    whole[np.argmin(whole)] = -32768
    assert np.abs(duplicates._waveform(whole)).max() == 1
    (c,) = near_duplicates([streets[1], whole[SR:]])
    assert c.offset_s == 1 and c.correlation > 0.98

def test_samples_within_one_are_left_alone(streets):
    for wav in (np.float32(streets[1]), np.float32([-1, 1, 1e-30, 0])):
        assert np.abs(wav).max() <= 1 and duplicates._waveform(wav).tobytes() == wav.tobytes()


# ---- how it works

def test_the_same_every_time(streets):
    wavs = streets + [noisy(w, 15, 1)[3000:] for w in streets]
    assert near_duplicates(wavs) == near_duplicates(wavs)

def test_blocks_and_parts_change_nothing(streets, monkeypatch):
    wavs = streets[:6] + [noisy(w, 20, 1)[3000:] for w in streets[:6]] + [np.concatenate(streets[6:])]
    stars, found = constellation(wavs[-1]), near_duplicates(wavs)
    monkeypatch.setattr(duplicates, "BLOCK", 97)
    monkeypatch.setattr(duplicates, "PART", 1000)
    assert np.array_equal(stars, constellation(wavs[-1])) and near_duplicates(wavs) == found and len(found) >= 5

def test_order_of_recordings(streets):
    a, b = streets[0], streets[0][SR:]
    (one,), (two,) = near_duplicates([a, b]), near_duplicates([b, a])
    assert one.offset_s == -two.offset_s == 1 and one.correlation == pytest.approx(two.correlation, abs=0.01)

def test_time_grows_with_the_sound():
    "Four times the recordings take about four times as long; comparing all pairs would take sixteen times."
    clips = [0.1 * noise(("traffic", "rain", "crowd", "tyres")[i % 4], 3, rng(10, i)) for i in range(40)]
    clips = [w for w in clips] + [np.roll(np.flip(w), 999) for w in clips]                  # as different as they come
    def took(n):
        start = time.perf_counter()
        near_duplicates(clips[:n])
        return time.perf_counter() - start
    took(4)
    assert min(took(80) for _ in range(3)) < 9 * min(took(20) for _ in range(3))

def test_likeness(streets):
    a, b = streets[:2]
    assert overlap_correlation(a, b)[0] < 0.1 and overlap_correlation(a, a)[0] == pytest.approx(1)
    assert overlap_correlation(a, a[777:], offset_s=800 / SR)[1] == pytest.approx(777 / SR)
    assert overlap_correlation(a, a, offset_s=100) == (0.0, 100) and overlap_correlation(np.zeros(SR), np.zeros(SR))[0] == 0

def test_odd_lengths_are_as_fast_and_as_exact():
    "A transform of a prime number of samples takes many times as long; nothing waits for one."
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
    for wav in (loop, noisy(loop, 10, 1), equalised(loop, 6, -6, 6), through_file(loop, format="MP3"), loop[:round(1.9 * seconds * SR)]):
        assert loop_period(wav) == pytest.approx(round(seconds * SR) / SR, abs=1e-3)

@pytest.mark.parametrize("kind", ["traffic", "rain", "voices", "crowd", "tyres"])
def test_no_loop(kind): assert loop_period(noise(kind, 8, rng(12))) is None

def test_no_loop_in_a_street(streets): assert [loop_period(w) for w in streets[::2]] == [None] * 7

def test_autocorrelation_by_definition():
    wav = noise("traffic", 0.5, rng(13))
    c = autocorrelation(wav)
    x = np.fft.irfft(duplicates._levelled(duplicates._waveform(wav).astype(float), 2 * len(wav), SR)[0], 2 * len(wav))[:len(wav)]
    for lag in (0, 1, 5, 4000):
        a, b = x[:len(x) - lag], x[lag:]
        assert c[lag] == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=1e-9)


# ---- tables

def test_run_loop(tmp_path):
    pieces = [noise("rain", 1, rng(14, i)) for i in range(5)]
    run_loop([noisy(pieces[i % 5], 20, i) for i in range(12)], tmp_path/"loop.csv")
    rows = read_csv(tmp_path/"loop.csv", LOOP_COLUMNS)
    assert [r["distance"] for r in rows if r["median"] > 0.9] == [5, 10] and [r["pairs"] for r in rows] == list(range(11, 0, -1))

def test_run_copies(streets, tmp_path):
    run_copies({"one": ([*streets[:3], streets[0], streets[1]], ["a", "b", "c", "a", "c"])}, tmp_path/"duplicates.csv")
    (r,) = read_csv(tmp_path/"duplicates.csv", COPIES_COLUMNS)
    assert (r["dataset"], r["recordings"], r["within"], r["across"]) == ("one", 5, 1, 1) and r["minutes"] == pytest.approx(20 / 60, abs=.01)

@pytest.mark.parametrize("content", [b"", b"distance\n1\n", b"distance,pairs,least,median,greatest\n", b"distance,pairs,least,median,greatest\n1,2,3",
                                     b"distance,pairs,least,median,greatest\n1,2\n", b"\xff\xfe", b"distance,pairs,least,median,greatest\n1,2,a,b,c\n"])
def test_a_table_that_is_none(tmp_path, content):
    (tmp_path/"t.csv").write_bytes(content)
    with complains("t.csv", kind=SirenbookFileError): read_csv(tmp_path/"t.csv", LOOP_COLUMNS)
    with complains("none.csv", kind=SirenbookFileError): read_csv(tmp_path/"none.csv", LOOP_COLUMNS)

def traffic():
    files = sorted((real("esvs")/"non-emergency").glob("*"), key=lambda p: int(p.stem.partition("_")[2]))
    assert len(files) == 200
    return files

def test_the_loop_of_esvs(tmp_path):
    "What data/loop.csv says of the traffic clips, measured anew on the first eighty and the last twenty."
    files = traffic()
    wavs = {i: load_wav(files[i]) for i in (*range(80), *range(180, 200))}
    rows = {r["distance"]: r for r in read_csv(ROOT/"data"/"loop.csv", LOOP_COLUMNS)}
    assert list(rows) == list(range(1, 200)) and all(r["pairs"] == 200 - d for d, r in rows.items())
    pairs = {60: [(i, i + 60) for i in range(20)], 180: [(i, i + 180) for i in range(20)], 1: [(i, i + 1) for i in range(79)], 59: [(i, i + 59) for i in range(21)]}
    for d, some in pairs.items():
        c = [np.corrcoef(wavs[i], wavs[j])[0, 1] for i, j in some]
        assert rows[d]["least"] - 1e-3 <= min(c) and max(c) <= rows[d]["greatest"] + 1e-3 and np.median(c) == pytest.approx(rows[d]["median"], abs=0.02)
    assert loop_period(np.concatenate([load_wav(f) for f in files[:80]])) == pytest.approx(180, abs=1e-3)

def test_copies_of_esvs():
    "All copies in esvs lie within its groups; those of the first forty ambulances, measured anew."
    rows = {r["dataset"]: r for r in read_csv(ROOT/"data"/"duplicates.csv", COPIES_COLUMNS)}
    assert rows["esvs"]["across"] == 0 and rows["esvs"]["within"] == 240 + 49, "the traffic's loop, and the sirens"
    folder = real("esvs")
    with open(folder/"manifest.csv", newline="", encoding="utf-8") as f:
        some = [r for r in csv.DictReader(f) if r["kind"] == "ambulance"][:40]
    found = near_duplicates([load_wav(folder/r["file"]) for r in some])
    assert len(found) > 10 and all(some[c.first]["group"] == some[c.second]["group"] for c in found)

def test_copies_of_the_traffic():
    "Its copies are its loop, pair for pair: 60, 120 and 180 clips apart, and none else."
    found = near_duplicates([load_wav(f) for f in traffic()])
    assert [(c.first, c.second) for c in found] == sorted((i, i + d) for d in (60, 120, 180) for i in range(200 - d))

def test_copies_of_street():
    folder = real("street")
    with pytest.warns(SirenbookWarning, match="2 pairs") as heard: data = load_dataset(folder)
    assert len(heard) == 1 and read_csv(ROOT/"data"/"duplicates.csv", COPIES_COLUMNS)[2]["across"] == 2
    assert len({r.group for r in data.recordings}) - len({r.group for r in merge_duplicate_groups(data).recordings}) == 2


# ---- loading

def folder_with_a_copy(tmp_path, label="emergency", cut=SR, **kwargs):
    "Four noises of 4 s, and the copy of one of them through mp3."
    mine = write_folder(tmp_path/"mine", seconds=4)
    write(mine/label/"copy.mp3", 0.5 * sf.read(mine/"emergency"/"1.wav")[0][cut:], format="MP3")
    return mine

def heard_from(call):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        result = call()
    return result, [w for w in heard if issubclass(w.category, SirenbookWarning)]

@pytest.mark.parametrize("load", [load_dataset, load_folder])
def test_a_copy_is_told_of_once(tmp_path, load):
    mine = folder_with_a_copy(tmp_path)
    write(mine/"emergency"/"third.flac", sf.read(mine/"emergency"/"1.wav")[0] / 3)        # three pairs now, one warning
    _, heard = heard_from(lambda: load(mine))
    (w,) = heard
    text = str(w.message)
    assert is_sentence(text.replace("manifest.csv", "manifest")) or "\n" not in text
    for words in ("mine", "3 pairs", "emergency/1.wav", "emergency/copy.mp3", "1.00 s into it", "manifest.csv", "joined(dataset)"): assert words in text, text
    assert "under two labels" not in text and Path(w.filename) == Path(__file__)

def test_a_copy_under_two_labels(tmp_path):
    data, (w,) = heard_from(lambda: load_dataset(folder_with_a_copy(tmp_path, "non-emergency", cut=0)))
    assert "1 pair of" in str(w.message) and "1 of them under two labels" in str(w.message) and "begins" in str(w.message)
    assert {r.group for r in merge_duplicate_groups(data).recordings} == {"emergency/0.wav", "emergency/1.wav", "non-emergency/0.wav", "non-emergency/1.wav"}

def test_no_word_where_there_is_no_need(tmp_path):
    assert not heard_from(lambda: load_dataset("roadside"))[1]
    assert not heard_from(lambda: load_dataset(write_folder(tmp_path/"other")))[1]
    mine = folder_with_a_copy(tmp_path)
    assert not heard_from(lambda: load_dataset(mine, copies=False))[1] and not heard_from(lambda: load_folder(mine, copies=False))[1]
    (mine/"manifest.csv").write_text("file,label,group\nemergency/1.wav,emergency,siren\nemergency/copy.mp3,emergency,siren\n")
    assert not heard_from(lambda: load_dataset(mine))[1]

def test_what_was_rendered_or_published_is_not_searched(tmp_path, monkeypatch):
    def never(*args): raise AssertionError("searched")
    monkeypatch.setattr("sirenbook.recordings.near_duplicates", never)
    load_dataset("roadside")
    real("esvs")
    monkeypatch.setenv("SIRENBOOK_DATA", str(real("esvs").parent))
    load_dataset("esvs")
    with pytest.raises(AssertionError, match="searched"): load_dataset(write_folder(tmp_path/"mine"))

def test_joined(tmp_path):
    mine = folder_with_a_copy(tmp_path)
    data = heard_from(lambda: load_dataset(mine))[0]
    one = merge_duplicate_groups(data)
    assert [r.group for r in one.recordings] == ["emergency/0.wav", "emergency/1.wav", "emergency/1.wav", "non-emergency/0.wav", "non-emergency/1.wav"]
    assert [r.group for r in data.recordings][2] == "emergency/copy.mp3", "the data set given was changed"
    assert duplicates_across(one) == [] and one.name == data.name and all(a.wav is b.wav for a, b in zip(one.recordings, data.recordings))

def test_joined_through_a_chain(streets):
    "The first shares with the second, the second with the third: all three go together, whatever their order."
    whole = np.float32(np.concatenate(streets[:2]))
    cuts = {"c": whole[:3 * SR], "b": whole[2 * SR:5 * SR], "a": whole[4 * SR:7 * SR], "d": np.float32(streets[5])}
    for names in ("cbad", "abcd", "dbac"):
        data = Dataset("chain", [Recording(cuts[g], SR, "emergency", g, Path(g)) for g in names])
        assert {r.group for r in merge_duplicate_groups(data).recordings} == {"a", "d"}

def test_joined_at_two_rates(streets):
    data = Dataset("odd", [Recording(streets[0], sr, "emergency", str(sr), Path("a")) for sr in (SR, 8000)])
    with complains("odd", "sample rates"): merge_duplicate_groups(data)
    assert merge_duplicate_groups(Dataset("empty", [])).recordings == []


# ---- a split in the manifest

def with_manifest(folder, *rows):
    (folder/"manifest.csv").write_text("file,label,group,split\n" + "".join(r + "\n" for r in rows), encoding="utf-8")
    return folder

def test_a_group_in_two_parts(tmp_path):
    mine = write_folder(tmp_path/"mine")
    rows = "emergency/0.wav,emergency,red car,train", "emergency/1.wav,emergency,red car,test", "non-emergency/0.wav,non-emergency,street,train"
    with complains("manifest.csv", "red car", "test and train", kind=SirenbookFileError): load_dataset(with_manifest(mine, *rows))

def test_groups_that_keep_to_their_part(tmp_path):
    mine = write_folder(tmp_path/"mine")
    rows = "emergency/0.wav,emergency,red car,train", "emergency/1.wav,emergency,red car, ", "non-emergency/0.wav,non-emergency,street,test"
    assert len(load_dataset(with_manifest(mine, *rows)).recordings) == 4
    assert len(load_dataset(with_manifest(mine, "emergency/0.wav,emergency,red car")).recordings) == 4
