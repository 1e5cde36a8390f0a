"use strict";
// Text of a study only becomes textContent, or is escaped where Plotly reads tags.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)");
  const BLACK = "#333333"; // the palette's: invisible on dark paper
  const hidden = new Set(); // traces that are switched off
  let selected = data.chosen;

  const element = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  const escaped = (text) => text.replace(/[&<>]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign]);
  const color = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  const channels = (name) => [1, 3, 5].map((at) => parseInt(color(name).slice(at, at + 2), 16));
  const mixed = (from, to, share) => { // of two colors of the theme
    const [first, last] = [channels(from), channels(to)];
    return `rgb(${first.map((start, at) => Math.round(start + share * (last[at] - start))).join()})`;
  };
  const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const visible = (given) => (given === BLACK && isDark() ? color("ink") : given);

  // --- charts ----------------------------------------------------------------------------------------------

  const axis = (given = {}) => ({
    gridcolor: color("line"), linecolor: color("line"), zeroline: false, ticks: "", automargin: true, ...given,
    title: { standoff: 8, ...given.title },
  });

  const draw = (place, figure, extra = {}) => {
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 8, r: 8, t: 8, b: 8 },
      font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: color("quiet") },
      hoverlabel: { bgcolor: color("card"), bordercolor: color("line"), font: { color: color("ink") }, align: "left" },
      legend: { orientation: "h", yanchor: "bottom", y: 1.02, x: 0 },
      dragmode: coarse.matches ? false : "zoom", // a finger scrolls the page
      ...figure.layout, ...extra,
      xaxis: axis({ ...figure.layout.xaxis, ...extra.xaxis }), yaxis: axis({ ...figure.layout.yaxis, ...extra.yaxis }),
    };
    const traces = figure.data.map((trace) => {
      const line = trace.line && { ...trace.line, color: visible(trace.line.color) };
      return { ...trace, name: escaped(trace.name || ""), ...(line && { line }) };
    });
    return Plotly.react(place, traces, layout, { responsive: true, displayModeBar: false, displaylogo: false });
  };

  const hover = ({ title, parameters, standing, measures }) => [`<b>${escaped(title)}</b>`,
    ...[parameters, standing, ...measures.map((pair) => pair.join(" "))].filter(Boolean).map(escaped)].join("<br>");

  const mark = (trace) => {
    const shownOrNot = { visible: !hidden.has(trace.uid) };
    if (trace.mode === "lines") return { ...trace, ...shownOrNot };
    const own = trace.uid === "front" ? color("quiet") : trace.marker.color;
    const shown = visible(own);
    const marker = { ...trace.marker, color: shown, line: { ...trace.marker.line, color: shown } };
    const bars = (error) => error && { ...error, color: `${shown}59` }; // about a third opaque
    const clickable = trace.customdata
      ? { text: trace.customdata.map((number) => hover(data.points[number])), hovertemplate: "%{text}<extra></extra>" }
      : {};
    return { ...trace, marker, error_x: bars(trace.error_x), error_y: bars(trace.error_y), ...clickable, ...shownOrNot };
  };

  const place = (figure) => { // of the selected point, if it is drawn
    for (const trace of figure.data) {
      const at = hidden.has(trace.uid) || !trace.customdata ? -1 : trace.customdata.indexOf(selected);
      if (at >= 0) return { x: [trace.x[at]], y: [trace.y[at]] };
    }
    return { x: [], y: [] };
  };

  const drawFront = () => {
    const { figure, note } = data.fronts[byId("against").value];
    const here = { type: "scatter", mode: "markers", uid: "selected", name: "", hoverinfo: "skip", ...place(figure),
      marker: { symbol: "circle-open", size: 26, color: color("ink"), line: { width: 2.5 } } };
    const shapes = figure.layout.shapes.map((shape) => ({ ...shape, line: { ...shape.line, color: color("quiet") } }));
    const [across, up] = figure.layout.meta[byId("all").checked ? "all" : "close"];
    const annotations = figure.layout.annotations.filter(({ y }) => y >= up[0] && y <= up[1]);
    const drawn = { data: [...figure.data.map(mark), here], layout: figure.layout };
    byId("front-note").textContent = note;
    const axes = { xaxis: { range: across }, yaxis: { range: up } };
    return draw(byId("front-chart"), drawn, { showlegend: false, hovermode: "closest", shapes, annotations, ...axes });
  };

  const drawOthers = () => {
    for (const target of document.querySelectorAll("[data-chart]")) {
      const figure = data.charts[target.dataset.chart];
      if (!figure) continue;
      const colorscale = [0, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1].map((root) => [root ** 2, mixed("paper", "full", root)]);
      const heat = figure.data[0].type === "heatmap";
      draw(target, heat ? { ...figure, data: [{ ...figure.data[0], colorscale }] } : figure);
    }
  };

  const drawLegend = () => {
    byId("legend").replaceChildren();
    for (const trace of data.fronts[byId("against").value].figure.data) {
      const shown = !hidden.has(trace.uid);
      const button = element("button", { type: "button", "aria-pressed": shown }, symbol(trace), trace.name);
      button.addEventListener("click", () => {
        hidden[shown ? "add" : "delete"](trace.uid);
        const index = [...byId("legend").children].indexOf(button);
        drawFront().then(drawLegend).then(() => byId("legend").children[index].focus());
      });
      byId("legend").append(button);
    }
  };

  const symbols = {}; // as Plotly drew them
  const symbol = (trace) => {
    const drawn = document.querySelector(`#front-chart .trace${CSS.escape(trace.uid)} path.point`);
    if (drawn) symbols[trace.uid] = drawn;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [name, value] of [["width", 16], ["height", 16], ["viewBox", "-10 -10 20 20"], ["aria-hidden", true]])
      svg.setAttribute(name, value);
    if (trace.mode === "lines") {
      const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
      for (const [name, value] of [["d", "M-9,0H9"], ["stroke", visible(trace.line.color)], ["stroke-width", 2]])
        line.setAttribute(name, value);
      svg.append(line);
    } else if (symbols[trace.uid]) {
      const copy = symbols[trace.uid].cloneNode();
      copy.removeAttribute("transform");
      copy.style.opacity = 1;
      svg.append(copy);
    }
    return svg;
  };

  // --- the chosen point ------------------------------------------------------------------------------------

  const swatch = (look) => {
    const style = { solid: "solid", dash: "dashed", dot: "dotted", dashdot: "dashed" }[look.dash];
    const made = element("span", { class: "swatch", "aria-hidden": true });
    made.style.borderTop = `3px ${style} ${visible(look.color)}`;
    return made;
  };

  const attackers = (point) => {
    const items = Object.entries(data.attackers).filter(([name]) => name in point.clones || name in point.curves)
      .map(([name, look]) => element("li", {},
        element("span", {}, swatch(look), element("b", {}, name)),
        element("span", { class: "number" }, point.clones[name] || "unfinished"),
        element("small", {}, `knows ${look.knows}`)));
    if (!items.length) return [];
    return [element("h4", {}, "Its attackers: accuracy of each one’s clone"), element("ul", { class: "clones" }, ...items)];
  };

  const drawPanel = () => {
    const panel = byId("panel"), point = data.points[selected];
    if (!point) {
      panel.replaceChildren(element("p", { class: "quiet" }, "Choose a point in the chart or in the table."));
      return;
    }
    const measures = element("dl", { class: "measures" }, ...point.measures.map(([label, text]) =>
      element("div", {}, element("dt", {}, label), element("dd", {}, text))));
    panel.replaceChildren(element("h3", {}, point.title), element("p", { class: "quiet" },
      [point.parameters, point.standing].filter(Boolean).join(" · ")), measures, ...attackers(point));
    const curves = Object.entries(point.curves);
    if (!curves.length) {
      if (Object.keys(point.clones).length)
        panel.append(element("p", { class: "quiet" }, "Its learning curves are not on the page; study.curves() in Python has them."));
      return;
    }
    const target = element("div", { class: "chart", id: "curves", role: "img", "aria-label": "Clones as they learned" });
    panel.append(target, element("p", { class: "quiet" }, "Clone accuracy on test images by epoch, mean over seeds."));
    draw(target, {
      data: curves.map(([name, y]) => ({ type: "scatter", mode: "lines", name, y, x: y.map((_, epoch) => epoch + 1),
        line: { ...data.attackers[name], width: 1.8, knows: undefined } })),
      layout: { xaxis: { title: { text: "epoch" } }, yaxis: { title: { text: "%" } } },
    }, { showlegend: false });
  };

  const select = (number) => {
    selected = number;
    for (const row of document.querySelectorAll("#points tbody tr")) {
      const chosen = Number(row.dataset.point) === number;
      row.classList.toggle("chosen", chosen);
      if (chosen) row.querySelector("button").setAttribute("aria-current", "true");
      else row.querySelector("button").removeAttribute("aria-current");
    }
    drawPanel();
    drawFront();
  };

  // --- the table -------------------------------------------------------------------------------------------

  const key = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;

  const sort = (header) => {
    const table = header.closest("table"), column = header.cellIndex;
    const up = header.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    const numbers = header.classList.contains("number");
    const order = (a, b) => (numbers ? a - b : a.localeCompare(b)) * (up ? 1 : -1);
    const rows = [...table.tBodies[0].rows].map((row) => [key(row, column), row]);
    rows.sort(([a], [b]) => (a === "") - (b === "") || order(a, b)); // missing values stay behind
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };

  // --- the whole page --------------------------------------------------------------------------------------

  const nameTheme = () => { byId("theme").textContent = isDark() ? "Light" : "Dark"; };
  const redraw = () => {
    nameTheme();
    drawOthers();
    drawPanel();
    return drawFront().then(drawLegend);
  };

  byId("theme").addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; redraw(); });
  dark.addEventListener("change", redraw);
  byId("against").addEventListener("change", () => drawFront().then(drawLegend));
  byId("all").addEventListener("change", drawFront);
  for (const button of document.querySelectorAll("#points thead button"))
    button.addEventListener("click", () => sort(button.closest("th")));
  document.querySelector("#points tbody").addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (!row) return;
    select(Number(row.dataset.point));
    if (event.target.closest("button")) byId("panel").scrollIntoView({ block: "nearest" });
  });
  for (const needy of document.querySelectorAll("[data-needs]"))
    needy.hidden = !(needy.dataset.needs in data.charts);

  redraw().then(() => {
    byId("front-chart").on("plotly_click", ({ points }) => select(points[0].customdata));
    if (data.points[selected]) select(selected);
    root.dataset.drawn = "true";
  });
})();
