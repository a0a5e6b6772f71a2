"""Clever Hans: numbers that know no siren, what a network uses, transplanted sirens."""

import numpy as np
import pytest
from shared import ROOT, complains, real, write_folder
from sirenbook.audio import SR
from sirenbook.chunks import chunk_dataset
from sirenbook.errors import SirenbookFileError
from sirenbook.experiments import shortcuts as experiment
from sirenbook.experiments.shortcuts import (
    computed_sirens,
    examined_settings,
    fit_examined,
    look_rows,
    make_transplants,
    run,
    stump_row,
    transplant_rows,
)
from sirenbook.files import read_csv
from sirenbook.interpretability import (
    BAND_EDGES_HZ,
    EXAMINED_BASELINES,
    EXAMINED_NETWORKS,
    LOOK_COLUMNS,
    SHORTCUT_COLUMNS,
    SHORTCUTS,
    SIREN_BAND_HZ,
    SNRS_DB,
    SWAPS_HZ,
    TRANSPLANT_COLUMNS,
    DecisionStump,
    best_shortcuts,
    fit_stump,
    gradient_x_input,
    mask_band,
    mix_at_snr,
    occlusion,
    score_stump,
    shortcut_features,
    siren_logits,
    swap_below,
    transplants,
)
from sirenbook.networks import FRAMES, SAMPLES, SPECTROGRAM, inputs, keras
from sirenbook.recordings import class_index, load_dataset, siren_probability
from sirenbook.results import FOLDS, load_results, pick, split_for
from sirenbook.signals import db, quantize, rms, tone
from sirenbook.training import evaluate, score

SIREN, OTHER = class_index("emergency"), class_index("non-emergency")
N = 2 * SR


def noise(std=0.1, seed=0):
    return np.random.default_rng(seed).normal(0, std, N)


def band(low, high, seed=0):
    "Noise in a band, nothing beside it."
    s, hz = np.fft.rfft(noise(1, seed)), np.fft.rfftfreq(N, 1 / SR)
    s[(hz < low) | (hz >= high)] = 0
    wav = np.fft.irfft(s, N)
    return 0.1 * wav / rms(wav)


def feature(name, *wavs):
    return shortcut_features(np.stack(wavs))[name]


# ---- each shortcut feature measures what it says


@pytest.mark.parametrize(
    "name, wav, value, within",
    [
        ("level", tone(440, 2, amplitude=0.1), -23.01, 0.01),
        ("level", noise(0.01), -40, 0.1),
        ("crest factor", tone(440, 2), 3.01, 0.01),
        ("crest factor", np.sign(tone(441.7, 2)) * 0.3, 0, 0.01),
        ("offset", noise() - noise().mean() + 0.01, -40, 0.01),
        ("offset", noise() - noise().mean() - 0.1, -20, 0.01),
        ("clipping", np.clip(10 * tone(440, 2), -1, 1), 1 - 2 * np.arcsin(0.99 / 5) / np.pi, 0.002),
        ("clipping", tone(440, 2, amplitude=0.98), 0, 0),
        ("zeros", np.where(np.arange(N) < N / 4, 0, 0.1), 0.25, 0),
        ("zeros", np.where(np.arange(N) < N / 4, 2.0**-15, 0.1), 0, 0),
        ("bits in use", quantize(np.linspace(-1, 1, N), 6), 6, 0.05),
        ("bits in use", quantize(np.linspace(-1, 1, N), 11), 11, 0.01),
        ("bandwidth", band(0, 3000), 2970, 15),
        ("bandwidth", band(200, 7000), 7000 - 68, 25),
        ("bandwidth", tone(440, 2), 440, 1),
        ("near the top", band(0, 8001), -20 + 10 * np.log10(0.025), 0.9),
        ("near the top", band(0, 7700), -120, 5),
        ("below 20 Hz", band(0, 8001), -20 + 10 * np.log10(20 / 8000), 1.5),
        ("below 20 Hz", tone(10, 2) + tone(500, 2), -9.03, 0.01),
        ("below 20 Hz", tone(25, 2), -120, 60),
        ("below 30 Hz", tone(25, 2) + tone(500, 2) * 10, -9.03, 0.01),
        ("below 100 Hz", tone(90, 2) + tone(110, 2), -9.03, 0.01),
    ],
)
def test_a_feature_measures_what_it_says(name, wav, value, within):
    assert feature(name, wav)[0] == pytest.approx(value, abs=within)


