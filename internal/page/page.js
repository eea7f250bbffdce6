"use strict";
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
  if (rows.length < 16) continue;
  const label = document.createElement("label"), input = document.createElement("input"), count = document.createElement("span");
  input.type = "search";
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    let n = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every(word => text.includes(word));
      if (!row.hidden) n++;
    }
    count.textContent = n + " of " + rows.length + " rows";
  });
  label.append("Filter ", input);
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
