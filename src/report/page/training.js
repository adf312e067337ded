'use strict';
/* Training curves with a chooser, and where the time went. */

const curveNames = {
  loss: 'Loss', mse: 'Reconstruction term (mse)', fvu: 'Fraction of variance unexplained', l0: 'L0',
  n_dead: 'Dead latents', grad_norm: 'Gradient norm', lr: 'Learning rate', aux: 'AuxK term', afa: 'AFA term',
  tokens_per_s: 'Tokens per second',
};
const logByDefault = new Set(['loss', 'mse', 'fvu', 'grad_norm']);

function curvePoints(model, name, byTokens) {
  const curve = model.training.curves[name];
  const tokensPerStep = byTokens ? model.training.tokens / model.training.last_step : 1;
  return curve.step.map((step, i) => ({x: step * tokensPerStep, y: curve.value[i]}));
}

function curveControls(state, changed) {
  const choose = element('select', {id: 'curve', onchange: () => {
    state.curve = choose.value;
    state.log = logByDefault.has(state.curve);
    log.checked = state.log;
    changed();
  }}, Object.entries(curveNames).map(([value, text]) => element('option', {value}, text)));
  const log = element('input', {type: 'checkbox', id: 'curve-log', checked: state.log,
    onchange: () => { state.log = log.checked; changed(); }});
  const tokens = element('input', {type: 'checkbox', id: 'curve-tokens',
    onchange: () => { state.tokens = tokens.checked; changed(); }});
  return element('div', {class: 'controls'},
    element('label', {for: 'curve'}, 'Figure ', choose),
    element('label', {}, log, 'logarithmic'),
    element('label', {}, tokens, 'over tokens in place of steps'));
}

function curves() {
  const state = {curve: 'loss', log: true, tokens: false};
  const having = () => shownModels((model) => model.training);
  const last = (model) => model.training.curves[state.curve].value.filter((value) => value !== null).pop();
  const drawn = figure({
    title: 'Training curves',
    caption: 'One value for each logged step. Longer curves show the smallest and the largest value of each ' +
      'of 999 parts of the run.',
    controls: curveControls(state, () => drawn.redraw()),
    models: having,
    summary: () => `${curveNames[state.curve]} at the last logged step: ` +
      `${having().map((model) => `${model.name} ${number(last(model))}`).join(', ')}.`,
    table: () => [['Model', 'Step', curveNames[state.curve]], having().flatMap((model) =>
      curvePoints(model, state.curve, false).map((point) => [model.name, point.x, point.y]))],
    chart: () => ({
      type: 'scatter',
      data: {datasets: having().map((model) => lineOf(model, curvePoints(model, state.curve, state.tokens)
        .map((point) => (state.log && point.y <= 0 ? {x: point.x, y: null} : point))))},
      options: chartOptions({title: state.tokens ? 'Tokens' : 'Step', min: 0},
        {title: curveNames[state.curve], log: state.log}),
    }),
  });
  keepDrawn(drawn.redraw);
  return drawn;
}

function evaluationsInTraining() {
  const rows = models.flatMap((model) => (at(model, 'training.evaluations') || []).map((e) =>
    [model.name, e.step, e.mse, e.fvu, at(e, 'l0.mean'), e.dead, at(e, 'elbo.median')]));
  return rows.length ? element('details', {}, element('summary', {}, 'Evaluations during training'),
    table('Evaluations during training (eval.every)',
      ['Model', 'Step', 'MSE', 'FVU', 'L0', 'Dead', 'eLBO, median'], rows, {more: definitionsLink()})) : null;
}

function phases() {
  const having = models.filter((model) => at(model, 'training.phases'));
  const names = Object.keys(at(having[0] || {}, 'training.phases') || {})
    .filter((name) => having.some((model) => model.training.phases[name] > 0));
  const total = (model) => Object.values(model.training.phases).reduce((sum, s) => sum + (s || 0), 0);
  const columns = having.flatMap((model) => [`${model.name}, seconds`, 'Share']);
  const row = (name, seconds) => [name, ...having.flatMap((model) =>
    [seconds(model), `${(100 * seconds(model) / total(model)).toFixed(1)}\u00a0%`])];
  const first = having[0];
  names.sort((a, b) => first.training.phases[b] - first.training.phases[a]);
  return table('Where the time of training went, by phase, up to the last logged step (all starts together); the ' +
    'evaluation and the checkpoint at the end of a run come after it',
  ['Phase', ...columns], [...names.map((name) => row(name, (model) => model.training.phases[name])),
    row('total', total)]);
}

function training() {
  if (!models.some((model) => model.training))
    return section('training', 'Training', note('None of the models has metrics of its training here.'));
  return section('training', 'Training', curves(), evaluationsInTraining(),
    element('h3', {}, 'Time by phase'), phases());
}