def test_the_noise_floor_is_that_of_the_quietest_twentieth():
    wav = noise(0.1)
    wav[: N // 10] *= 0.01
    assert feature("noise floor", wav)[0] == pytest.approx(-60, abs=0.6)
    wav = noise(0.1)
    wav[: N // 50] *= 0.01
    assert feature("noise floor", wav)[0] == pytest.approx(-20, abs=1.2)


def test_features_of_odd_sounds():
    found = shortcut_features(np.stack([np.zeros(N), np.ones(N), np.full(N, -0.5)]))
    assert list(found) == list(SHORTCUTS) and all(
        v.shape == (3,) and np.isfinite(v).all() for v in found.values()
    )
    assert (
        found["bits in use"].max() == 0
        and found["zeros"][0] == 1
        and found["clipping"].tolist() == [0, 1, 0]
    )
    with complains("shortcut features"):
        shortcut_features(np.zeros(N))
    with complains("shortcut features"):
        shortcut_features(np.zeros((0, N)))


def test_features_follow_order_and_rate():
    wavs = np.stack([noise(0.1 + 0.01 * i, i) for i in range(70)])
    found = shortcut_features(wavs)
    assert np.allclose(found["level"], db(rms(wavs))) and np.allclose(
        shortcut_features(wavs[65:66])["bandwidth"], found["bandwidth"][65]
    )
    assert shortcut_features(tone(100, 1, 8000)[None], 8000)["bandwidth"] == pytest.approx(
        100, abs=1
    )


def test_a_siren_does_not_sound_in_the_bass():
    found = shortcut_features(computed_sirens(12, 2, np.random.default_rng(0)))
    assert np.median(found["below 100 Hz"] - found["level"]) < -40


# ---- the stump


def brute(values, y):
    "The best balanced accuracy of any threshold in either direction."
    cuts = np.concatenate(
        [[values.min() - 1], (np.unique(values)[1:] + np.unique(values)[:-1]) / 2]
    )
    marks = [np.mean([np.mean((values[y == c] > t) == (c == SIREN)) for c in (0, 1)]) for t in cuts]
    return max(max(marks), 1 - min(marks))


@pytest.mark.parametrize("seed", range(12))
def test_no_threshold_is_better(seed):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat([0, 1], (7 + seed, 20)))
    values = np.round(rng.normal(0, 1, len(y)) + (1 if seed % 2 else -1) * y, seed % 3)
    assert score_stump((values, y), (values, y)).balanced_accuracy == pytest.approx(
        brute(values, y)
    )


def test_a_stump_is_fitted_on_training_only():
    rng = np.random.default_rng(0)
    y = np.repeat([SIREN, OTHER], 30)
    v, test = rng.normal(0, 1, 60) + 3 * (y == SIREN), rng.normal(0, 1, 60) - 3 * (y == SIREN)
    learned = fit_stump(v, y)
    assert learned.above and 0 < learned.threshold < 3
    s = score_stump((v, y), (test, y))
    assert s.balanced_accuracy < 0.55 and s.roc_auc < 0.1, "the test part turned the stump round"
    shifted = score_stump((v, y), (test + 100, y))
    assert (
        shifted.balanced_accuracy == 0.5 and shifted.accuracy == 0.5
    ), "the test part moved the threshold"


def test_a_stump_answers_as_a_network_does():
    p = siren_probability(DecisionStump(2.0, False)([-1e9, 1, 2.5, 1e9]))
    assert np.all(np.diff(p) < 0) and p[1] > 0.5 > p[2] and p.min() >= 0 and p.max() <= 1
    with complains("both classes"):
        fit_stump(np.arange(3.0), np.zeros(3, int))
    flat = fit_stump(np.ones(6), np.repeat([0, 1], 3))
    assert np.isfinite(flat.threshold)


def test_training_picks():
    rows = [
        dict(dataset="d", fold=k, clue=c, learned=a, accuracy=t)
        for k, c, a, t in (
            (0, "x", 0.9, 0.1),
            (0, "y", 0.8, 1),
            (1, "x", 0.7, 1),
            (1, "y", 0.95, 0.2),
        )
    ]
    assert [(r["clue"], r["accuracy"]) for r in best_shortcuts(rows, "d")] == [
        ("x", 0.1),
        ("y", 0.2),
    ] and best_shortcuts(rows, "e") == []


# ---- what a network uses


@pytest.fixture(scope="module")
def planted():
    "A network that looks at bins 40 to 47 only: what is positive there makes a siren."
    first = keras.Input(SPECTROGRAM)
    x = keras.layers.Dense(1, use_bias=False, name="look")(first)
    out = keras.layers.Dense(1, activation="sigmoid")(keras.layers.GlobalAveragePooling1D()(x))
    model, weights = keras.Model(first, out), np.zeros((161, 1))
    weights[40:48] = 1
    model.get_layer("look").set_weights([weights])
    model.layers[-1].set_weights(
        [np.array([[1.0 if SIREN == 1 else -1.0]]), np.array([0.25 if SIREN == 1 else -0.25])]
    )
    return model


def picture(n=3):
    return np.random.default_rng(0).normal(1, 0.3, (n, *SPECTROGRAM)).astype(np.float32)


def test_logits_are_those_of_the_probability(planted):
    X = picture(70)
    p = siren_probability(np.asarray(planted.predict_on_batch(X)).ravel())
    assert siren_logits(planted, X) == pytest.approx(
        np.log(p / (1 - p)), abs=1e-2
    ) and siren_logits(planted, X).mean() == pytest.approx(8.25, abs=0.1)
    with complains("sigmoid"):
        siren_logits(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]), np.zeros((1, 3)))


