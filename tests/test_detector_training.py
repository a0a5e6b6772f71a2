"The recipe from sounds to a detector, small, and what it must not do."
import json, shutil

import numpy as np
import pytest
import soundfile as sf
from shared import complains

from sirenbook.detector import Detector
from sirenbook.errors import SirenbookError, SirenbookFileError
from sirenbook.evaluation import false_alarms, operating_points
from sirenbook.recordings import CLASSES
from sirenbook.rendering import render_dataset

training = pytest.importorskip("sirenbook.detector_training", exc_type=SirenbookError,
                               reason="training needs TensorFlow")
from sirenbook import detector_data as data
from sirenbook.frames import (CONTEXT_FRAMES, STEP_FRAMES, STEP_S, WARM_FRAMES, Network,
                              running_pcen)
from sirenbook.networks import keras
from sirenbook.roads import band_power
from sirenbook.training import set_seed

FrameDataset, SR = data.FrameDataset, 16_000
MIXTURES = 40   # of which a fifth from each fold

# Targets

def test_no_siren_no_target():
    snr_db = np.full(100, np.nan)
    target, weight = data.step_targets([], snr_db, 78)
    assert target.shape == weight.shape == (78,) and target.dtype == weight.dtype == np.float32
    assert not target.any() and (weight == 1).all()

def test_a_pause_belongs_to_the_siren_but_no_longer_than_three_seconds():
    snr_db = np.full(200, np.nan)
    snr_db[20:40] = snr_db[60:80] = 5                       # 2 to 4 s, and 6 to 8 s
    at = lambda s: int(s / STEP_S)
    target, weight = data.step_targets([(2, 4), (6, 8)], snr_db, 156)
    assert not target[:at(2) - 1].any() and target[at(2.2):at(8) - 1].all()
    assert not target[at(8.2):].any()
    assert (weight[at(2.1):at(2.4)] < 0.5).all() and (weight[at(4.1):at(5.9)] == 1).all()
    target, _ = data.step_targets([(2, 4), (7.5, 9)], snr_db, 156)   # 3.5 s apart: two sirens
    assert not target[at(4.3):at(7.4)].any()
    target, _ = data.step_targets([(2, 20)], snr_db * np.r_[np.ones(50), np.full(150, np.nan)],
                                      156)                  # it sounds on, but is not audible
    assert target[at(6.5)] == 1 and not target[at(7.3):].any()

def test_a_faint_siren_is_left_open():
    snr_db = np.full(100, -10.0)                            # between -15 and -6 dB
    target, weight = data.step_targets([(0, 10)], snr_db, 78)
    assert not target.any() and not weight.any()
    target, weight = data.step_targets([(0, 10)], np.full(100, -20.0), 78)
    assert not target.any() and (weight == 1).all()         # nobody can notice it: a plain no

def test_more_steps_than_truth_repeat_its_end():
    target, _ = data.step_targets([(0, 1)], np.full(10, 3.0), 20)
    assert target.shape == (20,) and target.all()

def test_tags_stand_where_their_windows_end():
    tags = np.zeros((4, 527), np.float16)
    tags[:, 7] = [0, 10, 20, 30]                            # around 1, 2, 3 and 4 s
    found = data.tags_at(tags, 60)[:, 7]
    end_s = STEP_S * np.arange(1, 61)
    assert np.allclose(found, np.clip(10 * (end_s - 2), 0, 30), atol=0.05)
    assert data.tags_at(tags[:1], 60).shape == (60, 527) == data.tags_at(tags, 60).shape

def test_half_of_a_clips_target_is_the_teachers():
    sure = np.full((3, 527), -20, np.float16)
    assert np.allclose(data.clip_targets(False, sure, 9), 0, atol=1e-3)
    assert np.allclose(data.clip_targets(True, sure, 9), 0.5, atol=1e-3)
    sure[:, 323] = 20
    assert np.allclose(data.clip_targets(True, sure, 9), 1, atol=1e-3)
    assert np.allclose(data.clip_targets(False, sure, 9), 0.5, atol=1e-3)
    assert (data.clip_targets(True, None, 9) == 1).all()

# Recordings and folds

@pytest.mark.parametrize("wav", (np.zeros(SR), np.ones(SR), np.full(300, 0.5), np.eye(1, SR)[0]))
def test_a_varied_recording_is_finite_and_of_the_right_rate(wav):
    rng = np.random.default_rng(0)
    for _ in range(20):
        varied = data.vary_recording(wav.astype(np.float32), rng)
        assert varied.dtype == np.float32 and np.isfinite(varied).all()
        assert 0.8 < len(wav) / len(varied) < 1.22 and np.abs(varied).max() <= 1

def test_a_varied_tone_moves_by_its_speed():
    tone = np.sin(2 * np.pi * 1000 * np.arange(2 * SR) / SR).astype(np.float32)
    rng = np.random.default_rng(3)
    for _ in range(8):
        varied = data.vary_recording(tone, rng)
        hz = np.fft.rfftfreq(len(varied), 1 / SR)[np.abs(np.fft.rfft(varied)).argmax()]
        assert hz == pytest.approx(1000 * len(tone) / len(varied), rel=0.01)

def test_joined_groups_share_a_fold():
    assert {data.fold_of(f"set:{k}") for k in range(50)} == {*range(5)}
    for one, other in data.JOINED.items():
        assert data.fold_of(one) == data.fold_of(other)
    assert data.fold_of("world:fs197318") == 1          # on any computer, in any year

def a_sound(rng, siren, seconds=4):
    "Noise, with a tone that glides up and down or without."
    t = np.arange(seconds * SR) / SR
    wav = 0.02 * rng.standard_normal(len(t))
    slow = np.cos(2 * np.pi * t * rng.uniform(0.4, 0.8)) if siren else 0
    if siren: wav += 0.2 * np.sin(2 * np.pi * (900 * t - 300 / np.pi * slow))
    return wav.astype(np.float32)

CATEGORIES = ("dogs", "music")
FOLD = next(k for k in range(5) if all(     # both classes have groups in it
    any(data.fold_of(f"sounds:{c}{i}") == k for i in range(6)) for c in "en"))

def write_sounds(folder, n=12):
    "Recordings of each class, two a group, with a manifest."
    rng, rows = np.random.default_rng(0), ["file,label,group,category"]
    for label in CLASSES:
        (folder/label).mkdir(parents=True)
        for i in range(n):
            sf.write(folder/label/f"{i}.wav", a_sound(rng, label == "emergency"), SR)
            rows.append(f"{label}/{i}.wav,{label},{label[0]}{i // 2},{CATEGORIES[i // 2 % 2]}")
    (folder/"manifest.csv").write_text("\n".join(rows) + "\n")
    return folder

@pytest.fixture(scope="module")
def sounds(tmp_path_factory): return write_sounds(tmp_path_factory.mktemp("real")/"sounds")

@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    "Four rendered scenes of ten seconds."
    return render_dataset(tmp_path_factory.mktemp("rendered")/"scenes", 0.01, 1, seconds=10,
                          world=True)

@pytest.fixture(scope="module")
def real(sounds): return data.recorded_frames(sounds)

@pytest.fixture(scope="module")
def mixed(sounds): return data.mixed_frames([sounds], MIXTURES)

@pytest.fixture(scope="module")
def rendered(scenes): return data.rendered_frames(scenes)

def test_rendered_scenes_become_frames(rendered):
    assert len(rendered) == 4 and sorted(rendered.category) == ["rendered"] * 2 + ["siren"] * 2
    for mel, target, weight in zip(rendered.mels, rendered.target, rendered.weight):
        assert mel.shape == (78 * STEP_FRAMES, 64) and len(target) == len(weight) == 78
    assert any(t.any() for t in rendered.target)
    assert all(not t.any() for t, c in zip(rendered.target, rendered.category) if c == "rendered")

