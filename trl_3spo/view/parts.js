"use strict";

/* Small parts. All text of models and environments reaches the page by textContent. */

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

function short(value, digits = 2) {
  if (value === null || value === undefined) return "–";
  return value.toFixed(digits).replace(/^-(0\.?0*)$/, "$1").replace("-", "−");
}

function signed(value) {
  return value >= 0.005 ? "+" + short(value) : short(value);
}

/* The action of an answer in a row of text. */
function actionOf(answer, texts) {
  if (answer.unasked !== undefined) return `(not asked: ${oneLine(answer.unasked)})`;
  return answer.action === null ? "?" : oneLine(texts[answer.action]) || "(no action)";
}

/* A task by its id, without the folder that it may lie in. */
function nameOf(item) {
  return item.task.slice(item.task.lastIndexOf("/") + 1) || item.task;
}

function signOf(value) {
  return value > 0.005 ? "positive" : value < -0.005 ? "negative" : "";
}

/* One line of any text, short enough for a row. */
function oneLine(text) {
  return text.slice(0, 300).replace(/\s+/g, " ");
}

const LONG = 4000;

/* A text as it is; a very long one is cut, with a button that shows the rest. */
function longText(text) {
  const shown = element("pre", {}, text.length > LONG ? text.slice(0, LONG) + " …" : text);
  if (text.length <= LONG) return [shown];
  const more = element("button", { type: "button" }, `Show all ${text.length.toLocaleString("en")} characters`);
  more.addEventListener("click", () => {
    shown.textContent = text;
    more.remove();
  });
  return [shown, more];
}

/* Many rows of one height in a box that scrolls: only those in sight are in the document. */
class Rows {
  constructor(box, height, draw) {
    this.box = box;
    this.height = height;
    this.drawRow = draw;
    this.count = 0;
    this.inner = element("div", { class: "rows-inner", role: "presentation" });
    box.classList.add("rows");
    box.append(this.inner);
    box.addEventListener("scroll", () => this.fill());
    new ResizeObserver(() => this.fill()).observe(box);
  }

  show(count) {
    this.count = count;
    this.inner.style.height = `${count * this.height}px`;
    this.draw();
  }

  draw() {
    this.inner.replaceChildren();
    this.fill();
  }

  /* Bring in the rows that have come into sight. The others stay: a row replaced under a pressed mouse gets no click. */
  fill() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / this.height) - 5);
    const last = Math.min(this.count, Math.ceil((this.box.scrollTop + this.box.clientHeight) / this.height) + 5);
    const rows = new Map([...this.inner.children].map((row) => [Number(row.dataset.index), row]));
    for (const [index, row] of rows) if (index < first || index >= last) row.remove();
    let next = null;
    for (let index = last - 1; index >= first; index--) {
      next = rows.get(index) ?? this.inner.insertBefore(this.placed(index), next);
    }
  }

  placed(index) {
    const row = this.drawRow(index);
    row.style.top = `${index * this.height}px`;
    row.style.height = `${this.height}px`;
    row.dataset.index = index;
    return row;
  }

  reveal(index) {
    const top = index * this.height;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    const below = top + this.height - this.box.clientHeight;
    if (below > this.box.scrollTop) this.box.scrollTop = below;
  }

  /* The index of the row that an event came from. */
  indexOf(event) {
    const row = event.target.closest("[data-index]");
    return row === null ? null : Number(row.dataset.index);
  }
}

/* Where a key leads in a list of rows. */
function moved(key, current, count, page) {
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -count, End: count };
  if (!(key in steps) || count === 0) return null;
  return Math.min(Math.max(current + steps[key], 0), count - 1);
}
