"""The book's experiments: draws, metrics, files, and runs that stop and resume."""

import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import soundfile as sf
from shared import ROOT, complains, real, thinned, write, write_folder
from sirenbook import results, runs
from sirenbook.chunks import chunk_dataset
from sirenbook.errors import SirenbookFileError, SirenbookWarning
from sirenbook.experiments import verdict as experiment
from sirenbook.experiments.verdict import dataset_sha256, prepare_datasets, run
from sirenbook.files import write_csv
from sirenbook.networks import SPECTROGRAM, inputs
from sirenbook.recordings import CLASSES, class_index, load_dataset, siren_probability
from sirenbook.results import (
    ACROSS_SETTINGS,
    FOLDS,
    GROUP_COLUMNS,
    METRICS,
    RESULT_COLUMNS,
    SETTINGS,
    SETUPS,
    SPLITS,
    WIRINGS,
    band_statistics,
    bootstrap_interval,
    by_group,
    calibration_error,
    fit_model,
    fold_interval,
    group_folds,
    load_across,
    load_groups,
    load_results,
    mean_std,
    metrics,
    run_setting,
    split_for,
    verdict,
)
from sirenbook.training import score

SIREN, OTHER = map(class_index, CLASSES)


@pytest.fixture(scope="module")
def roadside():
    return load_dataset("roadside")


@pytest.fixture
def small(roadside):
    "A data set of six groups a class, free to be changed."
    return thinned(load_dataset("roadside"), 5)


@pytest.fixture(scope="module", params=["roadside", "esvs", "street"])
def chunks(request, roadside):
    return chunk_dataset(
        roadside if request.param == "roadside" else load_dataset(real(request.param)), short="drop"
    )


# ---- splits


def test_folds_are_disjoint_and_complete(chunks):
    parts = group_folds(chunks)
    assert len(parts) == FOLDS == 5 and sorted(np.concatenate(parts)) == list(range(len(chunks)))
    names = [set(chunks.groups[p]) for p in parts]
    assert sum(map(len, names)) == len(set(chunks.groups)), "a group is in two folds"
    assert all(set(chunks.y[p]) == {SIREN, OTHER} for p in parts) and all(
        np.array_equal(a, b) for a, b in zip(parts, group_folds(chunks))
    )


def test_what_is_tested_was_not_learned_from(chunks):
    tested, chosen_by = [], []
    for k in range(FOLDS):
        s = split_for(chunks, "grouped", k)
        learned, chose, test = (
            set(chunks.groups[part]) for part in (s.train, s.validation, s.test)
        )
        assert (
            learned
            and chose
            and test
            and not learned & chose
            and not learned & test
            and not chose & test
        )
        assert sorted(np.concatenate([s.train, s.validation, s.test])) == list(range(len(chunks)))
        tested += test
        chosen_by += chose
    assert (
        sorted(tested) == sorted(chosen_by) == sorted(set(chunks.groups))
    ), "every group is tested once and chooses once"


def test_random_draws_are_the_articles(chunks):
    from sklearn.model_selection import train_test_split

    for k in range(FOLDS):
        s = split_for(chunks, "random", k)
        rest, test = train_test_split(
            np.arange(len(chunks)), stratify=chunks.y, test_size=0.2, random_state=12 + k
        )
        assert (
            np.array_equal(s.test, test)
            and sorted([*s.train, *s.validation]) == sorted(rest)
            and not set(s.train) & set(s.validation)
        )


def test_splits_that_cannot_be(roadside):
    chunks = chunk_dataset(roadside)
    with complains("'random' or 'grouped'", "'loose'"):
        split_for(chunks, "loose")
    for k in (-1, 5):
        with complains("folds 0 to 4", k):
            split_for(chunks, "grouped", k)
    chunks.groups = np.where(chunks.y == OTHER, "one", chunks.groups)
    with complains("non-emergency", "1 group;", "5"):
        group_folds(chunks)


# ---- measures


def test_calibration_by_hand():
    siren = np.array([1, 0, 1, 1, 0], bool)
    p = np.array(
        [0.05, 0.05, 0.95, 1, 0.55]
    )  # bins: two in the first, one in the sixth, two in the last
    assert calibration_error(siren, p) == pytest.approx(
        (abs(1 - 0.1) + abs(0 - 0.55) + abs(2 - 1.95)) / 5
    )
    assert (
        calibration_error(siren, siren.astype(float)) == 0
        and calibration_error(siren, 1.0 - siren) == 1
    )


