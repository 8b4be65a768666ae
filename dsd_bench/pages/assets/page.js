"use strict";
(() => {
  const all = (words, from = document) => [...from.querySelectorAll(words)];
  const figures = JSON.parse(document.getElementById("data").textContent);
  const tip = document.getElementById("tip");
  const hidden = new Set();

  const show = (lines, x, y) => {
    tip.replaceChildren(...lines.map(([name, text]) => {
      const line = document.createElement("div");
      if (name) {
        const strong = document.createElement("b");
        strong.textContent = name;
        line.append(strong);
      }
      line.append(text);
      return line;
    }));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = x + 14 + box.width > innerWidth ? x - 14 - box.width : x + 14;
    tip.style.left = Math.max(4, left) + "px";
    tip.style.top = Math.max(4, Math.min(y + 14, innerHeight - box.height - 4)) + "px";
  };
  const hide = () => { tip.hidden = true; };

  /* choosing curves; of many the first ones are shown */
  const MOST = 8;
  const choose = (input, on) => {
    const place = input.dataset.s;
    input.checked = on;
    if (on) hidden.delete(place); else hidden.add(place);
    for (const part of all(`#curves .plot .s[data-s="${place}"]`)) part.classList.toggle("off", !on);
  };
  for (const legend of all("#curves .legend")) {
    const inputs = all("input", legend);
    inputs.forEach((input, at) => {
      input.hidden = false;
      choose(input, at < MOST);
      input.addEventListener("change", () => choose(input, input.checked));
    });
    for (const [word, on] of inputs.length > 2 ? [["all", true], ["none", false]] : []) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = word;
      button.addEventListener("click", () => { for (const input of inputs) choose(input, on); });
      const item = document.createElement("li");
      item.append(button);
      legend.append(item);
    }
  }
  /* values of curves */
  const seen = (svg) => figures[svg.id].series
    .map((one, at) => ({ ...one, at }))
    .filter((one) => !hidden.has(String(one.place)) || !svg.closest("#curves"));
  const nearest = (xs, x) => xs.reduce((best, one, at) =>
    Math.abs(one - x) < Math.abs(xs[best] - x) ? at : best, 0);
  const point = (svg, x, where) => {
    const series = seen(svg);
    if (!series.length) return;
    const panels = figures[svg.id].panels;
    const near = series.map((one) => ({ one, at: nearest(one.x, x) }));
    near.sort((a, b) => Math.abs(a.one.x[a.at] - x) - Math.abs(b.one.x[b.at] - x));
    const at = near[0].one.x[near[0].at];
    const lines = series
      .map((one) => ({ one, told: one.told[nearest(one.x, at)], off: Math.abs(one.x[nearest(one.x, at)] - at) }))
      .filter((one) => one.off < 12)
      .slice(0, 8)
      .map(({ one, told }) => ({
        name: one.label,
        head: told[panels.length],
        text: panels.map((name, i) => told[i] && `${name} ${told[i]}`).filter(Boolean).join("; "),
      }));
    const same = lines.every((one) => one.head === lines[0].head);
    const words = lines.map((one) => [one.name, same ? one.text : `${one.head}; ${one.text}`]);
    const cursor = svg.querySelector(".cursor");
    cursor.removeAttribute("hidden");
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
    show(same ? [["", lines[0].head], ...words] : words, where.x, where.y);
  };
  for (const svg of all("svg.plot")) {
    const box = svg.viewBox.baseVal;
    const leave = () => { svg.querySelector(".cursor").setAttribute("hidden", ""); hide(); };
    const move = (event) => {
      const area = svg.getBoundingClientRect();
      point(svg, (event.clientX - area.left) * box.width / area.width, { x: event.clientX, y: event.clientY });
    };
    svg.addEventListener("pointermove", move);
    svg.addEventListener("pointerdown", move);
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("blur", leave);
    let at = 0;
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") leave();
      const first = seen(svg)[0];
      if (!step || !first) return;
      event.preventDefault();
      at = Math.max(0, Math.min(first.x.length - 1, at + step));
      const area = svg.getBoundingClientRect();
      point(svg, first.x[at], { x: area.left + first.x[at] * area.width / box.width, y: area.top + 40 });
    });
  }

  /* values of heat maps */
  for (const svg of all("svg.heat")) {
    const { box, names, rounds, values } = figures[svg.id];
    const move = (event) => {
      const area = svg.getBoundingClientRect();
      const scale = svg.viewBox.baseVal.width / area.width;
      const col = Math.floor(((event.clientX - area.left) * scale - box[0]) / box[2]);
      const row = Math.floor(((event.clientY - area.top) * scale - box[1]) / box[3]);
      const value = (values[row] || [])[col];
      if (value === undefined) hide();
      else show([[names[row], `round ${rounds[col]}: ${value === null ? "not measured" : value.toFixed(3)}`]], event.clientX, event.clientY);
    };
    svg.addEventListener("pointermove", move);
    svg.addEventListener("pointerdown", move);
    svg.addEventListener("pointerleave", hide);
  }

  /* a rule's parameter */
  for (const slider of all(".slider")) {
    slider.hidden = false;
    slider.parentElement.querySelector("table").classList.add("slid");
    const input = slider.querySelector("input");
    const told = slider.querySelector("output");
    const values = input.dataset.values.split(" ");
    const rows = all("tbody tr", slider.parentElement);
    const choose = () => {
      told.textContent = values[input.value];
      for (const row of rows) {
        row.classList.toggle("chosen", row.dataset.v === input.value);
        row.hidden = row.dataset.v !== input.value;
      }
    };
    input.addEventListener("input", choose);
    choose();
  }

  let closed = [];
  addEventListener("beforeprint", () => { closed = all("details:not([open])"); for (const one of closed) one.open = true; });
  addEventListener("afterprint", () => { for (const one of closed) one.open = false; });
})();
