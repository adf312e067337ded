'use strict';
/* The latent browser: a table that can be searched, sorted and filtered, and a page for one latent. */

const browsable = models.filter((model) => at(model, 'latents.latent.length') > 0);
const pageLength = 25;

const browser = {
  model: browsable[0] || null,
  filter: 'all', search: '', where: 'context', sort: 'frequency', down: true, page: 0,
  rows: [], selected: null, parts: {},
};

/* ---- what a latent has ---- */

function isDead(model, i) {
  return model.latents.count[i] === 0;
}

function isDense(model, i) {
  return model.latents.frequency[i] > model.latents.dense_above;
}

/* Place of a latent in the columns, -1 when the page does not have it. */
function placeOf(model, latent) {
  if (!model.places) model.places = new Map(model.latents.latent.map((number, i) => [number, i]));
  return model.places.has(latent) ? model.places.get(latent) : -1;
}

function examplesOf(model, i) {
  const flat = model.latents.examples[i], list = [];
  for (let k = 0; k < flat.length; k += 2) list.push({row: flat[k], value: flat[k + 1]});
  return list;
}

/* The tokens that excite it most, each once. */
function topTokens(model, i, most) {
  const texts = examplesOf(model, i).map((example) =>
    (contextOf(model.table, example.row).find((one) => one.row === example.row) || {}).text);
  return [...new Set(texts.filter((text) => text !== undefined))].slice(0, most);
}

/* Everything that is searched, in lower case; made when it is first asked for. */
function searchText(model, i) {
  if (!model.searchTexts) model.searchTexts = [];
  if (!model.searchTexts[i]) {
    const contexts = examplesOf(model, i).map((example) => contextOf(model.table, example.row));
    const tokens = contexts.flatMap((context, k) => context.filter((one) =>
      one.row === model.latents.examples[i][2 * k]).map((one) => one.text));
    model.searchTexts[i] = {context: contexts.map(plainText).join('\n').toLowerCase(),
      token: `\n${tokens.join('\n')}\n`.toLowerCase()};
  }
  return model.searchTexts[i];
}

/* ---- choosing and ordering ---- */

function passes(model, i) {
  const dead = isDead(model, i), dense = isDense(model, i);
  if (browser.filter === 'active') return !dead;
  if (browser.filter === 'sparse') return !dead && !dense;
  if (browser.filter === 'dead') return dead;
  return browser.filter === 'dense' ? dense : true;
}

function matches(model, i, query) {
  if (!query) return true;
  if (/^\d+$/.test(query) && String(model.latents.latent[i]) === query) return true;
  return searchText(model, i)[browser.where].includes(query);
}

function choose() {
  const model = browser.model, query = browser.search.trim().toLowerCase();
  const column = model.latents[browser.sort], sign = browser.down ? -1 : 1;
  const exact = /^\d+$/.test(query) ? Number(query) : -1;
  const value = (i) => (column[i] === null ? -Infinity : column[i]);
  browser.rows = [...model.latents.latent.keys()].filter((i) => passes(model, i) && matches(model, i, query));
  browser.rows.sort((a, b) => (model.latents.latent[b] === exact) - (model.latents.latent[a] === exact) ||
    sign * (value(a) - value(b)) || a - b);
}

/* ---- the table ---- */

const sortable = [['latent', 'Latent'], ['frequency', 'Fires on'], ['mean', 'Mean'], ['max', 'Max']];

function headCell([name, title]) {
  const current = browser.sort === name;
  const button = element('button', {type: 'button', class: 'sort', 'data-sort': name, onclick: () => {
    browser.down = browser.sort === name ? !browser.down : name !== 'latent';
    browser.sort = name;
    browser.page = 0;
    showTable();
    browser.parts.head.querySelector(`[data-sort="${name}"]`).focus();
  }}, title, element('span', {'aria-hidden': 'true'}, current ? (browser.down ? ' ▼' : ' ▲') : ' ↕'));
  return element('th', {scope: 'col', 'aria-sort': current ? (browser.down ? 'descending' : 'ascending') : 'none'},
    button);
}

function flags(model, i) {
  return [isDead(model, i) ? element('span', {class: 'flag dead'}, 'dead') : null,
    isDense(model, i) ? element('span', {class: 'flag dense'}, 'dense') : null];
}

function hashOf(model, latent) {
  return `#latent-${model.index}-${latent}`;
}

function tokensCell(model, i) {
  return topTokens(model, i, 4).map((text) => element('span', {class: 'token'}, text));
}

