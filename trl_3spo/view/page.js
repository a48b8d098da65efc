/* The page: filters, and for every run its list, tree and episode. */

const RUNS = JSON.parse(document.getElementById("data").textContent).runs;
const FILTERS = document.getElementById("filters");

class RunView {
  constructor(run, name) {
    this.run = run;
    this.items = run.items;
    this.current = 0;
    this.id = `list-${name}`;
    this.onPick = () => {};
    this.replay = new Replay(name, run.texts);
    const onSelect = (node) => this.replay.show(this.item, node);
    this.tree = new TreeView(name, run.texts, onSelect, (turn) => this.pick(this.next(turn)));
    this.title = element("h3", { id: `${this.id}-title` });
    this.box = element("div", { role: "listbox", tabindex: "0", "aria-labelledby": `${this.id}-title` });
    const list = element("section", { class: "pane" }, element("header", {}, this.title), this.box);
    this.rows = new Rows(this.box, 48, (index) => this.row(index));
    this.pane = element("div", { class: "panes" }, list, this.tree.pane, this.replay.pane);
    this.box.addEventListener("click", (event) => {
      const index = this.rows.indexOf(event);
      if (index !== null) this.pick(index);
    });
    this.box.addEventListener("keydown", (event) => {
      const index = moved(event.key, this.current, this.items.length, Math.floor(this.box.clientHeight / 48) - 1);
      if (index === null) return;
      event.preventDefault();
      this.pick(index);
    });
  }

  get item() {
    return this.items[this.current] ?? null;
  }

  filter(matches) {
    const before = this.item;
    this.items = this.run.items.filter(matches);
    this.title.textContent = `${this.items.length.toLocaleString("en")} of ${this.run.items.length.toLocaleString("en")}`;
    this.rows.show(this.items.length);
    const index = this.items.indexOf(before);
    if (this.tree.nodes === undefined) this.show(Math.max(0, this.items.findIndex((x) => x.episodes.length > 1)));
    else if (index < 0) this.show(0);
    else {
      this.current = index;
      this.rows.draw();
      this.rows.reveal(index);
    }
  }

  /* Show an item because the reader picked it. */
  pick(index) {
    this.show(index);
    if (this.item) this.onPick(this.item);
  }

  show(index) {
    this.current = index;
    this.rows.reveal(index);
    this.rows.draw();
    this.box.setAttribute("aria-activedescendant", `${this.id}-${index}`);
    this.tree.show(this.item);
    this.tree.earlier.disabled = this.item === null || this.next(-1) < 0;
    this.tree.later.disabled = this.item === null || this.next(1) < 0;
  }

  /* The place of the same task as it was sampled before (-1) or after (1). */
  next(turn) {
    let index = this.current + turn;
    while (this.items[index] && !isAlike(this.items[index], this.item)) index += turn;
    return this.items[index] ? index : -1;
  }

  /* Show what this run has of a task, sampled at about the same step. */
  follow(other) {
    let best = -1;
    this.items.forEach((item, index) => {
      if (!isAlike(item, other)) return;
      if (best < 0 || Math.abs(item.step - other.step) < Math.abs(this.items[best].step - other.step)) best = index;
    });
    if (best >= 0) this.show(best);
  }

  row(index) {
    const item = this.items[index];
    const solved = item.episodes.filter((episode) => episode.success).length;
    const count = item.episodes.length;
    const result = count === 1 ? item.episodes[0].stop_reason.replaceAll("_", " ") : `${solved} of ${count} solved`;
    const part = item.phase === "train" ? "training" : item.panel ? `evaluation ${item.panel}` : "evaluation";
    return element(
      "div",
      {
        class: `row item${index === this.current ? " current" : ""}`, role: "option", id: `${this.id}-${index}`,
        "aria-selected": String(index === this.current), "aria-setsize": this.items.length, "aria-posinset": index + 1,
      },
      element("span", { class: "name", title: item.task }, nameOf(item)),
      element("span", { class: `badge ${solved ? "good" : ""}` }, result),
      element("span", { class: "note" }, `step ${item.step} · ${part}${item.task.includes(item.kind) ? "" : ` · ${item.kind}`}`),
    );
  }
}

function isAlike(item, other) {
  return item.task === other.task && item.phase === other.phase && item.panel === other.panel;
}

/* What the filters ask for, as a function of items. */
function matcher() {
  const asked = Object.fromEntries(new FormData(FILTERS));
  const task = asked.task.toLowerCase();
  const from = asked.from === "" ? -Infinity : Number(asked.from);
  const to = asked.to === "" ? Infinity : Number(asked.to);
  return (item) =>
    (!task || item.task.toLowerCase().includes(task)) &&
    (!asked.part || partOf(item) === asked.part) &&
    (!asked.kind || item.kind === asked.kind) &&
    (!asked.outcome || item.episodes.some((x) => x.success) === (asked.outcome === "solved")) &&
    (!asked.reason || item.episodes.some((x) => x.stop_reason === asked.reason)) &&
    item.step >= from && item.step <= to;
}

function partOf(item) {
  return item.phase === "train" ? "training" : `evaluation ${item.panel}`.trim();
}

function fill(name, values) {
  const options = [...new Set(values)].filter(Boolean).sort().map((x) => element("option", { value: x }, x.replaceAll("_", " ")));
  FILTERS.elements[name].replaceChildren(element("option", { value: "" }, "any"), ...options);
}

function begin() {
  const items = RUNS.flatMap((run) => run.items);
  fill("part", items.map(partOf));
  fill("kind", items.map((item) => item.kind));
  fill("reason", items.flatMap((item) => item.episodes.map((x) => x.stop_reason)));
  const views = RUNS.map((run, i) => new RunView(run, i));
  const box = document.getElementById("runs");
  box.classList.toggle("two", views.length === 2);
  views.forEach((view, i) => {
    const title = views.length === 2 ? [element("h3", {}, `${"AB"[i]}: ${view.run.name}`)] : [];
    box.append(element("section", { class: "run", "aria-label": view.run.name }, ...title, view.pane));
    view.onPick = (item) => {
      if (FILTERS.elements.follow.checked) views.filter((x) => x !== view).forEach((x) => x.follow(item));
    };
  });
  document.getElementById("follow").hidden = views.length !== 2;
  document.getElementById("summary").textContent = RUNS.map(summary).join(" · ");
  const apply = () => {
    const matches = matcher();
    views.forEach((view) => view.filter(matches));
    const shown = views.reduce((sum, view) => sum + view.items.length, 0);
    document.getElementById("count").textContent = `${shown.toLocaleString("en")} of ${items.length.toLocaleString("en")} shown`;
  };
  FILTERS.addEventListener("input", apply);
  FILTERS.addEventListener("submit", (event) => event.preventDefault());
  FILTERS.addEventListener("reset", () => setTimeout(apply));
  apply();
  document.body.dataset.ready = "true";
}

function summary(run) {
  const trees = run.items.filter((item) => item.phase === "train").length;
  const states = run.items.reduce((sum, item) => sum + item.nodes.length, 0);
  const counts = `${trees} search trees, ${run.items.length - trees} evaluated episodes, ${states.toLocaleString("en")} states`;
  const left = run.left_out ? `, ${run.left_out} left out for size` : "";
  const others = run.others.length ? `; ${run.others.length} earlier runs in the same folder are not shown` : "";
  return `run ${run.id}: ${counts}${left}${others}`;
}

begin();