def test_occlusion_points_at_the_planted_band(planted):
    X = picture()
    kept = X.copy()
    change = occlusion(planted, X, 199, 8)
    assert change.shape == (3, 1, 21) and np.array_equal(X, kept), "the inputs were changed"
    assert np.argmax(change.mean((0, 1))) == 5 and change[..., 5] == pytest.approx(8, abs=0.3)
    assert np.abs(np.delete(change, 5, 2)).max() < 1e-4
    X[:, 60:] = 0
    change = occlusion(planted, X, 20, 8)
    assert (
        change.shape == (3, 10, 21)
        and (change[:, :3, 5] > 0.5).all()
        and np.abs(change[:, 3:]).max() < 1e-4
    )


def test_gradient_points_at_the_planted_band(planted):
    X = picture(66)
    g = gradient_x_input(planted, X)
    assert g.shape == X.shape and not g[..., :40].any() and not g[..., 48:].any()
    assert np.allclose(g[..., 40:48], X[..., 40:48] / 199, rtol=1e-4)
    assert g.sum((1, 2)) == pytest.approx(
        siren_logits(planted, X) - 0.25, abs=1e-3
    ), "of a network that is a straight line it is all there is"


@pytest.mark.parametrize("shape", [SPECTROGRAM, SAMPLES, FRAMES])
def test_a_hidden_band_is_gone_and_nothing_else(shape):
    wavs = np.stack([tone(300, 2) + tone(3000, 2), tone(7999, 2) + tone(1000, 2)]).astype(
        np.float32
    )
    X = inputs(wavs, shape)
    hidden, same = mask_band(X, 2500, 3500), mask_band(X, 20, 20)
    assert (
        hidden.shape == X.shape and hidden.dtype == np.float32 and np.allclose(same, X, atol=1e-5)
    )
    if shape == SPECTROGRAM:
        assert (
            not hidden[..., 50:70].any()
            and np.array_equal(hidden[..., :50], X[..., :50])
            and np.array_equal(hidden[..., 70:], X[..., 70:])
        )
        assert (
            not mask_band(X, 7500, 8000)[..., 150:].any()
            and mask_band(X, 7500, 8000)[..., 149].any()
        )
    else:
        assert np.allclose(hidden[0].ravel(), tone(300, 2), atol=1e-4) and np.allclose(
            hidden[1].ravel(), wavs[1], atol=1e-4
        )
        assert np.allclose(mask_band(X, 7500, 8000)[1].ravel(), tone(1000, 2), atol=1e-2)


