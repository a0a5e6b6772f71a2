"""Our detector beside YAMNet on real clips: ranking, time, memory, start; prints one table."""
import argparse, json, os, statistics, subprocess, sys, time
from pathlib import Path

import numpy as np

# YAMNet's: emergency vehicle, police car, ambulance, fire engine, siren
SIREN_CLASSES = (316, 317, 318, 319, 390)
WINDOW = 15_600                             # samples in a window of YAMNet
COLUMNS = ("name", "learned_from_street", "roc_auc", "found_at_5", "found_at_1", "ms_per_s",
           "times", "peak_mb", "start_s")

class Yamnet:
    "YAMNet's siren score, over half-overlapping windows."
    def __init__(self, path):
        from ai_edge_litert.interpreter import Interpreter
        self.lite = Interpreter(model_path=str(path), num_threads=1)
        self.lite.allocate_tensors()
        self.first, self.last = (d[0]["index"] for d in (
            self.lite.get_input_details(), self.lite.get_output_details()))

    def max_score(self, wav):
        "The highest siren score in a waveform at 16 kHz."
        wav = np.pad(wav, (0, max(WINDOW - len(wav), 0))).astype(np.float32)
        best = 0.0
        for a in range(0, len(wav) - WINDOW + 1, WINDOW // 2):
            self.lite.set_tensor(self.first, wav[a:a + WINDOW])
            self.lite.invoke()
            best = max(best, float(self.lite.get_tensor(self.last)[0, list(SIREN_CLASSES)].max()))
        return best

class Ours:
    "The package's detector."
    def __init__(self, precision):
        from sirenbook.detector import Detector
        self.detector = Detector.pretrained(precision=precision)

    def max_score(self, wav):
        "The highest siren probability in a waveform at 16 kHz."
        return float(self.detector.score(wav).probability.max())

def model(name, yamnet): return Yamnet(yamnet) if name == "yamnet" else Ours(name)

def peak_mb():
    "The peak memory of this process (Linux: VmHWM, as ru_maxrss starts with the parent's)."
    try: return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        import resource
        unit = 2 ** 20 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit

def child(name, yamnet, seconds):
    "In a process of its own: load the model, score noise, and print the peak memory."
    wav = (0.1 * np.random.default_rng(0).standard_normal(16_000 * seconds)).astype(np.float32)
    model(name, yamnet).max_score(wav)
    print(json.dumps(peak_mb()))

def in_a_child(name, yamnet, seconds):
    "Seconds of processor time and peak memory (MB) of such a process, Python's own start included."
    spent = lambda: sum(os.times()[2:4])                                    # of children
    start = spent()
    done = subprocess.run([sys.executable, __file__, "--child", name, "--seconds", str(seconds),
                           "--yamnet", str(yamnet)], capture_output=True, text=True, check=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    return spent() - start, json.loads(done.stdout.splitlines()[-1])

def speed(models, wavs, rounds):
    "Median milliseconds for a second of audio, the models in turns; and ratios to the last."
    # processor time of one thread: what one core takes, however busy the machine is
    seconds, took = sum(map(len, wavs)) / 16_000, {name: [] for name in models}
    for m in models.values(): m.max_score(wavs[0])                            # warm
    for _ in range(rounds):
        for name, m in models.items():
            start = time.process_time()
            for wav in wavs: m.max_score(wav)
            took[name].append(1000 * (time.process_time() - start) / seconds)
    last = took[list(models)[-1]]
    return ({name: statistics.median(ms) for name, ms in took.items()},
            {name: statistics.median(a / b for a, b in zip(ms, last)) for name, ms in took.items()})

def unseen_row(path):
    "How networks of several seeds rank the clips: means over the seeds."
    from sirenbook.evaluation import load_unseen, unseen_ranking
    return {k: round(float(np.mean(v)), 4) for k, v in unseen_ranking(load_unseen(path)).items()}

def measured(street, yamnet, unseen, rounds):
    "The rows of the table."
    from sirenbook.recordings import load_dataset
    from sirenbook.transfer import ranking
    data = load_dataset(street)
    siren = [r.label == "emergency" for r in data.recordings]
    groups = [r.group for r in data.recordings]
    models = {name: model(name, yamnet) for name in ("float", "int8", "yamnet")}
    ms, times = speed(models, [r.wav for r in data.recordings if r.seconds >= 2][::4], rounds)
    titles = {"float": "sirenbook, shipped", "int8": "sirenbook, shipped, int8", "yamnet": "YAMNet"}
    rows = []
    for name, m in models.items():
        score = ranking(siren, [m.max_score(r.wav) for r in data.recordings], groups)
        start_s = statistics.median(in_a_child(name, yamnet, 2)[0] for _ in range(3))
        rows.append({"name": titles[name], "learned_from_street": "no"}
                    | {k: round(v, 4) for k, v in score.items()}
                    | {"ms_per_s": round(ms[name], 3), "times": round(times[name], 3),
                       "peak_mb": round(in_a_child(name, yamnet, 60)[1], 1),
                       "start_s": round(start_s, 2)})
        print(rows[-1]["name"], "done", file=sys.stderr)
    if unseen.is_file():
        like = dict.fromkeys(COLUMNS, "") | {
            "name": "sirenbook, mean of three seeds", "learned_from_street": "no"}
        rows.insert(0, like | unseen_row(unseen))
    return [{c: r[c] for c in COLUMNS} for r in rows]

def show(rows):
    "The table, in columns."
    lines = [COLUMNS, *[[str(r[c]) if r[c] != "" else "-" for c in COLUMNS] for r in rows]]
    width = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    for line in lines: print("  ".join(cell.ljust(w) for cell, w in zip(line, width)).rstrip())

def main():
    home, root = Path(os.environ.get("SIRENBOOK_DATA", ".")), Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--street", type=Path, default=home/"street",
                        help="folder of real clips (SIRENBOOK_DATA/street)")
    parser.add_argument("--yamnet", type=Path, default=home/"peers"/"yamnet.tflite",
                        help="YAMNet as a LiteRT model that takes a waveform "
                             "(SIRENBOOK_DATA/peers/yamnet.tflite)")
    parser.add_argument("--unseen", type=Path, default=root/"data"/"unseen.csv",
                        help="predictions of networks of three seeds for the clips")
    parser.add_argument("--rounds", type=int, default=5,
                        help="how often each model scores the clips, in turns")
    parser.add_argument("--out", type=Path, help="write the table to this CSV file as well")
    parser.add_argument("--child", choices=("float", "int8", "yamnet"), help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, default=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child: return child(args.child, args.yamnet, args.seconds)
    for path, there in ((args.street, args.street.is_dir()), (args.yamnet, args.yamnet.is_file())):
        if not there: parser.error(f"{path}: not there; set SIRENBOOK_DATA, or name another place")
    from sirenbook.files import write_csv
    rows = measured(args.street, args.yamnet, args.unseen, args.rounds)
    show(rows)
    print("\nNone has learned from these clips; ours was calibrated on them, "
          "and its makers looked at them.")
    if args.out: write_csv(args.out, rows)

if __name__ == "__main__": main()
