// A log of lines, and the making of elements.
//
// Everything shown came from somewhere else and is hostile until proven otherwise, so text goes
// into the document as text alone. A log is bounded, and written once a frame however much comes.

/** Lines kept; older ones go. */
const LINES_MAX = 200;
/** Characters shown of one text. */
const SHOWN_MAX = 2_000;
/** Farther than this from its end, in pixels, and the reader is reading: do not scroll. */
const NEAR_END_PX = 48;

export const byId = (id) => document.getElementById(id);

/** An element with properties and children; strings become text nodes. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  const { dataset, ...rest } = properties;
  Object.assign(element, rest);
  Object.assign(element.dataset, dataset);
  element.append(...children);
  return element;
}

/** Text as it may be shown: cut where it is too long to be read anyway. */
export function shown(text) {
  if (text.length <= SHOWN_MAX) return text;
  return `${text.slice(0, SHOWN_MAX)}… (${text.length.toLocaleString("en")} characters)`;
}

/** A foreign text, isolated so that its direction does not disturb what stands around it. */
export const foreign = (text, className = "text") =>
  make("bdi", { className }, shown(text));

/** Says something to those who listen to the page instead of looking at it. */
export function speak(text) {
  byId("spoken").textContent = text;
}

export class Log {
  constructor(list) {
    this.list = list;
    this.coming = [];
  }

  /**
   * Adds a line of a kind (`in`, `out`, `note`, `bad`, `good`), with an optional word on where it
   * went. Returns its element.
   */
  add(kind, text, to = "") {
    const now = new Date();
    const body = make("div", { className: "body" });
    if (to) body.append(make("span", { className: "tag" }, "to ", foreign(to, ""), ":"), " ");
    body.append(foreign(text));
    const line = make(
      "div",
      { className: `line ${kind}` },
      make("time", { dateTime: now.toISOString() }, now.toTimeString().slice(0, 8)),
      body,
    );
    this.coming.push(line);
    if (this.coming.length > LINES_MAX) this.coming.shift();
    if (this.coming.length === 1) requestAnimationFrame(() => this.write());
    return line;
  }

  write() {
    const { list } = this;
    this.change(() => {
      list.append(...this.coming);
      this.coming = [];
      while (list.childElementCount > LINES_MAX) list.firstElementChild.remove();
    });
  }

  /** Changes what the log shows; who looks at its end goes on looking at its end. */
  change(edit) {
    const { list } = this;
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_END_PX;
    edit();
    if (atEnd) list.scrollTop = list.scrollHeight;
  }
}