def test_the_bands_are_the_whole():
    assert (
        BAND_EDGES_HZ[0] == 0
        and BAND_EDGES_HZ[-1] == SR / 2
        and list(BAND_EDGES_HZ) == sorted(set(BAND_EDGES_HZ))
        and set(SIREN_BAND_HZ) < set(BAND_EDGES_HZ)
    )


# ---- transplants


@pytest.mark.parametrize("snr_db", [20, 3, 0, -7.5])
def test_a_mix_is_exact(snr_db):
    front, behind = (
        np.stack([tone(700, 2, amplitude=0.1), noise(0.02)]),
        np.stack([noise(0.3, 1), noise(0.001, 2)]),
    )
    both = mix_at_snr(front, behind, snr_db)
    assert both.dtype == np.float32 and abs(both).max() <= 1
    for b, f, w in zip(both, front, behind):
        a, c = np.linalg.lstsq(np.stack([f, w], 1), b, rcond=None)[0]
        assert db(a * rms(f) / (c * rms(w))) == pytest.approx(snr_db, abs=0.1) and a <= 1 + 1e-6
        assert (
            abs(both[1]).max() == 1
            or a == pytest.approx(1, abs=1e-5)
            or abs(b).max() == pytest.approx(1)
        )
    loud = mix_at_snr(tone(700, 2, amplitude=1), noise(0.1), snr_db)
    assert abs(loud).max() == pytest.approx(1)


def test_what_does_not_mix():
    with complains("(3,)", "(4,)"):
        mix_at_snr(np.ones(3), np.ones(4), 0)
    with complains("silence"):
        mix_at_snr(np.ones(3), np.zeros(3), 0)


def test_bass_is_swapped_at_its_edge():
    a, b = tone(20, 2) + tone(50, 2) + tone(400, 2), tone(10, 2) + tone(900, 2)
    assert np.allclose(swap_below(a, b, 30), tone(10, 2) + tone(50, 2) + tone(400, 2), atol=1e-5)
    assert np.allclose(swap_below(b, a, 100), tone(20, 2) + tone(50, 2) + tone(900, 2), atol=1e-5)


def test_transplants_are_what_they_are_called():
    sirens, others = (
        np.stack([noise(0.1, k + i) for i in range(4)]).astype(np.float32) for k in (0, 10)
    )
    tones = np.stack([tone(600 + 100 * i, 2) for i in range(4)])
    made = transplants(sirens, others, tones)
    assert len(made) == 3 + 2 * len(SNRS_DB) + 2 * len(SWAPS_HZ) and all(
        w.shape == (4, N) and w.dtype == np.float32 for w in made.values()
    )
    assert np.array_equal(made["siren", "", ""], sirens) and np.array_equal(
        made["background", "", ""], others
    )
    computed = made["computed siren", "", ""]
    assert rms(computed) == pytest.approx(rms(sirens), rel=0.01) and np.allclose(
        computed / rms(computed)[:, None], tones / rms(tones)[:, None], atol=1e-4
    )
    for name, front in (("siren", sirens), ("computed siren", computed)):
        for snr in SNRS_DB:
            assert np.array_equal(made[name, snr, ""], mix_at_snr(front, others, snr))
    for hz in SWAPS_HZ:
        assert np.array_equal(
            made["siren", "", hz], swap_below(sirens, others, hz)
        ) and np.array_equal(made["background", "", hz], swap_below(others, sirens, hz))