def test_recordings_are_taken_as_they_are(sounds, real):
    assert len(real) == 24 and {*real.category} == {"siren", "dogs", "music"}
    assert len(set(real.group)) == 12 and all(g.startswith("sounds:") for g in real.group)
    wav, _ = sf.read(sounds/"emergency"/"0.wav", dtype="float32")
    alone = FrameDataset()
    alone.add(wav, np.ones(31), np.ones(31), None, "sounds:e0", "siren")
    assert any(np.array_equal(m, alone.mels[0]) for m in real.mels)
    for target, c in zip(real.target, real.category): assert (target == (c == "siren")).all()

def test_the_folds_part_the_recordings(sounds, real):
    parts = [data.recorded_frames(sounds, fold=k) for k in range(5)]
    assert sum(map(len, parts)) == len(real) and len(parts[FOLD]) > 0
    for k, part in enumerate(parts): assert all(data.fold_of(g) == k for g in part.group)

def with_licenses(sounds, folder, license_of):
    "A copy of recordings whose manifest states a licence for each, by its file name."
    shutil.copytree(sounds, folder)
    head, *rows = (folder/"manifest.csv").read_text().splitlines()
    (folder/"manifest.csv").write_text("\n".join(
        [head + ",license_if_stated", *(f"{row},{license_of(row)}" for row in rows)]) + "\n")
    return folder

def test_only_licensed_recordings_are_learned_from(sounds, tmp_path):
    mine = with_licenses(sounds, tmp_path/"mine",
                         lambda row: "none stated" if "n1" in row else "CC0")
    groups = lambda **k: {g for _, g, _ in data.grouped_recordings(mine, **k)}
    everything, free, others = groups(), groups(licensed=True), groups(licensed=False)
    assert others == {"mine:n1"} and free == everything - others
    assert groups(fold=FOLD, licensed=True) == {g for g in free if data.fold_of(g) == FOLD}
    assert {*data.recorded_frames(mine, licensed=True).group} == free
    mixed = data.mixed_frames([mine], 40, licensed=True)
    assert {*mixed.group} <= free and "mine:n1" in {*data.mixed_frames([mine], 200).group}
    sources, n = training.sources_of([mine], True), data.grouped_recordings(mine, licensed=True)
    assert {s["license"] for s in sources} == {"CC0"}
    assert sum(s["recordings"] for s in sources) == len(n)

def test_a_licence_that_was_withdrawn_is_noticed(sounds, scenes, tmp_path):
    mine = with_licenses(sounds, tmp_path/"mine", lambda row: "CC0")
    made = training.load_training_data(tmp_path, scenes, [mine], n=10, licensed=True)[1]
    table = mine/"manifest.csv"
    assert training.load_training_data(tmp_path, scenes, [mine], n=10, licensed=True)[1].group == \
        made.group
    rows = table.read_text().splitlines()
    table.write_text("\n".join([rows[0], *(r.replace("CC0", "all rights reserved")
                                           for r in rows[1:])]) + "\n")
    with complains("made of other sounds"):
        training.load_training_data(tmp_path, scenes, [mine], n=10, licensed=True)

def test_a_manifest_that_contradicts_itself_is_refused(sounds, tmp_path):
    shutil.copytree(sounds, tmp_path/"some")
    table = tmp_path/"some"/"manifest.csv"
    table.write_text(table.read_text().replace(",dogs", ",siren"))
    with complains("label non-emergency", "category siren", kind=SirenbookFileError):
        data.grouped_recordings(tmp_path/"some")

def test_rows_of_a_manifest_from_windows_belong_to_their_files(sounds, tmp_path):
    shutil.copytree(sounds, tmp_path/"sounds")
    table = tmp_path/"sounds"/"manifest.csv"
    table.write_text(table.read_text().replace("emergency/", "emergency\\"))
    assert [(g, c) for _, g, c in data.grouped_recordings(tmp_path/"sounds")] == [
        (g, c) for _, g, c in data.grouped_recordings(sounds)]

def test_sirens_of_which_nothing_is_licensed_are_refused_at_once(sounds, tmp_path):
    mine = with_licenses(sounds, tmp_path/"mine", lambda row: "none stated")
    with complains("to learn from", "no recording"):
        training.train_detector(tmp_path/"out", [mine], licensed=True, fold=FOLD)
    assert not (tmp_path/"out").exists()

def test_nobody_knows_which_recordings_of_a_set_without_licences_are_free(sounds, tmp_path):
    with complains("sounds", "license_if_stated", kind=SirenbookFileError):
        data.grouped_recordings(sounds, licensed=True)
    with complains("license_if_stated"):
        training.train_detector(tmp_path/"out", [sounds], licensed=True, fold=FOLD)
    assert not (tmp_path/"out").exists()
    assert len(data.grouped_recordings("roadside", licensed=True)) == 60

@pytest.mark.parametrize("text, free", [
    ("CC0-1.0", True), ("CC-BY-4.0", True), ("CC BY 3.0", True), ("repo: MIT", True),
    ("ODbL 1.0 (repo)", True), ("repo LICENSE: Apache 2.0", True), ("Pixabay", True),
    ("CC BY-NC 3.0", False), ("CC-BY-NC-4.0", False), ("CC BY-ND 4.0", False),
    ("CC BY-SA 4.0", False), ("none stated", False), ("", False), ("GPL-3.0", False),
    ("none stated in repo (upstream: CC BY 3.0)", False), ("see Debian copyright file", False),
    ("submitted by its author", False), ("permitted for research", False), ("cc0", True),
    ("CC BY-nc 4.0", False), ("CC BY NonCommercial", False), ("CC_BY_NC", False),
    ("CC BY 4.0, non-commercial use only", False), ("CC BY - SA 4.0", False), ("not CC BY", False),
    ("CC BY-ShareAlike", False), ("use NOT PERMITTED", False), ("ACME LIMITED", False),
    ("None stated (code: MIT)", False), ("code MIT, sounds CC BY-SA 4.0", False),
    ("MIT (code only); sounds: all rights reserved", False),
    ("repo: MIT; sounds: Pixabay Content License or CC0 (README)", True),
    ("per-file notes in repo audio/ (CC0 / CC BY / public domain)", True),
    ("SOUNDS_LICENSING.md: CC0/CC BY/public domain", True)])
def test_a_licence_allows_any_use_or_does_not(text, free): assert data.is_licensed(text) == free

def test_a_sound_of_neither_class_is_left_out(sounds, tmp_path):
    shutil.copytree(sounds, tmp_path/"some")
    table = tmp_path/"some"/"manifest.csv"
    table.write_text(table.read_text().replace("n0,dogs", f"n0,{data.NEITHER[0]}"))
    found = data.recorded_frames(tmp_path/"some")
    assert len(found) == 24 - 2 and "some:n0" not in found.group
    drawn = data._sounds_by_fold([tmp_path/"some"])
    groups = {g for s in drawn.values() for kind in s.kinds.values() for g in kind}
    assert "some:n1" in groups and "some:n0" not in groups

def test_a_short_sound_fills_one_step():
    frames = FrameDataset()
    frames.add(np.zeros(100, np.float32), np.ones(1), np.ones(1), None, "g", "siren")
    assert frames.mels[0].shape == (STEP_FRAMES, 64) and len(frames.target[0]) == 1

# Mixtures of real recordings

def noise_between(low_hz, high_hz, rng, seconds=12):
    "Noise in a band."
    f = np.fft.rfftfreq(seconds * SR, 1 / SR)
    some = np.fft.rfft(rng.standard_normal(seconds * SR)) * ((f > low_hz) & (f < high_hz))
    return (0.1 * np.fft.irfft(some)).astype(np.float32)

