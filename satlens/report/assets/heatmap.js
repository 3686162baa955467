"use strict";
// The heatmap: a table a document, or, where each document has one position and is seen or heard, a card each.
const startHeatmap = (documents, make) => {
  if (!documents.length) return { show() {} };
  const TICKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600]; // seconds
  const MOST_MARKS = 10; // ranks with a column of their own on a card
  const box = document.getElementById("heatmap");
  const tip = document.getElementById("tip");
  const pickDocument = document.getElementById("pick-document");
  const pickRank = document.getElementById("pick-rank");
  const cards = documents.every((doc) => doc.tokens.length === 1) && documents.some((doc) => doc.picture || doc.wave);
  const loudest = Math.max(...documents.flatMap((doc) => (doc.wave ? doc.wave.peaks : []).flat().map(Math.abs))) || 1;
  let here = null;
  let movedAt = -Infinity;

  // ---- what a cell is ----
  const stateOf = (doc, rank, layer, position) => {
    const last = doc.top[position].length - 1;
    const word = doc.top[position][layer][rank];
    const final = doc.top[position][last];
    const from = doc.layer[position][rank];
    if (layer === last && from === last) return "censored";
    if (layer >= from) return layer === from ? "fixed start" : "fixed";
    if (word === final[rank]) return "held";
    return final.includes(word) ? "near" : "";
  };

  const cellAt = (index, rank, layer, position, text) => {
    const cell = make("td", text, stateOf(documents[index], rank, layer, position));
    Object.assign(cell.dataset, { document: index, layer, position });
    return cell;
  };

  const header = (text, scope) => {
    const cell = make("th", text);
    cell.scope = scope;
    return cell;
  };

  // ---- pictures and waveforms ----
  const picture = ({ src, alt, width, height }) => {
    const image = make("img");
    Object.assign(image, { src, alt, width, height });
    if (Math.max(width, height) < 100) image.className = "enlarged";
    return image;
  };

  const outline = (wave, from, to) => {
    const n = wave.peaks.length;
    const peaks = wave.peaks.slice(Math.round(from * n), Math.round(to * n));
    const at = (x, value) => `${x + 0.5},${(-value / loudest).toFixed(3)}`;
    const points = [...peaks.map(([, high], x) => at(x, high)), ...peaks.map(([low], x) => at(x, low)).reverse()];
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", `M${points.join("L")}Z`);
    svg.setAttribute("viewBox", `0 -1.05 ${peaks.length} 2.1`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `waveform of ${wave.alt}, ${seconds(wave.seconds)} s`);
    svg.append(path);
    return svg;
  };

  const seconds = (value) => Number(value.toPrecision(3)).toString();

  const sound = (wave) => {
    const place = make("div", undefined, "wave");
    const axis = make("div", undefined, "time");
    const every = TICKS.find((step) => wave.seconds / step <= 6) || wave.seconds;
    for (let i = 0; i * every <= wave.seconds; i++) {
      const tick = make("span", i ? seconds(i * every) : "0 s");
      const share = (100 * i * every) / wave.seconds;
      tick.style.left = `${share}%`;
      if (i) tick.style.transform = `translateX(${share > 96 ? -100 : -50}%)`;
      axis.append(tick);
    }
    place.append(outline(wave, 0, 1), axis);
    if (wave.read) {
      const unread = make("div", undefined, "unread");
      unread.style.left = `${(100 * wave.read) / wave.seconds}%`;
      place.append(unread);
    }
    return place;
  };

  const media = (doc) => {
    const shown = make("div", undefined, "media");
    if (doc.picture) shown.append(picture(doc.picture));
    if (doc.wave && !doc.wave.frame) shown.append(sound(doc.wave));
    if (doc.wave?.read) shown.append(make("p", `Read: the first ${seconds(doc.wave.read)} of ${seconds(doc.wave.seconds)} s.`));
    if (doc.text) shown.append(make("p", doc.text));
    return shown.childElementCount ? [shown] : [];
  };

  // ---- a table: one column a position ----
  const table = (index, rank, first, end) => {
    const doc = documents[index];
    const grid = make("table", undefined, doc.wave?.frame ? "frames" : "");
    const head = grid.createTHead().insertRow();
    head.append(header(doc.wave?.frame ? "s" : "layer", "row"));
    for (let position = first; position < end; position++) {
      const column = header(undefined, "col");
      column.append(make("small", doc.pos[position]), make("bdi", doc.words[doc.tokens[position]]));
      head.append(column);
    }
    if (doc.wave?.frame) {
      const row = grid.tHead.insertRow(0);
      const strip = make("td", undefined, "strip");
      strip.colSpan = end - first;
      strip.append(outline(doc.wave, first / doc.tokens.length, end / doc.tokens.length));
      row.append(header("", "row"), strip);
    }
    const body = grid.createTBody();
    for (let layer = doc.top[first].length - 1; layer >= 0; layer--) {
      const row = body.insertRow();
      row.append(header(layer, "row"));
      for (let position = first; position < end; position++)
        row.append(cellAt(index, rank, layer, position, doc.words[doc.top[position][layer][rank]]));
    }
    return grid;
  };

  // ---- a card: one position, a column for the label and one a rank ----
  const short = (label) => label.split(",")[0] || label;
  const fixedFrom = (doc, rank) => {
    const from = doc.layer[0][rank];
    return from === doc.top[0].length - 1 ? "fixed only at the output" : `fixed from layer ${from}`;
  };

  const card = (index, rank) => {
    const doc = documents[index];
    const last = doc.top[0].length - 1;
    const marks = Math.min(MOST_MARKS, doc.layer[0].length);
    const one = make("article", undefined, doc.wave ? "card heard" : "card");
    const words = make("div", undefined, "words");
    const answer = make("p", undefined, "answer");
    answer.append(make("bdi", short(doc.words[doc.top[0][last][rank]])), ` ${fixedFrom(doc, rank)}`);
    const name = make("p", undefined, "name");
    name.append(make("bdi", doc.title));
    words.append(name, answer);
    const shown = media(doc);
    const top = make("div", undefined, "top");
    top.append(...shown, words);
    const grid = make("table");
    const head = grid.createTHead().insertRow();
    head.append(header("layer", "col"), header(`rank ${rank + 1}`, "col"));
    for (let i = 0; i < marks; i++) head.append(header(i + 1, "col"));
    const body = grid.createTBody();
    for (let layer = last; layer >= 0; layer--) {
      const row = body.insertRow();
      const said = cellAt(index, rank, layer, 0, undefined);
      said.classList.add("said");
      said.append(make("bdi", short(doc.words[doc.top[0][layer][rank]])));
      row.append(header(layer, "row"), said);
      for (let i = 0; i < marks; i++) {
        const mark = cellAt(index, i, layer, 0, "");
        mark.classList.add("mark");
        row.append(mark);
      }
    }
    one.append(top, grid);
    return one;
  };

  const show = (step) => {
    leave();
    const rank = Number(pickRank.value);
    box.replaceChildren();
    box.classList.toggle("cards", cards);
    if (cards) return box.append(...documents.map((_, index) => card(index, rank)));
    const index = Number(pickDocument.value);
    const count = documents[index].tokens.length;
    box.append(...media(documents[index]));
    for (let first = 0; first < count; first += step)
      box.append(table(index, rank, first, Math.min(first + step, count)));
  };

  // ---- the ranking at a cell ----
  const place = (doc, layer, position) => {
    const where = make("p", `layer ${layer}, `);
    const read = make("bdi", cards ? doc.title : doc.words[doc.tokens[position]]);
    if (cards) where.append(read);
    else if (doc.wave?.frame) where.append(`frame ${doc.pos[position]}, at `, read, " s");
    else where.append(`position ${doc.pos[position]}, read `, read);
    return where;
  };

  const explain = (cell) => {
    const doc = documents[cell.dataset.document];
    const [layer, position] = [Number(cell.dataset.layer), Number(cell.dataset.position)];
    const top = doc.top[position];
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
    tip.replaceChildren(place(doc, layer, position), list);
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
    if (!here) return box.querySelector("td[data-layer]");
    const row = here.parentElement;
    const across = key === "ArrowLeft" ? -1 : key === "ArrowRight" ? 1 : 0;
    let beside = across < 0 ? here.previousElementSibling : here.nextElementSibling;
    if (cards && across) {
      const index = Number(here.dataset.document) + across;
      beside = box.children[index]?.querySelector(`.said[data-layer="${here.dataset.layer}"]`);
    } else if (!across) {
      const other = key === "ArrowUp" ? row.previousElementSibling : row.nextElementSibling;
      beside = other?.children[here.cellIndex];
    }
    return beside?.matches("td[data-layer]") ? beside : here;
  };

  documents.forEach((doc, i) => pickDocument.add(new Option(doc.title, i)));
  pickDocument.parentElement.hidden = cards;
  for (let rank = 0; rank < documents[0].layer[0].length; rank++) pickRank.add(new Option(rank + 1, rank));
  for (const pick of [pickDocument, pickRank]) pick.addEventListener("change", () => show(Infinity));
  const over = (event) => {
    const cell = event.target.closest("td[data-layer]");
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
  return { show };
};
