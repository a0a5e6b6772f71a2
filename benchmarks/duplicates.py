"""Finding duplicates by an index of fingerprints against correlating all pairs; prints ratios."""
import argparse, time

import numpy as np
from scipy.fft import irfft, rfft
from sirenbook.duplicates import near_duplicates
from sirenbook.noises import noise

KINDS = ("traffic", "rain", "crowd", "tyres", "water")

def pair_s(a, b, rounds=50):
    "The time for one pair whose spectra are known: a product and an inverse transform."
    a, b = (rfft(w, 2 * len(w)) for w in (a, b))
    start = time.perf_counter()
    for _ in range(rounds): np.abs(irfft(a * np.conj(b))).max()
    return (time.perf_counter() - start) / rounds

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, nargs="+", default=[150, 600])
    sizes = parser.parse_args().clips
    clips = [0.1 * noise(KINDS[i % 5], 3, np.random.default_rng([1, i])) for i in range(max(sizes))]
    for i in range(9, len(clips), 10):                     # every tenth overlaps the one before
        clips[i] = np.concatenate([clips[i - 1][8000:], clips[i][:8000]])
    one_s = pair_s(*clips[:2])
    for n in sizes:
        start = time.perf_counter()
        found = near_duplicates(clips[:n])
        took = time.perf_counter() - start
        print(f"{n} clips of 3 s: {3 * n / took:.0f}x real time; all pairs by FFT would take "
              f"{one_s * n * (n - 1) / 2 / took:.0f}x as long "
              f"({len(found)} duplicates found of {n // 10})")

if __name__ == "__main__": main()