def of_kind(wavs, kind="", share=lambda kind, wavs: 1):
    "Sounds of one kind, each in a group of its own."
    return data.Sounds([(wav, f"{kind}{i}", kind) for i, wav in enumerate(wavs)], share)

@pytest.fixture
def plain(monkeypatch):
    "Recordings and mixtures as they are: no other speed, no street, no microphone."
    monkeypatch.setattr(data, "vary_recording", lambda wav, rng: wav)
    monkeypatch.setattr(data, "microphone", lambda wav, rng: wav)

@pytest.fixture
def low_and_high():
    "Others below 2 kHz, and sirens at 3 kHz."
    rng, t = np.random.default_rng(0), np.arange(6 * SR) / SR
    return (of_kind([noise_between(300, 2000, rng) for _ in range(3)], "n"),
            of_kind([0.2 * np.sin(2 * np.pi * 3000 * t).astype(np.float32)], "e"))

def parted(wav):
    "What of a mixture of these lies below 2.5 kHz, and what above."
    X, f = np.fft.rfft(wav), np.fft.rfftfreq(len(wav), 1 / SR)
    return np.fft.irfft(X * (f < 2500)), np.fft.irfft(X * (f >= 2500))

def test_a_siren_has_the_level_that_was_wanted(plain, low_and_high):
    others, sirens = low_and_high
    found = []
    for k in range(25):
        wav, span, wanted_db, group = data.mixture(others, np.random.default_rng(k), sirens)
        low, high = parted(wav)
        assert group == "e0" and np.abs(wav).max() <= 1 and wav.dtype == np.float32
        inside = slice(int(10 * span[0]) + 1, int(10 * span[1]) - 1)
        ratio = band_power(high)[inside] / band_power(low)[inside]
        assert np.median(10 * np.log10(ratio)) == pytest.approx(wanted_db, abs=1)
        found.append(wanted_db)
    low_db, high_db = data.MIXTURE_SNR_DB
    assert low_db <= min(found) < low_db + 8 and high_db - 8 < max(found) <= high_db

def test_a_siren_sounds_within_its_span(plain, low_and_high):
    begun = 0
    for k in range(25):
        wav, (a, b), wanted_db, _ = data.mixture(*low_and_high[:1], np.random.default_rng(k),
                                                 low_and_high[1])
        level, end_s = band_power(parted(wav)[1]), 0.1 * np.arange(1, 101)
        sounds = level > level.max() / 10
        assert 0 <= a < b <= 10 and abs(0.1 * sounds.sum() - (b - a)) < 0.25
        assert not sounds[(end_s < a) | (end_s > b + 0.15)].any()
        begun += a == 0
    assert 0 < begun < 25                                   # now and then it had begun before

@pytest.mark.parametrize("teacher", (None, "sure", "deaf"))
def test_targets_agree_with_the_span(plain, low_and_high, teacher):
    for k in range(8):
        _, span, _, _ = data.mixture(low_and_high[0], np.random.default_rng(k), low_and_high[1])
        tags = None
        if teacher: tags = np.full((9, 527), -9, np.float16)
        if teacher == "sure": tags[:, 396] = np.where(
            (np.arange(1, 10) > span[0]) & (np.arange(1, 10) < span[1]), 3, -3)
        target, weight = data.mixture_targets(tags, 78, span, 20)
        end_s = STEP_S * np.arange(1, 79)
        inside = (end_s > span[0]) & (end_s <= span[1])
        assert target.dtype == weight.dtype == np.float32 and len(target) == len(weight) == 78
        assert (target[inside] >= 0.5).all() and (target[~inside] < 0.5).all()
        assert 0 <= target.min() and target.max() <= 1 and 0 < weight.min() and weight.max() == 1
        begun, over = (end_s > span[0]) & (end_s < span[0] + 0.4), (end_s > span[1]) & (
            end_s < span[1] + 0.8)                          # where the answer may come late
        assert (weight[~begun & ~over] == 1).all()
        assert np.allclose(weight[begun & ~over], 0.3) and np.allclose(weight[over], 0.2)

def test_without_a_siren_the_target_is_none_or_half_the_teachers():
    target, weight = data.mixture_targets(None, 78)
    assert not target.any() and (weight == 1).all()
    sure = np.full((9, 527), 20, np.float16)
    assert np.allclose(data.mixture_targets(sure, 78)[0], 0.5, atol=1e-3)

@pytest.mark.parametrize("snr_db", (-3, -8))
def test_below_the_street_only_the_teacher_counts(snr_db):
    tags = np.full((9, 527), -9, np.float16)
    tags[:, 396] = np.linspace(-4, 4, 9)
    end_s, span = STEP_S * np.arange(1, 79), (2, 8)
    inside = (end_s > 2) & (end_s <= 8)
    target, _ = data.mixture_targets(tags, 78, span, snr_db)
    logit = data.tags_at(tags, 78)[:, 396]
    assert np.allclose(target[inside], 1 / (1 + np.exp(-logit[inside])), atol=1e-3)
    loud, _ = data.mixture_targets(tags, 78, span, 5)
    assert np.allclose(loud[inside], 0.5 + target[inside] / 2, atol=1e-3)
    middle, _ = data.mixture_targets(tags, 78, span, 1)     # half of the way from -3 to 5 dB
    assert np.allclose(middle, (target + loud) / 2, atol=1e-3)
    assert np.array_equal(target[~inside], loud[~inside])
    _, weight = data.mixture_targets(None, 78, span, snr_db)   # nobody says whether one hears it
    later = inside & (end_s > 2.4)
    assert np.allclose(weight[later], 0.1) and (weight[end_s < 2] == 1).all()

def test_a_mixture_is_the_same_for_the_same_generator(sounds):
    drawn = data._sounds_by_fold([sounds])
    others, sirens = drawn[FOLD, False], drawn[FOLD, True]
    for given in (None, sirens):
        one, same_one, other = (data.mixture(others, np.random.default_rng(k), given)
                                for k in (0, 0, 1))
        assert np.array_equal(one[0], same_one[0]) and one[1:] == same_one[1:]
        assert not np.array_equal(one[0], other[0])
    wavs = [w for s in (others, sirens) for kind in s.kinds.values() for g in kind.values()
            for w in g]
    assert all(np.abs(w).max() < 0.5 for w in wavs)         # what is drawn from stays as it was

def test_the_first_mixtures_are_the_same_however_many_follow(sounds, mixed):
    first = data.mixed_frames([sounds], 10)
    places = [i for k in range(5)
              for i in [i for i, g in enumerate(mixed.group) if data.fold_of(g) == k][:2]]
    assert len(first) == len(places) >= 6
    for i, k in enumerate(places):
        assert np.array_equal(first.mels[i], mixed.mels[k])
        assert np.array_equal(first.target[i], mixed.target[k])
    other = data.mixed_frames([sounds], 10, seed=1)
    assert not any(map(np.array_equal, first.mels, other.mels))

def test_all_of_a_mixture_is_of_one_fold(sounds, monkeypatch):
    drawn, mix, draw = [], data.mixture, data.Sounds.draw
    def noted(self, rng):
        wav, group = draw(self, rng)
        drawn[-1].append(group)
        return wav, group
    monkeypatch.setattr(data, "mixture", lambda *given: (drawn.append([]), mix(*given))[1])
    monkeypatch.setattr(data.Sounds, "draw", noted)
    monkeypatch.setattr(data, "vary_recording", lambda wav, rng: wav)     # quicker
    mixed = data.mixed_frames([sounds], MIXTURES)
    assert len(drawn) == len(mixed) and min(map(len, drawn)) >= 3    # clips of four seconds
    for groups, group in zip(drawn, mixed.group):
        assert group in groups and len({data.fold_of(g) for g in groups}) == 1
    assert len({data.fold_of(g) for g in mixed.group}) >= 3
    sirens = [any(g.startswith("sounds:e") for g in groups) for groups in drawn]
    assert sirens == [c == "siren" for c in mixed.category] and 0 < sum(sirens) <= MIXTURES / 2

