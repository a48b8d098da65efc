/* The search tree: a walk goes straight down, what branches off stands further in. */

const MARKS = { chosen: "●", backtracked: "◆", left: "○" };
const MEANINGS = { chosen: "chosen", backtracked: "backtracked to later", left: "left as a side branch" };

/* Link the nodes of an item to each other, once: children, depth, and the first episode that passes each. */
function link(item) {
  if (item.linked) return item.nodes;
  item.linked = true;
  item.nodes.forEach((node, number) => Object.assign(node, { number, children: [], walk: null, depth: 0 }));
  for (const node of item.nodes) {
    if (node.parent === null) continue;
    node.parent = item.nodes[node.parent];
    node.depth = node.parent.depth + 1;
    node.parent.children.push(node);
  }
  item.episodes.forEach((episode, number) => {
    for (let node = item.nodes[episode.end]; node && node.walk === null; node = node.parent) node.walk = number;
  });
  for (const node of item.nodes) {
    const walked = node.children.filter((child) => child.walk !== null).sort((a, b) => a.walk - b.walk);
    node.main = walked[0] ?? null;
    node.beside = node.children.filter((child) => child !== node.main);
    for (const child of node.children) {
      child.role = child === node.main ? "chosen" : child.walk === null ? "left" : "backtracked";
      child.isOpen = child === node.main;
    }
  }
  if (item.nodes.length) Object.assign(item.nodes[0], { isOpen: true, role: "chosen" });
  return item.nodes;
}

/* The nodes in sight, in order, each with how far in it stands. */
function visible(nodes) {
  const rows = [];
  const waiting = nodes.length ? [[nodes[0], 0]] : [];
  while (waiting.length) {
    const [node, inset] = waiting.pop();
    rows.push({ node, inset });
    if (!node.isOpen) continue;
    if (node.main) waiting.push([node.main, inset]);
    for (let i = node.beside.length - 1; i >= 0; i--) waiting.push([node.beside[i], inset + 1]);
  }
  return rows;
}

class TreeView {
  constructor(name, texts, onSelect, onTurn) {
    this.texts = texts;
    this.onSelect = onSelect;
    this.rows = [];
    this.current = 0;
    this.id = `tree-${name}`;
    this.title = element("h3", { id: `${this.id}-title` }, "Search tree");
    this.earlier = element("button", { type: "button", title: "This task, sampled before" }, "‹ earlier");
    this.later = element("button", { type: "button", title: "This task, sampled after" }, "later ›");
    this.earlier.addEventListener("click", () => onTurn(-1));
    this.later.addEventListener("click", () => onTurn(1));
    const open = element("button", { type: "button" }, "Open all");
    const close = element("button", { type: "button" }, "Close all");
    this.box = element("div", { role: "tree", tabindex: "0", "aria-labelledby": `${this.id}-title` });
    const names = ["action", "S → S′", "p", "n", "reward", "advantage"];
    this.pane = element(
      "section", { class: "pane", "aria-labelledby": `${this.id}-title` },
      element("header", {}, this.title, element("div", { class: "right" }, this.earlier, this.later, open, close)),
      element("div", { class: "columns", "aria-hidden": "true" }, ...names.map((x) => element("span", {}, x))),
      this.box,
      element("p", { class: "legend" }, element("b", {}, "●"), " chosen   ", element("i", {}, "◆"),
        " backtracked to later   ○ left as a side branch"),
    );
    this.view = new Rows(this.box, 27, (index) => this.row(index));
    open.addEventListener("click", () => this.setAll(true));
    close.addEventListener("click", () => this.setAll(false));
    this.box.addEventListener("click", (event) => this.click(event));
    this.box.addEventListener("keydown", (event) => this.key(event));
  }

  show(item) {
    this.nodes = item ? link(item) : [];
    this.title.textContent = item ? `${nameOf(item)} · step ${item.step}` : "Search tree";
    this.box.scrollTop = 0;
    this.update(this.nodes[0]?.main ?? this.nodes[0]);
  }

