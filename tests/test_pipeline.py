"""From recordings to scores by the public functions, on real recordings and embedded ones."""
import os, subprocess, sys, warnings

import numpy as np
import pytest
from shared import complains, real, thinned, write
from sirenbook import training
from sirenbook.chunks import chunk_dataset, group_split, random_split, shared_share
from sirenbook.errors import SirenbookWarning
from sirenbook.networks import FRAMES, SAMPLES, SPECTROGRAM, cnn, inputs, lstm
from sirenbook.duplicates import merge_duplicate_groups
from sirenbook.recordings import CLASSES, load_dataset, load_wav, siren_probability
from sirenbook.results import band_statistics, logistic
from sirenbook.files import write_csv
from sirenbook.spectrograms import log_spectrogram
from sirenbook.training import evaluate, load_model, predict, set_seed, train

SETUPS = {"cnn on time": (cnn, SAMPLES), "lstm on time": (lstm, FRAMES),
          "cnn on spectrogram": (cnn, SPECTROGRAM), "lstm on spectrogram": (lstm, SPECTROGRAM)}

@pytest.fixture(scope="module", params=["esvs", "roadside"])
def chunks(request):
    "Some 250 to 400 chunks of a data set."
    name = request.param
    data = thinned(load_dataset("roadside"),
                   2) if name == "roadside" else thinned(load_dataset(real(name)), 5)
    assert {r.label for r in data.recordings} == set(CLASSES) and data.name == name
    return chunk_dataset(data)

@pytest.fixture(scope="module")
def trained(chunks, tmp_path_factory):
    "The spectrogram CNN, wired as its text means, trained without leaks; its split and scores."
    split, X = group_split(chunks.y, chunks.groups), inputs(chunks, SPECTROGRAM)
    learn, choose, test = split.of(X, chunks.y)
    set_seed(0)
    model, path = cnn(SPECTROGRAM, "chained"), tmp_path_factory.mktemp("models")/"best.keras"
    told = train(model, learn, choose, epochs=10, batch_size=16, seed=0, checkpoint=path)
    return model, path, split, test, told, evaluate(model, test)


@pytest.mark.parametrize("setup", SETUPS)
def test_each_model_from_recordings_to_scores(chunks, setup):
    make, shape = SETUPS[setup]
    some = np.arange(0, len(chunks), 2)
    X, y = inputs(chunks[some], shape), chunks.y[some]
    assert X.shape == (len(some), *shape) and X.dtype == np.float32
    split = random_split(y)
    learn, choose, test = split.of(X, y)
    model = make(shape)
    told = train(model, learn, choose, epochs=1)
    scores = evaluate(model, test)
    assert set(told.history) >= {"loss", "val_loss", "accuracy", "val_accuracy"}
    assert told.best_epoch == 1 and told.seconds > 0
    assert scores.p.shape == scores.y.shape == (len(split.test),)
    assert np.all((0 <= scores.p) & (scores.p <= 1))
    assert scores.confusion.sum() == len(split.test) and 0 <= scores.accuracy <= 1
    assert 0 <= scores.roc_auc <= 1

def test_scores_beat_chance(trained):
    scores = trained[-1]
    assert scores.roc_auc > .7 and scores.balanced_accuracy > .55, scores

def test_scores_are_what_sklearn_says(trained):
    from sklearn import metrics
    s = trained[-1]
    assert s.accuracy == np.mean((s.p > .5) == s.y)
    assert s.balanced_accuracy == metrics.balanced_accuracy_score(s.y, s.p > .5)
    assert s.roc_auc == metrics.roc_auc_score(s.y, s.p)
    assert np.array_equal(s.confusion, metrics.confusion_matrix(s.y, s.p > .5))
    false_alarms, hits = s.roc()
    assert metrics.auc(false_alarms,
                       hits) == pytest.approx(s.roc_auc), "sirens are what is to be found"

def test_the_best_epoch_is_kept(chunks, trained):
    model, path, split, test, told, scores = trained
    X = inputs(chunks, SPECTROGRAM)[split.validation]
    loss, accuracy = model.evaluate(X, chunks.y[split.validation].astype("float32"), verbose=0)
    assert told.best_epoch == np.argmin(told.history["val_loss"]) + 1
    assert len(told.history["loss"]) == 10
    assert loss == pytest.approx(min(told.history["val_loss"]), abs=1e-4)

def test_test_data_choose_nothing(chunks, trained):
    "Training sees two parts only; the third, turned upside down, changes no weight."
    model, path, split, test, *_ = trained
    assert not set(split.test) & (set(split.train) | set(split.validation))
    assert shared_share(chunks, split.test, np.concatenate([split.train, split.validation])) == 0
    before = [w.copy() for w in model.get_weights()]
    evaluate(model, (test[0], 1 - test[1]))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))

