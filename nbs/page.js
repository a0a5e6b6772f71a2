// What a page of the book does. Without this script the browser's own player controls stay, and nothing is lost.
(() => {
  const make = (tag, more) => Object.assign(document.createElement(tag), more);
  const say = (s, of) => `${s.toFixed(1)} of ${of.toFixed(1)} seconds`;

  // ---- one player everywhere: a button, a slider and the time, in place of each browser's own controls
  function enhance(player) {
    const audio = player.querySelector("audio"), picture = player.querySelector(".sb-picture");
    if (!audio || player.querySelector(".sb-controls")) return;
    const label = audio.getAttribute("aria-label"), seconds = +audio.dataset.seconds || audio.duration || 0;
    const bar = make("div", {className: "sb-controls"});
    const button = make("button", {type: "button", className: "sb-play", ariaLabel: `Play: ${label}`});
    const slider = make("input", {type: "range", className: "sb-seek", min: 0, max: seconds, step: "any", value: 0, autocomplete: "off", ariaLabel: `Position in: ${label}`});
    const time = make("span", {className: "sb-time", ariaHidden: "true"});
    const ready = () => audio.readyState ? Promise.resolve() : new Promise(done => {
      audio.addEventListener("loadedmetadata", done, {once: true});
      if (audio.paused) audio.load();
    });
    const play = () => audio.play().catch(() => {});  // stopped before it began, or another was started: no mistake
    // Some servers cannot send a part of a file, and then nobody can seek in it: so the whole of it is fetched, which is little.
    let fetched;
    const reachable = s => Array.from(audio.seekable, (_, i) => audio.seekable.end(i)).some(end => end >= s - 0.1);
    const whole = () => fetched ??= fetch(audio.src).then(r => r.ok ? r.blob() : Promise.reject()).then(sound => {
          const goes_on = !audio.paused;
          audio.src = URL.createObjectURL(sound);
          if (goes_on) play();
          return ready();
        }).catch(() => { fetched = undefined; });
    const toggle = () => audio.paused ? play() : audio.pause();
    const show = () => {
      const now = Math.min(audio.currentTime, seconds);
      slider.value = now;
      slider.style.setProperty("--sb-part", `${100 * now / seconds}%`);
      slider.ariaValueText = say(now, seconds);
      time.textContent = `${now.toFixed(1)} / ${seconds.toFixed(1)} s`;
    };
    const seek = s => ready().then(() => reachable(s) || whole()).then(() => { audio.currentTime = Math.max(0, Math.min(seconds, s)); audio.ontimeupdate(); show(); });
    button.onclick = toggle;
    picture.onclick = e => { play(); seek(seconds * e.offsetX / picture.offsetWidth); };
    slider.oninput = () => seek(+slider.value);
    slider.onkeydown = e => {
      const steps = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5};
      if (e.key === " " || e.key === "Enter") toggle();
      else if (e.key in steps) seek(audio.currentTime + steps[e.key] * seconds / 20);
      else return;
      e.preventDefault();
    };
    for (const [event, playing] of [["play", true], ["pause", false]]) audio.addEventListener(event, () => {
      player.classList.toggle("sb-playing", playing);
      button.ariaLabel = `${playing ? "Pause" : "Play"}: ${label}`;
    });
    const follow = () => { show(); if (!audio.paused) requestAnimationFrame(follow); };
    audio.addEventListener("play", follow);
    audio.addEventListener("timeupdate", show);
    audio.controls = false;
    bar.append(button, slider, time);
    audio.before(bar);
    show();
  }

  document.querySelectorAll("figure.sb-player").forEach(enhance);

  // ---- light or dark: a button, which the keyboard reaches, in the menu and in the bar of a narrow screen
  const links = document.querySelectorAll("a.quarto-color-scheme-toggle[onclick*=smalldocs]");  // Quarto has a switch of its own
  const bar = document.querySelector(".quarto-secondary-nav .container-fluid");
  const light = more => {
    const button = make("button", {type: "button", className: `quarto-color-scheme-toggle btn ${more}`, title: "Light or dark", ariaLabel: "Light or dark"});
    button.append(make("i", {className: "bi", ariaHidden: "true"}));
    button.onclick = () => window.smalldocsToggleScheme();
    return button;
  };
  links.forEach(link => link.replaceWith(light("sidebar-tool px-1")));
  if (links.length && bar) bar.insertBefore(light(""), bar.querySelector(".sb-search-button"));

  // ---- a link to a sound leads to its button
  const led = () => document.querySelector("figure.sb-player:target .sb-play")?.focus({preventScroll: true});
  addEventListener("load", led);
  addEventListener("hashchange", led);

  addEventListener("load", () => document.querySelectorAll(".anchorjs-link").forEach(a => { a.ariaLabel = `Link to ${a.parentElement.textContent}`; }));

  // ---- what scrolls within itself can be reached and scrolled by the keyboard
  const reach = () => document.querySelectorAll("main pre, main .sd-table, main .cell-output-display, main .math.display").forEach(box => {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  });
  addEventListener("load", reach);
  addEventListener("resize", reach);
})();
