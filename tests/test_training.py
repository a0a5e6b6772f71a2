"""Training by Keras's fit: what it keeps, what it writes, what it lets go; inputs on demand."""
import gc
import weakref

import numpy as np
import pytest
from shared import complains
from sirenbook.chunks import chunk_dataset, random_split
from sirenbook.networks import FRAMES, SAMPLES, SPECTROGRAM, LazyInputs, cnn, inputs
from sirenbook.recordings import load_dataset
from sirenbook.training import evaluate, set_seed, train

X, Y = np.zeros((6, *SAMPLES), np.float32), np.arange(6) % 2


@pytest.fixture(scope="module")
def chunks():
    return chunk_dataset(load_dataset("roadside"))


def fresh(shape=SPECTROGRAM):
    set_seed(0)
    return cnn(shape, "chained")


def test_an_epoch_is_keras_own_in_the_order_of_the_seed():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(70, 30, 5)).astype(np.float32), np.arange(70) % 2
    ours, keras_own = fresh((30, 5)), fresh((30, 5))
    train(ours, (x, y), (x, y), epochs=2, seed=7)
    order = np.random.default_rng(7)
    for _ in range(2):
        rows = order.permutation(70)
        keras_own.fit(x[rows], y[rows], batch_size=32, shuffle=False, verbose=0)
    for a, b in zip(ours.get_weights(), keras_own.get_weights()):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("shape", [SAMPLES, FRAMES, SPECTROGRAM], ids=str)
def test_lazy_inputs_are_the_rows_of_inputs(chunks, shape):
    lazy, whole, some = LazyInputs(chunks, shape), inputs(chunks, shape), np.array([3, 700, 21])
    assert lazy.shape == whole.shape and len(lazy) == len(whole) and lazy.dtype == whole.dtype
    for rows in (some, slice(5, 9), chunks.groups == chunks.groups[0], slice(0)):
        assert isinstance(lazy[rows], LazyInputs) and lazy[rows].shape == whole[rows].shape
        np.testing.assert_allclose(np.asarray(lazy[rows]), whole[rows], atol=1e-3)
    np.testing.assert_allclose(lazy[-1], whole[-1], atol=1e-3)
    np.testing.assert_allclose(np.asarray(LazyInputs(chunks[some], shape)), whole[some], atol=1e-3)


def test_lazy_inputs_of_silence_and_of_nothing():
    assert not np.asarray(LazyInputs(np.zeros((2, 32000)), SPECTROGRAM)).any()
    assert LazyInputs(np.zeros((0, 32000)), FRAMES).shape == (0, *FRAMES)
    with complains("no preparation"): LazyInputs(np.zeros((2, 32000)), (7, 7))
    with complains("32000"): LazyInputs(np.zeros((2, 100)), FRAMES)


def test_lazy_inputs_train_the_same_weights(chunks):
    some = np.arange(0, len(chunks), 8)
    lazy, y = LazyInputs(chunks, SPECTROGRAM)[some], chunks.y[some]
    def fit(x):
        model = fresh()
        *parts, test = random_split(y).of(x, y)
        train(model, *parts, epochs=1)
        return [*model.get_weights(), evaluate(model, test).p]
    for a, b in zip(fit(lazy), fit(np.asarray(lazy))): np.testing.assert_allclose(a, b, atol=1e-4)


def test_training_lets_its_data_go():
    "TensorFlow keeps every generator that `fit` was given; the data must not stay with it."
    x = LazyInputs(np.zeros((6, 32000), np.float32), SAMPLES)
    held = weakref.ref(x._parts[0])
    train(cnn(SAMPLES), (x, Y), (x, Y), epochs=1)
    del x
    gc.collect()
    assert held() is None


def test_a_checkpoint_has_the_name_that_it_was_given(tmp_path):
    path = tmp_path / "{epoch} best.keras"
    train(cnn(SAMPLES), (X, Y), (X, Y), epochs=1, checkpoint=path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_checkpoint_is_not_a_folder(tmp_path):
    (tmp_path / "a.keras").mkdir()
    with complains("a.keras", "cannot be written"):
        train(cnn(SAMPLES), (X, Y), (X, Y), epochs=1, checkpoint=tmp_path / "a.keras")


def test_a_loss_that_is_never_finite_is_refused():
    model = cnn(SAMPLES)
    model.optimizer.learning_rate = np.nan
    with complains("never a finite number"): train(model, (X, Y), (X, Y), epochs=2)
