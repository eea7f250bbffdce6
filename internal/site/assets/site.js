"use strict";
(() => {
  const base = document.currentScript.dataset.base;

  // Colours.
  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = () => document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
  const nameButton = () => { button.textContent = theme() === "dark" ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = theme() === "dark" ? "light" : "dark";
    nameButton();
    try { localStorage.setItem("theme", theme()); } catch { /* for this page only */ }
  });
  dark.addEventListener("change", nameButton);
  nameButton();

  // Beside the text there is room for its contents.
  const contents = document.querySelector(".contents");
  const wide = matchMedia("(min-width: 80rem)");
  if (contents) {
    contents.open = wide.matches;
    wide.addEventListener("change", () => { contents.open = wide.matches; });
  }
  const current = document.querySelector("#menu [aria-current]");
  const menu = document.getElementById("menu");
  if (current) menu.scrollTop = current.offsetTop - menu.clientHeight / 2;

  // What is copied of a transcript is its commands.
  for (const pre of document.querySelectorAll("pre")) {
    if (!navigator.clipboard) break;
    const copy = document.createElement("button");
    copy.type = "button";
    copy.className = "copy";
    copy.textContent = "Copy";
    copy.addEventListener("click", async () => {
      const commands = [...pre.querySelectorAll("b")].map((b) => b.textContent).join("\n");
      try {
        await navigator.clipboard.writeText(commands || pre.textContent);
        copy.textContent = "Copied";
      } catch {
        copy.textContent = "Not copied";
      }
      setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    });
    const code = document.createElement("div");
    code.className = "code";
    pre.replaceWith(code);
    code.append(pre, copy);
  }

  // Search. The index is a script that calls searchIndex, and is fetched when it is needed.
  const box = document.getElementById("search");
  const query = document.getElementById("query");
  const results = document.getElementById("results");
  const limit = 30;
  let index;
  box.hidden = false;
  window.searchIndex = (rows) => {
    index = rows.map(([page, title, url, text]) => ({ page, title, url, text, lower: [title || page, page, text].map((s) => s.toLowerCase()) }));
    search();
  };
  query.addEventListener("focus", () => {
    const script = document.createElement("script");
    script.src = base + "search-index.js";
    document.head.append(script);
  }, { once: true });
  query.addEventListener("input", search);
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target === query) {
      results.querySelector("a")?.click();
      return;
    }
    if (event.key === "Escape") {
      close();
      query.blur();
      return;
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const stops = [query, ...results.querySelectorAll("a")];
    stops.at((stops.indexOf(document.activeElement) + step) % stops.length).focus();
    event.preventDefault();
  });
  box.addEventListener("focusin", () => { results.hidden = query.value.trim() === ""; });
  results.addEventListener("click", (event) => { if (event.target.closest("a")) close(); });
  document.addEventListener("click", (event) => { if (!box.contains(event.target)) close(); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input") && !event.ctrlKey && !event.metaKey && !event.altKey) {
      query.focus();
      event.preventDefault();
    }
  });

  function close() { results.hidden = true; }

  // Every word has to be in a section. A word in its title counts most, one in the
  // title of the page more than one in the text.
  function search() {
    const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    results.hidden = words.length === 0;
    if (!index || words.length === 0) return;
    const found = [];
    for (const row of index) {
      let score = 0;
      for (const word of words) {
        const [title, page, text] = row.lower;
        const here = (title === word ? 40 : title.includes(word) ? 20 : 0) + (page.includes(word) ? 5 : 0) + (text.includes(word) ? 1 : 0);
        if (here === 0) { score = 0; break; }
        score += here;
      }
      if (score > 0) found.push({ row, score });
    }
    found.sort((a, b) => b.score - a.score);
    const list = document.createElement("ul");
    for (const { row } of found.slice(0, limit)) {
      const link = document.createElement("a");
      link.href = base + row.url;
      const title = document.createElement("strong");
      title.textContent = row.title ? `${row.page} › ${row.title}` : row.page;
      const excerpt = document.createElement("span");
      excerpt.append(...marked(row, words));
      link.append(title, excerpt);
      const item = document.createElement("li");
      item.append(link);
      list.append(item);
    }
    const note = document.createElement("p");
    note.setAttribute("role", "status");
    note.textContent = found.length === 0 ? "Nothing found"
      : found.length > limit ? `${limit} of ${found.length} sections` : found.length === 1 ? "1 section" : `${found.length} sections`;
    results.replaceChildren(note, list);
  }

  // The text around the first of the words, with all of them marked.
  function marked(row, words) {
    const at = Math.max(0, Math.min(...words.map((word) => row.lower[2].indexOf(word)).filter((i) => i >= 0), row.text.length) - 40);
    const start = at < row.text.length - 40 ? at : 0;
    let rest = (start > 0 ? "…" : "") + row.text.slice(start, start + 160);
    const parts = [];
    while (rest !== "") {
      let first = { at: rest.length, size: 0 };
      for (const word of words) {
        const found = rest.toLowerCase().indexOf(word);
        if (found >= 0 && found < first.at) first = { at: found, size: word.length };
      }
      parts.push(rest.slice(0, first.at));
      if (first.size > 0) {
        const mark = document.createElement("mark");
        mark.textContent = rest.slice(first.at, first.at + first.size);
        parts.push(mark);
      }
      rest = rest.slice(first.at + first.size);
    }
    return parts;
  }
})();