function bodyRow(model, i) {
  const l = model.latents, latent = l.latent[i];
  const current = browser.selected === latent;
  return element('tr', {class: current ? 'current' : null},
    element('th', {scope: 'row'}, element('a', {href: hashOf(model, latent),
      'aria-current': current ? 'true' : null}, String(latent)), flags(model, i)),
    element('td', {class: 'number', title: `${l.count[i]} tokens`}, percent(l.frequency[i])),
    element('td', {class: 'number'}, number(l.mean[i])), element('td', {class: 'number'}, number(l.max[i])),
    l.has_text ? element('td', {class: 'tokens'}, tokensCell(model, i)) : null);
}

function showTable() {
  const model = browser.model, parts = browser.parts;
  choose();
  const pages = Math.max(1, Math.ceil(browser.rows.length / pageLength));
  browser.page = Math.min(browser.page, pages - 1);
  const first = browser.page * pageLength, some = browser.rows.slice(first, first + pageLength);
  parts.head.replaceChildren(element('tr', {}, sortable.map(headCell),
    model.latents.has_text ? element('th', {scope: 'col'}, 'Top tokens') : null));
  parts.body.replaceChildren(...some.map((i) => bodyRow(model, i)));
  parts.status.textContent = some.length
    ? `${number(first + 1)} to ${number(first + some.length)} of ${number(browser.rows.length)} latents`
    : 'No latent matches.';
  parts.previous.disabled = browser.page === 0;
  parts.next.disabled = browser.page >= pages - 1;
}

function turn(by) {
  browser.page += by;
  showTable();
}

/* ---- one latent ---- */

function exampleItem(model, i, example) {
  const context = contextOf(model.table, example.row), most = model.latents.max[i] || 1;
  const values = new Map(examplesOf(model, i).map((one) => [one.row, one.value]));
  const where = `row ${whole.format(example.row)}`;
  const words = context.map((one, k) => {
    const space = one.space && k > 0 ? ' ' : '', value = values.get(one.row);
    if (value === undefined) return [space, element('bdi', {}, one.text)];
    const mark = element('mark', {class: one.row === example.row ? 'here' : null,
      title: `${one.text}: ${number(value)}`}, element('bdi', {}, one.text));
    mark.style.setProperty('--heat', `${Math.round(20 + 60 * Math.max(0, value) / most)}%`);
    return [space, mark];
  });
  return element('li', {}, element('span', {class: 'value', title: String(example.value)}, number(example.value)),
    element('span', {class: 'context', title: where}, words.length ? words : where));
}

/* Examples in a passage that is there already are marked in it. */
function passages(model, i) {
  const list = [];
  for (const example of examplesOf(model, i))
    if (!list.some((one) => contextOf(model.table, one.row).some((token) => token.row === example.row)))
      list.push(example);
  return list;
}

function nearestList(model, i) {
  const flat = model.latents.nearest[i], items = [];
  for (let k = 0; k < flat.length; k += 2) {
    const latent = flat[k], place = placeOf(model, latent);
    const tokens = place >= 0 ? topTokens(model, place, 2).join(', ') : '';
    items.push(element('li', {}, place >= 0
      ? element('a', {href: hashOf(model, latent)}, `latent ${latent}`) : `latent ${latent}`,
    ` cosine ${number(flat[k + 1])}`, tokens ? element('span', {class: 'faint'}, ` ${tokens}`) : null));
  }
  return items.length ? [element('h4', {}, 'Nearest latents'), element('ul', {class: 'nearest'}, items)] : [];
}

function latentPage(model, i) {
  const l = model.latents, examples = passages(model, i);
  const facts = isDead(model, i) ? 'It fires on none of the evaluated tokens.'
    : `It fires on ${percent(l.frequency[i])} of the tokens (${whole.format(l.count[i])}), with a mean of ` +
      `${number(l.mean[i])} when it does and at most ${number(l.max[i])}.`;
  const heading = element('h3', {id: 'latent-title', tabindex: '-1'}, `Latent ${l.latent[i]}`, flags(model, i));
  return [heading, element('p', {class: 'faint'}, `of ${model.name}`), element('p', {}, facts),
    ...(examples.length ? [element('h4', {}, 'Tokens that excite it most'),
      element('ol', {class: 'examples'}, examples.map((one) => exampleItem(model, i, one)))] : []),
    ...nearestList(model, i)];
}