def test_a_fold_always_makes_the_same_transplants():
    wavs, y = (
        np.stack([noise(0.1, i) for i in range(6)]).astype(np.float32),
        np.array([SIREN, OTHER] * 3),
    )
    wavs[0] = 0  # digital silence cannot be mixed
    made, again, other = (make_transplants(wavs, y, fold) for fold in (3, 3, 4))
    assert np.array_equal(made["siren", "", ""], wavs[[2, 4]]) and all(
        np.array_equal(w, again[k]) for k, w in made.items()
    )
    assert not np.array_equal(made["computed siren", "", ""], other["computed siren", "", ""])


# ---- runs that stop and resume


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("clues") / "mine", n=5, seconds=3)


@pytest.fixture
def stumps_only(monkeypatch):
    monkeypatch.setattr(experiment, "_run_examined", lambda *args: None)


def test_stumps_resume(folder, tmp_path, monkeypatch, stumps_only):
    path, walks, walk = tmp_path / "shortcuts.csv", [], experiment.shortcut_features
    monkeypatch.setattr(
        experiment, "shortcut_features", lambda chunks: walks.append(1) or walk(chunks)
    )
    run([folder], tmp_path, fold_ids=[0, 1])
    rows = read_csv(path, SHORTCUT_COLUMNS)
    assert (
        len(rows) == 2 * len(SHORTCUTS)
        and tuple(rows[0]) == tuple(SHORTCUT_COLUMNS)
        and len(walks) == 1
    )
    first = path.read_bytes()
    run([folder], tmp_path, fold_ids=[0, 1])
    assert path.read_bytes() == first and len(walks) == 1, "what was done was done again"
    run([folder], tmp_path)
    assert path.read_bytes().startswith(first) and len(
        read_csv(path, SHORTCUT_COLUMNS)
    ) == FOLDS * len(SHORTCUTS)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:7] + lines[9:]))
    run([folder], tmp_path)
    assert sorted(path.read_text().splitlines(keepends=True)) == sorted(lines) and [
        p.name for p in tmp_path.iterdir()
    ] == ["shortcuts.csv"]


def test_the_test_part_cannot_change_a_row(folder, tmp_path, stumps_only):
    run([folder], tmp_path, fold_ids=[2])
    chunks = chunk_dataset(load_dataset(folder))
    training, _, test = split_for(chunks, "grouped", 2).of(
        shortcut_features(chunks)["level"], chunks.y
    )
    row = pick(read_csv(tmp_path / "shortcuts.csv", SHORTCUT_COLUMNS), clue="level")[0]
    stump = fit_stump(*training)
    assert (
        row["threshold"] == pytest.approx(stump.threshold, rel=1e-5) and row["above"] == stump.above
    )
    assert row["learned"] == pytest.approx(
        score_stump(training, training).balanced_accuracy, abs=1e-4
    )
    assert row["accuracy"] == pytest.approx(score_stump(training, test).accuracy, abs=1e-4)
    assert stump_row(training, (test[0] + 100, test[1])) == stump_row(training, test) | {
        c: stump_row(training, (test[0] + 100, test[1]))[c]
        for c in ("accuracy", "balanced_accuracy", "roc_auc")
    }


@pytest.fixture
def quick(monkeypatch):
    "Models that only note that they were fitted."
    asked = []

    def fit(setting, training, validation, seed, epochs):
        asked.append((*setting, seed))
        return lambda part: score(part[1], np.full(len(part[1]), 0.8 if SIREN == 1 else 0.2))

    empty = dict(zip([*LOOK_COLUMNS][6:], ("nothing", 0, 0, 0.5, 0.5, 0.5)))
    monkeypatch.setattr(experiment, "fit_examined", fit)
    monkeypatch.setattr(experiment, "look_rows", lambda evaluate, X, y: [empty])
    monkeypatch.setattr(experiment, "prepare", lambda chunks, *what: np.zeros((len(chunks), 1)))
    return asked