def test_sirens_are_what_is_to_be_found():
    from sklearn.metrics import average_precision_score

    y, siren = (
        np.array([SIREN, OTHER, OTHER, OTHER, SIREN, OTHER]),
        np.array([0.9, 0.1, 0.6, 0.3, 0.55, 0.2]),
    )
    p = siren if siren_probability(np.ones(1))[0] == 1 else 1 - siren
    m = metrics(score(y, p))
    assert list(m) == list(METRICS) and m["pr_auc"] == pytest.approx(
        average_precision_score(y == SIREN, siren), abs=1e-4
    ) == pytest.approx(5 / 6, abs=1e-4)
    assert (
        m["accuracy"] == pytest.approx(5 / 6, abs=1e-4)
        and m["balanced_accuracy"] == 0.875
        and m["roc_auc"] == 0.875
    )


def test_groups_add_up():
    rng = np.random.default_rng(0)
    y, groups = rng.integers(0, 2, 90), np.array(list("abcdefghi") * 10)
    s = score(y, rng.uniform(size=90))
    rows = by_group(s, groups)
    assert sum(r["n_chunks"] for r in rows) == 90 and sum(r["n_right"] for r in rows) == round(
        s.accuracy * 90
    )
    for r in rows:
        mine = (groups == r["group"]) & (y == class_index(r["label"]))
        assert r["n_chunks"] == mine.sum() and r["mean_probability"] == pytest.approx(
            siren_probability(s.p)[mine].mean(), abs=1e-4
        )


def outcome(group, label, right, n=1, p=0.5):
    return dict(group=group, label=label, n_chunks=n, n_right=right, mean_probability=p)


def test_interval_by_hand():
    two = [
        outcome("a", "emergency", 4, 4),
        outcome("b", "emergency", 0, 4),
        outcome("c", "non-emergency", 4, 4),
    ]
    assert bootstrap_interval(two) == (
        0.5,
        1,
    ), "two groups of one class: 0, 1/2, 1/2 or 1, so a quarter of the draws at either end"
    assert bootstrap_interval(two, measure="accuracy") == (1 / 3, 1)
    uneven = [
        outcome("a", "emergency", 9, 10),
        outcome("b", "emergency", 0, 1),
        outcome("c", "non-emergency", 1, 2),
    ]
    assert bootstrap_interval(uneven) == (
        0.25,
        0.7,
    ), "chunks count, not groups: 0 of 2, 9 of 11 or 18 of 20, and always 1 of 2"


def test_interval_over_folds():
    "The textbook's: 2.776 standard errors for four degrees of freedom."
    values = [.5, .6, .6, .7, .6]
    low, high = fold_interval(values)
    assert (low + high) / 2 == pytest.approx(np.mean(values))
    assert high - low == pytest.approx(2 * 2.776 * np.std(values, ddof=1) / 5 ** .5, rel=1e-3)
    assert fold_interval([.5, .5]) == (.5, .5)
    with complains("two folds"): fold_interval([.5])

def test_interval_is_a_bootstrap():
    rng = np.random.default_rng(1)
    rows = [outcome(f"{c}{i}", c, int(rng.integers(0, 11)), 10) for c in CLASSES for i in range(40)]
    right = {c: [r["n_right"] for r in rows if r["label"] == c] for c in CLASSES}
    draws = [
        np.mean([np.mean(rng.choice(right[c], 40)) / 10 for c in CLASSES]) for _ in range(2000)
    ]
    assert bootstrap_interval(rows) == pytest.approx(np.percentile(draws, (2.5, 97.5)), abs=0.01)
    assert bootstrap_interval(rows) == bootstrap_interval(rows[::1]) and bootstrap_interval(
        rows, seed=1
    ) != bootstrap_interval(rows)


def test_a_difference_is_taken_group_by_group():
    rows = [outcome(f"{c}{i}", c, i % 9, 10) for c in CLASSES for i in range(20)]
    better = [r | {"n_right": r["n_right"] + 1} for r in rows]
    assert bootstrap_interval(better, rows) == pytest.approx((0.1, 0.1)) and bootstrap_interval(
        rows, better
    ) == pytest.approx((-0.1, -0.1))
    assert bootstrap_interval(better, rows[::-1]) == bootstrap_interval(better, rows)


def test_intervals_that_cannot_be():
    rows = [outcome("a", "emergency", 1), outcome("b", "non-emergency", 1)]
    with complains("roc_auc"):
        bootstrap_interval(rows, measure="roc_auc")
    with complains("non-emergency"):
        bootstrap_interval(rows[:1])
    with complains("same groups"):
        bootstrap_interval(rows, [outcome("a", "emergency", 1), outcome("z", "non-emergency", 1)])


# ---- what a data set is


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "mine", n=5)