def test_saved_and_loaded_scores_are_equal(trained, tmp_path):
    model, path, split, test, told, scores = trained
    assert path.suffix == ".keras" and [p.name for p in path.parent.iterdir()] == ["best.keras"]
    np.testing.assert_array_equal(evaluate(load_model(path), test).p, scores.p)
    model.save(tmp_path/"again.keras")
    again = evaluate(load_model(tmp_path/"again.keras"), test)
    np.testing.assert_array_equal(again.p, scores.p)
    assert (again.accuracy, again.roc_auc) == (scores.accuracy, scores.roc_auc)

def test_prediction_and_evaluation_prepare_alike(chunks, trained):
    model, path, split, test, told, scores = trained
    some = split.test[:20]
    said = predict(model, chunks[some])
    np.testing.assert_allclose([s.siren for s in said], siren_probability(scores.p[:20]), atol=1e-5)
    assert [s.label for s in said] == [CLASSES[int(p > .5)] for p in scores.p[:20]]
    one = predict(load_model(path), chunks[some[7]])
    assert one.siren == pytest.approx(said[7].siren, abs=1e-5) and one.label == said[7].label
    assert one.label in str(one)

def test_sirens_get_the_higher_probability(chunks, trained):
    "The article's inverted label cannot happen: sirens get the higher probability of a siren."
    model, path, split, test, told, scores = trained
    siren = np.array([s.siren for s in predict(model, chunks[split.test])])
    truth = np.array(CLASSES)[scores.y]
    assert siren[truth == "emergency"].mean() > siren[truth == "non-emergency"].mean() + .02

def test_chunks_prepared_together_or_alone(chunks):
    some = np.arange(0, len(chunks), 17)
    for shape in (SAMPLES, FRAMES):
        np.testing.assert_array_equal(inputs(chunks, shape)[some], inputs(chunks[some], shape))

def test_spectrograms_of_chunks_together_or_alone(chunks):
    """The same power within the rounding of 32 bits. A standardised value has no such limit of its
    own: a bin that holds nothing has a logarithm of about -23 throughout, whose last bit (2e-6) is
    divided by the bin's spread, 0.004 in esvs; so this is measured before the division."""
    some = np.arange(0, len(chunks), 17)
    alone = log_spectrogram(chunks[some]).astype(float)
    together = np.stack([log_spectrogram(chunks.views[chunks.recording[i]])[chunks.place[i]]
                         for i in some]).astype(float)
    power = np.exp(alone)
    apart = np.abs(np.exp(together) - power) / power.max(2, keepdims=True)
    assert apart.max() < 2e-6, "of the loudest bin of its frame"
    spread = alone.std(1, keepdims=True)
    apart = np.abs(inputs(chunks, SPECTROGRAM)[some] - inputs(chunks[some], SPECTROGRAM)) * spread
    assert apart.max() < 1e-4, "of the natural logarithm of the power"

def test_a_seed_is_a_training():
    rng = np.random.default_rng(0)
    part = rng.normal(size=(40, 30, 5)).astype(np.float32), np.arange(40) % 2
    def weights(seed):
        set_seed(1)
        model = cnn((30, 5), "chained")
        train(model, part, part, epochs=1, seed=seed)
        return np.concatenate([w.ravel() for w in model.get_weights()])
    assert np.array_equal(weights(5), weights(5)) and not np.array_equal(weights(5), weights(6))


# ---- what training does not take

X, Y = np.zeros((6, *SAMPLES), np.float32), np.arange(6) % 2

@pytest.mark.parametrize("part, names", [
    ((X[:0], Y[:0]), ["training", "empty"]),
    ((X, Y[:5]), ["6", "5"]),
    ((X[:, :100], Y), ["(100, 1)"]),
    ((X, Y + 1), ["class numbers"]),
    ((X, Y * 0), ["one class"]),
    ((X + np.nan, Y), ["NaN"]),
    (X, ["(X, y)"]),
], ids=["nothing", "lengths differ", "another shape", "no class", "one class", "NaN", "no labels"])
def test_bad_training_part(part, names):
    with complains(*names): train(cnn(SAMPLES), part, (X, Y))

def test_bad_checkpoint(tmp_path):
    with complains("old.hdf5", ".keras"):
        train(cnn(SAMPLES), (X, Y), (X, Y), epochs=1, checkpoint=tmp_path/"old.hdf5")
    with complains("no such folder"):
        train(cnn(SAMPLES), (X, Y), (X, Y), epochs=1,
              checkpoint=tmp_path/"no such folder"/"a.keras")
    assert not list(tmp_path.iterdir())

