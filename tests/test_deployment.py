"""The box of the chapter on deployment: its two model files, its memory, its clock, its unit."""
import json, re, shlex, subprocess, sys
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from shared import NBS, ROOT

from sirenbook.audio import SR
from sirenbook.detector import Detector
from sirenbook.frames import CONTEXT_FRAMES, HOP, STEP_FRAMES, WARM_FRAMES, FrontEnd
from sirenbook.recordings import load_dataset

WEIGHTS = ROOT/"sirenbook"/"weights"
CARD = json.loads((WEIGHTS/"detector.json").read_text())

@pytest.fixture(scope="module")
# 150 s, both classes
def street(): return np.concatenate([r.wav for r in load_dataset("roadside").recordings[::6]])

@pytest.fixture(scope="module")
def both(): return {kind: Detector.pretrained(precision=kind) for kind in ("float", "int8")}


# ---- the files

def test_the_precisions_agree(street, both):
    logits = {}
    for kind, d in both.items():
        p = np.clip(d.score(street).probability.astype(float), 1e-6, 1 - 1e-6)
        logits[kind] = np.log(p / (1 - p))
    assert np.corrcoef(*logits.values())[0, 1] > 0.95
    on = [d.score(street).probability >= d.threshold for d in both.values()]
    assert np.mean(on[0] != on[1]) < 0.05
    assert logits["float"].std() > 0.5, "a constant network would agree with any other"

def test_errors_do_not_add_up_in_the_memory(street, both):
    ways = {"float": "float", "int8": "int8", "exact": "int8"}  # the last gets float's state
    memory, logits = {w: both[k].memory() for w, k in ways.items()}, {w: [] for w in ways}
    mel = FrontEnd().push(street, last=True)
    for a in range(0, len(mel), STEP_FRAMES):
        memory["exact"].state = memory["float"].state
        for way, kind in ways.items():
            found = both[kind].listen(mel[a:a + STEP_FRAMES], memory[way])
            logits[way] += [z for _, z in found]
    own, exact = (np.abs(np.subtract(logits[w], logits["float"])) for w in ("int8", "exact"))
    third = len(own) // 3
    assert len(logits["float"]) == len(mel) // STEP_FRAMES
    assert exact.mean() < own.mean() and own[-third:].max() < 0.1 * np.std(logits["float"])

def stored(kind):
    path = WEIGHTS/CARD["files"][kind]["file"]
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    lite = Interpreter(str(path), experimental_op_resolver_type=plain)
    lite.allocate_tensors()
    return path.stat().st_size, lite.get_tensor_details(), lite._get_ops_details(), lite

@pytest.mark.parametrize("kind", ["float", "int8"])
def test_a_file_takes_a_step_and_the_state(kind):
    lite = stored(kind)[3]
    given, made = lite.get_input_details(), lite.get_output_details()
    assert {d["dtype"] for d in given + made} == {np.float32}
    shapes = [{tuple(map(int, d["shape"])) for d in ends} for ends in (given, made)]
    (_, n), = shapes[0] & shapes[1]
    assert shapes == [{(1, n), (1, CONTEXT_FRAMES + STEP_FRAMES, 64)}, {(1, n), (1, 1)}]
    assert 1 < n < 1000, f"a state of {n} numbers"

def test_int8_is_int8_and_small():
    (large, exact, *_), (small, whole, *_) = stored("float"), stored("int8")
    kinds = lambda tensors: {t["dtype"] for t in tensors if np.prod(t["shape"]) > 1000}
    assert np.int8 not in kinds(exact) and np.int8 in kinds(whole)
    assert small < 0.5 * large and large < 1_500_000

@pytest.mark.parametrize("kind", ["float", "int8"])
def test_operations_are_lite_rts_own(kind):
    names = {op["op_name"] for op in stored(kind)[2]}
    assert names and not [n for n in names if n.startswith("Flex") or "CUSTOM" in n.upper()]

def test_the_package_is_small():
    paths = [p for p in (ROOT/"sirenbook").rglob("*") if p.is_file()
             and "__pycache__" not in p.parts]
    assert WEIGHTS/"detector.tflite" in paths and sum(p.stat().st_size for p in paths) < 5_000_000


# ---- the process

PROGRAM = """
import json, re, sys, time
import numpy as np
from sirenbook.detector import Detector
def peak_mb():
    status = open("/proc/self/status").read()
    return int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) * 1024 / 1e6
stream, peaks = Detector.pretrained().stream(), {}
noise = np.random.default_rng(0).normal(0, 0.1, 1600).astype(np.float32)
for k in range(9000):
    if k in (600, 8999): peaks[k] = peak_mb()
    stream.push(noise)
cpu = time.process_time()
for _ in range(300): stream.push(noise)
print(json.dumps({"peaks": list(peaks.values()), "share": (time.process_time() - cpu) / 30,
                  "modules": sorted(sys.modules)}))
"""

@pytest.mark.skipif(not Path("/proc/self/status").exists(),
                    reason="the peak of memory is read from /proc, and this system has none")