def manifest(folder, group="one"):
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.wav"))
    (folder / "manifest.csv").write_text(
        "file,label,group\n"
        + "".join(f"{f},{f.split('/')[0]},{group if i == 0 else f}\n" for i, f in enumerate(files))
    )


def test_a_sample_changes_the_checksum(folder):
    before = dataset_sha256(load_dataset(folder))
    assert before == dataset_sha256(load_dataset(folder)) and len(before) == 64
    wav, sr = sf.read(folder / "emergency" / "3.wav", dtype="int16")
    wav[-1] += 1
    sf.write(folder / "emergency" / "3.wav", wav, sr)
    assert dataset_sha256(load_dataset(folder)) != before


def test_a_label_changes_the_checksum(folder):
    before = dataset_sha256(load_dataset(folder))
    shutil.move(folder / "emergency" / "4.wav", folder / "non-emergency" / "00.wav")
    after = dataset_sha256(load_dataset(folder))
    data = load_dataset(folder)
    data.recordings[0].label = "non-emergency"
    assert len({before, after, dataset_sha256(data)}) == 3


def test_a_group_changes_the_checksum(folder):
    manifest(folder, "one")
    one = dataset_sha256(load_dataset(folder))
    manifest(folder, "two")
    assert dataset_sha256(load_dataset(folder)) != one


def test_where_a_data_set_lies_and_how_it_is_packed_does_not(folder, tmp_path):
    manifest(folder)
    before = dataset_sha256(load_dataset(folder))
    shutil.copytree(folder, tmp_path / "elsewhere")
    for p in (tmp_path / "elsewhere").rglob("*.wav"):
        wav, sr = sf.read(p, dtype="int16")
        sf.write(p.with_suffix(".flac"), wav, sr)
        p.unlink()
    text = (folder / "manifest.csv").read_text()
    (tmp_path / "elsewhere" / "manifest.csv").write_text(text.replace(".wav,", ".flac,"))
    data = load_dataset(tmp_path / "elsewhere")
    for r, old in zip(data.recordings, load_dataset(folder).recordings):
        r.group = old.group
    assert (
        dataset_sha256(data) == before == dataset_sha256(load_dataset(folder, 8000))
    ), "resampling is not part of it"


def test_lossy_files_count_by_their_bytes(folder):
    write(folder / "emergency" / "9.mp3")
    before = dataset_sha256(load_dataset(folder))
    with open(folder / "emergency" / "9.mp3", "ab") as f:
        f.write(bytes(4))
    assert dataset_sha256(load_dataset(folder)) != before


# ---- one run

CNN, LOGISTIC, MAJORITY = (
    ("cnn", "spectrogram", "printed"),
    ("logistic", "spectrogram", ""),
    ("majority", "", ""),
)


def test_a_real_run(small):
    chunks = chunk_dataset(small)
    row, groups = run_setting(chunks, inputs(chunks, SPECTROGRAM), CNN, "grouped", fold=1, epochs=1)
    assert ["dataset", "dataset_sha256", *row] == list(RESULT_COLUMNS) and all(
        0 <= row[m] <= 1 for m in METRICS
    )
    assert row["seed"] == row["fold"] == 1 and row["seconds"] > 0
    assert all(
        n in row["versions"]
        for n in ("python", "numpy", "tensorflow", "keras", "scikit-learn", "sirenbook")
    )
    assert {"dataset", *groups[0]} == {*GROUP_COLUMNS}
    assert {g["group"] for g in groups} == {*chunks.groups[split_for(chunks, "grouped", 1).test]}


def test_test_data_neither_trains_nor_chooses(small, monkeypatch):
    chunks = chunk_dataset(small)
    X, seen, tested = np.arange(len(chunks), dtype=float)[:, None], [], []
    monkeypatch.setattr(
        results,
        "train",
        lambda model, train, validation, *args, **kwargs: seen.append((train, validation)),
    )
    monkeypatch.setattr(
        results,
        "evaluate",
        lambda model, test: (tested.append(test), score(test[1], np.linspace(0, 1, len(test[1]))))[
            1
        ],
    )
    for k in range(FOLDS):
        run_setting(chunks, X, CNN, "grouped", k)
    group = lambda part: set(chunks.groups[part[0].ravel().astype(int)])
    for (learn, choose), test in zip(seen, tested):
        assert not group(test) & (group(learn) | group(choose)) and not group(learn) & group(choose)
    assert sorted(g for test in tested for g in group(test)) == sorted(set(chunks.groups))


