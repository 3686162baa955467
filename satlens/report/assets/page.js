"use strict";
// Draws the charts and the token heatmap from the two JSON blocks of this page. Asks nothing of the network.
(async () => {
  // The charting library is packed; a script element made here runs under the page's own policy.
  const unpack = async (id) => {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  };
  const drawable = await unpack("plotly").then(() => true, () => false);
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const PRINTED_POSITIONS = 12; // columns of the heatmap, and
  const PRINTED_WIDTH = 330; // pixels of a chart, that fit a sheet of A4 or letter paper
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const make = (tag, text, name) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (name) element.className = name;
    return element;
  };

  // ---- charts: colours come as names of CSS variables, "--rank-1" or "--rank-1/0.2" ----
  const paint = (value, css) => {
    if (typeof value === "string" && value.startsWith("--")) {
      const [name, share] = value.split("/");
      const hex = css.getPropertyValue(name).trim();
      if (share === undefined) return hex;
      const part = (i) => parseInt(hex.slice(i, i + 2), 16);
      return `rgba(${part(1)},${part(3)},${part(5)},${share})`;
    }
    if (Array.isArray(value)) return value.map((inner) => paint(inner, css));
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, paint(inner, css)]));
    return value;
  };

  const withDefaults = (layout, css) => {
    const color = (name) => css.getPropertyValue(name).trim();
    const axis = { gridcolor: color("--line"), linecolor: color("--line"), zerolinecolor: color("--line"),
      tickfont: { color: color("--muted") }, automargin: true, fixedrange: true };
    const full = { ...layout };
    for (const key of new Set(["xaxis", "yaxis", ...Object.keys(layout)])) {
      if (!/^[xy]axis/.test(key)) continue;
      const own = layout[key] || {};
      const title = typeof own.title === "string" ? { text: own.title } : own.title;
      full[key] = { ...axis, ...own, title: { standoff: 8, font: { size: 13 }, ...title },
        tickfont: { ...axis.tickfont, ...own.tickfont } };
    }
    return { modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--muted"), activecolor: color("--ink") }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 8, r: 12, t: 12, b: 8 },
      font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: color("--ink") },
      hoverlabel: { bgcolor: color("--card"), bordercolor: color("--line"), font: { color: color("--ink") } },
      dragmode: false, ...full };
  };

  const charts = read("charts");
  const draw = (width) => {
    if (!drawable) {
      for (const place of document.querySelectorAll("[data-chart]"))
        place.replaceChildren(make("p", "This browser is too old to draw charts; the tables hold the numbers.", "missing"));
      return Promise.resolve();
    }
    const css = getComputedStyle(document.documentElement);
    const drawn = [...document.querySelectorAll("[data-chart]")].map((place) => {
      const chart = charts[place.dataset.chart];
      const layout = withDefaults(paint(chart.layout, css), css);
      layout.height = chart.height || 340;
      if (width) Object.assign(layout, { width, autosize: false });
      return Plotly.react(place, paint(chart.data, css), layout, {
        responsive: true, displaylogo: false, displayModeBar: true, modeBarButtons: [["toImage"]],
        toImageButtonOptions: { format: "svg", filename: place.dataset.chart } });
    });
    return Promise.all(drawn);
  };

  // ---- heatmap ----
  const documents = read("documents");
  const box = document.getElementById("heatmap");
  const tip = document.getElementById("tip");
  const pickDocument = document.getElementById("pick-document");
  const pickRank = document.getElementById("pick-rank");
  let here = null;
  let movedAt = -Infinity;

  const cellAt = (doc, rank, layer, position) => {
    const last = doc.top[position].length - 1;
    const word = doc.top[position][layer][rank];
    const final = doc.top[position][last];
    const from = doc.layer[position][rank];
    const cell = make("td", doc.words[word]);
    cell.dataset.layer = layer;
    cell.dataset.position = position;
    if (layer === last && from === last) cell.className = "censored";
    else if (layer >= from) cell.className = layer === from ? "fixed start" : "fixed";
    else if (word === final[rank]) cell.className = "held";
    else if (final.includes(word)) cell.className = "near";
    return cell;
  };

  const table = (doc, rank, first, end) => {
    const grid = make("table");
    const head = grid.createTHead().insertRow();
    const corner = make("th", "layer");
    corner.scope = "row";
    head.append(corner);
    for (let position = first; position < end; position++) {
      const column = make("th");
      column.scope = "col";
      column.append(make("small", position), make("bdi", doc.words[doc.tokens[position]]));
      head.append(column);
    }
    const body = grid.createTBody();
    for (let layer = doc.top[first].length - 1; layer >= 0; layer--) {
      const row = body.insertRow();
      const name = make("th", layer);
      name.scope = "row";
      row.append(name);
      for (let position = first; position < end; position++) row.append(cellAt(doc, rank, layer, position));
    }
    return grid;
  };

  const show = (step) => {
    leave();
    const doc = documents[pickDocument.value];
    const count = doc.tokens.length;
    box.replaceChildren();
    for (let first = 0; first < count; first += step)
      box.append(table(doc, Number(pickRank.value), first, Math.min(first + step, count)));
  };

  const explain = (cell) => {
    const doc = documents[pickDocument.value];
    const [layer, position] = [Number(cell.dataset.layer), Number(cell.dataset.position)];
    const top = doc.top[position];
    const where = make("p", `layer ${layer}, position ${position}, read `);
    where.append(make("bdi", doc.words[doc.tokens[position]]));
    const list = make("ol");
    top[layer].forEach((word, rank) => {
      const from = doc.layer[position][rank];
      const item = make("li");
      item.append(make("bdi", doc.words[word]));
      if (layer >= from) item.className = "final";
      const censored = from === top.length - 1;
      item.append(censored ? " (only at the output)" : layer >= from ? ` (fixed from layer ${from})` : "");
      list.append(item);
    });
    tip.replaceChildren(where, list);
  };

  const enter = (cell) => {
    leave();
    here = cell;
    here.classList.add("here");
    explain(cell);
    tip.hidden = false;
    const at = cell.getBoundingClientRect();
    const left = Math.min(Math.max(8, at.left), document.documentElement.clientWidth - tip.offsetWidth - 8);
    const below = at.bottom + 8 + tip.offsetHeight < innerHeight;
    tip.style.left = `${Math.max(left, 8)}px`;
    tip.style.top = `${below ? at.bottom + 8 : Math.max(8, at.top - tip.offsetHeight - 8)}px`;
  };

  const leave = () => {
    if (here) here.classList.remove("here");
    here = null;
    tip.hidden = true;
  };

  const step = (key) => {
    if (!here) return box.querySelector("td");
    const row = here.parentElement;
    const beside = { ArrowLeft: here.previousElementSibling, ArrowRight: here.nextElementSibling,
      ArrowUp: row.previousElementSibling?.children[here.cellIndex],
      ArrowDown: row.nextElementSibling?.children[here.cellIndex] }[key];
    return beside?.matches("td") ? beside : here;
  };

  const startHeatmap = () => {
    const ranks = documents[0].layer[0]?.length || 0;
    documents.forEach((doc, i) => pickDocument.add(new Option(doc.title, i)));
    for (let rank = 0; rank < ranks; rank++) pickRank.add(new Option(rank + 1, rank));
    for (const pick of [pickDocument, pickRank]) pick.addEventListener("change", () => show(Infinity));
    const over = (event) => {
      const cell = event.target.closest("td");
      if (cell) enter(cell);
    };
    box.addEventListener("pointerover", over);
    box.addEventListener("click", over);
    box.addEventListener("pointerleave", leave);
    box.addEventListener("blur", leave);
    const scrolled = () => { if (performance.now() - movedAt > 200) leave(); };
    addEventListener("scroll", scrolled, { passive: true });
    box.addEventListener("scroll", scrolled, { passive: true });
    box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") leave();
      if (!event.key.startsWith("Arrow")) return;
      event.preventDefault();
      const cell = step(event.key);
      cell.scrollIntoView({ block: "nearest", inline: "nearest" });
      enter(cell);
      // The scroll event of this very step comes a frame or two later, and must not close the tip.
      movedAt = performance.now();
    });
    show(Infinity);
  };

  if (documents.length) startHeatmap();
  // Paper is light and narrower than the window; the charts are drawn anew for it, and for the screen after.
  const forPaper = (on) => {
    document.documentElement.toggleAttribute("data-print", on);
    if (documents.length) show(on ? PRINTED_POSITIONS : Infinity);
    draw(on ? PRINTED_WIDTH : undefined);
  };
  draw().then(() => document.documentElement.setAttribute("data-ready", "yes"));
  dark.addEventListener("change", () => draw());
  addEventListener("beforeprint", () => forPaper(true));
  addEventListener("afterprint", () => forPaper(false));
})();
