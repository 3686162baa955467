// Draws the charts from a JSON block of this page and starts the heatmap. Asks nothing of the network.
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

  const heatmap = startHeatmap(read("documents"), make);
  // Paper is light and narrower than the window; the charts are drawn anew for it, and for the screen after.
  const forPaper = (on) => {
    document.documentElement.toggleAttribute("data-print", on);
    heatmap.show(on ? PRINTED_POSITIONS : Infinity);
    draw(on ? PRINTED_WIDTH : undefined);
  };
  draw().then(() => document.documentElement.setAttribute("data-ready", "yes"));
  dark.addEventListener("change", () => draw());
  addEventListener("beforeprint", () => forPaper(true));
  addEventListener("afterprint", () => forPaper(false));
})();