def test_the_larger_class_costs_nothing():
    chunks = SimpleNamespace(
        y=np.repeat([SIREN, OTHER], (20, 60)), groups=np.repeat([f"g{i}" for i in range(20)], 4)
    )
    row, _ = run_setting(chunks, np.empty((80, 0)), MAJORITY, "grouped")
    assert (
        row["accuracy"] == 0.75
        and row["balanced_accuracy"] == row["roc_auc"] == 0.5
        and row["pr_auc"] == 0.25
        and row["ece"] < 0.05
    )


def test_logistic_regression_is_scikits(small):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    chunks = chunk_dataset(small)
    X, s = band_statistics(chunks), split_for(chunks, "grouped", 2)
    row, _ = run_setting(chunks, X, LOGISTIC, "grouped", 2)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(
        X[s.train], chunks.y[s.train]
    )
    assert X.shape == (len(chunks), 128) and row["accuracy"] == round(
        model.score(X[s.test], chunks.y[s.test]), 4
    )
    training, validation, test = s.of(X, chunks.y)
    assert fit_model(LOGISTIC, training, validation)(test).accuracy == model.score(
        X[s.test], chunks.y[s.test]
    )


# ---- all runs, which stop and resume


@pytest.fixture
def quick(monkeypatch, small):
    "Runs that only note what they were asked."
    asked = []

    def noted(chunks, X, setting, split, fold, epochs):
        assert len(X) == len(chunks)
        asked.append((*setting, split, fold))
        what = dict(zip(("model", "features", "wiring"), setting))
        row = {
            "split": split,
            **what,
            "seed": fold,
            "fold": fold,
            **dict.fromkeys(METRICS, 0.5),
            "seconds": 0.1,
            "versions": "a 1, b 2",
        }
        return row, [
            what | dict(fold=fold, group=g, label=c, n_chunks=2, n_right=1, mean_probability=0.5)
            for g, c in zip("ab", CLASSES)
        ]

    monkeypatch.setattr(experiment, "load_dataset", lambda name, **more: small)
    monkeypatch.setattr(experiment, "run_setting", noted)
    return asked


def test_runs_resume(quick, tmp_path):
    path, beside = tmp_path / "results.csv", tmp_path / "groups.csv"
    run(["roadside"], tmp_path, fold_ids=range(1))
    assert len(quick) == len(set(quick)) == 20 and {q[:3] for q in quick} == set(SETTINGS)
    assert len(SETTINGS) == len(SETUPS) * len(WIRINGS) + 2 and {q[3] for q in quick} == set(SPLITS)
    first, groups = path.read_bytes(), beside.read_bytes()
    assert (
        len(load_results(path)) == 20
        and len(load_groups(beside)) == 20
        and [*load_groups(beside)[0]] == [*GROUP_COLUMNS]
    )
    run(["roadside"], tmp_path, fold_ids=range(1))
    assert len(quick) == 20 and (path.read_bytes(), beside.read_bytes()) == (
        first,
        groups,
    ), "what was done was done again"
    lines = first.decode().splitlines(keepends=True)
    path.write_text("".join(lines[:12] + lines[14:]), encoding="utf-8")
    run(["roadside"], tmp_path, fold_ids=range(1))
    assert len(quick) == 22 and sorted(path.read_text().splitlines()) == sorted(
        first.decode().splitlines()
    )
    assert len(load_groups(beside)) == 20, "the groups of a run that was done again are there twice"
    run(["roadside"], tmp_path)
    assert len(quick) == 102 and {q[4] for q in quick[22:]} == {1, 2, 3, 4}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["groups.csv", "results.csv"]


def test_groups_that_got_lost_are_measured_again(quick, tmp_path):
    run(["roadside"], tmp_path, fold_ids=[3])
    (tmp_path / "groups.csv").unlink()
    run(["roadside"], tmp_path, fold_ids=[3])
    assert (
        len(quick) == 30
        and len(load_results(tmp_path / "results.csv")) == 20
        and len(load_groups(tmp_path / "groups.csv")) == 20
    )


def test_parts_put_one_after_the_other_are_the_whole(quick, tmp_path):
    for name, folds in (("a", [0, 2]), ("b", [1, 3, 4]), ("all", range(5))):
        (tmp_path / name).mkdir()
        run(["roadside"], tmp_path / name, fold_ids=folds)
    for name in ("results.csv", "groups.csv"):
        a, b, both = (
            (tmp_path / n / name).read_text().splitlines(keepends=True) for n in ("a", "b", "all")
        )
        (tmp_path / name).write_text("".join(a + b[1:]))
        assert sorted(a + b[1:]) == sorted(both)
    n = len(quick)
    run(["roadside"], tmp_path)
    assert len(quick) == n