def test_interrupted_training_leaves_a_whole_file(tmp_path, monkeypatch):
    path = tmp_path/"best.keras"
    def progress(epochs, *args):
        yield next(iter(epochs))
        raise KeyboardInterrupt  # the first epoch is done; the second begins
    monkeypatch.setattr(training, "progress", progress)
    with pytest.raises(KeyboardInterrupt):
        train(cnn(SAMPLES), (X, Y), (X, Y), epochs=2, checkpoint=path)
    assert load_model(path).count_params() == 481
    assert [p.name for p in tmp_path.iterdir()] == ["best.keras"]

def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path, model = tmp_path/"best.keras", cnn(SAMPLES)
    path.write_bytes(b"the model of yesterday")
    monkeypatch.setattr(type(model), "save", lambda self, *args,
                        **options: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt): train(model, (X, Y), (X, Y), epochs=2, checkpoint=path)
    assert path.read_bytes() == b"the model of yesterday"
    assert [p.name for p in tmp_path.iterdir()] == ["best.keras"]

@pytest.mark.parametrize("level", [None, "1"])
def test_where_there_is_no_gpu_nothing_is_said_of_it(level):
    "TensorFlow's own E0000 lines; a level that is already set stays."
    env = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    if level: env["TF_CPP_MIN_LOG_LEVEL"] = level
    code = """import os, sirenbook.networks as n
n.cnn(n.SPECTROGRAM).count_params()
print(os.environ["TF_CPP_MIN_LOG_LEVEL"])"""
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == (level or "3"), done.stderr
    assert level or "cuInit" not in done.stderr

def test_unknown_wiring():
    for make in (cnn, lstm):
        with complains("wiring", "'loose'"): make(SPECTROGRAM, "loose")


# ---- a folder of a stranger

@pytest.fixture
def strangers(tmp_path):
    "Recordings as people have them: of all rates, channels, formats and lengths, and one twice."
    kinds = (("wav", 44100), ("flac", 16000), ("ogg", 48000), ("mp3", 22050))
    for c, hz in zip(CLASSES, (900, 200)):
        for k in range(12):
            suffix, sr = kinds[k % 4]
            t, rng = np.arange(int(sr * (3 + k % 3))) / sr, np.random.default_rng([k, hz])
            wav = .2 * np.sin(2 * np.pi * hz * t) * (rng.uniform()
                + np.sin(7 * t) ** 2) + rng.normal(0, .03, len(t))
            write(tmp_path/c/f"shelf {k % 2}"/f"{k}.{suffix}", np.stack([wav, .5 * wav], 1)
                  if k % 3 else wav, sr)
    write(tmp_path/"emergency"/"again.mp3",
          .3 * load_wav(tmp_path/"emergency"/"shelf 0"/"8.wav")[9000:], 16000)
    write(tmp_path/"non-emergency"/"short.wav", np.random.default_rng(0).normal(0, .1, 12000))
    return tmp_path

def test_a_strangers_folder_in_ten_lines(strangers):
    with pytest.warns(SirenbookWarning, match="again.mp3") as warned:
        loaded = load_dataset(strangers, duplicates=True)
    assert len(warned) == 1
    data = merge_duplicate_groups(loaded)
    pair = [r.group for r in data.recordings if r.path.name in ("again.mp3", "8.wav")
            and r.label == "emergency"]
    assert len(pair) == 2 and len(set(pair)) == 1
    assert len({r.group for r in data.recordings}) == len(data.recordings) - 1
    chunks = chunk_dataset(data, short="drop")
    split = group_split(chunks.y, chunks.groups)
    learn, choose, test = split.of(inputs(chunks, SPECTROGRAM), chunks.y)
    set_seed(0)
    model = cnn(SPECTROGRAM, wiring="chained")
    train(model, learn, choose, epochs=2)
    ours = evaluate(model, test)
    plain = logistic(*split.of(band_statistics(chunks), chunks.y)[::2])
    assert (0 <= ours.accuracy <= 1
            and plain.accuracy > .9), "a hum of 900 Hz is not told from one of 200 Hz"
    where = [{g for g in pair} & set(chunks.groups[part])
             for part in (split.train, split.validation, split.test)]
    assert sum(map(bool, where)) == 1, "a copy is in two parts"
    write_csv(strangers/"manifest.csv", [{"file": r.path.relative_to(strangers).as_posix(),
        "label": r.label, "group": r.group} for r in data.recordings])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {r.group for r in load_dataset(strangers, duplicates=True).recordings} == {r.group
            for r in data.recordings}
