"""Our detector beside YAMNet and mn04_as: ranking, false alarms, time, memory, start."""
import argparse, json, os, statistics, subprocess, sys, time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

# YAMNet's: emergency vehicle, police car, ambulance, fire engine, siren
SIREN_CLASSES = (316, 317, 318, 319, 390)
WINDOW = 15_600                             # samples in a window of YAMNet
TITLES = {"float": "sirenbook", "mn04": "mn04_as, 2 s windows", "yamnet": "YAMNet"}

class Yamnet:
    "YAMNet's siren score, over half-overlapping windows."
    def __init__(self, path):
        from ai_edge_litert.interpreter import Interpreter
        self.lite = Interpreter(model_path=str(path), num_threads=1)
        self.lite.allocate_tensors()
        self.first, self.last = (d[0]["index"] for d in (
            self.lite.get_input_details(), self.lite.get_output_details()))

    def scores(self, wav):
        "Siren score of each window of a waveform at 16 kHz, and where it ends, s."
        wav = np.pad(wav, (0, max(WINDOW - len(wav), 0))).astype(np.float32)
        starts, found = range(0, len(wav) - WINDOW + 1, WINDOW // 2), []
        for a in starts:
            self.lite.set_tensor(self.first, wav[a:a + WINDOW])
            self.lite.invoke()
            found.append(float(self.lite.get_tensor(self.last)[0, list(SIREN_CLASSES)].max()))
        return (np.array(starts) + WINDOW) / 16_000, np.array(found)

class Mn04:
    "mn04_as, as the book runs it, window by window."
    def __init__(self, path):
        from sirenbook.distillation import load_teacher
        self.model = load_teacher(path)

    def scores(self, wav):
        from sirenbook.distillation import soft_labels, tag_probability
        centres_s, logits = soft_labels(self.model, wav)
        return centres_s + 1, tag_probability(logits)

class Ours:
    "The package's detector."
    def __init__(self):
        from sirenbook.detector import Detector
        self.detector = Detector.pretrained()

    def scores(self, wav):
        "Siren probability of each step of a waveform at 16 kHz, and where it ends, s."
        return self.detector.score(wav)

def model(name, args):
    if name == "yamnet": return Yamnet(args.yamnet)
    return Mn04(args.teacher) if name == "mn04" else Ours()

def peak_mb():
    "The peak memory of this process (Linux: VmHWM, as ru_maxrss starts with the parent's)."
    try: kib = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        import resource
        kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if sys.platform == "darwin": kib /= 1024
    return kib * 1024 / 1e6

def child(args):
    "In a process of its own: load the model, score noise, and print the peak memory."
    noise = np.random.default_rng(0).standard_normal(16_000 * args.seconds)
    model(args.child, args).scores((0.1 * noise).astype(np.float32))
    print(json.dumps(peak_mb()))

def in_a_child(name, args, seconds):
    "Seconds of processor time and peak memory (MB) of such a process, Python's own start included."
    spent = lambda: sum(os.times()[2:4])                                    # of children
    start = spent()
    done = subprocess.run([sys.executable, __file__, "--child", name, "--seconds", str(seconds),
                           "--yamnet", str(args.yamnet), "--teacher", str(args.teacher)],
                          capture_output=True, text=True, check=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"})
    return spent() - start, json.loads(done.stdout.splitlines()[-1])

def speed(models, wavs, rounds):
    "Median milliseconds for a second of audio, the models in turns; and ratios to the last."
    # processor time: what one core takes, however busy the machine is
    seconds, took = sum(map(len, wavs)) / 16_000, {name: [] for name in models}
    for m in models.values(): m.scores(wavs[0])                            # warm
    for _ in range(rounds):
        for name, m in models.items():
            start = time.process_time()
            for wav in wavs: m.scores(wav)
            took[name].append(1000 * (time.process_time() - start) / seconds)
    last = took[list(models)[-1]]
    return ({name: statistics.median(ms) for name, ms in took.items()},
            {name: statistics.median(a / b for a, b in zip(ms, last)) for name, ms in took.items()})

def judged(rows, m, folders):
    "The same pieces of the same recordings, with another model's scores."
    from sirenbook.detector import Scores
    from sirenbook.evaluation import piece_maxima
    from sirenbook.recordings import load_dataset
    ours, found = {(r["set"], r["file"], r["start_s"]): r for r in rows}, []
    for folder in folders:
        for r in load_dataset(folder).recordings:
            if (folder.name, Path(r.path).name, 0.0) not in ours: continue
            for a, _, p in piece_maxima(Scores(*m.scores(r.wav)), r.seconds):
                found.append(ours[folder.name, Path(r.path).name, a] | {"p": p})
    return found

def measured(args):
    "The rows of the table."
    from sirenbook.evaluation import load_unseen, unseen_metrics
    from sirenbook.recordings import load_dataset
    rows, folders = load_unseen(args.unseen), [args.street, args.world]
    models = {name: model(name, args) for name in TITLES}
    wavs = [r.wav for r in load_dataset(args.street).recordings if r.seconds >= 2][::4]
    with threadpool_limits(1): ms, times = speed(models, wavs, args.rounds)   # one core's time
    table = []
    for name, m in models.items():
        mine = rows if name == "float" else judged(rows, m, folders)
        cost = {"ms_per_s": round(ms[name], 3), "times": round(times[name], 3),
                "peak_mb": round(in_a_child(name, args, 60)[1], 1),
                "start_s": round(statistics.median(
                    in_a_child(name, args, 2)[0] for _ in range(3)), 2)}
        for place in ("street", "world", "both"):
            these = [r for r in mine if place in ("both", r["set"])]
            free = [r for r in these if r["label"] != "emergency"]
            values = {f"{k}{end}": round(v, 4) for k, three in unseen_metrics(these).items()
                      for end, v in zip(("", "_low", "_high"), three)}
            table.append({"name": TITLES[name], "set": place,
                          "recordings": len({(r["set"], r["file"]) for r in these}),
                          "groups": len({r["group"] for r in these}),
                          "hours": round(sum(r["seconds"] for r in free) / 3600, 3)}
                         | values | (cost if place == "both" else dict.fromkeys(cost, "")))
        print(TITLES[name], "done", file=sys.stderr)
    return table

def show(rows):
    "The table, in columns."
    columns = list(rows[0])
    lines = [columns, *[[str(r[c]) if r[c] != "" else "-" for c in columns] for r in rows]]
    width = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines: print("  ".join(cell.ljust(w) for cell, w in zip(line, width)).rstrip())

def main():
    home, root = Path(os.environ.get("SIRENBOOK_DATA", ".")), Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("street", "world"):
        parser.add_argument(f"--{name}", type=Path, default=home/name,
                            help=f"folder of real clips (SIRENBOOK_DATA/{name})")
    parser.add_argument("--yamnet", type=Path, default=home/"peers"/"yamnet.tflite",
                        help="YAMNet as a LiteRT model that takes a waveform "
                             "(SIRENBOOK_DATA/peers/yamnet.tflite)")
    parser.add_argument("--teacher", type=Path, default=root/"data"/"teacher"/"mn04_as.npz",
                        help="weights of mn04_as (data/teacher)")
    parser.add_argument("--unseen", type=Path, default=root/"data"/"unseen.csv",
                        help="what networks said about recordings that they had not learned from")
    parser.add_argument("--rounds", type=int, default=5,
                        help="how often each model scores the clips, in turns")
    parser.add_argument("--out", type=Path, help="write the table to this CSV file as well")
    parser.add_argument("--child", choices=TITLES, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, default=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child: return child(args)
    there = {args.street: "is_dir", args.world: "is_dir", args.yamnet: "is_file",
             args.teacher: "is_file", args.unseen: "is_file"}
    for path, kind in there.items():
        if not getattr(path, kind)():
            parser.error(f"{path}: not there; set SIRENBOOK_DATA, or name another place")
    from sirenbook.files import write_csv
    rows = measured(args)
    show(rows)
    print("\nOurs is judged by networks that have not learned from the recording; "
          "the others learned from AudioSet.")
    if args.out: write_csv(args.out, rows)

if __name__ == "__main__": main()