def test_an_interrupted_run_keeps_what_was_done(quick, tmp_path, monkeypatch):
    done = experiment.run_setting

    def stop(*args):
        if len(quick) == 5:
            raise KeyboardInterrupt
        return done(*args)

    monkeypatch.setattr(experiment, "run_setting", stop)
    with pytest.raises(
        KeyboardInterrupt, match="5 of 20 runs done; give the same command again to resume"
    ):
        run(["roadside"], tmp_path, fold_ids=range(1))
    assert (
        len(load_results(tmp_path / "results.csv")) == 5
        and len(load_groups(tmp_path / "groups.csv")) == 4
    )


def test_a_file_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    write_csv(tmp_path / "x.csv", [{"a": 1}])
    monkeypatch.setattr(Path, "replace", lambda *args: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError):
        write_csv(tmp_path / "x.csv", [{"a": 2}])
    assert (tmp_path / "x.csv").read_text() == "a\n1\n" and [
        p.name for p in tmp_path.iterdir()
    ] == ["x.csv"]


@pytest.mark.parametrize("change", ["label", "group", "sound"])
def test_results_of_another_data_set_are_not_mixed(quick, tmp_path, small, change):
    path = tmp_path / "results.csv"
    run(["roadside"], tmp_path, fold_ids=[0])
    before, r = path.read_bytes(), small.recordings[0]
    if change == "sound":
        r.path = write(tmp_path / "other.wav")
    else:
        setattr(r, change, {"label": "non-emergency", "group": "another"}[change])
    with complains("roadside", "another folder", kind=SirenbookFileError):
        run(["roadside"], tmp_path, fold_ids=[1])
    assert len(quick) == 20 and path.read_bytes() == before


def test_what_cannot_be_run_is_refused_before_the_first_run(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "run_setting", lambda *args: pytest.fail("something was run"))
    out = tmp_path / "new"
    with complains("new", "no such folder", kind=SirenbookFileError):
        run(["roadside"], out)
    out.mkdir()
    with complains("nowhere", "no data set", kind=SirenbookFileError):
        run(["roadside", "nowhere"], out)
    few, short, one = (tmp_path / n for n in ("few", "short", "one"))
    write_folder(few, n=4)
    with complains("few", "4 groups", "5"):
        run(["roadside", few], out)
    write_folder(short, n=6, seconds=1)
    with complains("short", "2.0 s"):
        run([short], out)
    for k in range(4):
        write(
            short / "emergency" / f"long{k}.wav",
            np.random.default_rng([7, k]).normal(0, 0.1, 33000),
        )
    with complains("short", "0 chunks"):
        run([short], out)
    write(one / "emergency" / "a.wav")
    with complains("one", "non-emergency", kind=SirenbookFileError):
        run([one], out)
    with complains("roadside", "folds 0 to 4"):
        run(["roadside"], out, fold_ids=[0, 5])
    with complains("roadside", "'loose'"):
        run(["roadside"], out, splits=["loose"])
    assert not list(out.iterdir())


def test_few_groups_do_for_the_random_split(tmp_path, quick, small):
    for r in small.recordings:
        r.group = r.label
    with complains("roadside", "1 group;"):
        run(["roadside"], tmp_path)
    run(["roadside"], tmp_path, fold_ids=[0], splits=["random"])
    assert {q[3] for q in quick} == {"random"} and [p.name for p in tmp_path.iterdir()] == [
        "results.csv"
    ]


