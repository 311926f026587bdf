"use strict";
// Sortable, searchable, paged tables from the JSON beside them. Cells are set as text, never as markup.
(function () {
  const PAGE = 20;
  const WIDE = new Intl.NumberFormat("en");

  function shown(value, kind) {
    if (value === null || value === "") return "–";
    if (kind === "flag") return value ? "yes" : "no";
    if (kind === "int") return WIDE.format(Math.round(value));
    if (kind === "fixed") return value.toFixed(3);
    if (kind === "exp") {
      if (value === 0) return "0";
      const text = Math.abs(value) < 0.001 ? value.toExponential(1) : value.toPrecision(2);
      return text.replaceAll("-", "−");
    }
    return String(value);
  }

  function compare(a, b, kind) {
    if (kind === "text") return a.localeCompare(b, "en", { numeric: true, sensitivity: "base" });
    return Number(a) - Number(b);
  }

  function element(name, properties, parent) {
    const made = Object.assign(document.createElement(name), properties);
    if (parent) parent.append(made);
    return made;
  }

  function build(host) {
    const data = JSON.parse(document.getElementById(host.dataset.source).textContent);
    const state = { column: -1, descending: false, page: 0, query: "", called: false };
    const texts = data.rows.map((row) =>
      row.filter((_, i) => data.columns[i].kind === "text" || /filter/.test(data.columns[i].label)).join(" ").toLowerCase());

    const bar = element("div", { className: "bar" }, host);
    const label = element("label", { textContent: "Search " }, bar);
    const search = element("input", { type: "search", placeholder: "TF name …", autocomplete: "off" }, label);
    const only = element("label", {}, bar);
    const box = element("input", { type: "checkbox" }, only);
    only.append(" called only");
    const status = element("span", { className: "status" }, bar);
    status.setAttribute("role", "status");

    const frame = element("div", { className: "frame", tabIndex: 0 }, host);
    frame.setAttribute("role", "region");
    frame.setAttribute("aria-label", host.dataset.caption);
    const table = element("table", {}, frame);
    element("caption", { textContent: host.dataset.caption, className: "unseen" }, table);
    const head = element("tr", {}, element("thead", {}, table));
    const body = element("tbody", {}, table);
    const heads = data.columns.map((column, i) => {
      const cell = element("th", { scope: "col", className: column.kind }, head);
      const button = element("button", { type: "button", textContent: column.label, title: column.help }, cell);
      button.addEventListener("click", () => {
        // Text first rises; of a number the first click shows the small ones for q, the large ones else.
        const first = !(column.kind === "text" || column.label === "q" || /^filter/.test(column.label));
        state.descending = state.column === i ? !state.descending : first;
        state.column = i;
        state.page = 0;
        draw();
      });
      return cell;
    });

    const pager = element("div", { className: "pager" }, host);
    const back = element("button", { type: "button", textContent: "‹ previous" }, pager);
    const place = element("span", {}, pager);
    const next = element("button", { type: "button", textContent: "next ›" }, pager);
    back.addEventListener("click", () => { state.page -= 1; draw(); });
    next.addEventListener("click", () => { state.page += 1; draw(); });
    search.addEventListener("input", () => { state.query = search.value.trim().toLowerCase(); state.page = 0; draw(); });
    box.addEventListener("change", () => { state.called = box.checked; state.page = 0; draw(); });

    function selected() {
      const words = state.query.split(/\s+/).filter(Boolean);
      const rows = [];
      for (let i = 0; i < data.rows.length; i += 1) {
        if (state.called && !data.called[i]) continue;
        if (words.every((word) => texts[i].includes(word))) rows.push(i);
      }
      if (state.column < 0) return rows;
      const kind = data.columns[state.column].kind;
      const sign = state.descending ? -1 : 1;
      return rows.sort((x, y) => {
        const a = data.rows[x][state.column], b = data.rows[y][state.column];
        const noA = a === null || a === "", noB = b === null || b === "";
        if (noA || noB) return noA - noB || x - y; // what is missing stays last
        return sign * compare(a, b, kind) || x - y;
      });
    }

    function draw() {
      const rows = selected();
      const pages = Math.max(1, Math.ceil(rows.length / PAGE));
      state.page = Math.min(Math.max(state.page, 0), pages - 1);
      heads.forEach((cell, i) => {
        if (i === state.column) cell.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
        else cell.removeAttribute("aria-sort");
      });
      body.replaceChildren(...rows.slice(state.page * PAGE, (state.page + 1) * PAGE).map((i) => {
        const line = element("tr", { className: data.called[i] ? "called" : "" });
        data.rows[i].forEach((value, c) => {
          const kind = data.columns[c].kind;
          const missing = value === null || value === "";
          element("td", { className: kind + (missing ? " missing" : ""), textContent: shown(value, kind) }, line);
        });
        return line;
      }));
      const of = data.total > data.rows.length ? ` (the strongest of ${WIDE.format(data.total)})` : "";
      status.textContent = `${WIDE.format(rows.length)} of ${WIDE.format(data.rows.length)} rows${of}`;
      place.textContent = `page ${state.page + 1} of ${pages}`;
      back.disabled = state.page === 0;
      next.disabled = state.page === pages - 1;
      pager.hidden = pages === 1;
    }
    draw();
  }

  document.querySelectorAll(".datatable").forEach(build);
})();
