"use strict";
// The gallery: rows are filtered and sorted as data, and only the cards in sight are in the page, so ten thousand
// rows cost what fifty do. Text enters by textContent alone: a file's name is never markup.
(() => {
  const { rows, title, folder, format, versions } = JSON.parse(document.getElementById("data").textContent);
  const LOW = 0.75, CARD = 330, GAP = 16, LABEL = 63;
  const $ = (id) => document.getElementById(id);

  const STATUS = {
    all: ["All", () => true],
    ok: ["Faces", (row) => row.status === "ok"],
    low: ["Low confidence", (row) => row.status === "ok" && row.score < LOW],
    no_face: ["No face", (row) => row.status === "no_face"],
    failed: ["Failed", (row) => row.status === "failed"],
  };
  const turned = (row) => Math.abs(row.yaw);
  const YAW = {
    all: ["Any angle", () => true],
    front: ["Frontal", (row) => turned(row) < 20],
    half: ["Half profile", (row) => turned(row) >= 20 && turned(row) < 50],
    side: ["Profile", (row) => turned(row) >= 50],
  };
  const SORT = {
    name: ["Name", null],
    score: ["Confidence", (row) => row.score],
    yaw: ["Angle", turned],
    size: ["Face size", (row) => row.size],
    seconds: ["Time", (row) => row.seconds],
  };
  const state = { status: "all", yaw: "all", sort: "name", down: false, search: "" };
  let found = rows;

  function choose() {
    const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (row) => words.every((word) => row.name.toLowerCase().includes(word));
    found = rows.filter((row) => STATUS[state.status][1](row) && YAW[state.yaw][1](row) && fits(row));
    const key = SORT[state.sort][1];
    if (key || state.down) { // what has no value comes last, whichever way
      const known = found.filter((row) => !key || Number.isFinite(key(row)));
      const rest = found.filter((row) => key && !Number.isFinite(key(row)));
      if (key) known.sort((a, b) => key(a) - key(b));
      if (state.down) known.reverse();
      found = [...known, ...rest];
    }
    $("nothing").hidden = found.length > 0;
    $("summary").textContent = summary();
    scrollTo(0, 0);
    layOut(true);
  }

  function summary() {
    const photos = new Set(rows.map((row) => row.name)).size;
    const faces = rows.filter(STATUS.ok[1]).length;
    const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
    const all = `${count(photos, "photo", "photos")}, ${count(faces, "face", "faces")}`;
    return found.length === rows.length ? all : `${all} · ${found.length.toLocaleString("en")} shown`;
  }

  // Cards: absolutely placed in a box as high as all of them; those near the window exist.
  const cards = new Map();
  function layOut(anew) {
    const main = $("gallery"), width = main.clientWidth;
    const columns = Math.max(1, Math.floor((width + GAP) / (CARD + GAP)));
    const wide = (width - GAP * (columns - 1)) / columns, high = wide / 2 + LABEL;
    main.style.height = `${Math.ceil(found.length / columns) * (high + GAP)}px`;
    const top = -main.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor((top - 600) / (high + GAP)) * columns);
    const last = Math.min(found.length, Math.ceil((top + innerHeight + 600) / (high + GAP)) * columns);
    for (const [index, card] of cards)
      if (anew || index < first || index >= last) { card.remove(); cards.delete(index); }
    for (let index = first; index < last; index++) {
      let card = cards.get(index);
      if (!card) { card = makeCard(found[index], index); cards.set(index, card); main.append(card); }
      const column = index % columns, line = Math.floor(index / columns);
      Object.assign(card.style, { width: `${wide}px`, height: `${high}px`,
        left: `${column * (wide + GAP)}px`, top: `${line * (high + GAP)}px` });
    }
  }

  function element(tag, kind, text) {
    const made = document.createElement(tag);
    if (kind) made.className = kind;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  const percent = (score) => `${Math.round(score * 100)} %`;
  const degrees = (angle) => `${String(Math.round(angle)).replace("-", "−")}°`;
  const nameOf = (row) => (row.of > 1 ? `${row.name} · ${row.face + 1} of ${row.of}` : row.name);

  function about(row) {
    if (row.status === "failed") return "Failed";
    if (row.status === "no_face") return "No face found";
    return [row.score !== undefined && `${percent(row.score)} sure`, row.yaw !== undefined && `yaw ${degrees(row.yaw)}`,
      row.size && `${Math.round(row.size)} px`].filter(Boolean).join(" · ");
  }

  function makeCard(row, index) {
    const isFace = row.status === "ok";
    const card = element(isFace ? "button" : "div", `card ${row.status}`);
    if (isFace && row.score < LOW) card.classList.add("low");
    const picture = element("div", "picture");
    const empty = element("span", "empty", row.error || (isFace ? "No picture" : "No face found"));
    picture.append(empty);
    if (row.id) {
      const image = element("img");
      Object.assign(image, { loading: "lazy", decoding: "async", alt: "", src: `${folder}/faces/${row.id}.jpg` });
      image.onload = () => empty.remove();
      image.onerror = () => image.remove();
      picture.prepend(image);
    }
    const label = element("div", "label"), name = element("span", "name", nameOf(row));
    name.title = row.name;
    const line = element("span", "about");
    line.append(element("span", "dot"), about(row));
    label.append(name, line);
    card.append(picture, label);
    if (isFace) card.onclick = () => open(index);
    return card;
  }

  // The viewer's dialog; drawing is viewer.js's, which comes with three.js when the first face is opened.
  let current = -1, scripts = null, asked = 0;
  const load = (src) => new Promise((done, failed) => {
    const script = element("script");
    Object.assign(script, { src, onload: () => { script.remove(); done(); }, onerror: () => { script.remove(); failed(new Error(src)); } });
    document.head.append(script);
  });

  const delivered = new Map();
  window.facecli = { deliver: (id, text) => delivered.set(id, text) };

  async function open(index) {
    current = index;
    const row = found[index], turn = ++asked;
    if (!$("viewer").open) { $("viewer").showModal(); $("stage").focus(); }
    history.replaceState(null, "", `#${row.id}`);
    tell(row);
    $("previous").disabled = step(-1) < 0;
    $("next").disabled = step(1) < 0;
    try {
      scripts ??= load(`${folder}/three.min.js`).then(() => load(`${folder}/viewer.js`));
      await Promise.all([scripts, load(`${folder}/faces/${row.id}.${format}.js`)]);
      const text = delivered.get(row.id);
      delivered.delete(row.id);
      if (turn === asked) await facecli.viewer.show(text);
      if (turn === asked) message(null);
    } catch (error) {
      if (turn === asked) message(row, error);
    }
  }

  function message(row, error) {
    const box = $("message");
    box.replaceChildren();
    box.hidden = !row;
    $("bar").hidden = Boolean(row);
    if (!row) return;
    facecli.viewer?.clear();
    if (row.files?.includes("preview.png")) {
      const image = element("img");
      Object.assign(image, { src: `${row.link}preview.png`, alt: "Preview" });
      box.append(image);
    }
    const reason = /WebGL/i.test(String(error)) ? "This browser cannot draw in 3D (WebGL is off)."
      : "This face is not in the report in 3D; run facecli report again to add it.";
    box.append(element("span", "", reason));
  }

  function tell(row) {
    $("name").textContent = row.name;
    $("place").textContent = row.of > 1 ? `face ${row.face + 1} of ${row.of}` : "the only face";
    const facts = [
      ["Confidence", row.score !== undefined && percent(row.score)],
      ["Yaw", row.yaw !== undefined && degrees(row.yaw)],
      ["Pitch", row.pitch !== undefined && degrees(row.pitch)],
      ["Roll", row.roll !== undefined && degrees(row.roll)],
      ["Face", row.size && `${Math.round(row.size)} px`],
      ["Photo", row.width && `${row.width} × ${row.height}`],
      ["Camera", row.camera],
      ["Time", row.seconds !== undefined && `${row.seconds.toFixed(2)} s, the whole photo`],
    ].filter(([, value]) => value);
    $("facts").replaceChildren(...facts.flatMap(([key, value]) => [element("dt", "", key), element("dd", "", value)]));
    $("files").replaceChildren(...(row.files || []).map((name) => {
      const item = element("li"), link = element("a", "", name);
      link.href = row.link + encodeURIComponent(name);
      item.append(link);
      return item;
    }));
  }

  function step(way) {
    for (let index = current + way; index >= 0 && index < found.length; index += way)
      if (found[index].status === "ok") return index;
    return -1;
  }
  const go = (way) => { const index = step(way); if (index >= 0) open(index); };
  $("previous").onclick = () => go(-1);
  $("next").onclick = () => go(1);
  $("close").onclick = () => $("viewer").close();
  $("viewer").addEventListener("close", () => {
    asked++;
    history.replaceState(null, "", location.pathname + location.search);
    facecli.viewer?.clear();
  });
  document.addEventListener("keydown", (event) => {
    const busy = event.target.matches("input") || (event.key === " " && event.target.matches("button, a"));
    if (!$("viewer").open || busy || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { ArrowLeft: () => go(-1), ArrowRight: () => go(1) }[event.key];
    if (act) act();
    else if (!facecli.viewer?.key(event.key)) return;
    event.preventDefault();
  });

  function chips(box, table, part) {
    for (const [value, [text, fits]] of Object.entries(table)) {
      const number = value === "all" && part === "yaw" ? null : rows.filter(fits).length;
      if (number === 0 && value !== "all") continue;
      const chip = element("button", "", text);
      chip.dataset.value = value;
      if (number !== null) chip.append(element("b", "", number.toLocaleString("en")));
      chip.onclick = () => { state[part] = value; press(); choose(); };
      box.append(chip);
    }
    if (box.childElementCount < 3 && part === "yaw") box.hidden = true;
  }
  function press() {
    for (const part of ["status", "yaw"])
      for (const chip of $(part).children) chip.setAttribute("aria-pressed", chip.dataset.value === state[part]);
  }

  document.querySelector("h1").textContent = title;
  document.title = `${title} · facecli report`;
  $("footer").textContent = Object.entries(versions).map(([name, number]) => `${name} ${number}`).join(" · ");
  chips($("status"), STATUS, "status");
  chips($("yaw"), YAW, "yaw");
  for (const [value, [text]] of Object.entries(SORT)) $("sort").append(new Option(text, value));
  $("sort").onchange = () => { state.sort = $("sort").value; choose(); };
  $("order").onclick = () => { state.down = !state.down; $("order").textContent = state.down ? "↑" : "↓"; choose(); };
  $("search").oninput = () => { state.search = $("search").value; choose(); };
  $("clear").onclick = () => { Object.assign(state, { status: "all", yaw: "all", search: "" }); $("search").value = ""; press(); choose(); };
  let waiting = false;
  const later = () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; layOut(false); }); } };
  addEventListener("scroll", later, { passive: true });
  addEventListener("resize", later);
  press();
  choose();
  const linked = found.findIndex((row) => row.id && `#${row.id}` === location.hash && row.status === "ok");
  if (linked >= 0) open(linked);
})();