def test_a_data_set_is_found_beside_the_others(tmp_path, monkeypatch):
    write_folder(tmp_path / "data" / "pavement", n=5)
    monkeypatch.setenv("SIRENBOOK_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    for name in ("pavement", tmp_path / "data" / "pavement"):
        assert [*prepare_datasets([name], ["grouped"], [0])] == ["pavement"]
    with complains("boulevard"):
        prepare_datasets(["boulevard"], ["grouped"], [0])


def test_groups_that_share_sound_are_joined_with_a_warning(tmp_path):
    write_folder(tmp_path / "twice", n=5)
    wav, sr = sf.read(tmp_path / "twice" / "emergency" / "0.wav")
    with warnings.catch_warnings(action="error"):
        once = prepare_datasets([tmp_path / "twice"], ["grouped"], [0])["twice"]
    write(tmp_path / "twice" / "emergency" / "again.wav", 0.5 * wav[8000:], sr)
    with pytest.warns(SirenbookWarning, match="1 recording changed group, first .*again.wav"):
        twice = prepare_datasets([tmp_path / "twice"], ["grouped"], [0])["twice"]
    assert {*twice.chunks.groups} == {*once.chunks.groups} and len(twice.chunks) > len(once.chunks)
    assert twice.data.recordings[0].group == next(
        r.group for r in twice.data.recordings if r.path.name == "again.wav"
    )


def test_without_names_the_data_sets_of_the_book_are_taken(monkeypatch):
    asked = []
    monkeypatch.setattr(
        experiment, "load_dataset", lambda name, **k: asked.append(name) or load_dataset("roadside")
    )
    with complains("same name"):
        prepare_datasets(None, ["random"], [0])
    assert asked == ["roadside", "esvs", "street"]


# ---- results files

ROW = dict(
    zip(
        RESULT_COLUMNS,
        (
            "roadside",
            "0" * 64,
            "random",
            "cnn",
            "time",
            "printed",
            0,
            0,
            0.5,
            0.5,
            0.5,
            0.5,
            0.5,
            1.5,
            "python 3, numpy 2",
        ),
    )
)
HEAD, LINE = (",".join(x) + "\n" for x in (RESULT_COLUMNS, [f'"{v}"' for v in ROW.values()]))


@pytest.mark.parametrize(
    "content",
    [
        "file,label\na,b\n",
        "file,label\n",
        "",
        HEAD + "roadside,random,cnn\n",
        HEAD + LINE.replace('"1.5"', '"long"'),
        HEAD + LINE.replace('"1.5"', '"nan"'),
        HEAD + LINE[:-1],
        HEAD + LINE + LINE[:40],
        HEAD + LINE + LINE[:-6],
        HEAD + LINE.replace("\n", ",more\n"),
        HEAD.replace("ece,", "") + LINE,
        b"\xff\xfe\0",
    ],
    ids=[
        "foreign",
        "foreign head",
        "empty",
        "cut off",
        "words for numbers",
        "no number",
        "cut off at the end",
        "cut off in the second row",
        "cut off in quotes",
        "too long",
        "old columns",
        "not text",
    ],
)
def test_foreign_results(tmp_path, content):
    path = tmp_path / "results.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for ask in (
        lambda: load_results(path),
        lambda: run([], tmp_path),
        lambda: run(["roadside"], tmp_path),
    ):
        with complains("results.csv", kind=SirenbookFileError):
            ask()
    path.rename(tmp_path / "groups.csv")
    with complains("groups.csv", kind=SirenbookFileError):
        run([], tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["groups.csv"]


def test_results_come_back_as_they_were(tmp_path):
    write_csv(
        tmp_path / "results.csv", [ROW, ROW | {"model": "majority", "features": "", "wiring": ""}]
    )
    assert load_results(tmp_path / "results.csv")[0] == ROW


def test_results_that_are_not_there(tmp_path):
    for load in (load_results, load_groups):
        with complains("none.csv", kind=SirenbookFileError):
            load(tmp_path / "none.csv")


def test_a_verdict_of_nothing_and_of_something():
    assert {r["random split"] for r in verdict([], "roadside")} == {"not run"}
    rows = verdict([ROW, ROW | {"seed": 1, "fold": 1, "accuracy": 0.7}], "roadside")
    assert len(rows) == len(SETTINGS) and [
        r["random split"] for r in rows if r["model"] == "CNN, time, printed"
    ] == [mean_std([0.5, 0.7])]
    assert [r["article"] for r in rows].count("") == len(SETTINGS) - len(SETUPS)


# ---- the committed files


@pytest.fixture(scope="module")
def committed():
    return load_results(ROOT / "data" / "results.csv"), load_groups(ROOT / "data" / "groups.csv")


def test_the_committed_results_are_complete(committed):
    rows = committed[0]
    for name in ("roadside", "esvs", "street"):
        mine = [
            (r["model"], r["features"], r["wiring"], r["split"], r["fold"])
            for r in rows
            if r["dataset"] == name
        ]
        assert len(mine) == len(set(mine)) and set(mine) == {
            (*s, split, k) for s in SETTINGS for split in SPLITS for k in range(FOLDS)
        }, f"runs on {name} are missing"
        assert len({r["dataset_sha256"] for r in rows if r["dataset"] == name}) == 1


def test_the_committed_results_are_of_this_roadside(committed, roadside):
    assert {r["dataset_sha256"] for r in committed[0] if r["dataset"] == "roadside"} == {
        dataset_sha256(roadside)
    }


def test_the_committed_groups_belong_to_the_results(committed):
    rows, groups = committed
    for r in rows:
        if r["split"] == "random":
            continue
        mine = [
            g
            for g in groups
            if all(g[c] == r[c] for c in ("dataset", "model", "features", "wiring", "fold"))
        ]
        assert sum(g["n_right"] for g in mine) / sum(g["n_chunks"] for g in mine) == pytest.approx(
            r["accuracy"], abs=1e-4
        )
    for name in {r["dataset"] for r in rows}:
        tested = [
            (g["group"], g["label"], g["n_chunks"])
            for g in groups
            if g["dataset"] == name and g["model"] == "majority"
        ]
        assert len(tested) == len(set(tested)), f"a group of {name} was tested twice"


def test_the_committed_baselines_can_be_had_again(committed, roadside):
    chunks = chunk_dataset(roadside)
    X = band_statistics(chunks)
    for r in committed[0]:
        if r["dataset"] == "roadside" and r["model"] == "logistic":
            again, _ = run_setting(chunks, X, LOGISTIC, r["split"], r["fold"])
            assert all(again[m] == pytest.approx(r[m], abs=0.01) for m in METRICS)


def test_a_moved_experiment_reproduces_its_rows(committed, tmp_path):
    settings = [MAJORITY, LOGISTIC, ("cnn", "spectrogram", "chained")]
    run(["roadside"], tmp_path, fold_ids=[0], splits=["grouped"], settings=settings)
    rows, groups = load_results(tmp_path / "results.csv"), load_groups(tmp_path / "groups.csv")
    of = ("dataset", "dataset_sha256", "split", "model", "features", "wiring", "fold")
    for setting, r in zip(settings, rows, strict=True):
        [kept] = [x for x in committed[0] if all(x[c] == r[c] for c in of)]
        assert (r["model"], r["features"], r["wiring"]) == setting
        within = 0.06 if r["model"] == "cnn" else 0.01  # other processors round otherwise
        assert all(r[m] == pytest.approx(kept[m], abs=within) for m in METRICS), (r, kept)
        mine, theirs = (
            [
                (g["group"], g["label"], g["n_chunks"])
                for g in table
                if all(g[c] == r[c] for c in ("dataset", "model", "features", "wiring", "fold"))
            ]
            for table in (groups, committed[1])
        )
        assert mine == theirs


# ---- on one, tested on another

KINDS = {
    "roadside": (0, 1),
    "pavement": (2, 3),
}  # what tells the classes of each data set apart: the seeds of its noises


@pytest.fixture
def two(tmp_path, monkeypatch):
    "Two data sets that share only a hum under their emergencies; only the regression learns."
    for name, seeds in KINDS.items():
        for c, seed in zip(CLASSES, seeds):
            for k in range(6):
                wav = np.random.default_rng([seed, k]).normal(0, 0.05, 48000)
                if c == "emergency":
                    wav += 0.2 * np.sin(2 * np.pi * 900 * np.arange(48000) / 16000)
                write(tmp_path / name / c / f"{k}.wav", wav)
    monkeypatch.setattr(experiment, "ACROSS_SETTINGS", ACROSS_SETTINGS[:1])
    return [str(tmp_path / name) for name in KINDS]


def test_what_is_shared_is_learned_across(two, tmp_path):
    run(two, tmp_path, across=True, fold_ids=[0, 1])
    rows = load_across(tmp_path / "across.csv")
    assert [(r["fold"], r["dataset"], r["tested_on"]) for r in rows] == [
        (k, a, b) for k in (0, 1) for a in KINDS for b in KINDS
    ]
    assert all(r["roc_auc"] > 0.9 for r in rows)


def test_across_tests_the_whole_of_the_other_and_a_fold_of_its_own(two, tmp_path, monkeypatch):
    asked, tested = experiment.fit_model, []

    def watched(setting, training, *rest):
        scores = asked(setting, training, *rest)
        return lambda part: (tested.append((len(training[1]), part[0])), scores(part))[1]

    monkeypatch.setattr(experiment, "fit_model", watched)
    monkeypatch.setattr(experiment, "ACROSS_SETTINGS", (*ACROSS_SETTINGS[:1], MAJORITY))
    run(two, tmp_path, across=True, fold_ids=[0])
    chunks, other = (chunk_dataset(load_dataset(name)) for name in two)
    s = split_for(chunks, "grouped", 0)
    own, abroad = tested[0][1], tested[1][1]
    assert (
        [n for n, _ in tested[:2]] == [len(s.train)] * 2
        and np.allclose(own, band_statistics(chunks)[s.test])
        and np.allclose(abroad, band_statistics(other))
    )
    assert [x.shape[1] for _, x in tested] == [128] * 4 + [
        0
    ] * 4, "a model was given what another one takes"


def test_across_resumes_and_adds_a_data_set(two, tmp_path, monkeypatch):
    path = tmp_path / "across.csv"
    run(two[:1], tmp_path, across=True, fold_ids=[0])
    assert len(load_across(path)) == 1
    run(two, tmp_path, across=True, fold_ids=[0])
    rows = load_across(path)
    assert len(rows) == len({(r["dataset"], r["tested_on"], r["fold"]) for r in rows}) == 4
    monkeypatch.setattr(experiment, "fit_model", lambda *args: pytest.fail("done already"))
    run(two, tmp_path, across=True, fold_ids=[0])
    assert load_across(path) == rows

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "fit_model", stop)
    with pytest.raises(
        KeyboardInterrupt, match="0 of 4 runs done; give the same command again to resume"
    ):
        run(two, tmp_path, across=True, fold_ids=[0, 1])
    assert load_across(path) == rows