def test_every_second_mixture_has_a_siren(mixed):
    siren = np.array(mixed.category) == "siren"
    assert {*mixed.category} == {"siren", "other"} and len(mixed.where(siren)) == siren.sum() > 5
    assert len({m.tobytes() for m in mixed.mels}) == len(mixed)         # no mixture comes twice
    for mel, target, weight, c in zip(mixed.mels, mixed.target, mixed.weight, mixed.category):
        assert mel.shape == (78 * STEP_FRAMES, 64) and np.isfinite(mel).all()
        assert len(target) == len(weight) == 78 and target.any() == (c == "siren")

def test_kinds_and_groups_are_drawn_by_their_shares(plain):
    loud = [np.full(10, 1, np.float32)] * 20
    rows = [(w, f"w{i // 10}", "world") for i, w in enumerate(loud)] + [(loud[0], "w9", "world")]
    rows += [(loud[0], f"e{i}", "esvs") for i in range(8)]
    sounds = data.Sounds(rows, lambda kind, wavs: data.DATASET_SHARES[kind])
    rng = np.random.default_rng(0)
    drawn = [sounds.draw(rng)[1] for _ in range(2000)]
    share = data.DATASET_SHARES
    wanted = share["world"] / (share["world"] + share["esvs"])
    assert np.mean([g[0] == "w" for g in drawn]) == pytest.approx(wanted, abs=0.04)
    for g in ("w0", "w1", "w9"):                            # a group of one counts like one of ten
        assert drawn.count(g) / 2000 == pytest.approx(wanted / 3, abs=0.04)

SILENCE = np.zeros(4 * SR, np.float32)

@pytest.mark.parametrize("wav", (SILENCE, np.ones(1, np.float32), np.zeros(1, np.float32),
                                 np.r_[SILENCE, SILENCE, 0.1 * np.ones(9)].astype(np.float32)))
@pytest.mark.filterwarnings("error")
def test_mixtures_of_silence_are_finite(wav):
    hiss = np.random.default_rng(0).normal(0, 0.05, 4 * SR).astype(np.float32)
    silent = of_kind([wav], "silent")
    for k in range(12):
        for others, sirens in ((of_kind([hiss]), silent), (of_kind([SILENCE]), silent),
                               (of_kind([SILENCE]), None), (of_kind([SILENCE]), of_kind([hiss]))):
            mix, span, snr_db, _ = data.mixture(others, np.random.default_rng(k), sirens)
            assert mix.shape == (10 * SR,) and np.isfinite(mix).all() and np.abs(mix).max() <= 1
            assert (span is None) == (snr_db is None)

def test_a_silent_siren_is_none(plain):
    hiss = np.random.default_rng(0).normal(0, 0.05, 12 * SR).astype(np.float32)
    _, span, snr_db, group = data.mixture(of_kind([hiss], "n"), np.random.default_rng(0),
                                          of_kind([SILENCE], "e"))
    assert span is snr_db is None and group == "e0"

def test_a_recording_of_no_length_is_named(sounds, tmp_path):
    shutil.copytree(sounds, tmp_path/"some")
    path = tmp_path/"some"/"emergency"/"0.wav"
    sf.write(path, np.zeros(0), SR)
    for make in (data.recorded_frames, lambda folder: data.mixed_frames([folder], 10)):
        with complains(path, "no samples", kind=SirenbookFileError): make(tmp_path/"some")

def without(sounds, folder, of):
    "The same sounds, of which the groups that `of` chooses belong to neither class."
    shutil.copytree(sounds, folder)
    rows = [row.split(",") for row in (folder/"manifest.csv").read_text().split()]
    for row in rows[1:]:
        if of(row[1], data.fold_of(f"{folder.name}:{row[2]}")): row[3] = data.NEITHER[0]
    (folder/"manifest.csv").write_text("\n".join(map(",".join, rows)) + "\n")
    return folder

@pytest.mark.parametrize(("label", "words"), (
    ("emergency", "none with a siren"), ("non-emergency", "none without a siren")))
def test_one_class_alone_is_not_mixed(sounds, tmp_path, scenes, label, words):
    folder = without(sounds, tmp_path/"sounds", lambda of, fold: of == label)
    with complains("the recordings to mix", words): data.mixed_frames([folder], 10)
    with complains(words): training.load_training_data(tmp_path, scenes, [folder], n=10)
    assert not [*(tmp_path/"frames").glob("sounds*")]

@pytest.mark.parametrize("label", CLASSES)
def test_a_fold_of_one_class_mixes_what_it_has(sounds, tmp_path, label):
    folder = without(sounds, tmp_path/"sounds",
                     lambda of, fold: of == label and fold == FOLD)
    mixed = data.mixed_frames([folder], 20)
    here = [c for c, g in zip(mixed.category, mixed.group) if data.fold_of(g) == FOLD]
    assert here == (["other"] * 4 if label == "emergency" else [])   # nothing to lay a siren over
    assert "siren" in mixed.category

def test_no_held_out_group_reaches_the_sampler(rendered, real, mixed, sounds):
    learned, judged = training._part_by_fold(rendered, mixed, [sounds], FOLD)
    assert 0 < len(judged) < len(real) and all(data.fold_of(g) == FOLD for g in judged.group)
    assert {*learned.group}.isdisjoint(judged.group) and all(t is None for t in judged.tags)
    assert 0 < len(learned) == len([g for g in mixed.group if data.fold_of(g) != FOLD]) < len(mixed)
    marked = mixed.where(np.ones(len(mixed), bool))
    for i, g in enumerate(marked.group):                    # the held-out ones would be seen
        if data.fold_of(g) == FOLD: marked.mels[i] = np.full_like(marked.mels[i], 30)
    learned, _ = training._part_by_fold(rendered, marked, [sounds], FOLD)
    for part, seen in ((learned, False), (marked, True)):
        sampler = data.FrameSampler(rendered, part, 0, augment=None)
        drawn = [sampler.piece(np.random.default_rng(k))[0].max() for k in range(100)]
        assert (max(drawn) > 20) == seen

def test_each_fold_held_out_parts_the_mixtures(rendered, mixed, sounds):
    held = []
    for k in {data.fold_of(g) for g in mixed.group}:
        ours, theirs = (mixed.where([(data.fold_of(g) != k) == keep for g in mixed.group])
                        for keep in (True, False))
        assert {*ours.group}.isdisjoint(theirs.group)
        held += theirs.group
    assert sorted(held) == sorted(mixed.group)

# Pieces

@pytest.fixture(scope="module")
def sampler(rendered, mixed):
    return data.FrameSampler(rendered, mixed, 0, batch_size=4, steps=3)

def same(a, b):
    return np.array_equal(a[0], b[0]) and all(
        np.array_equal(x[k], y[k]) for x, y in zip(a[1:], b[1:]) for k in x)

def test_batch_k_is_the_same_whenever_it_is_asked_for(rendered, mixed):
    one, other = (data.FrameSampler(rendered, mixed, 0, batch_size=2, steps=3)
                  for _ in range(2))
    first = [one[k] for k in range(3)]
    assert all(same(other[k], first[k]) for k in (2, 0, 1))
    assert not same(first[0], first[1])
    one.epoch = 1
    assert not any(same(one[k], first[k]) for k in range(3))
    one.epoch = 0
    assert same(one[1], first[1])
    assert not same(data.FrameSampler(rendered, mixed, 1, batch_size=2, steps=3)[0], first[0])

