"use strict";
// Without this script the page shows all; with it tables sort and classes can be searched.
for (const box of document.querySelectorAll("input[data-filter]")) {
  const part = document.getElementById(box.dataset.filter);
  const items = [...part.querySelectorAll("[data-item]")];
  const names = items.map((item) => item.querySelector("bdi, i").textContent.toLowerCase());
  box.hidden = false;
  box.addEventListener("input", () => {
    const wanted = box.value.trim().toLowerCase();
    items.forEach((item, i) => { item.hidden = !names[i].includes(wanted); });
    if (wanted) part.querySelectorAll("details").forEach((more) => { more.open = true; });
  });
}
for (const table of document.querySelectorAll("table[data-sort]")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (!head.textContent.trim() || head.hasAttribute("data-still")) return;
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    const numeric = head.classList.contains("num");
    button.addEventListener("click", () => {
      const first = numeric ? "descending" : "ascending";
      const other = numeric ? "ascending" : "descending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const value = (row) => {
        const text = row.cells[column].textContent.trim();
        if (!numeric) return text;
        const number = parseFloat(text.replaceAll(",", ""));
        return Number.isNaN(number) ? -Infinity : number;
      };
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...table.tBodies[0].rows].map((row) => [value(row), row]);
      rows.sort(([a], [b]) => sign * (numeric ? (a === b ? 0 : a - b) : a.localeCompare(b, undefined, { numeric: true })));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  });
}
