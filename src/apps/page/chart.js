// A small chart: one or two lines over the last two minutes, drawn in SVG and coloured by the style sheet.

import { byId, make } from "./log.js";

/** What a chart shows, in milliseconds before now. */
export const SPAN_MS = 120_000;
/** Points closer to each other than this are joined; a longer gap is one. */
const GAP_MS = 5_000;
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 240;
const HEIGHT = 60;

/** An SVG element with attributes. */
function draw(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

export class Chart {
  /** `lines` names each line's figure; `format` writes a value; `least` is the smallest top of the scale. */
  constructor(place, lines, format, least = 1) {
    Object.assign(this, { lines, format, least });
    this.points = [];
    const svg = draw("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
    });
    this.paths = lines.map((_, n) => {
      const area = draw("path", { class: `area line-${n}` });
      const line = draw("path", { class: `stroke line-${n}` });
      svg.append(area, line);
      return { area, line };
    });
    this.top = make("span", { className: "top-of-scale" });
    const box = make("div", { className: "drawing" }, this.top);
    box.prepend(svg);
    place.append(box);
  }

  /** Adds what is so at a time, one value a line, and draws. */
  add(at, values) {
    this.points.push({ at, values });
    while (this.points[0].at < at - SPAN_MS) this.points.shift();
    const highest = Math.max(...this.points.flatMap((point) => point.values));
    const top = roundUp(Math.max(highest, this.least));
    this.top.textContent = this.format(top);
    this.paths.forEach(({ area, line }, n) => {
      const [stroke, fill] = this.trace(at, top, n);
      line.setAttribute("d", stroke);
      area.setAttribute("d", fill);
    });
  }

  clear() {
    this.points = [];
    this.top.textContent = "";
    for (const { area, line } of this.paths) {
      area.setAttribute("d", "");
      line.setAttribute("d", "");
    }
  }

  /** One line, and the ground under it. */
  trace(now, top, n) {
    let stroke = "";
    let fill = "";
    let begun = null;
    let last = null;
    const end = () => begun && (fill += `L${last.x} ${HEIGHT}L${begun} ${HEIGHT}Z`);
    for (const { at, values } of this.points) {
      const x = (WIDTH * (1 - (now - at) / SPAN_MS)).toFixed(1);
      const y = (HEIGHT - 1 - (HEIGHT - 3) * (values[n] / top)).toFixed(1);
      const joined = last && at - last.at < GAP_MS;
      if (!joined) {
        end();
        begun = x;
      }
      stroke += `${joined ? "L" : "M"}${x} ${y}`;
      fill += `${joined ? "L" : "M"}${x} ${y}`;
      last = { at, x };
    }
    end();
    return [stroke, fill];
  }
}

/** The next of 1, 2, 5, 10, 20, … */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

/** A figure with its chart: writes the figure into the page, and the values into the chart. */
export class Tile {
  constructor(id, names, format, least) {
    this.values = names.map((name) => byId(name ? `${id}-${name}` : id));
    this.format = format;
    this.chart = new Chart(byId(`${id}-chart`), names, format, least);
  }

  add(at, values) {
    this.values.forEach((element, n) => (element.textContent = this.format(values[n])));
    this.chart.add(at, values);
  }

  clear() {
    for (const element of this.values) element.textContent = "–";
    this.chart.clear();
  }
}