function select(model, latent, focus) {
  const i = placeOf(model, latent);
  if (i < 0) return;
  if (browser.model !== model) {
    browser.model = model;
    browser.parts.model.value = String(model.index);
    browser.page = 0;
  }
  browser.selected = latent;
  showTable();
  tellRest();
  browser.parts.page.replaceChildren(...latentPage(model, i));
  if (!focus) return;
  const heading = document.getElementById('latent-title');
  heading.focus({preventScroll: true});
  browser.parts.page.scrollIntoView({block: 'nearest'});
}

/* #latent-<model>-<number>: links, and the way back of the browser. */
function followHash() {
  const parts = /^#latent-(\d+)-(\d+)$/.exec(window.location.hash);
  const model = parts && browsable.find((one) => one.index === Number(parts[1]));
  if (model) select(model, Number(parts[2]), true);
}

/* ---- the section ---- */

function tellRest() {
  const l = browser.model.latents, left = l.n_latent - l.latent.length;
  browser.parts.rest.textContent = `${number(l.n_latent)} latents, of which ${number(l.dead)} are dead (fire on ` +
    `no evaluated token) and ${number(l.dense)} dense (on more than ${percent(l.dense_above)}).` +
    (left > 0 ? ` Here are the ${number(l.latent.length)} most frequent; ${number(left)} are left out ` +
      '(--latents N shows more).' : '') +
    (l.has_text ? '' : ' The data have no /tokens, so examples are rows alone.');
}

function changed() {
  browser.page = 0;
  showTable();
}

function selectBox(label, id, entries, change) {
  const box = element('select', {id, onchange: () => change(box.value)},
    entries.map(([value, text]) => element('option', {value}, text)));
  return [element('label', {for: id}, `${label} `, box), box];
}

function controls() {
  const parts = browser.parts;
  const [modelLabel, modelBox] = selectBox('Model', 'latent-model',
    browsable.map((model) => [model.index, model.name]), (value) => {
      const model = models[Number(value)];
      browser.page = 0;
      select(model, model.latents.latent[mostFrequent(model)], false);
    });
  parts.model = modelBox;
  const [filterLabel] = selectBox('Show', 'latent-filter', [['all', 'all latents'], ['active', 'not dead'],
    ['sparse', 'neither dead nor dense'], ['dense', 'dense'], ['dead', 'dead']],
  (value) => { browser.filter = value; changed(); });
  const search = element('input', {type: 'search', id: 'latent-search', autocomplete: 'off', spellcheck: 'false',
    placeholder: 'a number, or text', oninput: () => { browser.search = search.value; changed(); }});
  const [whereLabel] = selectBox('in', 'latent-where', [['context', 'contexts'], ['token', 'the tokens themselves']],
    (value) => { browser.where = value; changed(); });
  return element('div', {class: 'controls'}, browsable.length > 1 ? modelLabel : null, filterLabel,
    element('label', {for: 'latent-search'}, 'Search ', search), whereLabel);
}

function mostFrequent(model) {
  const l = model.latents;
  let best = 0;
  l.frequency.forEach((frequency, i) => {
    if (frequency > l.frequency[best] && !isDense(model, i)) best = i;
  });
  return best;
}

function latentBrowser() {
  const parts = browser.parts;
  if (!browsable.length)
    return section('latents', 'Latents', note('There are no latents to show: no model was evaluated here, or ' +
      '--latents was 0.'));
  const above = controls();
  Object.assign(parts, {
    rest: element('p', {}), head: element('thead', {}), body: element('tbody', {}),
    status: element('span', {role: 'status'}),
    previous: element('button', {type: 'button', id: 'latent-previous', onclick: () => turn(-1)}, 'Previous'),
    next: element('button', {type: 'button', id: 'latent-next', onclick: () => turn(1)}, 'Next'),
    page: element('article', {class: 'latent', 'aria-labelledby': 'latent-title'}),
  });
  const list = element('div', {class: 'list'},
    element('div', {class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Latents'},
      element('table', {class: 'latents'}, element('caption', {}, 'Latents; a number leads to its page'),
        parts.head, parts.body)),
    element('div', {class: 'controls pager'}, parts.previous, parts.next, parts.status));
  const all = section('latents', 'Latents', parts.rest, above,
    element('div', {class: 'browser'}, list, parts.page));
  /* The heading that select() looks for is in the page only later: no focus is asked for. */
  const model = browsable[0];
  select(model, model.latents.latent[mostFrequent(model)], false);
  window.addEventListener('hashchange', followHash);
  return all;
}
