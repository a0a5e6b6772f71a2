"""propagate against pyroadacoustics on the same trajectory; scenes against real time.

    python benchmarks/roads.py             # everything, on one core
    python benchmarks/roads.py --seeds 20  # more scenes

pyroadacoustics is an optional reference: without it, only the scenes are measured.
"""
import os
os.environ |= dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)  # before numpy looks
import argparse, sys, time
from statistics import median

import numpy as np
from sirenbook.roads import Trajectory, propagate, scene

try: import pyroadacoustics as pra
except ModuleNotFoundError: pra = None

RATE, SECONDS = 8000, 3                                                              # of the ride
START, VELOCITY, MIC = (
    np.array([-22.5, 5, 1]),
    np.array([15.0, 0, 0]),
    np.array([0, 0, 1.5]),
)  # nearest at half-time
SCENE_S, SIRENS = 15, {"no siren": "", "a siren": "program"}
AIMS = {"ride": 50, "scene": 30}                                                     # times faster
PITCH, LEVEL_DB = 1e-3, 0.2  # how near the two have to be
INSTALL = (
    "pyroadacoustics is not installed, so nothing was measured against it: "
    "in an environment of its own, pip install -e . pyroadacoustics==1.1.0"
)


def best(action, repeats):
    "Seconds at best, and the last answer."
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        answer = action()
        times.append(time.perf_counter() - start)
    return min(times), answer


def theirs(wav, road=None, *, reflection=True, air=True, places=None):
    "The trajectory for pyroadacoustics; `places`: positions of the source, if not on its path."
    world = pra.Environment(
        fs=RATE,
        temperature=20,
        rel_humidity=50,
        **({} if road is None else {"road_material": pra.Material(road)}),
    )
    world.set_simulation_params("Sinc", reflection, air)
    world.add_source(
        START, wav, np.array([START, START + VELOCITY * len(wav) / RATE]), np.array([VELOCITY[0]])
    )
    world.add_microphone_array(MIC[None])
    if places is not None: world.source.trajectory = places
    return world


def pitch_and_level(wav):
    "Of a tone: Hz, smoothed over 4 ms, and dB, where the sound has begun and not yet ended."
    spectrum = np.fft.fft(
        wav
        * np.clip(np.minimum(np.arange(len(wav)) - 800, len(wav) - np.arange(len(wav))) / 800, 0, 1)
    )
    spectrum[len(wav) // 2:] = 0
    z = 2 * np.fft.ifft(spectrum)[2400:-1600]
    hz = np.diff(np.unwrap(np.angle(z))) * RATE / (2 * np.pi)
    return np.convolve(hz, np.ones(33) / 33, "valid"), 20 * np.log10(np.abs(z))


def check():
    "The difference of the two on the direct path, in a sentence; too large ends the program."
    t = np.arange(SECONDS * RATE) / RATE
    sent = (
        START + VELOCITY * Trajectory(START, VELOCITY, MIC).emission_s(t)[:, None]
    )  # where it was when what is heard left
    apart = {}
    for name, places in (("plain", None), ("sent", sent)):
        apart[name] = np.zeros(2)
        for tone_hz in (500, 1000, 2000):
            wav = np.sin(2 * np.pi * tone_hz * t)
            a = pitch_and_level(
                theirs(wav, reflection=False, air=False, places=places).simulate()[0]
            )
            b = pitch_and_level(
                propagate(wav, RATE, START, VELOCITY, MIC, reflection=False, air=False)
            )
            apart[name] = np.maximum(
                apart[name], (np.abs(a[0] / b[0] - 1).max(), np.abs(a[1] - b[1]).max())
            )
    say = {
        name: f"pitch within {100 * p:.2f} %, level within {db:.2f} dB"
        for name, (p, db) in apart.items()
    }
    if not (apart["sent"] < (PITCH, LEVEL_DB)).all():
        sys.exit(f"the two differ ({say['sent']}): the times would compare different work")
    return (
        f"Direct path, tones of 0.5, 1 and 2 kHz at {VELOCITY[0]:g} m/s: {say['plain']}. "
        "pyroadacoustics places the source where it is when its sound arrives; "
        f"with the positions at the time of emission: {say['sent']}."
    )


def rides():
    "Their seconds and ours for the ride with ground and air."
    wav = np.random.default_rng(0).normal(0, .1, SECONDS * RATE)
    ours = best(lambda: propagate(wav, RATE, START, VELOCITY, MIC), 20)[0]
    for road, name in ((None, "its default ground"), ("average_asphalt", "its asphalt")):
        whole, heard = best(lambda: theirs(wav, road).simulate(), 2)
        short = best(lambda: theirs(wav[:RATE // 10], road).simulate(), 2)[0]
        if heard.shape != (1, len(wav)):
            sys.exit(f"pyroadacoustics heard {heard.shape[1]} samples, not {len(wav)}")
        yield f"ride of {SECONDS} s at {RATE // 1000} kHz, {name}", (whole, ours)
        yield (
            "the same, without what it prepares for any ride",
            ((whole - short) * SECONDS / (SECONDS - 0.1), ours),
        )


def scenes(seeds):
    "Real time and our seconds for a scene: the median over the seeds."
    scene(SCENE_S, np.random.default_rng(seeds), "program")
    for name, kind in SIRENS.items():
        times = [
            best(lambda: scene(SCENE_S, np.random.default_rng(seed), kind), 2)[0]
            for seed in range(seeds)
        ]
        yield f"scene of {SCENE_S} s with {name}, median of {seeds}", (SCENE_S, median(times))


def main():
    ask = argparse.ArgumentParser(description="Rides and street scenes, in ratios.")
    ask.add_argument(
        "--seeds", type=int, default=10, help="how many scenes of each sort: %(default)s"
    )
    given = ask.parse_args()
    if hasattr(os, "sched_setaffinity"): os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(
        f"{check() if pra else INSTALL}\n\n"
        "| what | theirs or real time, s | ours, s | times faster | aim |\n|---|--:|--:|--:|---|"
    )
    for work, rows in (("ride", rides() if pra else ()), ("scene", scenes(given.seeds))):
        for name, (them, us) in rows:
            aim = AIMS[work]
            met = "met" if them / us >= aim else "MISSED"
            print(
                f"| {name} | {them:.3g} | {us:.3g} | {them / us:.0f} | {met} (aim {aim}×) |",
                flush=True,
            )


if __name__ == "__main__": main()
