'use strict';
/* The first table, which also says what is shown, and how each run was made. */

const glance = [
  ['Selection', 'checkpoint.selection'], ['Latents', 'checkpoint.n_latent'],
  ['Step', 'checkpoint.step'], ['L0', 'evaluation.l0.mean'], ['MSE', 'evaluation.mse'],
  ['FVU', 'evaluation.fvu'], ['Dead', 'evaluation.dead'], ['eLBO, median', 'evaluation.elbo.median'],
];

function chooser(model) {
  const box = element('input', {type: 'checkbox', checked: true, onchange: () => {
    if (box.checked) shown.add(model.index);
    else shown.delete(model.index);
    redrawAll();
  }});
  return element('label', {class: 'choose'}, box, swatch(model), model.name);
}

function missing() {
  const lines = models.filter((model) => model.not_evaluated).map((model) => element('li', {},
    `${model.name}: not evaluated: ${model.not_evaluated}.`,
    model.evaluation_of ? ` Its figures are those the run wrote itself (${model.evaluation_of}).` : null));
  return lines.length ? element('ul', {class: 'note'}, lines) : null;
}

function overview() {
  const rows = models.map((model) => [chooser(model), ...glance.map(([, path]) => at(model, path))]);
  const data = report.tables.map((of) => `${of.files.join(', ')} (${number(of.rows)} tokens)`);
  return section('overview', 'Overview',
    table('The models at a glance; the boxes choose which of them the charts show',
      ['Model', ...glance.map(([title]) => title)], rows),
    element('p', {}, data.length ? `Evaluated on ${data.join('; ')}.` : 'Nothing was evaluated.'),
    missing());
}

/* ---- how a run was made ---- */

function facts(model) {
  const c = model.checkpoint, t = model.training, rows = [['Path', model.path]];
  if (c) {
    rows.push(['Checkpoint', c.path],
      ['Written by', `orthant ${c.program_version}, ${c.ranks} ranks as ${c.n_group} groups × ${c.n_shard} ` +
        `shards, ${c.threads} threads each`],
      ['Kernels', c.kernels], ['Libraries', c.libraries],
      ['Size', `${number(c.n_latent)} latents of ${number(c.d_model)} values`],
      ['Trained for', `${number(c.step)} steps, ${number(c.tokens_seen)} tokens`]);
    if (c.data_rows) rows.push(['Trained on', `${number(c.data_rows)} tokens of data.files`]);
    if (c.batches_left_out) rows.push(['Batches left out', c.batches_left_out]);
  }
  if (t) rows.push(['Starts', t.starts], ['Roll-backs', t.rollbacks.length]);
  if (t && t.damaged_lines) rows.push(['Damaged lines of metrics', t.damaged_lines]);
  return table(`How ${model.name} was made`, ['What', 'Value'], rows);
}

function rollbackTable(model) {
  const records = at(model, 'training.rollbacks') || [];
  return records.length ? table(`Roll-backs of ${model.name}`, ['Number', 'From step', 'To step', 'What', 'File', 'Row'],
    records.map((record) => [record.number, record.from, record.to, record.what, record.file, record.row]))
    : null;
}

function history(model) {
  if (!model.history || !model.history.length) return null;
  const left = model.history_left_out
    ? note(`${number(model.history_left_out)} lines in the middle are left out.`) : null;
  return element('details', {}, element('summary', {}, `Log of ${model.name}, without its steps`), left,
    element('ol', {class: 'log'}, model.history.map((line) => element('li',
      {class: /^(warning|error):/.test(line) ? 'warning' : null}, line))));
}

/* Keys whose values differ between runs; a single run has none. */
function differences(all) {
  const keys = all.length > 1 ? [...all[0].keys()].concat(...all.slice(1).map((one) => [...one.keys()])) : [];
  return [...new Set(keys)].filter((key) => new Set(all.map((one) => one.get(key))).size > 1);
}

function configurations() {
  const with_config = models.filter((model) => model.config);
  const maps = with_config.map((model) => new Map(model.config));
  const keys = differences(maps);
  const names = with_config.map((model) => model.name);
  const rows = (list) => list.map((key) => [key, ...maps.map((one) => one.get(key) ?? '–')]);
  const every = [...new Set(maps.flatMap((one) => [...one.keys()]))];
  return [
    keys.length ? table('Configuration: keys that differ', ['Key', ...names], rows(keys)) : null,
    every.length ? element('details', {}, element('summary', {}, 'Whole configuration, as resolved'),
      table('Whole configuration', ['Key', ...names], rows(every))) : null,
  ];
}

function howMade() {
  return section('made-by', 'How the runs were made', ...configurations(),
    ...models.map((model) => element('div', {class: 'run'},
      element('h3', {}, swatch(model), model.name), facts(model), rollbackTable(model), history(model))));
}
