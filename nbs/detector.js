// The detector in plain JavaScript, as chapters 23 and 24 build it: samples in, probabilities and events out.
// It needs the weights of the package, which the site's build writes to weights.js; no library, no internet, no web page.
(() => {
  const SR = 16000, HOP = 256, FFT = 512, BANDS = 64;  // Hz; samples from frame to frame, and in a frame; mel bands
  const STEP = 8, CONTEXT = 23, WARM = 64;             // frames: in a step, before it, and mirrored to fill the memory (1 s)

  const joined = (a, b) => { const all = new Float32Array(a.length + b.length); all.set(a), all.set(b, a.length); return all; };

  // ---- from samples to frames (frames.FrontEnd)

  function melFilters() {  // of each band: its first bin, and the weights from there on
    const mel = hz => 2595 * Math.log10(1 + hz / 700), low = mel(120), high = mel(7600);
    const edge = Array.from({length: BANDS + 2}, (_, i) => 700 * (10 ** ((low + (high - low) * i / (BANDS + 1)) / 2595) - 1));
    return Array.from({length: BANDS}, (_, i) => {
      const bins = Array.from({length: FFT / 2 + 1}, (_, k) => k * SR / FFT);
      const weights = bins.map(f => Math.max(0, Math.min((f - edge[i]) / (edge[i + 1] - edge[i]), (edge[i + 2] - f) / (edge[i + 2] - edge[i + 1]))));
      const first = weights.findIndex(w => w > 0), last = weights.findLastIndex(w => w > 0);
      return [first, weights.slice(first, last + 1)];
    });
  }

  const TWIDDLES = Float64Array.from({length: 2 * FFT}, (_, i) => (i < FFT ? Math.cos : Math.sin)(2 * Math.PI * i / FFT));  // cosines, then sines

  function fft(re, im) {  // in place, of FFT numbers
    const n = re.length;
    for (let i = 1, j = 0; i < n; i++) {
      let bit = n >> 1;
      for (; j & bit; bit >>= 1) j ^= bit;
      j ^= bit;
      if (i < j) [re[i], re[j], im[i], im[j]] = [re[j], re[i], im[j], im[i]];
    }
    for (let size = 2; size <= n; size *= 2) {
      const half = size / 2;
      for (let k = 0; k < half; k++) {
        const c = TWIDDLES[k * FFT / size], s = -TWIDDLES[k * FFT / size + FFT];
        for (let a = k; a < n; a += size) {
          const b = a + half, x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
          re[b] = re[a] - x; im[b] = im[a] - y; re[a] += x; im[a] += y;
        }
      }
    }
  }

  const FILTERS = melFilters(), HANN = Float64Array.from({length: FFT}, (_, i) => 0.5 - 0.5 * Math.cos(2 * Math.PI * i / FFT));

  function logMel(wav, at) {  // of the frame that begins at a sample
    const re = new Float64Array(FFT), im = new Float64Array(FFT);
    for (let i = 0; i < FFT; i++) re[i] = wav[at + i] * HANN[i];
    fft(re, im);
    return Float32Array.from(FILTERS, ([first, weights]) => Math.log(1e-6 + weights.reduce((sum, w, i) => sum + w * (re[first + i] ** 2 + im[first + i] ** 2), 0)));
  }

  // ---- from any sample rate to 16 kHz: a sinc with a Kaiser window (beta 9), block by block

  class Resampler {
    constructor(sr) {
      const cut = 0.94 * Math.min(1, SR / sr);  // of half the input's rate: what lies above 8 kHz would alias
      const gcd = (a, b) => b ? gcd(b, a % b) : a, phases = SR / gcd(SR, sr);  // after so many samples the kernels are the same again
      Object.assign(this, {ratio: sr / SR, half: Math.ceil(40 / cut), fine: 512, wav: new Float32Array(0), begin: 0, n: 0, phases, kernels: []});
      const bessel = x => { let sum = 1, term = 1; for (let k = 1; k < 40; k++) sum += term *= (x / 2 / k) ** 2; return sum; };
      this.table = Float64Array.from({length: this.half * this.fine + 2}, (_, i) => {  // half a kernel, at 512 places a sample
        const x = i / this.fine, u = Math.min(1, x / this.half);
        return (x ? Math.sin(Math.PI * cut * x) / (Math.PI * x) : cut) * bessel(9 * Math.sqrt(1 - u * u)) / bessel(9);
      });
    }
    kernel(phase) {  // first sample, and weights from there on, of an output at phase * ratio
      const {half, fine, table, ratio} = this, at = phase * ratio, low = Math.ceil(at - half);
      return [low, Float64Array.from({length: Math.floor(at + half) - low + 1}, (_, k) => {
        const x = Math.abs(low + k - at) * fine, i = Math.floor(x);
        return table[i] + (table[i + 1] - table[i]) * (x - i);
      })];
    }
    push(wav, last = false) {
      const all = joined(this.wav, wav), end = this.begin + all.length, {half, begin, phases} = this, out = [];
      for (let at; at = this.n * this.ratio, last ? at < end : at + half < end; this.n++) {
        const phase = this.n % phases, [low, kernel] = phases * half > 4e6 ? this.kernel(phase) : this.kernels[phase] ??= this.kernel(phase);
        const first = Math.round((this.n - phase) * this.ratio) + low;  // whole: after `phases` samples, so many of the input have passed
        let sum = 0;
        for (let k = Math.max(0, begin - first), to = Math.min(kernel.length, end - first); k < to; k++) sum += all[first + k - begin] * kernel[k];
        out.push(Math.max(-1, Math.min(1, sum)));
      }
      this.begin = Math.max(begin, Math.ceil(this.n * this.ratio - half));
      this.wav = all.slice(this.begin - begin);
      return Float32Array.from(out);
    }
  }

  // ---- the network (frames.Network)

  function tensors(weights) {
    const numbers = new Float32Array(Uint8Array.from(atob(weights.data), c => c.charCodeAt(0)).buffer), found = {};
    let at = 0;
    for (const [name, ...shape] of weights.tensors) {
      const n = shape.reduce((a, b) => a * b, 1);
      found[name] = {shape, data: numbers.subarray(at, at + n)};
      at += n;
    }
    return found;
  }

  function convolution(x, [rows, columns, channels], {shape: [n, , , ], data}, bias) {  // 3 x 3, stride 2, a column of zeros on each side, ReLU
    const high = (rows - 3 >> 1) + 1, wide = (columns + 2 - 3 >> 1) + 1, out = new Float32Array(high * wide * n), run = 3 * channels;
    for (let r = 0; r < high; r++) for (let c = 0; c < wide; c++) for (let o = 0; o < n; o += 4) {  // four at once: several times as fast
      let s0 = bias[o], s1 = bias[o + 1], s2 = bias[o + 2], s3 = bias[o + 3];
      const first = c ? 0 : channels, last = 2 * c + 1 < columns ? run : 2 * channels;              // outside is zero
      for (let i = 0; i < 3; i++) {
        const w = (3 * o + i) * run, a = ((2 * r + i) * columns + 2 * c - 1) * channels;
        for (let k = first; k < last; k++) {
          const v = x[a + k], at = w + k;
          s0 += data[at] * v, s1 += data[at + 3 * run] * v, s2 += data[at + 6 * run] * v, s3 += data[at + 9 * run] * v;
        }
      }
      out.set([s0, s1, s2, s3].map(s => Math.max(0, s)), (r * wide + c) * n + o);
    }
    return [out, [high, wide, n]];
  }

  function dense(x, {shape: [n, m], data}, bias) {
    return Float32Array.from({length: n}, (_, i) => {
      let sum = bias ? bias[i] : 0;
      for (let k = 0; k < m; k++) sum += data[i * m + k] * x[k];
      return sum;
    });
  }

  const sigmoid = x => 1 / (1 + Math.exp(-x));

  class Network {
    constructor(weights) {
      Object.assign(this, {weights, t: tensors(weights)});
      this.b = weights.pcen.smoothing;
    }
    memory() {
      const n = this.t.recurrent.shape[1];
      return {frames: Array.from({length: CONTEXT}, () => new Float32Array(BANDS)), state: new Float32Array(n), average: null, first: [], n: 0};
    }
    pcen(mel, memory) {  // of a frame, and its running average
      const {gain, bias, power_exponent: exponent, eps} = this.weights.pcen;
      memory.average ??= mel.map(Math.exp);
      return mel.map((x, i) => {
        memory.average[i] += this.b * (Math.exp(x) - memory.average[i]);
        return (Math.exp(x - gain * Math.log(memory.average[i] + eps)) + bias) ** exponent - bias ** exponent;
      });
    }
    logit(frames, memory) {  // of the siren; the loudest of five kinds of siren (tags) adds its share
      const t = this.t;
      let x = new Float32Array(frames.length * BANDS), shape = [frames.length, BANDS, 1];
      frames.forEach((f, i) => x.set(f, i * BANDS));
      for (const i of [1, 2, 3, 4]) [x, shape] = convolution(x, shape, t[`kernel${i}`], t[`bias${i}`].data);
      const now = dense(x, t.now, t.nowBias.data).map(v => Math.max(0, v));
      const a = dense(now, t.input, t.inputBias.data), r = dense(memory.state, t.recurrent, t.recurrentBias.data), n = memory.state.length;
      memory.state = memory.state.map((h, i) => {
        const z = sigmoid(a[i] + r[i]), reset = sigmoid(a[n + i] + r[n + i]);
        return z * h + (1 - z) * Math.tanh(a[2 * n + i] + reset * r[2 * n + i]);
      });
      const tags = dense([...now, ...memory.state], t.tags, t.tagsBias.data);
      return dense(memory.state, t.siren, t.sirenBias.data)[0] + this.weights.share * Math.max(...tags);
    }
    *steps(mel, memory) {
      for (let a = 0; a + STEP <= mel.length; a += STEP) {
        const frames = [...memory.frames, ...mel.slice(a, a + STEP).map(m => this.pcen(m, memory))];
        memory.n += STEP;
        yield [memory.n, this.logit(frames, memory)];
        memory.frames = frames.slice(-CONTEXT);
      }
    }
    *listen(mel, memory, last, warm = WARM) {  // mel: frames in whole steps; [frames so far, logit] of each step
      const seen = memory.seen ?? 0;
      if (memory.first) {                      // the first second, backwards, fills the memory
        memory.first.push(...mel);
        if (!memory.first.length) return;
        if (memory.first.length < WARM && !last) {
          if (memory.first.length < warm) return;
          memory.seen = memory.first.length;   // for now, as if the sound ended here
          return yield* [...this.listen(memory.first, this.memory(), true)].filter(([n]) => n > seen);
        }
        mel = memory.first, memory.first = null;
        const back = mel.slice(0, WARM).reverse(), n = back.length;
        for (const _ of this.steps(Array.from({length: WARM}, (_, i) => back[((i - WARM) % n + n) % n]), memory));
        memory.n = 0;
      }
      for (const step of this.steps(mel, memory)) if (step[0] > seen) yield step;
    }
    probability(logit) { return sigmoid(this.weights.slope * logit + this.weights.offset); }
  }

  // ---- sound in blocks (detector.Stream)

  class Stream {
    constructor(network, sr, {warm = WARM} = {}) {  // frames until the first scores, which are for now until there are 64
      Object.assign(this, {network, sr, warm, memory: network.memory(), wav: new Float32Array(0), frames: 0, samples: 0});
      this.resampler = sr === SR ? null : new Resampler(sr);
    }
    push(wav, last = false) {  // mono; [{time, probability}] of the steps that it completes
      this.samples += wav.length;
      wav = wav.every(Number.isFinite) ? wav.map(v => Math.max(-1, Math.min(1, v))) : new Float32Array(wav.length);  // a bad block is silence
      if (this.resampler) wav = this.resampler.push(wav, last);
      this.onsamples?.(wav);
      let all = joined(this.wav, wav);
      if (last && this.samples && !this.frames) all = joined(all, new Float32Array(Math.max(0, HOP * (STEP + 1) - all.length)));  // silence
      const n = Math.floor(Math.max(Math.floor(all.length / HOP) - 1, 0) / STEP) * STEP;
      const mel = Array.from({length: n}, (_, i) => logMel(all, i * HOP));
      this.wav = all.slice(HOP * n), this.frames += n;
      this.onframes?.(mel);
      return Array.from(this.network.listen(mel, this.memory, last, this.warm), ([frames, logit]) => ({time: (frames + 1) * HOP / SR, probability: this.network.probability(logit)}));
    }
  }

  // ---- from scores to events (detector.EventTracker)

  class EventTracker {
    constructor(threshold, {onset_s, offset_s, hop_s, first_s}, {release = 1, bridge_s = 3} = {}) {
      Object.assign(this, {threshold, onset_s, offset_s, hop_s, first_s, bridge_s, earliest: 0, last: null, open: null});
      this.low = 1 / (1 + (1 / threshold - 1) * Math.exp(release));
    }
    event(cut) {
      const e = this.open;
      if (!e) return null;
      if (cut && e.on) return {start: Math.max(e.earliest, e.start), end: e.end, peak: e.peak};
      const end = e.end - this.offset_s, more = Math.max(0, this.onset_s - (end - e.start)) / 2;
      const start = Math.max(e.earliest, e.start - more);
      return {start, end: Math.min(e.end, Math.max(end + more, start + this.hop_s)), peak: e.peak};
    }
    get current() { return this.event(true); }
    close(cut) {
      const event = this.event(cut);
      this.open = null;
      if (event) this.earliest = event.end;
      return event ? [event] : [];
    }
    push(scores) {  // events that ended
      const ended = [];
      for (const {time: t, probability: p} of scores) {
        const fresh = this.last === null || t - this.last > 1.5 * this.hop_s, on = this.open && this.open.on && p >= this.low;
        if (fresh || this.open && t - this.open.end > this.bridge_s && !on) ended.push(...this.close(fresh));
        if (fresh) this.earliest = Math.max(this.earliest, t - this.first_s);
        if (!this.open && p >= this.threshold) this.open = {earliest: this.earliest, start: t - (fresh ? this.first_s : this.onset_s), end: t, peak: p, on: true};
        const e = this.open;
        if (e && (e.on = p >= (e.on ? this.low : this.threshold))) e.end = t, e.peak = Math.max(e.peak, p);
        this.last = t;
      }
      return ended;
    }
    finish(seconds = Infinity) {
      this.last = null;
      const ended = this.close(true);
      this.earliest = 0;
      return ended.map(e => ({...e, start: Math.min(e.start, seconds), end: Math.min(e.end, seconds)}));
    }
  }

  globalThis.Siren = {SR, HOP, STEP, BANDS, Network, Stream, Resampler, EventTracker, logMel, fft};
})();
