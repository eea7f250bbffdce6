"use strict";
// A word is in a row also when it is in a name that the row folds: layers.12 in
// layers.{0..31}. A number at an end of the word may be part of one.
function found(text, word) {
  if (text.includes(word)) return true;
  if (!/\d/.test(word) || !text.includes("{")) return false;
  const parts = word.split(/(\d+)/);
  const pattern = parts.map((p, i) => i % 2 ? "(\\d+|\\{[\\d.,]+\\})" : p.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")).join("");
  const is = (at, i) => {
    const digits = parts[2 * i + 1], n = Number(digits), first = 2 * i + 1 === 1 && parts[0] === "", last = 2 * i + 3 === parts.length && parts[2 * i + 2] === "";
    return at.replace(/[{}]/g, "").split(",").some(range => {
      const [low, high = low] = range.split("..").map(Number);
      if (low <= n && n <= high) return true;
      if (last) for (let k = 10; n * k <= high && n > 0; k *= 10) if ((n + 1) * k > low) return true;
      const m = 10 ** digits.length;
      return first && low + ((n - low) % m + m) % m <= high;
    });
  };
  for (const m of text.matchAll(new RegExp(pattern, "g"))) if (m.slice(1).every(is)) return true;
  return false;
}
for (const table of document.querySelectorAll("table[data-sort]")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells], rows = [...body.rows];
  const value = (row, i) => row.cells[i].dataset.n === undefined ? row.cells[i].textContent : Number(row.cells[i].dataset.n);
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach(h => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const order = (a, b) => {
        const x = value(a, i), y = value(b, i);
        if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
        const by = typeof x === "number" ? x - y : x.localeCompare(y, "en", {numeric: true});
        return down ? -by : by;
      };
      body.append(...rows.toSorted(order));
    });
  });
  if (rows.length < 8) continue;
  const label = document.createElement("label"), input = document.createElement("input"), count = document.createElement("span");
  input.type = "search";
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    let n = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every(word => found(text, word));
      if (!row.hidden) n++;
    }
    count.textContent = n + " of " + rows.length + " rows";
  });
  label.append("Filter", input);
  count.setAttribute("role", "status");
  const bar = document.createElement("p");
  bar.className = "filter";
  bar.append(label, count);
  table.parentElement.before(bar);
}
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const d of opened) d.open = true;
});
addEventListener("afterprint", () => {
  for (const d of opened) d.open = false;
});