def test_the_process_is_small_and_stays_so():
    report = json.loads(subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True,
                                     text=True, check=True).stdout)
    one, fifteen = report["peaks"]
    note = f"{one:.0f} MB after a minute, {fifteen:.0f} MB after fifteen"
    assert one < 250 and fifteen - one < 3, note
    assert report["share"] < 0.05, f"a second of sound takes {report['share']:.3f} s of a core"
    assert not {"tensorflow", "keras", "scipy", "matplotlib", "librosa"} & set(report["modules"])

def held(thing, seen=None):
    "Bytes of all arrays within an object of ours, with what they are views of."
    seen = {} if seen is None else seen
    for v in vars(thing).values():
        if isinstance(v, np.ndarray):
            while v.base is not None: v = v.base
            seen[id(v)] = v.nbytes if isinstance(v, np.ndarray) else len(v)
        elif type(v).__module__.startswith("sirenbook") and not hasattr(v, "card"): held(v, seen)
    return sum(seen.values())

@pytest.mark.parametrize("size", [160, 1600, 32_000, 100_000])
def test_no_more_than_an_unfinished_step_and_the_memory_are_kept(street, both, size):
    stream, n_state = both["float"].stream(), both["float"].memory().state.size
    for at in range(0, 60 * SR, size): stream.push(street[at:at + size])
    frames = CONTEXT_FRAMES + 4 * STEP_FRAMES              # with the newest step and its averages
    most = 4 * ((STEP_FRAMES + 1) * HOP + 64 * frames + n_state)
    assert 0 < held(stream) < most, "more sound is kept than a step and the memory"

def test_in_the_first_second_no_more_is_kept_than_that_second(street, both):
    stream = both["float"].stream()
    stream.push(street[:SR])
    first = WARM_FRAMES * 64 * 4
    assert first // 2 < held(stream) < 2 * first, "the first frames wait until they fill the memory"
    stream.push(street[SR:2 * SR])
    assert stream._memory.first is None


# ---- too slow

@pytest.mark.parametrize("every", [10, 25])
def test_skipped_blocks_that_are_reported_leave_the_clock_right(street, both, every):
    whole, right, wrong = (both["float"].stream() for _ in range(3))
    scores = {"whole": [], "right": []}
    for k, block in enumerate(np.split(street[:30 * SR], 300)):
        gone = k % every == every - 1
        scores["whole"].append(whole.push(block).times)
        scores["right"].append((right.gap(0.1) if gone else right.push(block)).times)
        if not gone: wrong.push(block)
    assert right.seconds == pytest.approx(30) and wrong.seconds == pytest.approx(30 - 30 / every)
    np.testing.assert_allclose(*map(np.concatenate, scores.values()))

def test_after_a_long_loss_scores_are_dated_by_the_wall(street, both):
    detector, after = both["float"], street[5 * SR:10 * SR]
    stream = detector.stream()
    stream.push(street[:5 * SR])
    stream.gap(100.25)
    times, probability = stream.push(after)
    assert times[0] == pytest.approx(105.25 + detector.timing.first_s, abs=0.01)
    assert stream.seconds == pytest.approx(110.25)
    fresh = detector.score(after)                          # the memory is a new one
    np.testing.assert_allclose(probability, fresh.probability[:len(times)], atol=1e-4)
    np.testing.assert_allclose(times - 105.25, fresh.times[:len(times)], atol=1e-6)

def test_a_short_loss_leaves_the_memory(street, both):
    detector, after = both["float"], street[5 * SR:10 * SR]
    stream = detector.stream()
    stream.push(street[:5 * SR])
    stream.gap(0.5)
    times, probability = stream.push(after)
    assert 5.5 < times[0] < 5.5 + 2 * detector.timing.hop_s, "the first score comes at once"
    silent = np.concatenate([street[:5 * SR], np.zeros(SR // 2, np.float32), after])
    np.testing.assert_allclose(probability, detector.score(silent).probability[-len(times):],
                               atol=1e-4)


# ---- what the chapter says

def chapter():
    cells = json.loads((NBS/"29_deployment.ipynb").read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(c["source"]) for c in cells)

def test_the_units_command_is_one_that_sirenbook_has(street):
    unit, = re.findall(r"^ExecStart=/bin/sh -c '(.+)'$", chapter(), re.M)
    arecord, listen = (shlex.split(part) for part in unit.split("|"))
    assert arecord[0] == "arecord" and listen[0] == "exec" and Path(listen[1]).name == "sirenbook"
    rate = arecord[arecord.index("-r") + 1]
    assert listen[listen.index("--sr") + 1] == rate == str(SR)
    assert arecord[arecord.index("-f") + 1] == "S16_LE" and arecord[arecord.index("-c") + 1] == "1"
    pcm = (np.clip(street[:20 * SR], -1, 1) * 32767).astype("<i2").tobytes()
    done = subprocess.run([sys.executable, "-c",
                           "import sys; from sirenbook.cli import main; sys.exit(main())",
                           *listen[2:]], input=pcm, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    for line in done.stdout.splitlines(): assert 0 <= json.loads(line)["time"] <= 20

def test_the_unit_keeps_no_sound():
    unit, = re.findall(r"^```ini\n(.+?)^```", chapter(), re.M | re.S)
    for line in ("LimitCORE=0", "MemorySwapMax=0", "PrivateNetwork=yes", "ProtectSystem=strict"):
        assert f"\n{line}\n" in unit
    assert "tee" not in unit and ".wav" not in unit
