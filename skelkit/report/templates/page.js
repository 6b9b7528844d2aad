"use strict";
// Without this script the page shows all; with it tables sort, classes can be searched, and large confusion
// matrices tell what is under the pointer.
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
for (const figure of document.querySelectorAll("[data-cells]")) {
  const { names, totals, counts } = JSON.parse(figure.dataset.cells);
  const known = new Map(counts.map(([row, column, count]) => [row * names.length + column, count]));
  const cells = figure.querySelector(".cells");
  const caption = figure.querySelector("figcaption");
  cells.addEventListener("pointermove", (event) => {
    const box = cells.getBoundingClientRect();
    const place = (at, size) => Math.min(names.length - 1, Math.max(0, Math.floor(at / size * names.length)));
    const row = place(event.clientY - box.top, box.height);
    const column = place(event.clientX - box.left, box.width);
    const times = `${known.get(row * names.length + column) ?? 0} of ${totals[row]} clips`;
    caption.textContent = row === column ? `“${names[row]}”: ${times} recognised`
      : `“${names[row]}” taken for “${names[column]}”: ${times}`;
    cells.style.setProperty("--x", `${(column + .5) / names.length * 100}%`);
    cells.style.setProperty("--y", `${(row + .5) / names.length * 100}%`);
    cells.classList.add("at");
  });
  cells.addEventListener("pointerleave", () => cells.classList.remove("at"));
}
