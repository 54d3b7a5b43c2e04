// Makes elements from text, never from markup.

const svgTags = new Set(['svg', 'path', 'line', 'rect', 'g']);

export const byId = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  const e = svgTags.has(tag) ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) e.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) e.setAttribute(name, value === true ? '' : value);
  }
  e.append(...children.filter((c) => c != null && c !== false));
  return e;
}

// setText changes a text only if it differs, so that nothing is announced twice.
export function setText(e, text) {
  if (e.textContent !== String(text)) e.textContent = text;
}

// Keeper keeps one element for each item, so that a list can change without losing the focus.
export class Keeper {
  constructor(parent, idOf, make) {
    Object.assign(this, { parent, idOf, make, kept: new Map() });
  }

  show(items) {
    // An element in use does not move.
    const held = this.parent.matches('tbody:hover, tbody:focus-within, .policies:hover, .policies:focus-within');
    const before = this.kept;
    this.kept = new Map();
    let place = this.parent.firstElementChild;
    for (const item of items) {
      const id = this.idOf(item);
      const row = before.get(id) ?? this.make(item);
      row.update(item);
      before.delete(id);
      this.kept.set(id, row);
      if (held && row.element.isConnected) continue;
      if (row.element === place) place = place.nextElementSibling;
      else this.parent.insertBefore(row.element, held ? null : place);
    }
    for (const [id, row] of before) {
      if (held && this.parent.matches('tbody')) this.kept.set(id, row);
      else row.element.remove();
    }
  }
}

// Table is a table with a text for the empty state.
export class Table {
  constructor(parent, { label, columns, empty, idOf, cells }) {
    this.body = el('tbody');
    this.empty = el('p', { class: 'empty' }, empty);
    const head = columns.map((c) => el('th', { scope: 'col', class: c.startsWith('#') ? 'number' : null }, c.replace('#', '')));
    this.box = el('div', { class: 'scroll', role: 'region', tabindex: '0', 'aria-label': label, hidden: true },
      el('table', {}, el('thead', {}, el('tr', {}, ...head)), this.body));
    parent.replaceChildren(this.box, this.empty);
    this.rows = new Keeper(this.body, idOf, (item) => {
      const made = columns.map((c) => el('td', { class: c.startsWith('#') ? 'number' : null }));
      const update = cells(made, item);
      return { element: el('tr', {}, ...made), update };
    });
  }

  show(items) {
    this.box.hidden = items.length === 0;
    this.empty.hidden = items.length > 0;
    this.rows.show(items);
  }
}