def test_examined_models_resume(folder, tmp_path, quick):
    paths = tmp_path / "looks.csv", tmp_path / "transplants.csv"
    run([folder], tmp_path, fold_ids=[0])
    looks, moved = read_csv(paths[0], LOOK_COLUMNS), read_csv(paths[1], TRANSPLANT_COLUMNS)
    kinds = 3 + 2 * len(SNRS_DB) + 2 * len(SWAPS_HZ)
    assert len(quick) == len(set(quick)) == len(EXAMINED_NETWORKS) + len(EXAMINED_BASELINES) == len(
        moved
    ) / kinds and len(looks) == len(EXAMINED_NETWORKS)
    assert (
        {r["emergency"] for r in moved} == {1}
        and {r["siren"] for r in moved} == {0.8}
        and moved[0]["snr_db"] is None
    )
    before = [p.read_bytes() for p in paths]
    run([folder], tmp_path, fold_ids=[0])
    assert [p.read_bytes() for p in paths] == before and len(
        quick
    ) == 7, "what was done was done again"
    paths[0].write_text("".join(paths[0].read_text().splitlines(keepends=True)[:-1]))
    run([folder], tmp_path, fold_ids=[0])
    assert [sorted(p.read_text().splitlines()) for p in paths] == [
        sorted(b.decode().splitlines()) for b in before
    ] and len(quick) == 8
    run([folder], tmp_path, fold_ids=[0, 1])
    assert len(quick) == 15 and {q[-1] for q in quick[8:]} == {1}
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "looks.csv",
        "shortcuts.csv",
        "transplants.csv",
    ]


def test_without_folds_each_table_takes_its_own(folder, tmp_path, quick):
    run([folder], tmp_path, settings=EXAMINED_BASELINES)
    assert {r["fold"] for r in read_csv(tmp_path / "shortcuts.csv", SHORTCUT_COLUMNS)} == {
        0,
        1,
        2,
        3,
        4,
    }
    assert {r["fold"] for r in read_csv(tmp_path / "transplants.csv", TRANSPLANT_COLUMNS)} == {
        0,
        1,
        2,
    } and not (tmp_path / "looks.csv").exists()


def test_networks_on_waveforms_are_left_out_where_the_tables_have_none():
    assert (
        examined_settings("esvs")
        == examined_settings("mine")
        == [*EXAMINED_NETWORKS, *EXAMINED_BASELINES]
    )
    assert (
        examined_settings("street")
        == examined_settings("roadside")
        == [*EXAMINED_NETWORKS[:3], *EXAMINED_BASELINES]
    )


def test_the_stump_that_training_picks_is_the_best_one():
    y = np.tile([SIREN, OTHER], 6)
    X = np.stack([np.arange(12.0), y * 2.0 + 1, np.ones(12)], 1)
    evaluate = fit_examined(("rule", "", ""), (X, y), None)
    assert evaluate((X, y)).accuracy == 1 and evaluate((X, 1 - y)).accuracy == 0


def test_answers_are_counted_by_kind():
    made = {("siren", "", ""): np.full((4, 10), 0.1), ("background", "", ""): np.full((6, 10), 0.2)}

    def scores(part):
        assert part[1].tolist() == [SIREN] * 4 + [OTHER] * 6
        return score(
            part[1], siren_probability(np.array([0.9, 0.8, 0.3, 0.6, 0.1, 0.1, 0.7, 0.1, 0.1, 0.1]))
        )

    siren, background = transplant_rows(scores, lambda wavs: np.zeros((len(wavs), 0)), made)
    assert (siren["n"], siren["emergency"], siren["siren"]) == (4, 0.75, 0.65) and (
        background["n"],
        background["emergency"],
    ) == (6, 0.1667)
    assert list(siren) == list(TRANSPLANT_COLUMNS)[6:]