def test_across_refuses_what_it_cannot_do(two, tmp_path):
    path = tmp_path / "across.csv"
    with complains("no such folder", kind=SirenbookFileError):
        run(two, tmp_path / "new", across=True)
    with complains("nowhere", kind=SirenbookFileError):
        run([*two, "nowhere"], tmp_path, across=True)
    assert not path.exists()
    path.write_text(HEAD + LINE)
    with complains("across.csv", kind=SirenbookFileError):
        run(two, tmp_path, across=True)
    assert path.read_text() == HEAD + LINE


def test_the_committed_matrix_is_complete_and_of_the_same_data(committed):
    rows = load_across(ROOT / "data" / "across.csv")
    names = ("roadside", "esvs", "street")
    keys = [
        (r["dataset"], r["tested_on"], r["model"], r["features"], r["wiring"], r["fold"])
        for r in rows
    ]
    assert len(keys) == len(set(keys)) and set(keys) == {
        (a, b, *what, k) for a in names for b in names for what in ACROSS_SETTINGS for k in range(3)
    }
    assert {(r["dataset"], r["dataset_sha256"]) for r in rows} == {
        (r["dataset"], r["dataset_sha256"]) for r in committed[0]
    }


def test_the_committed_diagonal_is_the_leak_free_split(committed):
    for r in load_across(ROOT / "data" / "across.csv"):
        if r["dataset"] != r["tested_on"] or r["model"] != "logistic":
            continue
        [same] = [
            x
            for x in committed[0]
            if x["split"] == "grouped" and all(x[c] == r[c] for c in ("dataset", "model", "fold"))
        ]
        assert same["roc_auc"] == pytest.approx(r["roc_auc"], abs=0.01)


