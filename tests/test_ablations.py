"""Ablations, one at a time: each changes what it should and nothing else; their file."""

from types import SimpleNamespace

import numpy as np
import pytest
from shared import ROOT, complains, real, thinned
from sirenbook import ablations
from sirenbook.ablations import (
    ABLATION_COLUMNS,
    ABLATIONS,
    FAIR,
    AblationRun,
    ablation_split,
    count_flat_chunks,
    difference,
    effects,
    keep_tails,
    load_ablations,
    run_ablation_setting,
    scale,
)
from sirenbook.chunks import chunk_dataset
from sirenbook.duplicates import merge_duplicate_groups
from sirenbook.errors import SirenbookFileError
from sirenbook.experiments import ablations as experiment
from sirenbook.experiments import verdict
from sirenbook.experiments.ablations import run
from sirenbook.experiments.verdict import dataset_sha256
from sirenbook.files import write_csv
from sirenbook.networks import SPECTROGRAM, inputs
from sirenbook.recordings import CLASSES, Dataset, Recording, load_dataset
from sirenbook.results import FOLDS, load_results, pick, split_for
from sirenbook.spectrograms import log_spectrogram, standardize


@pytest.fixture(scope="module")
def roadside():
    return load_dataset("roadside")


@pytest.fixture(scope="module")
def small(roadside):
    return thinned(roadside, 6)


@pytest.fixture(scope="module", params=["roadside", "esvs", "street"])
def data(request, roadside):
    if request.param == "roadside":
        return roadside
    return merge_duplicate_groups(load_dataset(real(request.param)))  # as the experiments do


# ---- what an ablation changes


@pytest.fixture
def asked(monkeypatch):
    "What the steps of a run were asked for, and what they gave."
    notes = {}

    def spy(name, note):
        done = getattr(ablations, name)

        def step(*args, **kwargs):
            out = done(*args, **kwargs)
            notes.setdefault(name, []).append(note(args, kwargs, out))
            return out

        monkeypatch.setattr(ablations, name, step)

    spy("log_spectrogram", lambda args, kwargs, out: kwargs["eps"])
    spy("cnn", lambda args, kwargs, out: args[1])
    spy("ablation_split", lambda args, kwargs, out: (args[2], len(args[0]), out))
    spy("train", lambda args, kwargs, out: (len(args[1][1]), args[2], kwargs["seed"]))
    spy("evaluate", lambda args, kwargs, out: (args[1], out))
    spy("scale", lambda args, kwargs, out: out)
    return notes


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_an_ablation_changes_what_it_should_and_only_that(small, asked, ablation):
    want, whole = FAIR | ABLATIONS[ablation], chunk_dataset(small)
    r = run_ablation_setting(small, ablation, fold=1, epochs=1)
    assert set(asked["log_spectrogram"]) == {want["eps"]} and asked["cnn"] == [want["wiring"]]
    [(split, n, parts)], [(n_trained, judge, seed)], [(test, _)], [X] = (
        asked[k] for k in ("ablation_split", "train", "evaluate", "scale")
    )
    assert split == want["split"] and n == (
        len(whole) if want["tails"] == "dropped" else len(keep_tails(small))
    )
    assert (
        seed == 1 + want["seed"]
        and n_trained == len(parts.train)
        and len(r.metrics.y) == len(parts.test)
    )
    kept = {"validation": parts.validation, "test": parts.test}[want["select_on"]]
    assert np.array_equal(judge[0], X[kept]) and np.array_equal(
        test[0], X[parts.test]
    ), "the wrong part chose, or was tested"
    assert len(r.training.history["loss"]) == r.training.best_epoch == 1 and isinstance(
        r, AblationRun
    )
    raw = np.concatenate(
        [
            log_spectrogram(v, eps=want["eps"])
            for v in (whole if want["tails"] == "dropped" else keep_tails(small)).views
        ]
    )
    assert np.array_equal(
        X, scale(raw, want["scaling"], parts.train)
    ) and r.n_flat == count_flat_chunks(raw)


def test_ablations_differ_from_the_fair_run():
    assert not ABLATIONS["none"] and len(
        {tuple(sorted((FAIR | f).items())) for f in ABLATIONS.values()}
    ) == len(ABLATIONS)
    assert set(ABLATIONS["as printed"]) == {"wiring", "split", "select_on"}


