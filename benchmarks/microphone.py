"""A browser's noise suppression on a distant siren, recorded in Chromium, into data/microphone."""
import argparse, http.server, tempfile, threading
from pathlib import Path

import numpy as np
import soundfile as sf
from playwright.sync_api import sync_playwright

from sirenbook.audio import SR
from sirenbook.detector import Detector
from sirenbook.noises import noise
from sirenbook.roads import propagate
from sirenbook.signals import rms
from sirenbook.sirens import PRESETS, render

LISTEN_S, KEPT_S = 14, (1, 9)   # how long the browser listens; what is kept of it, s
RECORD = """async ([suppress, seconds]) => {
    const audio = {echoCancellation: false, noiseSuppression: suppress, autoGainControl: false};
    const media = await navigator.mediaDevices.getUserMedia({audio});
    const context = new AudioContext({sampleRate: 16000}), wav = [];
    const tap = context.createScriptProcessor(4096, 1, 1);
    tap.onaudioprocess = e => wav.push(...e.inputBuffer.getChannelData(0));
    context.createMediaStreamSource(media).connect(tap).connect(context.destination);
    await new Promise(done => setTimeout(done, 1000 * seconds));
    const {noiseSuppression} = media.getAudioTracks()[0].getSettings();
    return [noiseSuppression, wav.map(v => Math.round(32767 * v))];
}"""

class Page(http.server.BaseHTTPRequestHandler):
    "An empty page: browsers give no microphone without one."
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass

def distant_siren():
    "A hi-lo siren that begins 150 m away and comes nearer, in a street."
    siren = render(PRESETS["German town horn"], LISTEN_S + 4, SR)
    siren = propagate(siren / rms(siren), SR, (-150, 12, 2), (8, 0, 0))
    return 0.8 * siren + 0.01 * noise("traffic", LISTEN_S + 4, np.random.default_rng(5))

def record(browser, address, wav, suppress):
    "What a page gets of a sound that is played to its microphone."
    with tempfile.TemporaryDirectory() as folder:
        sf.write(f"{folder}/siren.wav", np.append(np.zeros(SR), wav), SR)
        flags = ["--no-sandbox", "--use-fake-ui-for-media-stream",
                 "--use-fake-device-for-media-stream", "--autoplay-policy=no-user-gesture-required",
                 f"--use-file-for-fake-audio-capture={folder}/siren.wav"]
        with sync_playwright() as play:
            page = play.chromium.launch(executable_path=browser, args=flags).new_page()
            page.goto(address)
            on, samples = page.evaluate(RECORD, [suppress, LISTEN_S])
    assert on == suppress, "this browser does not do what the page asks for"
    a, b = (round(s * SR) for s in KEPT_S)
    return np.array(samples, np.float32)[a:b] / 32767

def main():
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--browser", default="/usr/bin/chromium", help="Chromium's program")
    ask.add_argument("--out", type=Path, default=Path("data/microphone"), help="folder")
    args = ask.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    server = http.server.HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address, wav = f"http://127.0.0.1:{server.server_port}/", distant_siren()
    found = {name: record(args.browser, address, wav, on)
             for name, on in (("plain", False), ("suppressed", True))}
    for name, wav in found.items():
        sf.write(args.out / f"{name}.flac", wav, SR)
        p = Detector.pretrained().score(wav).probability
        print(f"{name:12}{20 * np.log10(rms(wav)):7.1f} dBFS   mean probability {p.mean():.2f}")
    print(f"level: {rms(found['suppressed']) / rms(found['plain']):.2f} of the plain recording's")

if __name__ == "__main__": main()