def test_what_was_tested_on_must_be_the_same(two, tmp_path):
    path = tmp_path / "across.csv"
    run(two, tmp_path, across=True, fold_ids=[0])
    rows = [r for r in load_across(path) if r["dataset"] == "roadside"]
    write_csv(path, rows)
    write(
        tmp_path / "pavement" / "emergency" / "0.wav",
        np.random.default_rng(9).normal(0, 0.05, 48000),
    )
    before = path.read_bytes()
    with complains("another data set", kind=SirenbookFileError):
        run(two, tmp_path, across=True, fold_ids=[0])
    assert path.read_bytes() == before


def test_two_data_sets_of_one_name(two, tmp_path):
    shutil.copytree(two[0], tmp_path / "else" / "roadside")
    (tmp_path / "out").mkdir()
    for across in (True, False):
        with complains("same name"):
            run(
                [two[0], str(tmp_path / "else" / "roadside")],
                tmp_path / "out",
                fold_ids=[0],
                across=across,
            )
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    "across, name", [(True, "across.csv"), (False, "results.csv"), (False, "groups.csv")]
)
def test_places_that_cannot_be_written(two, tmp_path, monkeypatch, across, name):
    (tmp_path / "out" / name).mkdir(parents=True)
    with complains(name, "is a folder", kind=SirenbookFileError):
        run(two, tmp_path / "out", fold_ids=[0], across=across)
    monkeypatch.setattr(runs.os, "access", lambda *args: False)
    with complains("nothing can be written", kind=SirenbookFileError):
        run(two, tmp_path, fold_ids=[0], across=across)


# ---- plots

ROWS = load_results(ROOT / "data" / "results.csv"), load_across(ROOT / "data" / "across.csv")
PLOTS = {
    "verdict": lambda ax: results.plot_verdict(ROWS[0], "roadside", ax),
    "intervals": lambda ax: results.plot_intervals([("cnn", -0.1, 0.2), ("lstm", 0.1, 0.3)], ax),
    "across": lambda ax: results.plot_across(ROWS[1], ax),
}


@pytest.mark.parametrize("name", PLOTS)
def test_plots_take_axes_or_make_them_and_name_units(name):
    given = plt.subplots()[1]
    assert PLOTS[name](given) is given
    made = PLOTS[name](None)
    assert made is not given and made.get_xlabel() == given.get_xlabel()
    assert any(unit in made.get_xlabel() for unit in ("(%)", ", %)", "(percentage points)"))
    plt.close("all")