@pytest.mark.parametrize("siren_hz", [SIREN_BAND_HZ, (3000, 4000)])
def test_a_network_that_uses_one_band_loses_with_it(planted, monkeypatch, siren_hz):
    monkeypatch.setattr(experiment, "SIREN_BAND_HZ", siren_hz)
    y = np.tile([SIREN, OTHER], 8)
    X = np.zeros((16, *SPECTROGRAM), np.float32)
    X[..., 40:48] = np.where(y == SIREN, 1, -1)[:, None, None]  # 2000 to 2350 Hz
    planted.compile(loss="binary_crossentropy")
    rows = {
        (r["what"], r["low_hz"], r["high_hz"]): r
        for r in look_rows(lambda part: evaluate(planted, part), X, y)
    }
    assert len(rows) == 3 + len(BAND_EDGES_HZ) - 1 and rows["nothing", 0, 0]["accuracy"] == 1
    blind = {k for k, r in rows.items() if r["balanced_accuracy"] == 0.5}
    assert (
        blind == {("hidden", 2000, 2500), ("kept", *siren_hz)}
        and rows["hidden", 500, 750]["truth"] > 0.99
    )


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "cut", "high"])
@pytest.mark.parametrize(
    "columns, name",
    [
        (SHORTCUT_COLUMNS, "shortcuts.csv"),
        (LOOK_COLUMNS, "looks.csv"),
        (TRANSPLANT_COLUMNS, "transplants.csv"),
    ],
)
def test_foreign_files_are_refused(tmp_path, content, columns, name, folder):
    path, text = tmp_path / name, (ROOT / "data" / name).read_text()
    if content == "cut":
        content = text[:-9]
    if content == "high":
        content = text + ",".join([*text.splitlines()[1].split(",")[:-1], "high"]) + "\n"
    path.write_text(content)
    with complains(name, kind=SirenbookFileError):
        run([folder], tmp_path, fold_ids=[0])
    assert path.read_text() == content and [p.name for p in tmp_path.iterdir()] == [name]


def test_runs_say_how_to_resume(folder, tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "fit_examined", stop)
    with pytest.raises(
        KeyboardInterrupt, match="0 of 7 runs done; give the same command again to resume"
    ):
        run([folder], tmp_path, fold_ids=[0])
    assert not (tmp_path / "looks.csv").exists() and len(
        read_csv(tmp_path / "shortcuts.csv", SHORTCUT_COLUMNS)
    ) == len(SHORTCUTS)


def test_rows_of_another_data_set_are_not_mixed(folder, tmp_path, quick):
    run([folder], tmp_path, fold_ids=[0])
    other = write_folder(tmp_path / "mine", n=6)
    with complains("mine", "another folder", kind=SirenbookFileError):
        run([other], tmp_path, fold_ids=[1])
    (tmp_path / "shortcuts.csv").unlink()
    with complains("mine", "another folder", kind=SirenbookFileError):
        run([other], tmp_path, fold_ids=[1])
    with complains("nowhere", kind=SirenbookFileError):
        run([folder], tmp_path / "nowhere")
    with complains("nowhere", kind=SirenbookFileError):
        read_csv(tmp_path / "nowhere", SHORTCUT_COLUMNS)


def test_a_moved_experiment_reproduces_its_rows(tmp_path):
    run(["roadside"], tmp_path, fold_ids=[0], settings=EXAMINED_BASELINES)
    for name, columns, of in (
        ("shortcuts.csv", SHORTCUT_COLUMNS, ("fold", "clue")),
        ("transplants.csv", TRANSPLANT_COLUMNS, ("fold", "model", "kind", "snr_db", "below_hz")),
    ):
        rows, kept = (read_csv(folder / name, columns) for folder in (tmp_path, ROOT / "data"))
        scores = [c for c, kind in columns.items() if kind is float and c != "threshold"]
        for r in rows:
            [k] = pick(kept, dataset_sha256=r["dataset_sha256"], **{c: r[c] for c in of})
            assert all(r[c] == pytest.approx(k[c], abs=0.02) for c in scores), (r, k)


# ---- what was committed


def test_the_committed_shortcuts_are_complete():
    rows, results = (
        read_csv(ROOT / "data" / "shortcuts.csv", SHORTCUT_COLUMNS),
        load_results(ROOT / "data" / "results.csv"),
    )
    assert {(r["dataset"], r["fold"], r["clue"]) for r in rows} == {
        (d, k, c) for d in ("roadside", "esvs", "street") for k in range(FOLDS) for c in SHORTCUTS
    }
    assert len(rows) == 3 * FOLDS * len(SHORTCUTS) and all(0.5 <= r["learned"] <= 1 for r in rows)
    assert {(r["dataset"], r["dataset_sha256"]) for r in rows} == {
        (r["dataset"], r["dataset_sha256"]) for r in results
    }


