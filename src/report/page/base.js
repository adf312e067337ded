'use strict';
/* What everything else uses: the data, elements, numbers, colours. All scripts of the page share one
 * scope. Text from the data only ever becomes text nodes and attributes, never markup. */

const report = JSON.parse(document.getElementById('data').textContent);
const models = report.models;
models.forEach((model, index) => { model.index = index; });

/* ---- elements ---- */

/* element('td', {class: 'number'}, 'text', child...): null children are left out. */
function element(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  for (const child of children.flat(Infinity))
    if (child !== null && child !== undefined) node.append(child);
  return node;
}

let lastId = 0;
function newId(what) {
  return `${what}-${++lastId}`;
}

/* ---- numbers, as people read them ---- */

const whole = new Intl.NumberFormat('en');

function exponential(value, digits) {
  return value.toExponential(digits).replaceAll('-', '−').replace('e+', 'e');
}

/* Four significant digits; whole numbers in full. */
function number(value) {
  if (typeof value !== 'number') return '–';
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return whole.format(value);
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e7) return exponential(value, 3);
  const digits = Math.max(0, 3 - Math.floor(Math.log10(size)));
  return value.toLocaleString('en', {minimumFractionDigits: digits, maximumFractionDigits: digits})
    .replace('-', '−');
}

function percent(value) {
  if (typeof value !== 'number') return '–';
  if (value > 0 && value < 1e-4) return `${exponential(100 * value, 1)}\u00a0%`;
  return `${(100 * value).toLocaleString('en', {maximumSignificantDigits: 3})}\u00a0%`;
}

/* "1 shard", "2 shards". */
function several(count, what) {
  return `${number(count)} ${what}${count === 1 ? '' : 's'}`;
}

/* A name where there is little room: its beginning and its end. */
function shortened(name, most) {
  const signs = [...name], half = (most - 1) / 2;
  return signs.length <= most ? name :
    `${signs.slice(0, Math.ceil(half)).join('')}…${signs.slice(-Math.floor(half)).join('')}`;
}

/* The value at a path of names, undefined where the path ends early. */
function at(object, path) {
  return path.split('.').reduce((inner, name) => (inner === null || inner === undefined
    ? undefined : inner[name]), object);
}

/* ---- what a model is: of its checkpoint, of one without it as configured ---- */

function configured(model, key) {
  const pair = (model.config || []).find(([name]) => name === key);
  return pair ? pair[1] : undefined;
}

function selectionOf(model) {
  return at(model, 'checkpoint.selection') ?? configured(model, 'model.selection');
}

function latentsOf(model) {
  const latents = at(model, 'checkpoint.n_latent') ?? Number(configured(model, 'model.n_latent'));
  return Number.isNaN(latents) ? undefined : latents;
}

function normOf(model) {
  return configured(model, 'input.norm');
}

/* ---- colours: of a theme, and of a model in it ---- */

const palettes = {
  light: ['#0072b2', '#c2410c', '#00785a', '#8e3d8a', '#735700', '#52606d', '#b0003a', '#3a4fb0'],
  dark: ['#5cb8f0', '#ff9a57', '#3ccfa0', '#e29bd6', '#e0c15a', '#b4becb', '#ff8aa0', '#a3b6ff'],
};
const dashes = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
const pointShapes = ['circle', 'rectRot', 'triangle', 'rect', 'crossRot', 'star', 'cross', 'rectRounded'];

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  if (chosen) return chosen === 'dark';
  return window.matchMedia('(prefers-color-scheme: dark)').matches;
}

function colour(model) {
  const palette = palettes[isDark() ? 'dark' : 'light'];
  return palette[model.index % palette.length];
}

function dash(model) {
  return dashes[Math.floor(model.index / palettes.light.length) % dashes.length];
}

function shape(model) {
  return pointShapes[model.index % pointShapes.length];
}

function faint(hex, alpha) {
  const parts = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  return `rgba(${parts.join(', ')}, ${alpha})`;
}

/* A sign for a model that follows the theme; the class gives the colour (page.css). */
function swatch(model) {
  const again = model.index >= palettes.light.length ? 'again' : '';
  return element('span', {class: `swatch colour-${model.index % palettes.light.length} ${again}`,
    'aria-hidden': 'true'});
}

/* ---- which models are shown: the check boxes of the first table decide ---- */

const shown = new Set(models.map((model) => model.index));
const listeners = [];

function shownModels(condition) {
  return models.filter((model) => shown.has(model.index) && (!condition || condition(model)));
}

/* Call `redraw` now and whenever the models that are shown or the theme change. */
function keepDrawn(redraw) {
  listeners.push(redraw);
  redraw();
}

function redrawAll() {
  for (const redraw of listeners) redraw();
}

/* ---- sections and tables ---- */

function section(id, title, ...children) {
  const heading = element('h2', {id: `${id}-title`}, title);
  return element('section', {id, 'aria-labelledby': `${id}-title`}, heading, ...children);
}

function isNumeric(value) {
  return value === null || value === undefined || typeof value === 'number' ||
    (typeof value === 'string' && /^[\d.,e−]+\s%$/.test(value));
}

/* A table that may be wider than its place, and longer with `long`; cells are texts, numbers, nodes or whole cells.
 * `heads`: the first cell of a row is its head. `more`: nodes after the words of the caption. */
function table(caption, columns, rows, {heads = true, long = false, kind = '', more = null} = {}) {
  const numeric = columns.map((_, i) => rows.length > 0 && rows.every((row) =>
    row[i] instanceof HTMLTableCellElement || isNumeric(row[i])));
  const cell = (value, i) => {
    if (value instanceof HTMLTableCellElement) return value;
    if (heads && i === 0) return element('th', {scope: 'row'}, value);
    const exact = typeof value === 'number';
    return element('td', {class: numeric[i] ? 'number' : null, title: exact ? String(value) : null},
      exact ? number(value) : value ?? '–');
  };
  return element('div', {class: `scroll ${long ? 'long' : ''} ${kind}`, tabindex: '0', role: 'region',
    'aria-label': caption},
  element('table', {}, element('caption', {}, element('span', {}, caption, more)),
    element('thead', {}, element('tr', {}, columns.map((column, i) =>
      element('th', {scope: 'col', class: numeric[i] ? 'number' : null}, column)))),
    element('tbody', {}, rows.map((row) => element('tr', {}, row.map(cell))))));
}

function note(text) {
  return element('p', {class: 'note'}, text);
}