@pytest.mark.parametrize("kind", data.SHARES)
def test_each_kind_of_piece_is_whole(rendered, mixed, kind):
    shares = dict.fromkeys(data.SHARES, 0) | {kind: 1}
    X, y, w = data.FrameSampler(rendered, mixed, 0, batch_size=8, shares=shares)[0]
    assert X.shape == (8, WARM_FRAMES + 624, 64) and np.isfinite(X).all()
    assert y["siren"].shape == (8, 86, 1) and w["siren"].shape == (8, 86)
    assert set(np.unique(y["siren"])) <= {0, 1} and not w["siren"][:, :8].any()
    assert y["siren"].any() == (kind != "other")

def test_augmentation_keeps_the_shape_and_is_finite():
    mel = np.random.default_rng(0).normal(-5, 2, (624, 64)).astype(np.float32)
    for k in range(30):
        varied = data.augment_frames(mel, np.random.default_rng(k))
        assert varied.shape == mel.shape and varied.dtype == np.float32
        assert np.isfinite(varied).all() and not np.array_equal(varied, mel)

def test_without_real_recordings_only_scenes_are_drawn(rendered):
    sampler = data.FrameSampler(rendered, FrameDataset(), 0, batch_size=4)
    assert [*sampler.kinds] == ["rendered"] and sampler.p.tolist() == [1]
    assert sampler.scaled is None
    assert np.isfinite(sampler[0][0]).all()

