// Page Listen: the chosen file plays from the browser's own copy, and is sent to the server to be heard.
"use strict";
(function () {
  const POLL_MS = 400, TOP = 10, MIB = 1024 * 1024;

  function clock(seconds) {
    const whole = Math.floor(seconds);
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  }

  // Plotly takes some of HTML in its labels; a tag's name is none.
  function plain(text) {
    return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  }

  function set_up(root) {
    root.dataset.ready = "yes";
    const find = (selector) => root.querySelector(selector);
    const audio = find("audio"), input = find("input[type=file]"), menu = find("select"), drop = find(".drop");
    const map = find(".tag-map"), state = find(".song-state"), error = find(".song-error"), result = find(".song-tags");
    let heard = null, url = null, turn = 0, key = null, cursor = -1;

    function tell(text) { state.textContent = text; }

    function fail(text) {
      tell("");
      error.textContent = text;
      error.hidden = false;
    }

    async function answer(response) {
      const record = await response.json();
      if (!response.ok) throw new Error(record.why);
      return record;
    }

    // A newer choice ends what an older one was waiting for.
    async function choose(file) {
      const mine = ++turn;
      error.hidden = result.hidden = true;
      heard = null;
      if (key) fetch(`/listen/songs/${key}`, { method: "DELETE" });
      key = null;
      play(file);
      try {
        if (file.size > Number(root.dataset.mostBytes)) {
          throw new Error(`${file.name} has ${Math.ceil(file.size / MIB)} MiB; ` +
            `at most ${Math.floor(root.dataset.mostBytes / MIB)} MiB are taken`);
        }
        tell("sending the file");
        const query = new URLSearchParams({ model: menu.value, name: file.name });
        const given = await answer(await fetch(`/listen/songs?${query}`, {
          method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" },
        }));
        if (mine !== turn) return void fetch(`/listen/songs/${given.key}`, { method: "DELETE" });
        key = given.key;
        await follow(mine);
      } catch (problem) {
        if (mine === turn) fail(problem instanceof TypeError ? "The server does not answer." : problem.message);
      }
    }

    async function follow(mine) {
      while (mine === turn) {
        const told = await answer(await fetch(`/listen/songs/${key}`, { cache: "no-store" }));
        if (mine !== turn) return;
        if (told.state === "done") return show(told.heard);
        if (told.state === "failed") throw new Error(told.why);
        const length = Number.isFinite(audio.duration) ? ` of ${clock(audio.duration)}` : "";
        tell(told.state === "waiting" ? `waiting: ${told.before} before it` : `heard ${clock(told.seconds)}${length}`);
        await new Promise((done) => setTimeout(done, POLL_MS));
      }
    }

    function play(file) {
      if (url) URL.revokeObjectURL(url);
      url = URL.createObjectURL(file);
      audio.src = url;
      audio.hidden = false;
      find(".song-name").textContent = file.name;
      find(".song-name").hidden = false;
    }

    function show(record) {
      heard = record;
      const count = record.said[0].length;
      tell(`${clock(record.seconds)} heard in ${count} segment${count === 1 ? "" : "s"} of ` +
        `${record.segment_seconds.toFixed(2)} s with ${record.model}`);
      result.hidden = false;
      const link = find(".download");
      link.href = `/listen/songs/${key}/tags.csv`;
      link.download = `${record.name}.tags.csv`;
      draw();
      root.dataset.shown = key;
    }

    // Orange within white, which shows on every colour of the map.
    function lines(seconds) {
      return [["#ffffff", 5], ["#d55e00", 2]].map(([color, width]) => ({
        type: "line", xref: "x", yref: "paper", x0: seconds, x1: seconds, y0: 0, y1: 1, line: { color, width },
      }));
    }

    function draw() {
      if (!heard) return;
      const step = heard.segment_seconds, most = Math.max(...heard.said.map((row) => Math.max(...row)));
      const narrow = map.clientWidth < 600, height = heard.tags.length * 16 + (narrow ? 150 : 60);
      const bar = narrow ? { orientation: "h", y: 1.01, yanchor: "bottom", title: { text: "probability", side: "top" } }
        : { title: { text: "probability", side: "right" } };
      map.style.height = `${height}px`;
      const trace = {
        type: "heatmap", z: heard.said, x0: step / 2, dx: step, y: heard.tags.map(plain), zmin: 0, zmax: most,
        colorscale: "Cividis", colorbar: Object.assign({ thickness: 12 }, bar),
        hovertemplate: "%{y}<br>%{x:.1f} s<br>%{z:.3f}<extra></extra>",
      };
      const layout = {
        template: figures.template(), height: height, uirevision: heard.name, dragmode: "pan",
        margin: { l: 40, r: 8, t: 8, b: 44 }, shapes: lines(audio.currentTime),
        xaxis: { title: { text: "time (s)" }, range: [0, Math.max(heard.said[0].length * step, heard.seconds)] },
        yaxis: { title: { text: "tag" }, autorange: "reversed", type: "category", dtick: 1, tickfont: { size: 11 } },
      };
      Plotly.react(map, [trace], layout, { responsive: true, displaylogo: false, displayModeBar: false });
      map.removeAllListeners("plotly_click");
      map.on("plotly_click", (event) => {
        audio.currentTime = Math.max(event.points[0].x - step / 2, 0);
      });
      cursor = -1;
      move();
    }

    // The line and the numbers of now, where the player is.
    function move() {
      if (!heard || Math.abs(audio.currentTime - cursor) < 0.05) return;
      cursor = audio.currentTime;
      Plotly.relayout(map, { shapes: lines(cursor) });
      map.dataset.seconds = cursor.toFixed(2);
      const at = Math.min(Math.floor(cursor / heard.segment_seconds), heard.said[0].length - 1);
      find(".top-tags").replaceChildren(...heard.tags.slice(0, TOP).map((tag, which) => {
        const row = document.createElement("tr");
        for (const text of [tag, heard.mean[which].toFixed(3), heard.said[which][at].toFixed(3)]) {
          row.appendChild(document.createElement("td")).textContent = text;
        }
        row.children[1].className = row.children[2].className = "number";
        return row;
      }));
    }

    function frame() {
      move();
      if (!audio.paused && !audio.ended) requestAnimationFrame(frame);
    }

    input.addEventListener("change", () => { if (input.files.length) choose(input.files[0]); });
    menu.addEventListener("change", () => { if (input.files.length) choose(input.files[0]); });
    audio.addEventListener("play", frame);
    for (const name of ["seeked", "timeupdate", "pause"]) audio.addEventListener(name, move);
    audio.addEventListener("error", () => {
      if (audio.src) tell("This browser cannot play the file; its tags may come all the same.");
    });
    document.addEventListener("colours", draw);
    for (const name of ["dragover", "dragleave", "drop"]) {
      drop.addEventListener(name, (event) => {
        event.preventDefault();
        drop.classList.toggle("over", name === "dragover");
      });
    }
    drop.addEventListener("drop", (event) => {
      if (!event.dataTransfer.files.length || input.disabled) return;
      input.files = event.dataTransfer.files;
      choose(input.files[0]);
    });
    find("form").addEventListener("submit", (event) => event.preventDefault());
  }

  function look() {
    document.querySelectorAll(".listen:not([data-ready])").forEach(set_up);
  }

  document.addEventListener("DOMContentLoaded", look);
  document.addEventListener("swapped", look);
})();
