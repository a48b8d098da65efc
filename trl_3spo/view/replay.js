/* An episode to read, step by step: what the environment showed, what the model answered, what it earned. */

/* Steps in the document at once. */
const SHOWN = 40;

class Replay {
  constructor(name, texts) {
    this.texts = texts;
    this.path = [];
    this.step = 0;
    this.title = element("h3", { id: `replay-${name}` }, "Episode");
    this.badge = element("span", { class: "badge" });
    this.box = element("div", { class: "replay", tabindex: "0", role: "region", "aria-label": "Conversation" });
    const button = (label, text, act) => {
      const made = element("button", { type: "button", "aria-label": label, title: label }, text);
      made.addEventListener("click", act);
      return made;
    };
    this.buttons = [
      button("First step", "«", () => this.go(0)), button("Previous step", "‹", () => this.go(this.step - 1)),
      button("Next step", "›", () => this.go(this.step + 1)), button("Last step", "»", () => this.go(Infinity)),
    ];
    this.slider = element("input", { type: "range", min: "0", value: "0", "aria-label": "Step" });
    this.where = element("output", {});
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value)));
    const controls = element("div", { class: "controls" }, ...this.buttons, this.slider, this.where);
    this.pane = element(
      "section", { class: "pane", "aria-labelledby": `replay-${name}` },
      element("header", {}, this.title, element("div", { class: "right" }, this.badge)), controls, this.box,
    );
    this.box.addEventListener("keydown", (event) => {
      const step = { ArrowRight: this.step + 1, ArrowLeft: this.step - 1, Home: 0, End: Infinity }[event.key];
      if (step === undefined || event.target !== this.box) return;
      event.preventDefault();
      this.go(step);
    });
  }

  /* Show the episode through a node, at that node. */
  show(item, node) {
    this.item = item;
    this.path = [];
    for (let passed = node; passed; passed = passed.parent) this.path.push(passed);
    this.path.reverse();
    for (let next = node?.main; next; next = next.main) this.path.push(next);
    const end = this.path.at(-1);
    this.episode = item?.episodes.find((episode) => item.nodes[episode.end] === end) ?? null;
    this.title.textContent = item ? `Episode · ${item.kind || nameOf(item)}` : "Episode";
    this.badge.textContent = this.episode ? endingOf(this.episode) : item ? "side branch" : "";
    this.badge.className = `badge ${toneOf(this.episode)}`;
    this.slider.max = Math.max(this.path.length - 1, 0);
    this.go(node ? this.path.indexOf(node) : 0);
  }

  go(step) {
    const last = this.path.length - 1;
    this.step = Math.max(0, Math.min(step, last));
    this.slider.value = this.step;
    this.where.textContent = last < 0 ? "" : `step ${this.step} of ${last}`;
    this.buttons.forEach((button, i) => (button.disabled = i < 2 ? this.step <= 0 : this.step >= last));
    const first = Math.max(1, this.step - SHOWN + 1);
    const shown = this.path.slice(first, this.step + 1).map((node) => this.told(node, node === this.path[this.step]));
    if (first > 1) shown.unshift(element("p", { class: "quiet" }, `Steps 1 to ${first - 1} are above: go back to read them.`));
    const now = this.path[this.step];
    const end = !now ? [] : [this.shownAt(now), ...(this.step === last ? [this.ending()] : [])];
    this.box.replaceChildren(...shown, ...end);
    const current = this.box.querySelector(".current");
    if (current) current.scrollIntoView({ block: "start" });
    else this.box.scrollTop = 0;
  }

  shownAt(node) {
    const who = element("span", { class: "who" }, node.depth ? "environment answers" : "environment");
    return element("div", { class: "bubble" }, who, ...longText(this.texts[node.observation]));
  }

  /* A step: what was shown before it, and the answer. */
  told(node, isCurrent) {
    const answer = node.answers[0];
    const text = answer.completion === null ? "(not recorded: it was given before the run was resumed)" : this.texts[answer.completion];
    const action = answer.unasked !== undefined ? actionOf(answer, this.texts) : answer.action === null ? "" : this.texts[answer.action];
    return element(
      "article", { class: `step${isCurrent ? " current" : ""}` },
      element("h4", {}, `Step ${node.depth}`),
      element("div", { class: "bubble" }, element("span", { class: "who" }, "environment"), ...longText(this.texts[node.parent.observation])),
      element("div", { class: "bubble model" }, element("span", { class: "who" }, "model"), ...longText(text),
        ...(action && action !== text ? [element("span", { class: "who" }, "action"), ...longText(action)] : [])),
      ...(isCurrent ? this.details(node, answer) : []),
    );
  }

  details(node, answer) {
    const facts = element("dl", { class: "facts" });
    const fact = (name, value) => value && facts.append(element("div", {}, element("dt", {}, name), element("dd", {}, value)));
    const told = (values) => Object.entries(values ?? {}).filter(([, x]) => Math.abs(x) >= 0.005);
    const parts = (values) => told(values).map(([name, x]) => `${name} ${short(x)}`).join(", ");
    fact("reward", answer.reward === undefined ? "" : short(answer.reward) + (told(answer.reward_parts).length ? ` = ${parts(answer.reward_parts)}` : ""));
    fact("advantage", answer.advantage === undefined ? "" : signed(answer.advantage) + (answer.is_trained_on ? "" : ", not trained on"));
    fact("S", node.score_before === undefined || node.score_before === null ? "" : `${short(node.score_before)} → ${short(answer.score_after)}`);
    fact("p", node.value === undefined || node.value === null ? "" : `${short(node.value)} after ${short(node.num_visits, 1)} visits`);
    fact("paid", short(answer.paid) + (told(answer.paid_parts).length ? ` (${parts(answer.paid_parts)})` : ""));
    fact("tokens", answer.num_tokens ? `${answer.num_tokens[0]} + ${answer.num_tokens[1]}` : "");
    const flags = { is_malformed: "names no action", is_inadmissible: "not admissible", is_cut_off: "cut off" };
    fact("answer", Object.keys(flags).filter((name) => answer[name]).map((name) => flags[name]).join(", "));
    fact("state", node.state);
    return [facts, this.group(node), this.prompt(node)].filter(Boolean);
  }

  group(node) {
    const others = node.parent.children.flatMap((child) => child.answers.map((answer) => ({ child, answer })));
    if (others.length < 2) return null;
    const rows = others.map(({ child, answer }) => element(
      "tr", {}, element("td", {}, MARKS[child.role]),
      element("td", {}, element("pre", {}, actionOf(answer, this.texts))),
      element("td", {}, short(answer.score_after)), element("td", {}, short(answer.reward)),
      element("td", { class: signOf(answer.advantage) }, answer.advantage === undefined ? "–" : signed(answer.advantage)),
    ));
    const names = ["", "action", "S′", "reward", "advantage"].map((x) => element("th", { scope: "col" }, x));
    return element(
      "details", {}, element("summary", {}, `All ${others.length} samples in this state`),
      element("div", { class: "scroll" }, element("table", {}, element("thead", {}, element("tr", {}, ...names)), element("tbody", {}, ...rows))),
    );
  }

  prompt(node) {
    if (!node.prompt?.length) return null;
    const details = element("details", {}, element("summary", {}, `Prompt, ${node.prompt.length} message${node.prompt.length > 1 ? "s" : ""}`));
    details.addEventListener("toggle", () => {
      if (details.children.length > 1) return;
      for (const [role, text] of node.prompt) {
        details.append(element("span", { class: "quiet" }, String(role)), ...longText(this.texts[text]));
      }
    });
    return details;
  }

  ending() {
    if (!this.episode) return element("p", { class: "ending" }, "The search did not go on from here.");
    const { num_steps: steps, return: paid } = this.episode;
    return element("p", { class: `ending badge-${toneOf(this.episode)}` },
      `${endingOf(this.episode)} after ${steps} step${steps === 1 ? "" : "s"}, return ${short(paid)}`);
  }
}

function endingOf(episode) {
  return episode.stop_reason.replaceAll("_", " ");
}

function toneOf(episode) {
  return !episode ? "" : episode.success ? "good" : episode.stop_reason === "failure" ? "bad" : "";
}