def test_the_committed_looks_are_complete():
    looks, moved = (
        read_csv(ROOT / "data" / "looks.csv", LOOK_COLUMNS),
        read_csv(ROOT / "data" / "transplants.csv", TRANSPLANT_COLUMNS),
    )
    bands = {
        ("nothing", 0, 0),
        ("hidden", *SIREN_BAND_HZ),
        ("kept", *SIREN_BAND_HZ),
        *(("hidden", *b) for b in zip(BAND_EDGES_HZ, BAND_EDGES_HZ[1:])),
    }
    kinds = (
        {(k, s, None) for k in ("siren", "computed siren") for s in (None, *SNRS_DB)}
        | {("background", None, None)}
        | {(k, None, hz) for k in ("siren", "background") for hz in SWAPS_HZ}
    )
    who = lambda r: (r["dataset"], r["model"], r["features"], r["wiring"], r["fold"])
    wanted = {
        (d, *n, k)
        for d in ("esvs", "street", "roadside")
        for n in (EXAMINED_NETWORKS if d == "esvs" else EXAMINED_NETWORKS[:3])
        for k in range(3)
    }
    assert {(who(r), r["what"], r["low_hz"], r["high_hz"]) for r in looks} == {
        (w, *b) for w in wanted for b in bands
    } and len(looks) == len(wanted) * len(bands)
    wanted |= {
        (d, *n, k)
        for d in ("esvs", "street", "roadside")
        for n in EXAMINED_BASELINES
        for k in range(3)
    }
    assert {(who(r), r["kind"], r["snr_db"], r["below_hz"]) for r in moved} == {
        (w, *k) for w in wanted for k in kinds
    } and len(moved) == len(wanted) * len(kinds)
    sha = {r["dataset"]: r["dataset_sha256"] for r in load_results(ROOT / "data" / "results.csv")}
    assert all(r["dataset_sha256"] == sha[r["dataset"]] for r in (*looks, *moved))


def test_a_row_of_real_recordings_comes_out_again():
    chunks, fold = chunk_dataset(load_dataset(real("esvs")), short="drop"), 3
    parts = split_for(chunks, "grouped", fold)
    first, test = (
        (shortcut_features(chunks[part]), chunks.y[part]) for part in (parts.train, parts.test)
    )
    for name in SHORTCUTS:
        row = pick(
            read_csv(ROOT / "data" / "shortcuts.csv", SHORTCUT_COLUMNS),
            dataset="esvs",
            fold=fold,
            clue=name,
        )[0]
        s = score_stump((first[0][name], first[1]), (test[0][name], test[1]))
        assert (row["accuracy"], row["balanced_accuracy"], row["roc_auc"]) == pytest.approx(
            (s.accuracy, s.balanced_accuracy, s.roc_auc), abs=0.005
        ), name


# ---- what cannot be


@pytest.mark.parametrize(
    "ask",
    [
        lambda: shortcut_features(np.zeros((2, 100))),
        lambda: shortcut_features(np.full((1, N), np.nan)),
        lambda: fit_stump(np.array([1, np.nan]), np.array([0, 1])),
        lambda: fit_stump(np.arange(3.0), np.array([0, 1])),
        lambda: mix_at_snr(noise(), noise(), np.nan),
        lambda: mix_at_snr(np.zeros(0), np.zeros(0), 3),
        lambda: mix_at_snr(np.full(9, np.nan), np.ones(9), 3),
        lambda: mix_at_snr(noise(), noise(), -7000),
        lambda: swap_below(np.zeros(9), np.zeros(8), 100),
        lambda: transplants(*[np.zeros((0, N))] * 3),
        lambda: transplants(np.ones((2, N)), np.ones((2, N)), np.ones((1, N))),
    ],
)
def test_sounds_and_numbers_that_cannot_be_used(ask):
    with complains():
        ask()
