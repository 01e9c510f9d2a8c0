"""The script of the pages for people; source, because Salt syncs nothing but Python files.

Whatever it shows comes from the page as text and goes back as text: nothing that a stranger wrote is read as markup.
"""

from __future__ import annotations

JS = """\
"use strict";
(() => {
  // Where this page lies only the browser knows.
  const here = location.href.replace(/[?#].*$/, "").replace(/[^/]*$/, "");
  const trust = location.protocol === "http:" ? ` --trusted-host ${location.hostname}` : "";
  const pip = (what) => `pip install${trust} --index-url ${here}simple/ ${what}`;
  const make = (name, properties, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };

  // -- copying ------------------------------------------------------------------------------------------------
  const copied = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {  // no such thing without https
      const area = make("textarea", { value: text, className: "offscreen" });
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  };
  const copier = (label, about, text) => {
    const button = make("button", { type: "button", textContent: label });
    button.setAttribute("aria-label", about);
    button.addEventListener("click", async () => {
      button.textContent = await copied(text()) ? "Copied" : "Not copied";
      button.focus();
      setTimeout(() => { button.textContent = label; }, 2000);
    });
    return button;
  };
  for (const line of document.querySelectorAll(".copy")) {
    const code = line.querySelector("code");
    code.textContent = code.textContent.startsWith("pip ") ? pip("PROJECT") : code.textContent.replace("HERE/", here);
    line.append(copier("Copy", `Copy: ${code.textContent}`, () => code.textContent));
  }
  for (const note of document.querySelectorAll(".plain")) note.hidden = true;

  // -- searching ----------------------------------------------------------------------------------------------
  const list = document.getElementById("projects");
  const box = document.getElementById("search");
  const found = document.getElementById("found");
  const title = (project) => project.querySelector("b").textContent;
  const projects = Array.from(list.children, (element) => [
    element, element.firstElementChild.textContent.toLowerCase()]);
  const search = () => {
    const words = box.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let count = 0;
    for (const [element, text] of projects) {
      const fits = words.every((word) => text.includes(word));
      if (fits) count += 1;
      if (element.hidden === fits) element.hidden = !fits;  // most stay what they are
    }
    const all = `${projects.length} ${projects.length === 1 ? "project" : "projects"}`;
    found.textContent = words.length ? `${count} of ${projects.length}` : all;
  };
  let waiting = 0;
  box.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, 80); });
  box.closest(".search").hidden = false;
  search();
  addEventListener("keydown", (event) => {
    const writing = /^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName);
    if (event.key === "/" && !writing && !event.ctrlKey && !event.altKey && !event.metaKey) {
      event.preventDefault();
      box.focus();
    }
  });

  // -- going to a project -------------------------------------------------------------------------------------
  const project = (name) => document.getElementById(`p-${name}`);
  const open = () => {
    const chosen = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!chosen || !chosen.matches(".project")) return;
    if (chosen.hidden) { box.value = ""; search(); }
    chosen.open = true;
    chosen.scrollIntoView({ block: "start" });
    chosen.firstElementChild.focus({ preventScroll: true });
  };
  addEventListener("hashchange", open);
  list.addEventListener("click", (event) => {  // also to the one where we are already, which changes no hash
    const link = event.target.closest("a");
    if (link && link.hash && link.hash === location.hash) open();
  });

  // -- who needs whom -----------------------------------------------------------------------------------------
  const DRAWN = 24, LISTED = 200, STEP = 30, WIDTH = 250, GAP = 75;
  const dialog = document.getElementById("picture");
  const drawing = document.getElementById("drawing");
  const related = document.getElementById("related");
  const back = document.getElementById("picture-back");
  const trail = [];
  const svg = (name, attributes, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const relations = (element, kind) => {
    const span = element.querySelector(`.${kind}`);
    if (!span) return { names: [], count: 0 };
    const names = Array.from(span.querySelectorAll("a"), (link) => link.textContent);
    return { names, count: Number(span.dataset.count) };
  };
  const node = (text, [x, y], width, kind) => {
    const room = Math.floor(width / 8.2);
    const shown = text.length > room ? `${text.slice(0, room - 1)}\\u2026` : text;
    return svg("g", { class: kind },
      svg("title", {}, text),
      svg("rect", { x, y: y - 12, width, height: 24, rx: 6 }),
      svg("text", { x: x + 10, y: y + 5 }, shown));
  };
  // Two ways to lay it out: three columns, or on a narrow screen one below the other, each a bit further in.
  const columns = (counts) => {
    const rows = Math.max(1, ...counts);
    const xs = [1, WIDTH + GAP, 2 * (WIDTH + GAP)], middle = 26 + rows * STEP / 2;
    const y = (side, index) => 26 + (index + (rows - counts[side]) / 2 + 0.5) * STEP;
    const curve = (x1, y1, x2, y2) => {
      const bend = (x1 + x2) / 2;
      return `M ${x1} ${y1} C ${bend} ${y1} ${bend} ${y2} ${x2} ${y2}`;
    };
    return {
      size: [xs[2] + WIDTH + 1, rows * STEP + 30], width: WIDTH, own: [xs[1], middle],
      head: (side) => [xs[side * 2] + 10, 15],
      place: (side, index) => [xs[side * 2], y(side, index)],
      line: (side, index) => side
        ? curve(xs[1] + WIDTH, middle, xs[2], y(side, index)) : curve(xs[0] + WIDTH, y(side, index), xs[1], middle),
    };
  };
  const stacked = (counts, room) => {
    const middle = 35 + counts[0] * STEP, xs = [21, 51, 91];
    const y = (side, index) => side ? middle + 30 + (index + 1) * STEP : 40 + index * STEP;
    return {
      size: [room, middle + 50 + counts[1] * STEP], width: room - xs[2] - 1, own: [xs[1], middle + 10],
      head: (side) => [xs[side * 2] + (side ? 0 : -20), side ? middle + 40 : 15],
      place: (side, index) => [xs[side * 2], y(side, index)],
      line: (side, index) => {
        const there = y(side, index);
        if (side) return `M 71 ${middle + 22} V ${there} H ${xs[2]}`;
        return `M ${xs[0]} ${there} H 6 V ${middle + 10} H ${xs[1]}`;
      },
    };
  };
  const picture = (name, sides) => {
    const texts = sides.map((side) => {
      const drawn = side.names.slice(0, DRAWN);
      return side.count > drawn.length ? [...drawn, `and ${side.count - drawn.length} more`] : drawn;
    });
    const counts = texts.map((side) => side.length), room = drawing.clientWidth;
    const layout = room < 2 * (WIDTH + GAP) ? stacked(counts, room) : columns(counts);
    const [width, height] = layout.size;
    // What it shows is listed below, where a keyboard and a screen reader get at it.
    const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
    drawn.append(node(name, layout.own, layout.width, "mine"));
    texts.forEach((side, number) => {
      const [x, y] = layout.head(number);
      drawn.append(svg("text", { x, y, class: "head" }, side.length ? sides[number].text : sides[number].none));
      side.forEach((text, index) => {
        const known = index < Math.min(DRAWN, sides[number].names.length);
        const box = node(text, layout.place(number, index), layout.width, known ? "other" : "rest");
        if (known) box.addEventListener("click", () => show(text));
        drawn.append(svg("path", { d: layout.line(number, index) }), box);
      });
    });
    return drawn;
  };
  const listed = (side) => {
    const items = side.names.slice(0, LISTED).map((name) => {
      const link = make("a", { textContent: name, href: `#p-${encodeURIComponent(name)}` });
      link.addEventListener("click", (event) => { event.preventDefault(); show(name); });
      return make("li", {}, link);
    });
    if (side.count > items.length) items.push(make("li", { textContent: `and ${side.count - items.length} more` }));
    return make("section", {},
      make("h3", { textContent: side.count ? `${side.text} (${side.count})` : side.none }), make("ul", {}, ...items));
  };
  const draw = (name) => {
    const sides = [
      { text: "Needed by", none: "Needed by no project", ...relations(project(name), "wanted_by") },
      { text: "Needs", none: "Needs no project", ...relations(project(name), "needs") },
    ];
    const heading = document.getElementById("picture-title");
    const way = make("a", { textContent: name, href: `#p-${encodeURIComponent(name)}` });
    way.addEventListener("click", () => { dialog.close(); setTimeout(open); });
    heading.replaceChildren(way);
    if (!dialog.open) dialog.showModal();  // whose width decides about the picture
    drawing.replaceChildren(picture(name, sides));
    related.replaceChildren(...sides.map(listed));
    back.hidden = trail.length < 2;
    drawing.scrollLeft = (drawing.scrollWidth - drawing.clientWidth) / 2;
    // With the headings, unless the project itself is out of sight then.
    const below = drawing.querySelector(".mine rect").y.baseVal.value > drawing.clientHeight - 40;
    drawing.scrollTop = below ? (drawing.scrollHeight - drawing.clientHeight) / 2 : 0;
    way.focus();
  };
  const show = (name) => {
    if (!project(name)) return;
    trail.push(name);
    draw(name);
  };
  back.addEventListener("click", () => { trail.pop(); draw(trail[trail.length - 1]); });
  document.getElementById("picture-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => { trail.length = 0; drawing.replaceChildren(); related.replaceChildren(); });

  // Buttons come with the first look at a project: thousands of them would only make the page heavy.
  list.addEventListener("toggle", (event) => {
    const element = event.target;
    if (!element.open || !element.matches(".project") || element.querySelector("button")) return;
    const name = title(element);
    const line = pip(name);
    const seen = make("button", { type: "button", textContent: "Show dependencies" });
    seen.setAttribute("aria-haspopup", "dialog");
    seen.setAttribute("aria-label", `Show dependencies of ${name}`);
    seen.addEventListener("click", () => show(name));
    element.querySelector("p").after(make("p", {}, copier("Copy pip install", `Copy: ${line}`, () => line), seen));
  }, true);
  // Not before: a browser that has come to the fragment takes the focus away again.
  addEventListener("load", () => setTimeout(open));
})();
"""