def test_the_fair_run_is_the_books(small, monkeypatch):
    chunks = chunk_dataset(small)
    of = split_for(chunks, "grouped", 2)
    X = inputs(chunks, SPECTROGRAM)
    given = {}
    monkeypatch.setattr(
        ablations,
        "train",
        lambda network, learn, choose, *args, **kwargs: given.update(learn=learn, choose=choose),
    )
    monkeypatch.setattr(ablations, "evaluate", lambda network, test: given.update(test=test))
    run_ablation_setting(small, "none", fold=2)
    for part, where in (("learn", of.train), ("choose", of.validation), ("test", of.test)):
        np.testing.assert_allclose(given[part][0], X[where], atol=2e-3)
        assert np.array_equal(given[part][1], chunks.y[where])


def test_the_test_part_chooses_what_suits_it(small):
    fair, chosen = (run_ablation_setting(small, a, 0, 3) for a in ("none", "test part chooses"))
    np.testing.assert_allclose(
        fair.training.history["loss"], chosen.training.history["loss"], rtol=0.02
    )
    own, kept = chosen.training.history["val_loss"], chosen.training.best_epoch
    assert own[kept - 1] == min(own) <= own[fair.training.best_epoch - 1]
    right = np.mean((chosen.metrics.p > 0.5) == chosen.metrics.y)
    assert right == pytest.approx(chosen.training.history["val_accuracy"][kept - 1]) and len(
        fair.metrics.y
    ) == len(chosen.metrics.y)


def test_the_same_seed_gives_the_same_and_another_gives_another(small):
    first, again, other = (
        run_ablation_setting(small, f, 0, 1).metrics.p
        for f in ("none", "none", "only another seed")
    )
    np.testing.assert_allclose(first, again, atol=1e-3)
    assert np.abs(first - other).max() > 1e-2


def test_an_unknown_ablation():
    with complains("'rust'", "as printed"):
        run_ablation_setting(None, "rust")


# ---- tails


@pytest.mark.parametrize("n", [32000, 32001, 47999, 48000, 48001])
def test_tails_begin_wherever_there_is_sound(n):
    wav = np.random.default_rng(n).normal(0, 0.1, n).astype(np.float32)
    chunks = keep_tails(
        Dataset(
            "x",
            [Recording(wav, 16000, c, c, "x.wav") for c in CLASSES]
            + [Recording(wav[:31999], 16000, CLASSES[0], "short", "y.wav")],
        )
    )
    starts = range(0, n, 16000)
    assert len(chunks) == 2 * len(starts) and "short" not in chunks.groups
    for i, s in enumerate(starts):
        piece = wav[s : s + 32000]
        assert (
            np.array_equal(chunks[i][: len(piece)], piece)
            and not chunks[i][len(piece) :].any()
            and len(chunks[i]) == 32000
        )


def test_tails_stay_with_their_group_in_recordings_of_any_length():
    rng = np.random.default_rng(3)
    wavs = [np.zeros(n, np.float32) for n in rng.integers(32000, 150_000, 60)]
    test_tails_stay_with_their_group(
        Dataset(
            "uneven",
            [Recording(w, 16000, CLASSES[i % 2], str(i), f"{i}.wav") for i, w in enumerate(wavs)],
        )
    )