  /* Draw anew, with a node as the current one. */
  update(node) {
    this.rows = visible(this.nodes);
    this.view.show(this.rows.length);
    if (node) this.select(Math.max(0, this.rows.findIndex((row) => row.node === node)));
    else this.onSelect(null);
  }

  select(index) {
    this.current = index;
    this.view.reveal(index);
    this.view.draw();
    this.box.setAttribute("aria-activedescendant", `${this.id}-${index}`);
    this.onSelect(this.rows[index].node);
  }

  toggle(node, isOpen) {
    node.isOpen = isOpen;
    this.update(node);
  }

  setAll(isOpen) {
    for (const node of this.nodes) node.isOpen = isOpen || node.parent === null;
    this.update(this.nodes[0]);
  }

  click(event) {
    const index = this.view.indexOf(event);
    if (index === null) return;
    const { node } = this.rows[index];
    if (event.target.closest(".twist") && node.children.length) this.toggle(node, !node.isOpen);
    else this.select(index);
  }

  key(event) {
    if (!this.rows.length || event.altKey || event.ctrlKey || event.metaKey) return;
    const { node } = this.rows[this.current];
    const page = Math.floor(this.box.clientHeight / 27) - 1;
    const index = moved(event.key, this.current, this.rows.length, page);
    if (index !== null) this.select(index);
    else if (event.key === "ArrowRight" && node.children.length && !node.isOpen) this.toggle(node, true);
    else if (event.key === "ArrowRight" && node.children.length) this.select(this.current + 1);
    else if (event.key === "ArrowLeft" && node.isOpen && node.children.length) this.toggle(node, false);
    else if (event.key === "ArrowLeft" && node.parent) this.update(node.parent);
    else if (event.key === "Enter" || event.key === " ") this.select(this.current);
    else if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
  }

  row(index) {
    const { node, inset } = this.rows[index];
    const answer = node.answers[0];
    const name = answer ? actionOf(answer, this.texts) : "start";
    const before = node.score_before ?? null;
    const after = answer ? answer.score_after : node.score;
    const twist = node.children.length ? (node.isOpen ? "▾" : "▸") : "";
    const action = element(
      "span", { class: "action" },
      element("span", { class: "twist", "aria-hidden": "true" }, twist),
      element("span", { class: "depth" }, String(node.depth)),
      element("span", { class: "mark", "aria-hidden": "true" }, MARKS[node.role]),
      element("span", { class: "text" }, name),
    );
    action.style.paddingLeft = `${Math.min(inset, 24) * 16}px`;
    const times = node.answers.length > 1 ? [element("span", { class: "badge" }, `×${node.answers.length}`)] : [];
    action.append(...times);
    const scores = before === null ? short(after) : `${short(before)} → ${short(after)}`;
    const advantage = answer?.advantage ?? null;
    const siblings = node.parent ? node.parent.children : [node];
    return element(
      "div",
      {
        class: `row node ${node.role}${index === this.current ? " current" : ""}`, role: "treeitem",
        id: `${this.id}-${index}`, "aria-level": node.depth + 1, "aria-setsize": siblings.length,
        "aria-posinset": siblings.indexOf(node) + 1, "aria-selected": String(index === this.current),
        "aria-expanded": node.children.length ? String(node.isOpen) : null,
        "aria-label": `step ${node.depth}: ${name}, ${answer ? MEANINGS[node.role] : "first state"}, score ${scores}, ` +
          `reward ${short(answer?.reward)}, advantage ${short(advantage)}`,
      },
      action, element("span", {}, scores), element("span", {}, short(node.value)),
      element("span", {}, String(node.group_size ?? "–")), element("span", {}, short(answer?.reward)),
      element("span", { class: signOf(advantage) }, advantage === null ? "–" : signed(advantage)),
    );
  }
}
