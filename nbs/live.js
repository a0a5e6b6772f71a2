// The page that listens: microphone and files, a spectrogram that scrolls, probabilities, events, and what a threshold costs.
// detector.js hears; weights.js holds the network and the costs. Nothing leaves the page, and nothing is kept beyond it.
(() => {
  const box = document.getElementById("sb-live");
  if (!box) return;
  const {SR, HOP, STEP, BANDS, Network, Stream, EventTracker} = Siren, STEP_S = STEP * HOP / SR;
  const KEPT_S = 120, SHOWN_S = 20, HOUR_S = 3600;    // of the microphone's sound; of the picture; longest file
  let weights = SIREN_WEIGHTS;                        // the book's, or the reader's own
  let network, run = null, turn = 0;                  // run: what is listened to; turn: counts what was asked for, as the newest counts

  const make = (tag, more = {}, ...inside) => {
    const e = Object.assign(document.createElement(tag), more);
    e.append(...inside);
    return e;
  };
  const player = make("audio", {id: "sb-live-sound", controls: true, hidden: true, ariaLabel: "What was scored"});
  const by = id => document.getElementById(`sb-live-${id}`);
  const clock = time => { const s = Math.round(10 * time) / 10; return s < 60 ? `${s.toFixed(1)} s` : `${Math.floor(s / 60)}:${(s % 60).toFixed(1).padStart(4, "0")} min`; };
  const percent = p => `${Math.round(100 * p)} %`;
  const say = (text, wrong = false, where = by("said")) => { where.textContent = text; where.classList.toggle("sb-wrong", wrong); };

  // ---- what is heard: kept as 16-bit samples, of the microphone the last two minutes

  class Sound {
    constructor(n) { Object.assign(this, {data: new Int16Array(n), n: 0, sum: 0, sums: [0]}); }  // sums: of squares, each 1024 samples
    push(wav) {
      for (const v of wav) {
        this.data[this.n++ % this.data.length] = Math.round(32767 * Math.max(-1, Math.min(1, v)));
        this.sum += v * v;
        if (this.n % 1024 === 0) this.sums.push(this.sum);
      }
    }
    has(from, to) { return Math.min(to * SR, this.n) > Math.max(from * SR, this.n - this.data.length); }
    level(from, to) {  // dB below full scale, to the nearest 64 ms
      const a = Math.floor(from * SR / 1024), b = Math.min(Math.ceil(to * SR / 1024), this.sums.length - 1);
      return b > a ? 10 * Math.log10((this.sums[b] - this.sums[a]) / (b - a) / 1024 + 1e-10) : NaN;
    }
    cut(from, to) {  // s; what is still there
      const first = Math.max(Math.floor(from * SR), this.n - this.data.length, 0), last = Math.min(Math.ceil(to * SR), this.n);
      return Int16Array.from({length: Math.max(0, last - first)}, (_, i) => this.data[(first + i) % this.data.length]);
    }
  }

  function wavFile(samples) {
    const head = new DataView(new ArrayBuffer(44)), word = (at, text) => [...text].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
    word(0, "RIFF"), word(8, "WAVEfmt "), word(36, "data");
    [[4, 36 + 2 * samples.length], [16, 16], [24, SR], [28, 2 * SR], [40, 2 * samples.length]].forEach(([at, v]) => head.setUint32(at, v, true));
    [[20, 1], [22, 1], [32, 2], [34, 16]].forEach(([at, v]) => head.setUint16(at, v, true));
    return new Blob([head, samples], {type: "audio/wav"});
  }

  function sound(blob, plays, whole = "") {  // into the player; whole: what the picture shows
    if (!player.isConnected) by("picture").after(player);
    if (player.src) URL.revokeObjectURL(player.src);
    Object.assign(player, {src: URL.createObjectURL(blob), hidden: false}).dataset.whole = whole;
    if (plays) player.play().catch(() => {});
  }

  function save(blob, name) {
    const link = make("a", {href: URL.createObjectURL(blob), download: name});
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // ---- one run: a microphone or a file, from its first sample to its last

  class Run {
    constructor(name, sr, seconds = null) {
      network ??= new Network(weights);
      Object.assign(this, {name, seconds, live: seconds === null, sr, scores: [], columns: [], dropped: 0, begun: 0, ended: false});
      this.sound = new Sound(SR * Math.ceil(this.live ? KEPT_S : seconds) + SR);
      this.stream = this.opened();
      this.track();
    }
    opened() {
      const stream = new Stream(network, this.sr, this.live ? {warm: 24} : {});
      stream.onframes = mel => this.columns.push(...mel);
      stream.onsamples = wav => this.sound.push(wav);
      return stream;
    }
    track() {  // the events, again from the first score: the threshold has changed
      this.tracker = new EventTracker(threshold(), weights.timing);
      this.events = this.tracker.push(this.scores);
      if (this.ended) this.events.push(...this.tracker.finish(this.now));
    }
    get now() { return this.begun + this.stream.samples / this.sr; }
    push(wav, last = false) {
      const found = this.stream.push(wav, last).map(s => ({...s, time: s.time + this.begun}));
      this.scores.push(...found);
      const before = this.tracker.current, ended = this.tracker.push(found);
      if (last) this.ended = true, ended.push(...this.tracker.finish(this.now));
      this.events.push(...ended);
      const now = this.tracker.current;
      if (this.live && now && !before) say(`Siren heard, since ${clock(now.start)}.`);
      if (this.live) for (const e of ended) say(`The siren has ended after ${clock(e.end - e.start)}.`);
      if (this.live && this.columns.length > 2 * SHOWN_S * SR / HOP) {
        const n = this.columns.length - Math.ceil(SHOWN_S * SR / HOP);
        this.columns.splice(0, n), this.dropped += n;
      }
    }
    gap(samples) {  // sound was lost: a short gap counts as silence, a longer one empties the memory (detector.Stream.gap)
      if (samples <= 2 * this.sr) return this.push(new Float32Array(samples));
      this.events.push(...this.tracker.finish(this.now));
      this.begun = this.now + samples / this.sr;
      this.sound.push(new Float32Array(Math.round(samples / this.sr * SR)));
      const n = Math.round((this.begun * SR) / HOP) - this.dropped - this.columns.length;
      const shown = Math.max(0, Math.min(n, SHOWN_S * SR / HOP));
      this.dropped += Math.max(0, n - shown), this.columns.push(...Array(shown).fill(null));
      this.stream = this.opened();
    }
    get all() { return [...this.events, ...this.tracker.current && !this.ended ? [this.tracker.current] : []]; }
    level(e) { return this.sound.level(e.start, e.end); }
    summary() {
      const n = this.events.length, part = this.now < this.seconds - 1 ? `the first ${clock(this.now)} of ${clock(this.seconds)}` : clock(this.seconds);
      return `${this.name}: ${part}, ${n ? `${n} siren${n > 1 ? "s" : ""}` : "no siren"} at this threshold.`;
    }
  }

  // ---- the threshold, and what it costs

  const costs = SIREN_COSTS.rows, names = Object.entries(SIREN_WEIGHTS.points);
  const threshold = () => costs[+by("threshold").value].threshold;
  const interval = (v, digits = 0) => `${v[0].toFixed(digits)} (${v[1].toFixed(digits)} to ${v[2].toFixed(digits)})`;
  function showCosts() {
    const c = costs[+by("threshold").value], book = weights === SIREN_WEIGHTS, name = book && names.find(([, p]) => Math.abs(p - c.threshold) < 1e-6);
    const named = name ? ` (${name[0] === SIREN_WEIGHTS.default ? "default; " : ""}named ${name[0]}: at most ${name[0].replace("/h", "")} false alarms an hour in our recordings)` : "";
    by("threshold").ariaValueText = percent(c.threshold);
    by("at").textContent = percent(c.threshold) + named;
    by("cost").replaceChildren(!book ? "What this threshold costs was not measured for these weights. " :
      `In our recordings it finds ${percent(c.found[0])} of the sirens (${interval(c.found.map(p => 100 * p)).match(/\((.*)\)/)[1]} %), with ` +
      `${interval(c.alarms, c.alarms[0] < 10 ? 1 : 0)} false alarms an hour; ${SIREN_COSTS.recordings} recordings of sirens in ${SIREN_COSTS.groups} groups, ${SIREN_COSTS.hours} h without one. `,
      make("a", {href: "#costs", textContent: "What is this?"}));
  }

  // ---- the picture

  const HOT = [[0, 0, 4], [59, 15, 112], [140, 41, 129], [222, 73, 104], [254, 159, 109], [252, 253, 191]];  // like magma, of matplotlib
  const mel = hz => Math.log10(1 + hz / 700), hot = Array.from({length: 256}, (_, i) => {
    const x = i / 255 * (HOT.length - 1), k = Math.min(Math.floor(x), HOT.length - 2);
    const [r, g, b] = HOT[k].map((v, c) => Math.round(v + (HOT[k + 1][c] - v) * (x - k)));
    return (255 << 24 | b << 16 | g << 8 | r) >>> 0;  // as a pixel of a canvas
  });

  const style = getComputedStyle(box), sheet = new OffscreenCanvas(1, 1);  // sheet: the picture without the line that moves as the player plays

  function draw() {
    if (!run) return;
    const canvas = sheet, {width: wide, height} = by("picture"), pen = canvas.getContext("2d"), high = Math.round(0.62 * height);
    Object.assign(canvas, {width: wide, height});  // which clears it
    const ink = style.getPropertyValue("--sb-ink"), red = style.getPropertyValue("--sb-siren");
    const to = run.live ? Math.max(run.now, SHOWN_S) : run.seconds, from = run.live ? to - SHOWN_S : 0, x = t => (t - from) / (to - from) * wide;
    const image = pen.createImageData(wide, BANDS), pixels = new Uint32Array(image.data.buffer), per = (to - from) * SR / HOP / wide;
    for (let i = 0; i < wide; i++) {
      const first = Math.floor(from * SR / HOP + i * per) - run.dropped, last = Math.max(first + 1, Math.floor(from * SR / HOP + (i + 1) * per) - run.dropped);
      for (let b = 0; b < BANDS; b++) {
        let most = -14;
        for (let k = Math.max(first, 0); k < Math.min(last, run.columns.length); k += Math.max(1, last - first >> 4)) most = Math.max(most, run.columns[k]?.[b] ?? -14);
        pixels[(BANDS - 1 - b) * wide + i] = hot[Math.max(0, Math.min(255, Math.round((most + 11) * 17)))];
      }
    }
    const small = new OffscreenCanvas(wide, BANDS);
    small.getContext("2d").putImageData(image, 0, 0);
    pen.drawImage(small, 0, 0, wide, BANDS, 0, 0, wide, high);
    pen.font = `${Math.round(canvas.height / 25)}px sans-serif`, pen.fillStyle = "#fff", pen.textBaseline = "bottom", pen.shadowColor = "#000", pen.shadowBlur = 4;
    const every = [1, 2, 5, 10, 30, 60, 300, 600].find(s => (to - from) / s <= 8) ?? 600;
    for (let t = Math.ceil(from / every) * every; t < to; t += every) if (t > from) {
      const label = every < 60 ? `${t} s` : `${t / 60} min`;
      pen.fillRect(x(t), high - 8, 1, 8);
      if (x(t) + 4 + pen.measureText(label).width < wide) pen.fillText(label, x(t) + 4, high - 2);
    }
    for (const khz of [0.5, 1, 2, 4]) pen.fillText(khz < 1 ? "500 Hz" : `${khz} kHz`, 4, high * (1 - (mel(1000 * khz) - mel(120)) / (mel(7600) - mel(120))) + canvas.height / 50);
    pen.shadowBlur = 0;
    const top = high + 6, low = canvas.height - 2, y = p => low - p * (low - top);
    pen.fillStyle = red;
    for (const e of run.all) pen.globalAlpha = 0.25, pen.fillRect(x(e.start), top, Math.max(2, x(e.end) - x(e.start)), low - top);
    pen.globalAlpha = 1;
    pen.strokeStyle = ink, pen.lineWidth = 2, pen.beginPath();
    let before = -1;
    for (const {time, probability} of run.scores) if (time >= from - 1) {
      pen[time - before > 1.5 * STEP_S ? "moveTo" : "lineTo"](x(time), y(probability));
      before = time;
    }
    pen.stroke();
    pen.fillStyle = ink, pen.textBaseline = "alphabetic", pen.fillText("100 % siren", 3, top + canvas.height / 28), pen.fillText("0", 3, low - 3);
    pen.strokeStyle = red, pen.setLineDash([6, 4]), pen.beginPath(), pen.moveTo(0, y(threshold())), pen.lineTo(wide, y(threshold())), pen.stroke(), pen.setLineDash([]);
    place();
  }

  function place() {  // the picture, and where the player is
    const canvas = by("picture"), pen = canvas.getContext("2d");
    if (!run || sheet.width !== canvas.width || sheet.height !== canvas.height) return;
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(sheet, 0, 0);
    pen.fillStyle = "#fff";
    if (!run.live && !player.hidden && player.dataset.whole) pen.fillRect(player.currentTime / run.seconds * canvas.width, 0, 2, 0.62 * canvas.height);
  }

  let listed = "";
  function list() {  // only if something has changed: a button that is replaced cannot be pressed
    const body = by("events"), all = run ? run.all : [], kept = (e, i) => i < run.events.length && run.sound.has(e.start, e.end);
    by("none").hidden = all.length > 0;
    put(by("none"), run?.ended ? "No siren at this threshold." : "No siren yet.");
    for (const id of ["csv", "labels"]) by(id).disabled = !run || !run.events.length;
    by("wav").disabled = !run?.live || !run.sound.n;
    const key = JSON.stringify([turn, all.map((e, i) => [e.start, i < run.events.length ? e.end : 0, percent(e.peak), kept(e, i)])]);
    if (key === listed) return;
    listed = key;
    body.replaceChildren(...all.map((e, i) => {
      const open = i === run.events.length, cut = () => wavFile(run.sound.cut(e.start - 1, e.end + 1));
      const play = make("button", {type: "button", textContent: "Play", disabled: !kept(e, i), ariaLabel: `Play the siren at ${clock(e.start)}`});
      const keep = make("button", {type: "button", textContent: "Save", disabled: !kept(e, i), ariaLabel: `Save the siren at ${clock(e.start)} as WAV`});
      play.onclick = () => { if (run.live && !run.ended) stop(); sound(cut(), true); };  // the page must not hear itself
      keep.onclick = () => save(cut(), `siren-${e.start.toFixed(1)}s.wav`);
      const level = run.level(e);
      return make("tr", {}, ...[clock(e.start), open ? "…" : clock(e.end), percent(e.peak), isFinite(level) ? `${level.toFixed(0)} dB` : "–"].map(
        text => make("td", {textContent: text})), make("td", {}, play, " ", keep));
    }));
  }

  const put = (e, text) => { if (e.textContent !== text) e.firstChild ? e.firstChild.data = text : e.textContent = text; };  // a new node would make the browser match all styles again

  let due = false;
  function show() {  // at most once a frame
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      draw();
      list();
      const last = run?.scores.at(-1), most = run?.scores.reduce((most, s) => Math.max(most, s.probability), 0);
      put(by("what"), run?.ended ? "Highest siren probability" : "Siren probability now");
      put(by("now"), !last ? "–" : percent(run.ended ? most : last.probability));
      by("picture").hidden = !run;
      box.classList.toggle("sb-siren", Boolean(run && !run.ended && run.tracker.current));
    });
  }

  // ---- the microphone

  const WORKLET = `registerProcessor("sb-copy", class extends AudioWorkletProcessor {
    constructor() { super(); this.wav = new Float32Array(2048); this.n = 0; }
    process([[wav]]) {
      if (!wav) return true;
      for (const v of wav) {
        this.wav[this.n++] = v;
        if (this.n === 2048) this.port.postMessage([currentFrame, this.wav.slice()]), this.n = 0;
      }
      return true;
    }
  });`;
  const REFUSED = {
    NotAllowedError: "The browser did not allow the microphone: allow it beside the address, then press Listen again.",
    NotFoundError: "There is no microphone: connect one, then press Listen again.",
    NotReadableError: "The microphone is in use by another program: close that, then press Listen again.",
  };

  async function listen() {
    if (!navigator.mediaDevices?.getUserMedia) return say(window.isSecureContext ? "This browser gives pages no microphone: choose a file instead."
      : "Browsers allow the microphone only on https pages or on a page from this computer: choose a file instead.", true);
    if (!window.AudioWorkletNode) return say("This browser cannot hand its sound to a page (it has no AudioWorklet); choose a file instead.", true);
    stop();
    const asked = ++turn;
    say("Please allow the microphone. Its sound stays in this page.");
    let media, context, node;
    try {
      media = await navigator.mediaDevices.getUserMedia({audio: {echoCancellation: false, noiseSuppression: false, autoGainControl: false}});
      context = new AudioContext();
      await context.audioWorklet.addModule(`data:text/javascript,${encodeURIComponent(WORKLET)}`);
      node = new AudioWorkletNode(context, "sb-copy", {channelCount: 1, channelCountMode: "explicit", numberOfOutputs: 0});
      context.createMediaStreamSource(media).connect(node);
      await context.resume();
    } catch (e) {
      media?.getTracks().forEach(t => t.stop());
      context?.close();
      return turn === asked && say(REFUSED[e.name] ?? `The microphone could not be opened (${e.name}): choose a file instead.`, true);
    }
    const off = new AbortController(), close = () => { off.abort(); media.getTracks().forEach(t => t.stop()); context.close(); };
    if (turn !== asked) return close();
    player.pause(), player.hidden = true;
    const mine = run = new Run("microphone", context.sampleRate), [track] = media.getAudioTracks(), here = () => run === mine && !mine.ended;
    mine.close = close;
    let expected = null, paused = 0, silent = 0;
    node.port.onmessage = ({data: [frame, wav]}) => {
      if (!here()) return;
      if (expected !== null && frame > expected) mine.gap(frame - expected);
      expected = frame + wav.length;
      const before = silent;
      silent = wav.every(v => v === 0) ? silent + wav.length / mine.sr : 0;
      if (before < 3 && silent >= 3) say("The microphone gives only silence: is it muted?", true);
      if (before >= 3 && !silent) say("Listening.");
      const n = mine.scores.length;
      mine.push(wav);
      if (mine.scores.length > n) show();  // eight times a second
    };
    track.onended = () => here() && stop("The microphone was disconnected: what was heard stays here.");
    track.onmute = () => here() && say("The microphone is muted.", true);
    track.onunmute = () => here() && say("Listening.");
    context.onstatechange = () => {
      if (!here()) return;
      if (context.state !== "running") paused ||= performance.now(), say("The browser has paused the microphone; it resumes when you return to this page.");
      else if (paused) mine.gap(Math.round((performance.now() - paused) / 1000 * mine.sr)), paused = 0, say("Listening.");
    };
    document.addEventListener("visibilitychange", () => here() && context.state !== "running" && context.resume(), {signal: off.signal});
    const kept = ["echoCancellation", "noiseSuppression", "autoGainControl"].filter(k => track.getSettings()[k]);
    say(kept.length ? "Listening. But this browser filters the sound as for a phone call, and its noise suppression may remove a siren." : "Listening.");
    by("listen").textContent = "Stop";
    show();
  }

  function stop(why = "Stopped: what was heard stays here until you leave, listen again or choose a file.") {
    if (run && !run.ended) {
      run.push(new Float32Array(0), true);
      if (run.live) run.close(), say(why);
    }
    by("listen").textContent = "Listen";
    show();
  }

  // ---- files

  function mono(sound) {  // the channels averaged; the loudest alone where they cancel each other (detector._Mono, for a whole file)
    const all = Array.from({length: sound.numberOfChannels}, (_, i) => sound.getChannelData(i)), n = all.length;
    if (n === 1) return all[0];
    const mean = new Float32Array(all[0].length), steep = wav => { let sum = 0; for (let i = 1; i < wav.length; i++) sum += (wav[i] - wav[i - 1]) ** 2; return sum; };
    for (const c of all) for (let i = 0; i < mean.length; i++) mean[i] += c[i] / n;
    const power = all.map(steep), most = Math.max(...power);
    return most > 8 * n * steep(mean) + 1e-8 * mean.length ? all[power.indexOf(most)] : mean;
  }

  const duration = blob => new Promise(done => {  // s, before anything is decoded; NaN where the browser cannot tell
    const audio = make("audio", {preload: "metadata", src: URL.createObjectURL(blob)}), tell = s => { URL.revokeObjectURL(audio.src); done(s); };
    audio.onloadedmetadata = () => tell(audio.duration), audio.onerror = () => tell(NaN);
    setTimeout(tell, 5000, NaN);
  });

  async function open(file, name = file.name, plays = false) {
    stop();
    const asked = ++turn, wrong = why => { if (turn === asked) run = null, player.pause(), player.hidden = true, show(), say(`${name}: ${why}`, true); };
    if (!file.size) return wrong("this file is empty.");
    say(`${name}: being decoded.`);
    const told = await duration(file);
    if (isFinite(told) && told > HOUR_S + 1) return wrong("this file is longer than an hour; let the command “sirenbook detect” score it.");
    let decoded;
    try { decoded = await new OfflineAudioContext(1, 1, SR).decodeAudioData(await file.arrayBuffer()); }
    catch { return wrong("this browser cannot decode it; try WAV, FLAC, MP3, OGG or M4A."); }
    const wav = mono(decoded);
    let most = 0, numbers = true;
    for (let i = 0; i < wav.length; i++) most = Math.max(most, Math.abs(wav[i])), numbers &&= isFinite(wav[i]);
    const faults = {"it holds no sound.": !wav.length, "it is silent: every sample is zero.": numbers && most === 0,
      "it holds samples that are no numbers.": !numbers, "its samples are far above full scale; divide them by 32768.": most > 100,
      "this file is longer than an hour; let the command “sirenbook detect” score it.": wav.length > (HOUR_S + 1) * SR};
    const fault = Object.keys(faults).find(k => faults[k]);
    if (fault) return wrong(fault);
    if (turn !== asked) return;
    const mine = run = new Run(name, SR, wav.length / SR);
    sound(file, plays, "yes");
    for (let at = 0, shown = performance.now(), drawn = 0, told = 0; at < wav.length; at += SR) {
      mine.push(wav.subarray(at, at + SR));
      if (performance.now() - shown > 50) {
        if (Math.floor(10 * at / wav.length) > told) told = Math.floor(10 * at / wav.length), say(`${name}: ${10 * told} % scored.`);
        if (performance.now() - drawn > 250) show(), drawn = performance.now();
        await new Promise(done => { const {port1, port2} = new MessageChannel(); port1.onmessage = done, port2.postMessage(0); });  // no timer: hidden tabs slow those
        if (turn !== asked) return;
        shown = performance.now();
      }
    }
    mine.push(new Float32Array(0), true);
    say(mine.summary());
    show();
  }

  // ---- weights of one's own: browser_weights(folder) of the package, as a JSON file

  function fault(w) {  // what is wrong with weights that were read, if anything is
    const book = SIREN_WEIGHTS, plain = o => o !== null && typeof o === "object" && !Array.isArray(o);
    const numbers = (o, keys, fits = () => true) => plain(o) && keys.every(k => Number.isFinite(o[k]) && fits(o[k]));
    const bytes = text => { try { return atob(text).length; } catch { return NaN; } };
    const hears = () => {  // a second that grows loud, as numbers that are finite can still make some that are not
      const wav = Float32Array.from({length: SR}, (_, i) => i / SR * Math.sin(i * i / 5e4));
      return new Stream(new Network(w), SR).push(wav, true).every(s => Number.isFinite(s.probability));
    };
    return Object.entries({  // in this order: the last two read what the others have found right
      "it holds no weights.": () => plain(w),
      "its tensors differ from the book's in name, shape or order.": () => JSON.stringify(w.tensors) === JSON.stringify(book.tensors),
      "its data do not hold as many numbers as its tensors.": () => typeof w.data === "string" && bytes(w.data) === bytes(book.data),
      "slope, offset and share must be finite numbers, and slope above 0.": () => numbers(w, ["slope", "offset", "share"]) && w.slope > 0,
      "points must be thresholds between 0 and 1, and the default one of them.": () => plain(w.points) && numbers(w.points, Object.keys(w.points),
        p => p > 0 && p < 1) && typeof w.default === "string" && Object.hasOwn(w.points, w.default),
      "timing must be four numbers above 0.": () => numbers(w.timing, Object.keys(book.timing), s => s > 0),
      "pcen must be five finite numbers.": () => numbers(w.pcen, Object.keys(book.pcen)),
      "some of its weights are not finite.": () => Object.values(new Network(w).t).every(t => t.data.every(Number.isFinite)),
      "the network gives no probability with these weights.": hears,
    }).find(([, holds]) => !holds())?.[0];
  }

  function use(own, whose, said) {  // for what is heard from now on
    stop();
    turn++, run = network = null, weights = own;
    player.pause(), player.hidden = true;
    by("whose").textContent = whose, by("book").hidden = own === SIREN_WEIGHTS;
    say("Ready."), say(said, false, by("own-said"));
    showCosts(), show();
  }

  async function load(file) {  // nothing changes unless all is well
    const wrong = why => say(`${file.name}: ${why}`, true, by("own-said"));
    if (file.size > 5e6) return wrong("this file is larger than 5 MB.");
    let own;
    try { own = JSON.parse(await file.text()); } catch { return wrong("this file is no JSON."); }
    const why = fault(own);
    if (why) return wrong(why);
    use(own, file.name, `${file.name} is in use until you leave this page.`);
  }

  // ---- the page

  by("listen").onclick = () => run?.live && !run.ended ? stop() : listen();
  by("file").onchange = e => { if (e.target.files[0]) open(e.target.files[0]); e.target.value = ""; };
  by("own").onchange = e => { if (e.target.files[0]) load(e.target.files[0]); e.target.value = ""; };
  by("book").onclick = () => {
    use(SIREN_WEIGHTS, "those of the book", "The book's weights are in use.");
    by("own").focus();  // the button that had it is hidden now
  };
  box.ondragover = e => { e.preventDefault(); box.classList.add("sb-over"); };
  box.ondragleave = () => box.classList.remove("sb-over");
  box.ondrop = e => { e.preventDefault(); box.classList.remove("sb-over"); if (e.dataTransfer.files[0]) open(e.dataTransfer.files[0]); };
  for (const button of by("examples").querySelectorAll("button")) {
    const {name, data} = SIREN_EXAMPLES.find(e => e.name === button.textContent);
    button.onclick = () => open(new Blob([Uint8Array.from(atob(data), c => c.charCodeAt(0))], {type: "audio/mpeg"}), name, true);
  }
  Object.assign(by("threshold"), {min: 0, max: costs.length - 1, value: costs.findIndex(c => Math.abs(c.threshold - SIREN_WEIGHTS.points[SIREN_WEIGHTS.default]) < 1e-6)});
  const follow = () => { place(); if (!player.paused) requestAnimationFrame(follow); };
  player.onplay = player.onseeked = follow;
  by("threshold").oninput = () => { showCosts(); run?.track(); show(); if (run?.ended && !run.live) say(run.summary()); };
  addEventListener("pageshow", e => e.persisted && location.reload());  // what was heard is gone, also for who comes back
  const table = () => run.events.map(e => [e.start.toFixed(2), e.end.toFixed(2), e.peak.toFixed(3), run.level(e).toFixed(1)]);
  by("csv").onclick = () => save(new Blob([["start_s,end_s,peak,level_dbfs", ...table().map(r => r.join())].join("\n") + "\n"], {type: "text/csv"}), "sirens.csv");
  by("labels").onclick = () => save(new Blob([table().map(([a, b, p]) => `${a}\t${b}\tsiren ${p}\n`).join("")], {type: "text/plain"}), "sirens.txt");
  by("wav").onclick = () => save(wavFile(run.sound.cut(run.sound.n / SR - KEPT_S, Infinity)), "street.wav");
  new ResizeObserver(([e]) => {
    const canvas = by("picture"), scale = Math.min(2, devicePixelRatio || 1);
    if (!e.contentRect.width) return;
    canvas.width = Math.max(300, Math.round(e.contentRect.width * scale)), canvas.height = Math.round(300 * scale);
    draw();
  }).observe(by("picture"));
  showCosts();
  if ("serviceWorker" in navigator && location.protocol.startsWith("http")) addEventListener("load", async () => {  // for the next visit without a network
    try {
      await navigator.serviceWorker.register("live-worker.js");
      const mine = performance.getEntriesByType("resource").map(r => r.name).filter(name => name.startsWith(location.origin));
      await (await caches.open("sirenbook-live")).addAll([...new Set([location.pathname, ...mine])]);
    } catch {}
  });
})();