def test_tails_stay_with_their_group(data):
    whole, tails = chunk_dataset(data, short="drop"), keep_tails(data)
    full = [r for r in data.recordings if r.seconds >= 2]
    assert len(tails) == sum(-(-len(r.wav) // 16000) for r in full) > len(whole)
    for k in range(FOLDS):
        fair, ours = (
            split_for(whole, "grouped", k),
            ablation_split(tails, whole, "grouped", "validation", k),
        )
        for part in ("train", "validation", "test"):
            assert set(whole.groups[getattr(fair, part)]) == set(tails.groups[getattr(ours, part)])
        assert sorted(np.concatenate([ours.train, ours.validation, ours.test])) == list(
            range(len(tails))
        )
        same = ablation_split(whole, whole, "grouped", "test", k)
        assert all(
            np.array_equal(np.sort(getattr(fair, part)), getattr(same, part))
            for part in ("train", "validation", "test")
        )


def test_the_article_has_no_validation_part(small):
    chunks = chunk_dataset(small)
    printed, random = (
        ablation_split(chunks, chunks, "random", chooser, 3) for chooser in ("test", "validation")
    )
    assert (
        not len(printed.validation)
        and len(random.validation)
        and np.array_equal(printed.test, random.test)
    )
    assert sorted([*printed.train, *printed.test]) == list(range(len(chunks)))


# ---- scaling


def test_scaling_by_data_set_uses_the_training_part_alone():
    rng = np.random.default_rng(1)
    x = rng.normal(-12, 3, (9, 20, 5)).astype(np.float32)
    learned = np.array([0, 2, 3, 7])
    z = scale(x, "data set", learned)
    np.testing.assert_allclose(z[learned].mean((0, 1)), 0, atol=1e-4)
    np.testing.assert_allclose(z[learned].std((0, 1)), 1, atol=1e-3)
    x[1] += 50
    assert (
        np.array_equal(scale(x, "data set", learned)[learned], z[learned]) and z.dtype == np.float32
    )
    assert np.isfinite(scale(np.zeros((3, 4, 5), np.float32), "data set", [0, 1])).all()
    assert scale(x, "none", learned) is x and np.array_equal(
        scale(x, "chunk", learned), standardize(x)
    )
    with complains("'chunk', 'data set' or 'none'", "'twice'"):
        scale(x, "twice", learned)


def test_flat_chunks_are_those_that_standardising_empties():
    x = np.random.default_rng(2).normal(-12, 3, (6, 30, 4)).astype(np.float32)
    assert count_flat_chunks(x) == 0
    x[1, :, 2], x[4] = -23, -23
    assert count_flat_chunks(x) == 2 == sum((~z.any(0)).any() for z in standardize(x))


# ---- the file


@pytest.fixture
def quick(monkeypatch, small):
    "Runs that only note what they were asked."
    done = []

    def noted(data, ablation, fold, epochs):
        done.append((ablation, fold))
        return AblationRun(
            None,
            SimpleNamespace(best_epoch=1),
            SimpleNamespace(accuracy=0.5, balanced_accuracy=0.5, y=np.zeros(7)),
            0,
        )

    monkeypatch.setattr(verdict, "load_dataset", lambda name, **more: small)
    monkeypatch.setattr(experiment, "run_ablation_setting", noted)
    return done


def test_a_run_from_end_to_end(monkeypatch, tmp_path, small):
    monkeypatch.setattr(verdict, "load_dataset", lambda name, **more: small)
    run(["roadside"], tmp_path, fold_ids=[4], ablations=("none", "tails kept"), epochs=1)
    rows = load_ablations(tmp_path / "ablations.csv")
    assert [[*r] for r in rows] == [[*ABLATION_COLUMNS]] * 2 and [
        (r["dataset"], r["fold"]) for r in rows
    ] == [("roadside", 4)] * 2
    assert {r["dataset_sha256"] for r in rows} == {dataset_sha256(small)} and "tensorflow" in rows[
        0
    ]["versions"]
    assert [r["n_tested"] for r in rows] == [
        14 * (n := rows[0]["n_tested"] // 14),
        15 * n,
    ], "each recording has one tail"
    assert all(
        0 < r["balanced_accuracy"] < 1 and r["best_epoch"] == 1 and r["seconds"] > 0 for r in rows
    )


def test_runs_resume(quick, tmp_path, monkeypatch):
    path, done = tmp_path / "ablations.csv", experiment.run_ablation_setting

    def stop(*args):
        if len(quick) == 5:
            raise KeyboardInterrupt
        return done(*args)

    monkeypatch.setattr(experiment, "run_ablation_setting", stop)
    with pytest.raises(
        KeyboardInterrupt, match="5 of 10 runs done; give the same command again to resume"
    ):
        run(["roadside"], tmp_path, fold_ids=[0])
    assert len(load_ablations(path)) == 5
    monkeypatch.setattr(experiment, "run_ablation_setting", done)
    run(["roadside"], tmp_path, fold_ids=[0, 1])
    assert len(quick) == len(set(quick)) == 2 * len(ABLATIONS) and {
        (r["flaw"], r["fold"]) for r in load_ablations(path)
    } == set(quick)
    run(["roadside"], tmp_path, fold_ids=[0, 1])
    assert len(quick) == 2 * len(ABLATIONS) and [p.name for p in tmp_path.iterdir()] == [
        "ablations.csv"
    ]


def test_rows_of_another_data_set_are_not_mixed(quick, tmp_path, monkeypatch, roadside):
    path = tmp_path / "ablations.csv"
    run(["roadside"], tmp_path, fold_ids=[0])
    before = path.read_bytes()
    monkeypatch.setattr(verdict, "load_dataset", lambda name, **more: thinned(roadside, 5))
    with complains("roadside", "another folder", kind=SirenbookFileError):
        run(["roadside"], tmp_path, fold_ids=[1])
    assert path.read_bytes() == before and len(quick) == len(ABLATIONS)


def test_what_cannot_be_run_is_refused_before_the_first_run(quick, tmp_path):
    with complains("nowhere", "no such folder", kind=SirenbookFileError):
        run(["roadside"], tmp_path / "nowhere")
    with complains("folds 0 to 4"):
        run(["roadside"], tmp_path, fold_ids=[5])
    with complains("same name"):
        run(["roadside", "roadside"], tmp_path)
    assert not quick and not list(tmp_path.iterdir())


ROW = dict(
    zip(
        ABLATION_COLUMNS,
        ("roadside", "0" * 64, "none", 0, 0.5, 0.6, 3, 168, 0, 1.5, "python 3, numpy 2"),
    )
)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: "",
        lambda t: t[:-1],
        lambda t: t[:-40],
        lambda t: t.replace("none", "none,none"),
        lambda t: t.replace("0.6", "many"),
        lambda t: t.replace("0.6", "nan"),
        lambda t: t.replace("n_flat", "flat"),
        lambda t: "file,label\na,b\n",
    ],
    ids=["empty", "end cut", "cut", "too long", "words", "no number", "old columns", "foreign"],
)
def test_spoiled_files(tmp_path, spoil):
    path = tmp_path / "ablations.csv"
    write_csv(path, [ROW, ROW | {"fold": 1}])
    assert load_ablations(path) == [ROW, ROW | {"fold": 1}]
    path.write_text(spoil(path.read_text()))
    for ask in (lambda: load_ablations(path), lambda: run([], tmp_path)):
        with complains("ablations.csv", kind=SirenbookFileError):
            ask()


def test_differences_pair_the_folds():
    rows = [
        ROW | dict(flaw=f, fold=k, balanced_accuracy=v, accuracy=1 - v)
        for f, k, v in (
            ("none", 1, 0.5),
            ("none", 0, 0.7),
            ("tails kept", 0, 0.6),
            ("tails kept", 1, 0.9),
            ("tails kept", 2, 0.1),
        )
    ]
    of = [dict(flaw=f) for f in ("none", "tails kept")]
    assert difference(rows, *of) == pytest.approx([-0.1, 0.4]) and difference(
        rows, *of, "accuracy"
    ) == pytest.approx([0.1, -0.4])
    assert len(difference(rows, dict(flaw="none"), dict(flaw="rust"))) == 0


def fair_and_others():
    "Rows of a made-up data set `x` and of another that must not matter."
    rng = np.random.default_rng(9)
    of = {f: rng.uniform(0.3, 0.9, FOLDS) for f in ABLATIONS}
    rows = [
        ROW
        | dict(
            dataset=d,
            flaw=f,
            fold=k,
            balanced_accuracy=v[k] if d == "x" else 0.0,
            accuracy=1 - v[k],
        )
        for d in ("x", "y")
        for k in reversed(range(FOLDS))
        for f, v in of.items()
    ]
    verdict = {
        (w, s): rng.uniform(0.3, 0.9, FOLDS)
        for w in ("printed", "chained")
        for s in ("random", "grouped")
    }
    others = [
        dict(
            dataset="x",
            model=m,
            features=x,
            wiring=w,
            split=s,
            fold=k,
            balanced_accuracy=v[k] if (m, x) == ("cnn", "spectrogram") else 0.0,
            accuracy=1 - v[k],
        )
        for (w, s), v in verdict.items()
        for m in ("cnn", "lstm")
        for x in ("time", "spectrogram")
        for k in range(FOLDS)
    ]
    return rows, of, others, verdict


def test_effects_compare_with_the_mean_of_two_fair_runs():
    rows, of, others, verdict = fair_and_others()
    found, both = effects(rows, others, "x"), (of["none"] + of["only another seed"]) / 2
    assert list(found) == ["only another seed", "dead layers", "leak", *list(ABLATIONS)[2:]]
    assert found["only another seed"] == pytest.approx(of["only another seed"] - of["none"])
    assert found["test part chooses"] == pytest.approx(
        of["test part chooses"] - of["none"]
    ), "the same training: compared with itself"
    assert found["dead layers"] == pytest.approx(verdict["printed", "grouped"] - both)
    assert found["leak"] == pytest.approx(verdict["chained", "random"] - both)
    for f in list(ABLATIONS)[3:]:
        assert found[f] == pytest.approx(of[f] - both), f
    turned = effects(rows, others, "x", "accuracy")
    assert all(turned[f] == pytest.approx(-found[f]) for f in found)


def test_effects_of_the_folds_that_there_are():
    rows, of, others, verdict = fair_and_others()
    rows = [
        r
        for r in rows
        if (r["flaw"], r["fold"]) not in (("only another seed", 2), ("tails kept", 0))
    ]
    found, both = effects(rows, others, "x"), (of["none"] + of["only another seed"]) / 2
    assert found["tails kept"] == pytest.approx((of["tails kept"] - both)[[1, 3, 4]]) and found[
        "leak"
    ] == pytest.approx((verdict["chained", "random"] - both)[[0, 1, 3, 4]])
    assert found["test part chooses"] == pytest.approx(of["test part chooses"] - of["none"])


# ---- the committed file


@pytest.fixture(scope="module")
def committed():
    return load_ablations(ROOT / "data" / "ablations.csv")


def test_the_committed_ablations_are_complete(committed):
    assert {r["dataset"] for r in committed} == {"roadside", "esvs", "street"}
    for name in ("roadside", "esvs", "street"):
        mine = [(r["flaw"], r["fold"]) for r in committed if r["dataset"] == name]
        assert len(mine) == len(set(mine)) and set(mine) == {
            (f, k) for f in ABLATIONS for k in range(FOLDS)
        }, f"runs on {name} are missing"
        assert len({r["dataset_sha256"] for r in committed if r["dataset"] == name}) == 1


def test_the_committed_ablations_are_of_these_data(committed, data):
    whole, tails = chunk_dataset(data, short="drop"), keep_tails(data)
    mine = pick(committed, dataset=data.name)
    assert {r["dataset_sha256"] for r in mine} == {dataset_sha256(data)}
    for flaw in ABLATIONS:
        if ABLATIONS[flaw].get("split") == "random":
            continue
        n = len(tails) if flaw == "tails kept" else len(whole)
        assert sum(r["n_tested"] for r in pick(mine, flaw=flaw)) == n, "every chunk is tested once"
    assert {r["n_flat"] for r in pick(mine, flaw="none")} == {
        count_flat_chunks(np.concatenate([log_spectrogram(v) for v in whole.views]))
    }


def test_the_committed_ablations_are_plausible(committed):
    for name in ("roadside", "esvs", "street"):
        mine = lambda flaw: {
            r["fold"]: r["balanced_accuracy"] for r in pick(committed, dataset=name, flaw=flaw)
        }
        assert all(0.3 < v <= 1 for f in ABLATIONS for v in mine(f).values()) and all(
            1 <= r["best_epoch"] <= 10 for r in committed
        )
        assert np.mean([*mine("as printed").values()]) > np.mean(
            [*mine("none").values()]
        ), "what is printed flatters"
        assert mine("none") != mine("only another seed")
        flat = {f: pick(committed, dataset=name, flaw=f, fold=0)[0]["n_flat"] for f in ABLATIONS}
        assert (
            flat["epsilon 1e-14"] <= flat["none"] < flat["epsilon 1e-6"] <= flat["epsilon 1e-3"]
            and flat["none"] == flat["not scaled"]
        )


def test_the_fair_runs_agree_with_the_verdict(committed):
    others = load_results(ROOT / "data" / "results.csv")
    for name in ("roadside", "esvs", "street"):
        ours = np.mean([r["balanced_accuracy"] for r in pick(committed, dataset=name, flaw="none")])
        theirs = np.mean(
            [
                r["balanced_accuracy"]
                for r in pick(
                    others,
                    dataset=name,
                    model="cnn",
                    features="spectrogram",
                    wiring="chained",
                    split="grouped",
                )
            ]
        )
        assert ours == pytest.approx(theirs, abs=0.05)
        found = effects(committed, others, name)
        assert all(len(v) == FOLDS for v in found.values())
        mean = lambda rows, **which: np.mean(
            [r["balanced_accuracy"] for r in pick(rows, dataset=name, **which)]
        )
        both = (mean(committed, flaw="none") + mean(committed, flaw="only another seed")) / 2
        for f in list(ABLATIONS)[3:]:
            assert found[f].mean() == pytest.approx(mean(committed, flaw=f) - both), f
        assert found["leak"].mean() == pytest.approx(
            mean(others, model="cnn", features="spectrogram", wiring="chained", split="random")
            - both
        )


def test_a_moved_experiment_reproduces_its_row(committed, tmp_path):
    run(["roadside"], tmp_path, fold_ids=[0], ablations=["test part chooses"])
    [r] = load_ablations(tmp_path / "ablations.csv")
    [kept] = pick(committed, dataset="roadside", flaw="test part chooses", fold=0)
    assert all(r[c] == kept[c] for c in ("dataset_sha256", "n_tested", "n_flat"))
    assert (
        abs(r["balanced_accuracy"] - kept["balanced_accuracy"]) < 0.06
    )  # other processors round otherwise
