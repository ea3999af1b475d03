"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);

  // base64 of float32 with its shape, as an accessor of rows along the last axis
  const unpack = ({ shape, data: text }) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const values = new Float32Array(bytes.buffer);
    const last = shape[shape.length - 1];
    return (...at) => {
      const row = at.reduce((flat, index, axis) => flat * shape[axis] + index, 0);
      return values.subarray(row * last, (row + 1) * last);
    };
  };
  const x = {}, single = {}, bands = {};
  const axes = Object.fromEntries(data.axes), metrics = Object.fromEntries(data.metrics);
  for (const along in axes) x[along] = unpack(data.x[along]);
  for (const metric in metrics) {
    single[metric] = unpack(data.curves[metric].single);
    bands[metric] = {};
    for (const along in axes) {
      const { x: places, y } = data.curves[metric].bands[along];
      bands[metric][along] = { x: unpack(places), y: unpack(y) };
    }
  }

  const controls = document.getElementById("controls");
  const selects = {};
  const add = (name, label, options) => {
    const select = document.createElement("select");
    for (const [value, text] of options) select.add(new Option(text, value));
    const wrapper = document.createElement("label");
    wrapper.append(label, select);
    if (options.length > 1) controls.append(wrapper);
    select.addEventListener("change", draw);
    select.id = "choose-" + name;
    selects[name] = select;
  };
  const escape = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const numbered = (texts) => texts.map((text, index) => [String(index), text]);

  add("metric", "metric", data.metrics);
  add("times", "compute times", numbered(data.compute_times));
  add("along", "against", data.axes);
  add("lane", "step size", [["best", "each at its best"], ...numbered(data.lanes)]);
  add("seed", "seeds", [["quartiles", "median and quartiles"], ["each", "every seed"],
    ...data.seeds.map((seed, index) => [String(index), "seed " + seed])]);
  add("y", "vertical axis", [["log", "logarithmic"], ["linear", "linear"]]);
  add("x", "horizontal axis", [["linear", "linear"], ["log", "logarithmic"]]);

  const faint = (color) => {
    const n = parseInt(color.slice(1), 16);
    return `rgba(${n >> 16},${(n >> 8) & 255},${n & 255},0.15)`;
  };
  const dots = (values, places) => {
    const wanted = selects.x.value === "log";
    return [...values].map((v, k) => (Number.isFinite(v) && !(wanted && places[k] <= 0) ? v : null));
  };

  function traces() {
    const metric = selects.metric.value, along = selects.along.value, c = Number(selects.times.value);
    const found = [];
    data.algorithms.forEach((name, a) => {
      const chosen = selects.lane.value;
      const lane = chosen === "best" ? data.best[c][a] : Number(chosen);
      if (lane === null) return;
      const label = escape(name) + (chosen === "best" ? `<br><sup>${escape(data.lanes[lane])}</sup>` : "");
      const line = { color: data.colors[a], dash: data.dashes[a], width: 2 };
      const common = { legendgroup: name, mode: "lines", type: "scatter" };
      const hover = `${escape(name)}: %{y:.4g} at %{x:.5g}<extra></extra>`;
      if (selects.seed.value === "quartiles") {
        const places = bands[metric][along].x(c, a);
        const [low, middle, high] = [0, 1, 2].map((q) => dots(bands[metric][along].y(c, a, lane, q), places));
        const edge = { ...common, x: places, line: { width: 0 }, hoverinfo: "skip", showlegend: false };
        found.push({ ...edge, y: low }, { ...edge, y: high, fill: "tonexty", fillcolor: faint(data.colors[a]) });
        found.push({ ...common, x: places, y: middle, line, name: label, hovertemplate: hover });
        return;
      }
      const each = selects.seed.value === "each";
      const seeds = each ? data.seeds.map((_, s) => s) : [Number(selects.seed.value)];
      seeds.forEach((s, k) => {
        const places = x[along](c, a, s);
        found.push({ ...common, x: places, y: dots(single[metric](c, a, lane, s), places),
          line: { ...line, width: each ? 1 : 2 }, opacity: each ? 0.6 : 1, name: label,
          showlegend: k === 0, hovertemplate: hover.replace(":", ` (seed ${data.seeds[s]}):`) });
      });
    });
    return found;
  }

  const area = document.getElementById("curves");
  const rows = data.algorithms.length;
  function draw() {
    const narrow = area.clientWidth < 560;
    area.style.height = `${Math.max(480, narrow ? 400 + 22 * rows : 50 * rows + 80)}px`;
    const log = selects.y.value === "log";
    const text = { family: "inherit", size: narrow ? 11 : 13, color: "#1c1c1c" };
    const frame = { showline: true, linecolor: "#1c1c1c", gridcolor: "#e8e8e8", zeroline: false, automargin: true };
    const layout = {
      font: text, margin: { l: 60, r: 12, t: 28, b: 48 }, hovermode: "closest", uirevision: "kept",
      paper_bgcolor: "#fff", plot_bgcolor: "#fff",
      xaxis: { ...frame, title: { text: axes[selects.along.value] }, type: selects.x.value, tickformat: "~s" },
      yaxis: { ...frame, title: { text: escape(metrics[selects.metric.value]) }, type: selects.y.value,
        exponentformat: "power", dtick: log ? undefined : null },
      legend: narrow ? { orientation: "h", y: -0.2, yanchor: "top" } : { x: 1.01, y: 1 },
    };
    Plotly.react(area, traces(), layout, { responsive: true, displaylogo: false,
      modeBarButtonsToRemove: ["select2d", "lasso2d"] });
  }
  draw();
  const shown = data.seeds.length < data.seeds_in_all
    ? ` Single seeds: the first ${data.seeds.length} of ${data.seeds_in_all}.` : "";
  document.getElementById("curves-note").textContent =
    "Click a name to hide or show it, twice to see it alone; drag to zoom in, twice click to zoom out." + shown;

  document.querySelectorAll("table.sortable").forEach((table) => {
    table.querySelectorAll("th button").forEach((button, column) => {
      button.addEventListener("click", () => {
        const head = button.parentElement;
        const down = head.getAttribute("aria-sort") === "ascending";
        table.querySelectorAll("th").forEach((th) => th.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = (row) => row.cells[column].dataset.key;
        const rows = [...table.tBodies[0].rows];
        const numbers = rows.every((row) => key(row) === "nan" || !Number.isNaN(Number(key(row))));
        const compare = (one, other) => numbers
          ? (Number(key(one)) || 0) - (Number(key(other)) || 0)
          : key(one).localeCompare(key(other));
        rows.sort((one, other) => (down ? -1 : 1) * compare(one, other));
        table.tBodies[0].append(...rows);
      });
    });
  });

  document.querySelectorAll("button.copy").forEach((button) => {
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copies);
      getSelection().selectAllChildren(source);
      try {
        await navigator.clipboard.writeText(source.textContent);
      } catch {
        document.execCommand("copy");
      }
      button.textContent = "copied";
    });
  });
})();
