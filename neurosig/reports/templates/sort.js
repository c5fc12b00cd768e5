
"use strict";
/* A table is complete without this; with it, a click on a column's button sorts the rows, a second click turns them round. */
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const value = (row) => {
        const cell = row.cells[column]; /* a failed pipeline's row is shorter, and goes last */
        return cell ? cell.dataset.value ?? cell.textContent.trim() : "";
      };
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const x = value(a), y = value(b);
        if (x === "" || y === "") return (x === "") - (y === "");
        const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
        return descending ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}
/* What is folded away on a screen is shown on paper. */
const folded = () => [...document.querySelectorAll("details:not([open]):not([data-screen-only])")];
let opened = [];
addEventListener("beforeprint", () => { opened = folded(); opened.forEach((item) => { item.open = true; }); });
addEventListener("afterprint", () => { opened.forEach((item) => { item.open = false; }); });
