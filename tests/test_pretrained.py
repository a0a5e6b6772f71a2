"""The networks that come with the book: their files, their scores, how they are trained."""

import json, shutil

import numpy as np
import pytest
from shared import PACKAGE, ROOT, complains, real

from sirenbook import rendering, training
from sirenbook.chunks import chunk_dataset
from sirenbook.errors import SirenbookError, SirenbookFileError
from sirenbook.experiments import pretrained as experiment
from sirenbook.experiments.pretrained import (
    NETWORKS,
    PRETRAINED_COLUMNS,
    SEED,
    TESTED_ON,
    bootstrap_scores,
    load_test,
)
from sirenbook.experiments.pretrained import test_row as score_row
from sirenbook.files import read_csv, sha256
from sirenbook.networks import LazyInputs
from sirenbook.recordings import class_index, load_dataset
from sirenbook.training import evaluate, pretrained, score

WEIGHTS = PACKAGE / "weights"
SIREN, OTHER = class_index("emergency"), class_index("non-emergency")
each_network = pytest.mark.parametrize("network", NETWORKS)


@pytest.fixture(scope="module")
def card():
    return json.loads((WEIGHTS / "pretrained.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rows():
    return read_csv(ROOT / "data" / "pretrained.csv", PRETRAINED_COLUMNS)


def shipped(rows, card, network, tested_on):
    "The row of the seed that is shipped."
    (row,) = [
        r
        for r in rows
        if (r["network"], r["seed"], r["tested_on"]) == (network, card[network]["seed"], tested_on)
    ]
    return row


# ---- the files


def test_the_files_are_those_of_the_card_and_small(card):
    files = [WEIGHTS / c["file"] for c in card.values()]
    assert [*card] == [*NETWORKS]
    assert [sha256(f) for f in files] == [c["sha256"] for c in card.values()]
    assert sum(f.stat().st_size for f in files) < 1_000_000


@each_network
def test_a_shipped_network_is_the_one_that_is_built(network, card):
    shape, build = NETWORKS[network]
    model, fresh = pretrained(network), build()
    assert model.input_shape[1:] == shape
    assert [w.shape for w in model.get_weights()] == [w.shape for w in fresh.get_weights()]
    assert model.count_params() == card[network]["parameters"] == fresh.count_params()
    assert [type(a) for a in model.layers] == [type(b) for b in fresh.layers]


@pytest.fixture
def copied(tmp_path, monkeypatch):
    "A copy of the weights, where the package now looks for them."
    shutil.copytree(WEIGHTS, tmp_path / "weights")
    monkeypatch.setattr(training.resources, "files", lambda package: tmp_path)
    return tmp_path / "weights"


def test_what_is_missing_or_damaged_is_named(copied):
    path = copied / "waveform-cnn.keras"
    whole = path.read_bytes()
    for damaged in (whole[:5000], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        path.write_bytes(damaged)
        with complains(path, "install", kind=SirenbookFileError):
            pretrained("waveform-cnn")
    path.unlink()
    with complains(path, "install", kind=SirenbookFileError):
        pretrained("waveform-cnn")
    assert pretrained("spectrogram-cnn").name == "spectrogram-cnn"
    for text in ("", "{", "[]", '{"waveform-cnn": 3}'):
        (copied / "pretrained.json").write_text(text)
        with complains("pretrained.json", "install", kind=SirenbookFileError):
            pretrained("waveform-cnn")
    (copied / "pretrained.json").unlink()
    with complains("pretrained.json", "install", kind=SirenbookFileError):
        pretrained("waveform-cnn")


def test_an_unknown_name_is_answered_with_the_names():
    with complains("choir", *NETWORKS):
        pretrained("choir")


# ---- the scores


def test_every_shipped_network_has_a_row_for_each_data_set(rows, card):
    for network in NETWORKS:
        for name in TESTED_ON:
            row = shipped(rows, card, network, name)
            assert row["kind"] == ("rendered" if name == "roadside" else "real")
            for measure in ("balanced_accuracy", "roc_auc"):
                low, value, high = (row[measure + end] for end in ("_low", "", "_high"))
                assert 0 <= low <= value <= high <= 1
        seeds = [r["seed"] for r in rows if r["network"] == network]
        assert card[network]["seed"] == min(seeds), "the seed was chosen by its scores"


@each_network
def test_the_row_of_the_embedded_scenes_is_found_again(network, rows, card):
    again, row = score_row(pretrained(network), *load_test("roadside")), shipped(
        rows, card, network, "roadside"
    )
    for name in ("recordings", "groups", "chunks", "kind", "tested_on"):
        assert again[name] == row[name]
    for measure in ("balanced_accuracy", "roc_auc"):
        for end in ("", "_low", "_high"):
            assert again[measure + end] == pytest.approx(row[measure + end], abs=0.01)


@each_network
def test_each_network_has_learned(network, rows, card):
    "Better than a coin on scenes of other seeds, by an interval over recordings."
    row = shipped(rows, card, network, "roadside")
    assert row["balanced_accuracy_low"] > 0.6 and row["roc_auc_low"] > 0.65


# the networks' answers to chunks 3, 400 and 800 of roadside, as they were when shipped
STORED = {
    "waveform-cnn": [0.0021, 0.0154, 0.8747],
    "waveform-lstm": [0.0205, 0.2409, 0.7852],
    "spectrogram-cnn": [0.0453, 0.3135, 0.9248],
    "spectrogram-lstm": [0.0293, 0.2041, 0.6055],
}


def test_the_prediction_of_a_chunk_is_stored_here():
    chunks = chunk_dataset(load_dataset("roadside"))
    rows = [3, 400, 800]
    for network, expected in STORED.items():
        model = pretrained(network)
        X = LazyInputs(chunks, model.input_shape[1:])
        found = evaluate(model, (X[rows], chunks.y[rows])).p
        assert np.allclose(found, expected, atol=0.01), (network, found.tolist())
    assert [*STORED] == [*NETWORKS]


@pytest.mark.parametrize("name", ["esvs", "street"])
def test_a_row_of_real_clips_is_found_again(name, rows, card):
    data, kind = load_test(real(name))
    again = score_row(pretrained("spectrogram-cnn"), data, kind)
    row = shipped(rows, card, "spectrogram-cnn", name)
    assert again["recordings"] == row["recordings"] and kind == "real"
    assert again["roc_auc"] == pytest.approx(row["roc_auc"], abs=0.01)


def test_effects_are_not_tested():
    data, kind = load_test(real("street"))
    n = len(load_dataset(real("street")).recordings)
    assert kind == "real" and len(data.recordings) == n - 34


# ---- no leak


def test_no_scene_is_shared_with_the_embedded_data_set():
    "Scenes are drawn from the pair (seed, number); the two seeds have no pair in common."
    assert SEED != rendering.ROADSIDE_SEED
    draws = {
        seed: {
            int(v)
            for i in range(60)
            for v in np.random.default_rng([seed, i]).integers(2**63, size=20)
        }
        for seed in (SEED, rendering.ROADSIDE_SEED)
    }
    assert all(len(d) == 1200 for d in draws.values())
    assert not draws[SEED] & draws[rendering.ROADSIDE_SEED]


def test_validation_scenes_do_not_train(tmp_path, monkeypatch):
    data = load_dataset(experiment.render_training_scenes(tmp_path / "few", hours=120 / 3600))
    chunks, seen = chunk_dataset(data), {}

    def look(model, training, validation, *more):
        seen["training"], seen["validation"] = training[0]._rows[:, 0], validation[0]._rows[:, 0]

    monkeypatch.setattr(experiment, "train", look)
    experiment.fit_network(chunks, "spectrogram-cnn")
    assert not {*seen["training"]} & {*seen["validation"]}
    assert len({*seen["training"]} | {*seen["validation"]}) == len(data.recordings)
    with complains("choir", "waveform-cnn"):
        experiment.fit_network(chunks, "choir")


# ---- the intervals


def test_intervals_by_hand():
    "Two groups of each class: a draw is both, or one of them twice."
    y, groups = np.array([SIREN] * 4 + [OTHER] * 4), np.array([0, 0, 1, 1, 2, 2, 3, 3])
    siren = np.array([0.9, 0.8, 0.3, 0.7, 0.6, 0.2, 0.1, 0.4])
    found = bootstrap_scores(y, siren if SIREN == 1 else 1 - siren, groups)
    assert found["balanced_accuracy"] == 0.75 == (3 / 4 + 3 / 4) / 2
    assert found["roc_auc"] == 14 / 16 == score(y, siren if SIREN else 1 - siren).roc_auc
    assert found["balanced_accuracy_low"] == 0.5 and found["balanced_accuracy_high"] == 1
    assert found["roc_auc_low"] == 0.75 and found["roc_auc_high"] == 1


def test_chunks_of_one_group_do_not_narrow_the_interval():
    rng = np.random.default_rng(0)
    y = np.repeat([SIREN, OTHER], 30)
    p = 1 / (1 + np.exp(-rng.normal(2 * y - 1, 2)))
    once = bootstrap_scores(y, p, np.arange(60))
    copied = bootstrap_scores(np.tile(y, 9), np.tile(p, 9), np.tile(np.arange(60), 9))
    apart = bootstrap_scores(np.tile(y, 9), np.tile(p, 9), np.arange(540))
    width = lambda r: r["roc_auc_high"] - r["roc_auc_low"]
    assert copied == once and width(apart) < width(once) / 2


# ---- the experiment


def test_it_resumes_and_publishes_the_first_seed(tmp_path, monkeypatch):
    trained, real_fit = [], experiment.fit_network

    def fit(chunks, network, seed, epochs):
        trained.append(seed)
        return real_fit(chunks, network, seed, epochs)

    monkeypatch.setattr(experiment, "fit_network", fit)
    few = dict(
        folder=tmp_path / "lessons",
        weights=tmp_path / "weights",
        hours=120 / 3600,
        networks=["spectrogram-cnn"],
        epochs=1,
    )
    experiment.run(["roadside"], tmp_path, seeds=[0], **few)
    experiment.run(["roadside"], tmp_path, seeds=[0, 1], **few)
    experiment.run(["roadside", tmp_path / "lessons"], tmp_path, seeds=[0, 1], **few)
    assert trained == [0, 1], "a network that is there was trained again"
    rows = read_csv(tmp_path / "pretrained.csv", PRETRAINED_COLUMNS)
    assert len(rows) == 4 and {r["tested_on"] for r in rows} == {"roadside", "lessons"}
    card = json.loads((tmp_path / "weights" / "pretrained.json").read_text())
    assert card["spectrogram-cnn"]["seed"] == 0
    assert (
        sha256(tmp_path / "weights" / "spectrogram-cnn-0.keras")
        == card["spectrogram-cnn"]["sha256"]
    )
    with pytest.raises(SirenbookError):
        experiment.run(["roadside"], tmp_path, seeds=[-1], **few)
