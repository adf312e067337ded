'use strict';
/* The first table, which also says what is shown, and how each run was made. */

const glance = [
  ['Selection', selectionOf], ['Latents', latentsOf],
  ['Step', (m) => at(m, 'checkpoint.step')], ['L0', (m) => at(m, 'evaluation.l0.mean')],
  ['MSE', (m) => at(m, 'evaluation.mse')], ['FVU', (m) => at(m, 'evaluation.fvu')],
  ['Dead', (m) => at(m, 'evaluation.dead')], ['eLBO, median', (m) => at(m, 'evaluation.elbo.median')],
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
  const rows = models.map((model) => [chooser(model), ...glance.map(([, of]) => of(model))]);
  const data = report.tables.map((of) => `${of.files.join(', ')} (${several(of.rows, 'token')}` +
    `${originText(of) ? ` of ${originText(of)}` : ''})`);
  return section('overview', 'Overview',
    table('The models at a glance; the boxes choose which of them the charts show',
      ['Model', ...glance.map(([title]) => title)], rows, {more: definitionsLink()}),
    element('p', {}, data.length ? `Evaluated on ${data.join('; ')}.` : 'Nothing was evaluated.'),
    missing());
}

/* ---- how a run was made ---- */

/* A checkpoint, if the model is one and not a folder of another tool. */
const made = (model) => (at(model, 'checkpoint.program_version') === undefined ? null : model.checkpoint);

const facts = [
  ['Path', (m) => m.path],
  ['Model', (m) => at(m, 'checkpoint.path')],
  ['Size', (m) => m.checkpoint && `${number(m.checkpoint.n_latent)} latents of ${number(m.checkpoint.d_model)} values`],
  ['Written by', (m) => made(m) && `orthant ${made(m).program_version}`],
  ['Ranks', (m) => made(m) && `${made(m).ranks}: ${several(made(m).n_group, 'group')} × ` +
    `${several(made(m).n_shard, 'shard')}, ${several(made(m).threads, 'thread')} each`],
  ['Kernels', (m) => made(m) && made(m).kernels],
  ['Libraries', (m) => made(m) && made(m).libraries],
  ['Trained for', (m) => made(m) && (made(m).step === undefined ? null
    : `${several(made(m).step, 'step')}, ${several(made(m).tokens_seen, 'token')}`)],
  ['Tokens of data.files', (m) => at(m, 'checkpoint.data_rows') || undefined],
  ['Batches left out', (m) => at(m, 'checkpoint.batches_left_out') || undefined],
  ['Starts, as far as logged', (m) => at(m, 'training.starts')],
  ['Roll-backs', (m) => at(m, 'training.rollbacks.length')],
  ['Damaged lines of metrics.jsonl', (m) => at(m, 'training.damaged_lines') || undefined],
];

function factTable() {
  const rows = facts.map(([title, of]) => [title, models.map(of)])
    .filter(([, values]) => values.some((value) => value !== undefined && value !== null))
    .map(([title, values]) => (values.length > 1 && new Set(values).size === 1
      ? [title, element('td', {colspan: values.length},
        typeof values[0] === 'number' ? number(values[0]) : values[0])] : [title, ...values]));
  return table('Where, by what and on what', ['What', ...models.map((model) => model.name)], rows, {kind: 'facts'});
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

/* Keys whose values differ among the models that have them; folders of other tools have few. */
function differences(all) {
  const keys = [...new Set(all.flatMap((one) => [...one.keys()]))];
  return keys.filter((key) => new Set(all.filter((one) => one.has(key)).map((one) => one.get(key))).size > 1);
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
  return section('made-by', 'How the runs were made', factTable(), ...configurations(),
    ...models.map(rollbackTable), ...models.map(history));
}