def with_tags(frames, seed=0):
    "The same sounds with answers of a teacher that are drawn at random."
    rng, found = np.random.default_rng(seed), FrameDataset(*map(list, vars(frames).values()))
    found.tags = [rng.normal(-4, 2, (max(len(t) // 8, 1), 527)).astype(np.float16)
                  for t in found.target]
    return found

@pytest.mark.parametrize("shares", (data.SHARES, {"rendered": 2, "siren": 1, "other": 1},
                                    {"rendered": 0, "siren": 1, "other": 3}))
def test_kinds_of_pieces_are_drawn_by_their_shares(rendered, mixed, shares):
    marked = mixed.where(np.ones(len(mixed), bool))
    marked.mels = [np.full_like(m, 1 + (c == "siren"))
                   for m, c in zip(mixed.mels, mixed.category)]
    scenes = rendered.where(np.ones(len(rendered), bool))
    scenes.mels = [np.zeros_like(m) for m in scenes.mels]
    sampler = data.FrameSampler(scenes, marked, 0, augment=None, shares=shares)
    rng, number = np.random.default_rng(0), {"rendered": 0, "other": 1, "siren": 2}
    drawn = np.array([sampler.piece(rng)[0][0, 0] for _ in range(2000)])
    for kind, share in shares.items():
        wanted = share / sum(shares.values())
        assert (drawn == number[kind]).mean() == pytest.approx(wanted, abs=0.04), kind

def test_without_sirens_in_the_mixtures_the_others_share_their_part(rendered, mixed):
    quiet = mixed.where([c == "other" for c in mixed.category])
    sampler = data.FrameSampler(rendered, quiet, 0)
    wanted = data.SHARES["rendered"] / (data.SHARES["rendered"] + data.SHARES["other"])
    assert [*sampler.kinds] == ["rendered", "other"] and sampler.p[0] == pytest.approx(wanted)

def test_a_piece_keeps_picture_target_and_tags_together(rendered):
    "In a longer scene, every piece says at each step where it comes from."
    steps, long = np.arange(200, dtype=np.float32), FrameDataset()
    long.mels.append(np.repeat(steps[:, None], STEP_FRAMES, 0).repeat(64, 1).astype(np.float16))
    tags = np.repeat(np.arange(25, dtype=np.float16)[:, None], 527, 1)     # around 1, 2, 3 … s
    for part, value in zip([*vars(long).values()][1:], (steps, steps / 2, tags, "g", "siren")):
        part.append(value)
    sampler = data.FrameSampler(long, FrameDataset(), 0, augment=None)
    firsts = set()
    for k in range(30):
        x, target, weight, tags = sampler.piece(np.random.default_rng(k))
        assert len(target) == 78 and np.array_equal(x[::STEP_FRAMES, 0], target)
        assert np.array_equal(weight, target / 2)
        assert np.allclose(tags[:, 0], np.clip(STEP_S * (target + 1) - 2, 0, 24), atol=0.02)
        firsts.add(target[0])
    assert len(firsts) > 15 and max(firsts) <= 200 - 78

def test_every_piece_has_tags_where_there_is_a_teacher(rendered, mixed):
    rendered, mixed = with_tags(rendered), with_tags(mixed)
    for kind in data.SHARES:
        shares = dict.fromkeys(data.SHARES, 0) | {kind: 1}
        given = dict(batch_size=8, shares=shares)
        _, y, w = data.FrameSampler(rendered, mixed, 0, augment=None, **given)[0]
        assert y["tags"].shape == (8, 86, 527) and w["tags"].shape == (8, 86)
        assert (w["tags"][:, 8:] == 1).all() and not w["tags"][:, :8].any()
        assert -4 <= y["tags"].min() and y["tags"].max() <= 6 and np.ptp(y["tags"]) > 2

def test_what_lies_beneath_a_piece_has_no_tags(rendered, mixed, monkeypatch):
    rendered, mixed = with_tags(rendered), with_tags(mixed)
    monkeypatch.setattr(data, "BENEATH", 1)
    monkeypatch.setattr(data, "BENEATH_DB", (20, 20))
    sampler = data.FrameSampler(rendered, mixed, 0, batch_size=8, augment=lambda x, rng: x)
    alone = data.FrameSampler(rendered, mixed, 0, batch_size=8, augment=None)
    (x, target, _, tags), (plain, same, *_) = (
        s.piece(np.random.default_rng(1)) for s in (sampler, alone))
    assert tags is None and np.array_equal(target, same) and not sampler[0][2]["tags"].any()
    assert (x >= plain).all() and 0 < np.median(x - plain) < 1      # a hundredth of its power

def a_teacher(wav, logit=5):
    "A made-up teacher's answers: a siren in every window."
    n = len(wav) // SR - 1
    tags = np.full((n, 527), -8, np.float16)
    tags[:, 396] = logit
    return np.arange(1, n + 1), tags

def test_the_teacher_answers_to_the_mixture_itself(sounds, monkeypatch):
    given, mix, mixtures = [], data.mixture, []
    def soft(teacher, wav):
        given.append(wav)
        return a_teacher(wav)
    def noted(*of):
        mixtures.append(mix(*of))
        return mixtures[-1]
    monkeypatch.setattr(data, "soft_labels", soft)
    monkeypatch.setattr(data, "mixture", noted)
    mixed = data.mixed_frames([sounds], 10, "a teacher")
    assert len(given) == len(mixed) and all(map(np.array_equal, given, (m[0] for m in mixtures)))
    p = 1 / (1 + np.exp(-5))
    for target, tags, (_, span, snr_db, _) in zip(mixed.target, mixed.tags, mixtures):
        assert tags.shape == (9, 527) and tags[0, 396] == 5
        end_s = STEP_S * np.arange(1, 79)
        inside = (end_s > span[0]) & (end_s <= span[1]) if span else np.zeros(78, bool)
        assert np.allclose(target[~inside], p / 2, atol=1e-3)
        assert (target[inside] > p - 1e-3).all()            # half of the label and half of p, or p

# The network, and one step of it

def a_network(tags=0, seed=0):
    "A network that was not trained, but whose every weight says something."
    set_seed(seed)
    model, rng = training.network(tags), np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([w + rng.uniform(0.05, 0.3, w.shape) for w in layer.get_weights()])
    return model

@pytest.fixture(scope="module")
def frames(rendered):
    "PCEN of two scenes, with their mirrored second."
    return running_pcen(data.with_start(np.stack(rendered.mels[:2]).astype(np.float32)))[0]

def stepwise(lite, frames):
    "Logits of a LiteRT file, one step at a time."
    from ai_edge_litert.interpreter import Interpreter
    model = Interpreter(model_content=lite)
    model.allocate_tensors()
    ends = [{len(d["shape"]) * 100 + d["shape"][-1]: d["index"] for d in details}
            for details in (model.get_input_details(), model.get_output_details())]
    state, logits = np.zeros((1, training.UNITS), np.float32), []
    padded = np.pad(frames, ((CONTEXT_FRAMES, 0), (0, 0))).astype(np.float32)
    for a in range(0, len(frames), STEP_FRAMES):
        model.set_tensor(ends[0][364], padded[None, a:a + CONTEXT_FRAMES + STEP_FRAMES])
        model.set_tensor(ends[0][200 + training.UNITS], state)
        model.invoke()
        state = model.get_tensor(ends[1][200 + training.UNITS])
        logits.append(model.get_tensor(ends[1][201])[0, 0])
    return np.array(logits)

@pytest.fixture(scope="module", params=(0, 527), ids=("without teacher", "with teacher"))
def both(request):
    "A network, and mean and spread of its tags."
    scaled = None if not request.param else np.stack(
        [np.full(527, -6.0), np.full(527, 2.0)]).astype(np.float32)
    return a_network(request.param), scaled

def test_the_network_looks_only_back(both, frames):
    model = training.siren_network(*both)
    later = frames.copy()
    later[:, 400:] = 0
    a, b = np.asarray(model(frames)), np.asarray(model(later))
    assert a.shape == (2, 86, 1)
    assert np.allclose(a[:, :50], b[:, :50], atol=1e-5) and not np.allclose(a, b, atol=1e-5)

def test_half_of_the_highest_siren_tag_is_added(frames):
    model = a_network(527)
    scaled = np.stack([np.linspace(-8, -2, 527), np.linspace(1, 3, 527)]).astype(np.float32)
    raw = {k: np.asarray(v) for k, v in model(frames).items()}
    tags = (raw["tags"] * scaled[1] + scaled[0])[..., list(training.SIREN_TAGS)]
    wanted = raw["siren"] + 0.5 * tags.max(-1, keepdims=True)
    assert np.allclose(training.siren_network(model, scaled)(frames), wanted, atol=1e-4)

def test_a_stream_equals_the_whole(both, frames):
    at_once = np.asarray(training.siren_network(*both)(frames))[0, :, 0]
    step = training.streaming_network(*both)
    lite = training.to_litert(step)
    assert np.allclose(stepwise(lite, frames[0]), at_once, atol=1e-4)
    assert at_once.std() > 1e-3                             # it says something
    small = training.to_litert(step, small=True)
    assert len(small) < len(lite) / 2
    near = np.abs(stepwise(small, frames[0]) - at_once)
    assert 0 < near.max() < 0.1 * np.ptp(at_once)

def test_step_logits_do_not_depend_on_the_company(both, rendered, real):
    model, several = training.siren_network(*both), FrameDataset()
    for frames, i in ((rendered, 0), (real, 0), (real, 5)):
        for part, values in zip(vars(several).values(), vars(frames).values()):
            part.append(values[i])
    together = training.step_logits(model, several)
    for i in range(3):
        alone = training.step_logits(model, several.where(np.arange(3) == i))[0]
        assert len(alone) == len(several.target[i]) and np.allclose(alone, together[i], atol=1e-4)

# Frames that are kept

def test_kept_frames_come_back_equal(tmp_path, real, mixed):
    some = with_tags(mixed.where(np.arange(len(mixed)) < 6))
    for part, more in zip(vars(some).values(), vars(real).values()): part += more[:2]   # shorter
    some.tags[1] = None
    made = training._kept(tmp_path/"a.npz", lambda: some)
    kept = training._kept(tmp_path/"a.npz", lambda: pytest.fail("made twice"))
    for found in (made, kept):
        for name in ("mels", "target", "weight"):
            assert all(map(np.array_equal, getattr(found, name), getattr(some, name))), name
        assert found.tags[1] is None and np.array_equal(found.tags[2], some.tags[2])
        assert (found.group, found.category) == (some.group, some.category)

def test_mixtures_of_another_number_are_made_again(tmp_path, scenes, sounds):
    _, ten = training.load_training_data(tmp_path, scenes, [sounds], n=10)
    _, twenty = training.load_training_data(tmp_path, scenes, [sounds], n=20)
    assert 2 * len(ten) == len(twenty) > 0
    names = {p.name for p in (tmp_path/"frames").iterdir()}
    assert names == {"scenes.npz", "sounds-10.npz", "sounds-20.npz"}

@pytest.mark.parametrize("content", (b"", b"PK half", b"\x93NUMPY half", None))
def test_damaged_frames_are_named(tmp_path, content, real):
    path = tmp_path/"a.npz"
    if content is None: np.savez(path, mels=np.zeros(3))    # an archive of something else
    else: path.write_bytes(content)
    with complains(path, "damaged; remove it", kind=SirenbookFileError):
        training._kept(path, lambda: real)

def test_frames_cut_off_are_named(tmp_path, real):
    path = tmp_path/"a.npz"
    training._kept(path, lambda: real)
    path.write_bytes(path.read_bytes()[:-5000])
    with complains(path, "damaged", kind=SirenbookFileError): training._kept(path, lambda: real)

def test_frames_of_other_scenes_are_refused(tmp_path, scenes):
    shutil.copytree(scenes, tmp_path/"scenes")
    training.load_training_data(tmp_path, tmp_path/"scenes")
    render_dataset(tmp_path/"scenes", 0.02, 1, seconds=10, world=True)
    with complains("scenes.npz", "made of other sounds", kind=SirenbookFileError):
        training.load_training_data(tmp_path, tmp_path/"scenes")

# A run that is interrupted

class Interrupt(keras.callbacks.Callback):
    "Stops a run within its second epoch."
    def on_epoch_begin(self, epoch, logs=None): self.epoch = epoch
    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, 1): raise KeyboardInterrupt

@pytest.fixture(scope="module")
def whole(sampler, tmp_path_factory):
    "A run of three epochs that nobody interrupted: its folder and its network."
    folder = tmp_path_factory.mktemp("whole")
    return folder, training.fit_in_folder(sampler, folder, epochs=3)

def state(folder):
    with np.load(folder/"last.npz") as file: return dict(file)

def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    sampler, whole, tmp_path, monkeypatch
):
    write = training.atomic_write
    def cut_off(path, content):                       # the log has two epochs, the state one
        if path.name == "last.npz" and path.exists(): raise KeyboardInterrupt
        write(path, content)
    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(training, "atomic_write", cut_off)
        training.fit_in_folder(sampler, tmp_path, epochs=3)
    assert len((tmp_path/"log.csv").read_text().splitlines()) == 3
    assert len(training.RunFolder(tmp_path).rows) == 1 == state(tmp_path)["done"]
    with pytest.raises(KeyboardInterrupt):
        training.fit_in_folder(sampler, tmp_path, epochs=3, callbacks=[Interrupt()])
    assert state(tmp_path)["done"] == 1 and not list(tmp_path.glob(".*part*"))
    model = training.fit_in_folder(sampler, tmp_path, epochs=3)
    assert (tmp_path/"log.csv").read_text() == (whole[0]/"log.csv").read_text()
    pairs = zip(model.get_weights(), whole[1].get_weights())
    assert all(np.allclose(a, b, atol=1e-6) for a, b in pairs)
    mine, theirs = state(tmp_path), state(whole[0])
    assert {*mine} == {*theirs} and "done" in mine
    for k in mine: assert np.allclose(mine[k], theirs[k], atol=1e-6), k

def test_a_finished_run_gives_its_averaged_network_again(sampler, whole):
    before = (whole[0]/"last.npz").stat().st_mtime_ns
    again = training.fit_in_folder(sampler, whole[0], epochs=3)
    assert (whole[0]/"last.npz").stat().st_mtime_ns == before
    pairs = zip(again.get_weights(), whole[1].get_weights())
    assert all(np.allclose(a, b, atol=1e-6) for a, b in pairs)
    last = [v for k, v in state(whole[0]).items() if k.startswith("arr_")]
    kernels = [w for w in again.get_weights() if w.ndim == 4]
    assert not any(np.array_equal(kernels[0], v) for v in last[:2])      # averaged, not the last

def test_the_state_of_dropout_is_kept(whole):
    model = training.network()
    seeds = [v for v in model.variables if "seed" in v.path]
    kept = [v for k, v in state(whole[0]).items() if k.startswith("arr_")]
    at = [v for v in kept if v.shape == (2,) and v.dtype.kind in "iu"]
    assert len(seeds) == len(at) >= 2                 # without it a resumed run would differ
    assert sum(v[1] >= 9 for v in at) >= 2            # drawn from in each of 9 batches

def test_a_damaged_or_foreign_state_is_named(sampler, whole, tmp_path):
    for content in (b"", b"PK half"):
        (tmp_path/"last.npz").write_bytes(content)
        with complains(tmp_path/"last.npz", "damaged", kind=SirenbookFileError):
            training.fit_in_folder(sampler, tmp_path, epochs=3)
    other = {k: v for k, v in state(whole[0]).items() if k != "arr_0"}
    np.savez(tmp_path/"last.npz", **other | {"done": 1})
    (tmp_path/"log.csv").write_text((whole[0]/"log.csv").read_text())
    with complains(tmp_path/"last.npz", "another network", kind=SirenbookFileError):
        training.fit_in_folder(sampler, tmp_path, epochs=3)

def test_a_longer_run_is_not_taken_for_a_shorter_one(sampler, whole):
    with complains(whole[0]/"last.npz", "of 3 epochs, more than 2", kind=SirenbookFileError):
        training.fit_in_folder(sampler, whole[0], epochs=2)

def test_with_a_teacher_both_are_learned(rendered, mixed, tmp_path):
    sampler = data.FrameSampler(with_tags(rendered), with_tags(mixed), 0, batch_size=4, steps=2)
    model = training.fit_in_folder(sampler, tmp_path, epochs=1)
    assert model(sampler[0][0])["tags"].shape == (4, 86, 527)
    tags = model.get_layer("tags").get_weights()[0]
    assert tags.shape == (training.DENSE + training.UNITS, 527) and np.isfinite(tags).all()
    logits = training.siren_network(model, sampler.scaled)(sampler[0][0])
    assert logits.shape == (4, 86, 1) and np.isfinite(logits).all()

# Calibration

def test_calibration_needs_both_classes():
    with pytest.raises(SirenbookError, match="with a siren and clips without"):
        training.calibrate(np.array([1.0, 2.0]), [True, True], ["a", "b"])

def test_calibration_counts_each_group_once():
    rng = np.random.default_rng(0)
    z, siren = np.r_[rng.normal(1, 1, 500), rng.normal(-1, 1, 500)], np.arange(1000) < 500
    groups = np.arange(1000)
    first = training.calibrate(z, siren, groups)
    again = [*range(1000), *[7] * 400]                      # one clip, four hundred times more
    assert np.allclose(training.calibrate(z[again], siren[again], groups[again]), first, atol=1e-6)
    assert training.calibrate(z, siren, groups, 0.5)[1] > first[1] + 3

# The whole recipe

def train(folder, scenes, sounds):
    return training.train_detector(folder/"out", [sounds], scenes=scenes, epochs=2, fold=FOLD,
                                   mixtures=MIXTURES)

@pytest.fixture(scope="module")
def trained(tmp_path_factory, scenes, sounds):
    "A folder, and what the recipe made there in some dozen steps."
    folder, few = tmp_path_factory.mktemp("training"), dict(batch_size=4, steps=25, augment=None)
    few["shares"] = {"rendered": 0.2, "siren": 0.4, "other": 0.4}
    with pytest.MonkeyPatch.context() as m:
        class Few(training.FrameSampler):
            def __init__(self, *args, **given): super().__init__(*args, **few | given)
        m.setattr(training, "FrameSampler", Few)
        yield folder, train(folder, scenes, sounds)

def test_the_recipe_gives_a_detector(trained):
    _, weights = trained
    said = {}
    for precision in ("float", "int8"):
        detector, rng = Detector.load(weights, precision=precision), np.random.default_rng(1)
        p = [detector.score(a_sound(rng, siren, 6)).probability for siren in (True, False)]
        assert np.median(p[0]) > 2 * np.median(p[1])
        said[precision] = np.concatenate(p)
    assert np.abs(said["int8"] - said["float"]).mean() < 0.1
    card = json.loads((weights/"detector.json").read_text())
    facts = card["trained"]
    assert facts["learned_from"] == ["rendered scenes", "sounds"] and facts["teacher"] is False
    assert facts["held_out_fold"] == FOLD and 1e5 < facts["parameters"] < 1.5e5
    assert card["format"] == 2 == Network(weights).format
    assert card["default"] in card["operating_points"]

def test_called_again_it_trains_nothing(trained, scenes, sounds, monkeypatch):
    folder, weights = trained
    run, models = weights.parent, []
    assert run.name == f"fold{FOLD}-seed0"
    ship = lambda place, model, *rest: models.append(model) or place
    monkeypatch.setattr(training, "_ship", ship)
    kept = [*run.glob("log.csv"), *run.glob("last.npz"), *(folder/"out"/"frames").glob("*.npz")]
    before = [p.stat().st_mtime_ns for p in kept]
    assert train(folder, scenes, sounds) == weights and len(kept) == 4
    assert [p.stat().st_mtime_ns for p in kept] == before
    wav, frames = a_sound(np.random.default_rng(2), True), FrameDataset()
    frames.add(wav, np.zeros(31), np.zeros(31), None, "g", "siren")
    [logit] = training.step_logits(training.siren_network(models[0]), frames)
    scale = json.loads((weights/"detector.json").read_text())["calibration"]
    probability = 1 / (1 + np.exp(-scale["slope"] * logit - scale["offset"]))
    scores = Detector.load(weights).score(wav)               # of the network that was shipped
    assert len(logit) == len(scores.times) == 31
    assert np.allclose(scores.probability, probability, atol=0.02)

def test_the_thresholds_were_counted(trained, sounds):
    _, weights = trained
    found = data.grouped_recordings(sounds, FOLD)
    wavs = [r.wav for r, _, category in found if category != "siren"]
    held = [i for i in range(12) if data.fold_of(f"sounds:n{i // 2}") == FOLD]
    assert len(wavs) == len(held) > 0
    counted = operating_points(false_alarms(Detector.load(weights), wavs), training.PER_HOUR)
    card = json.loads((weights/"detector.json").read_text())
    assert card["operating_points"] == (counted or {"uncounted": 0.5})   # seconds allow no rate

def test_counts_of_hours_become_operating_points(rendered, monkeypatch, tmp_path):
    judged, rows = FrameDataset(), [{"hours": 2.0, "threshold": t, "events": int(100 * (1 - t))}
                                    for t in (0.1, 0.5, 0.95, 0.99)]
    for i, part in ((0, True), (1, False)):
        judged.add(a_sound(np.random.default_rng(i), part), np.full(31, part), np.ones(31), None,
                   str(i), "siren" if part else "dogs")
    monkeypatch.setattr(training, "calibrate", lambda *given: (1.0, 0.0))
    monkeypatch.setattr(training, "false_alarms", lambda detector, wavs: rows)
    monkeypatch.setattr(training, "to_litert", lambda step, small=False: b"a file")
    monkeypatch.setattr(training.Detector, "load", lambda folder: None)
    sampler = data.FrameSampler(rendered, FrameDataset(), 0, batch_size=1)
    training._ship(tmp_path/"w", a_network(), sampler, judged, [], {"seed": 3}, ["somewhere"])
    card = json.loads((tmp_path/"w"/"detector.json").read_text())
    assert card["operating_points"] == operating_points(rows, training.PER_HOUR)
    assert card["default"] == training.DEFAULT and card["trained"]["seed"] == 3
    assert card["trained"]["sources"] == ["somewhere"]

def test_a_run_on_other_sounds_is_refused(trained, scenes, sounds, tmp_path):
    folder, weights = trained
    before = (weights.parent/"last.npz").read_bytes()
    with complains(weights.parent, "other sounds or settings", kind=SirenbookFileError):
        training.train_detector(folder/"out", scenes=scenes, epochs=2, fold=FOLD)
    shutil.copytree(scenes, other := tmp_path/"scenes")
    next(other.glob("*/*.flac")).unlink()
    with complains("scenes.npz", "made of other sounds", kind=SirenbookFileError):
        training.train_detector(folder/"out", [sounds], scenes=other, epochs=2, fold=FOLD)
    assert (weights.parent/"last.npz").read_bytes() == before

def test_what_no_card_may_hold_leaves_the_old_weights(trained, tmp_path):
    shutil.copytree(trained[1], tmp_path/"w")
    files = lambda: {p.name: p.read_bytes() for p in (tmp_path/"w").iterdir()}
    before, models = files(), {"float": b"new", "int8": b"new"}
    good = dict(models=models, calibration=(1.0, 0.0), points={"10/h": 0.5}, default="10/h",
                trained={})
    for wrong in (dict(models={"float": b"new"}), dict(models=models | {"int8": None}),
                  dict(calibration=(np.nan, 0)), dict(calibration=(-1, 0)), dict(default="1/h"),
                  dict(points={"10/h": 1.0})):
        with pytest.raises(SirenbookError): training.write_weights(tmp_path/"w", **good | wrong)
    counts = [{"hours": 9.0, "threshold": 1.0, "events": 0}]
    with complains("between 0 and 1"): training.set_operating_points(tmp_path/"w", counts)
    assert files() == before
    (tmp_path/"file").write_text("no folder")
    with complains("a file is in its place"): training.write_weights(tmp_path/"file", **good)
    for content in (b"{cut", b"[1]"):
        (tmp_path/"w"/"detector.json").write_bytes(content)
        with complains("no card of weights", kind=SirenbookFileError):
            training.set_operating_points(tmp_path/"w", counts)

# What cannot be trained with

@pytest.mark.parametrize("which", ("recorded", "scenes", "teacher"))
def test_a_file_or_folder_that_is_not_there_costs_nothing(tmp_path, which):
    given = {which: [tmp_path/"nowhere"] if which == "recorded" else tmp_path/"nowhere"}
    with complains("nowhere", "is not there" if which == "teacher" else "there is no such folder",
                   kind=SirenbookFileError):
        training.train_detector(tmp_path/"out", **given)
    assert not (tmp_path/"out").exists()

@pytest.mark.parametrize(("given", "words"), (
    (dict(hours=-1), "hours"), (dict(hours=float("nan")), "hours"), (dict(hours=1e9), "hours"),
    (dict(epochs=0), "epochs"), (dict(epochs=1.5), "epochs"), (dict(fold=5), "fold"),
    (dict(fold=-1), "fold"), (dict(mixtures=0), "mixtures"), (dict(mixtures=9), "mixtures"),
    (dict(mixtures=10.5), "mixtures"), (dict(seed=-1), "seed"), (dict(seed=2**32), "seed"),
    (dict(epochs=1.0), "epochs")))
def test_numbers_out_of_range_cost_nothing(tmp_path, given, words):
    with complains(words): training.train_detector(tmp_path/"out", **given)
    assert not (tmp_path/"out").exists()

def test_an_empty_folder_is_named(tmp_path, scenes, sounds):
    (tmp_path/"empty").mkdir()
    with complains(tmp_path/"empty"):
        training.train_detector(tmp_path/"a", [sounds], scenes=tmp_path/"empty", fold=FOLD)
    with complains(tmp_path/"empty"):
        training.train_detector(tmp_path/"b", [tmp_path/"empty"], scenes=scenes)

def test_two_folders_of_one_name_are_refused(tmp_path, scenes, sounds):
    shutil.copytree(sounds, tmp_path/"sounds")
    with complains("two folders are called sounds"):
        training.train_detector(tmp_path/"out", [sounds, tmp_path/"sounds"], scenes=scenes)

def test_recordings_are_no_scenes(tmp_path, sounds):
    with complains("events.csv", kind=SirenbookFileError):
        training.train_detector(tmp_path/"out", scenes=sounds)

def test_scenes_shorter_than_a_piece_are_named(tmp_path, rendered):
    short = render_dataset(tmp_path/"short", 0.001, 1, seconds=4, world=True)
    with complains(".flac", "10 s or more, not 4", kind=SirenbookFileError):
        training.train_detector(tmp_path/"out", scenes=short)
    for frames in (FrameDataset(), rendered.where([False] * len(rendered))):
        with complains("of 10 s or longer"): data.FrameSampler(frames, FrameDataset(), 0)

def test_one_class_alone_is_refused_before_training(
    rendered, mixed, monkeypatch, tmp_path, scenes, sounds
):
    siren = np.array(mixed.category) == "siren"
    held = np.array([data.fold_of(g) == FOLD for g in mixed.group])
    for part, words in ((siren, "only sirens"), (~siren, "no siren"), (held, "no recording")):
        with complains("to learn from", words, "needs both"):
            training._part_by_fold(rendered, mixed.where(part), [sounds], FOLD)
    quiet = rendered.where([c != "siren" for c in rendered.category])
    with complains("to calibrate with", "no siren"):
        training._part_by_fold(quiet, FrameDataset(), [], 4)
    monkeypatch.setattr(training, "fit_in_folder", lambda *a, **k: pytest.fail("trained"))
    monkeypatch.setattr(training, "mixed_frames", lambda *a, **k: mixed.where(~siren))
    with complains("no siren"):
        training.train_detector(tmp_path/"out", [sounds], scenes=scenes, fold=FOLD)

def test_a_fold_without_recordings_cannot_be_held_out(rendered, mixed, sounds, scenes, tmp_path):
    empty = next(k for k in range(5) if not len(data.recorded_frames(sounds, fold=k)))
    with complains("to calibrate with", "no recording", "hold out another fold"):
        training._part_by_fold(rendered, mixed, [sounds], empty)
    with complains("to calibrate with", "no recording"):
        training.train_detector(tmp_path/"out", [sounds], scenes=scenes, fold=empty)
    assert not (tmp_path/"out").exists()
    learned, judged = training._part_by_fold(rendered, FrameDataset(), [], empty)
    assert judged is rendered and not len(learned)

@pytest.mark.parametrize("label", CLASSES)
def test_a_held_out_fold_of_one_class_is_refused(rendered, mixed, sounds, tmp_path, label):
    folder = without(sounds, tmp_path/"sounds", lambda of, fold: of == label and fold == FOLD)
    with complains("to calibrate with", f"fold {FOLD}", "hold out another fold"):
        training._part_by_fold(rendered, mixed, [folder], FOLD)

def test_frames_with_and_without_a_teacher_are_not_mixed(tmp_path, scenes, monkeypatch):
    training.load_training_data(tmp_path, scenes)
    monkeypatch.setattr(training, "load_teacher", lambda path: None)
    (tmp_path/"teacher.npz").write_bytes(b"weights")
    with complains("scenes.npz", "another teacher", kind=SirenbookFileError):
        training.load_training_data(tmp_path, scenes, teacher=tmp_path/"teacher.npz")

def test_files_are_written_on_tensorflow_only(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with complains("KERAS_BACKEND=tensorflow"): training.to_litert(None)
