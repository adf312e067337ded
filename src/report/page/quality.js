'use strict';
/* Held-out quality: figures, L0 against MSE, eLBO, ZF plots, distributions. */

const evaluated = (model) => model.evaluation;

const figures = [
  ['Tokens', 'tokens'], ['Mean squared error (MSE)', 'mse'], ['Normalised MSE', 'nmse'],
  ['Fraction of variance unexplained (FVU)', 'fvu'], ['Explained variance', 'explained_variance'],
  ['Cosine', 'cosine'], ['L0, mean', 'l0.mean'], ['L0, 5 %', 'l0.p5'], ['L0, median', 'l0.p50'],
  ['L0, 95 %', 'l0.p95'], ['L0, largest', 'l0.max'], ['Dead latents', 'dead'],
  ['Rare latents (fewer than 1 token in 100,000, dead ones too)', 'rare'],
  ['AFA: mean (|f| − |z|)²', 'afa'], ['eLBO, median', 'elbo.median'], ['eLBO, 25 %', 'elbo.q25'],
  ['eLBO, 75 %', 'elbo.q75'], ['eLBO, mean', 'elbo.mean'],
  ['Tokens without eLBO', 'elbo.undefined'], ['Description length, bits a token', 'description_length'],
  ['eps, largest', 'eps.max'], ['eps, mean', 'eps.mean'], ['eps, largest absolute', 'eps.max_abs'],
  ['eps, mean absolute', 'eps.mean_abs'], ['Welch bound of eps', 'eps.welch'],
  ['Share of tokens within the bound of quasi-orthogonality', 'quasi_orthogonality.within'],
  ['Smallest eps that would do for all', 'quasi_orthogonality.largest_ratio'],
  ['Rows with NaN or Inf, left out', 'skipped'],
];

function qualityTable() {
  const having = models.filter(evaluated);
  const rows = figures.map(([title, path]) =>
    [title, ...having.map((model) => at(model.evaluation, path))])
    .filter((row) => row.slice(1).some((value) => value !== undefined));
  const norms = ['input.norm: the space of MSE, AFA and |z|', ...having.map((model) =>
    element('td', {class: 'number'}, normOf(model) ?? '–'))];
  return table(`All figures of the evaluation${normsDiffer() ? '; MSE and AFA of models with different ' +
    'input.norm are in different spaces and do not compare' : ''}`, ['Figure', ...having.map((model) => model.name)],
  normsDiffer() ? [norms, ...rows] : rows, {more: definitionsLink()});
}

/* Whether errors of the models are of different spaces. */
function normsDiffer() {
  return new Set(models.filter(evaluated).map(normOf)).size > 1;
}

/* ---- L0 against MSE ---- */

const selectionShapes = {topk: 'circle', topafa: 'rectRot', batchtopk: 'triangle', jumprelu: 'rect'};

const errors = {mse: 'MSE', nmse: 'NMSE', fvu: 'FVU'};

/* Models of one selection, size, input.norm and table, in the order of L0, as a thin line. */
function families(having, point) {
  const family = (model) => JSON.stringify([selectionOf(model), latentsOf(model), normOf(model), model.table]);
  return [...new Set(having.map(family))].map((kind) => ({label: kind, showLine: true, pointRadius: 0,
    pointHitRadius: 0, borderWidth: 1, borderColor: themeColour('--faint'), data: having
      .filter((model) => family(model) === kind).map(point).sort((a, b) => a.x - b.x)}));
}

/* The sign of a selection; hollow after the eighth model, when colours come again. */
function frontierMark(model, point) {
  const again = model.index >= palettes.light.length;
  return lineOf(model, [point], {pointRadius: 7, pointHoverRadius: 8, showLine: false, borderDash: [],
    borderWidth: again ? 2.5 : 1.75, backgroundColor: again ? themeColour('--page') : colour(model),
    pointStyle: selectionShapes[selectionOf(model)] || 'rect'});
}

function errorControls(state, changed) {
  const choose = element('select', {id: 'frontier-error', onchange: () => {
    state.error = choose.value;
    changed();
  }}, Object.entries(errors).map(([value, text]) => element('option', {value}, text)));
  return element('div', {class: 'controls'}, element('label', {for: 'frontier-error'}, 'Error ', choose));
}

function frontier() {
  const state = {error: 'mse'};
  const having = () => shownModels(evaluated), name = () => errors[state.error];
  const point = (model) => ({x: model.evaluation.l0.mean, y: model.evaluation[state.error], label: model.name});
  const drawn = figure({
    title: () => `L0 against ${name()}`,
    caption: 'Lower left is better: fewer active latents and a smaller error. Circles are topk, diamonds ' +
      'topafa, triangles batchtopk, squares jumprelu; models of equal selection, number of latents and ' +
      'input.norm are joined. Each error is in the space of its model’s own input, after input.norm. ' +
      (normsDiffer() ? 'These models have different ones, so that their MSE do not compare; NMSE and FVU, which ' +
        'are relative to that space, come closer to it. ' : '') + 'Both scales are logarithmic.',
    controls: errorControls(state, () => drawn.redraw()),
    models: having,
    summary: () => having().map((model) => `${model.name}: L0 ${number(point(model).x)}, ${name()} ` +
      number(point(model).y)).join('; ') + '.',
    table: () => [['Model', 'L0', name(), 'input.norm'], having().map((model) =>
      [model.name, point(model).x, point(model).y, normOf(model)])],
    chart: () => ({
      type: 'scatter',
      data: {datasets: [...having().map((model) => frontierMark(model, point(model))), ...families(having(), point)]},
      options: chartOptions({title: 'L0', log: true, ...around(having().map((m) => point(m).x))},
        {title: name(), log: true, ...around(having().map((m) => point(m).y))}),
    }),
  });
  keepDrawn(drawn.redraw);
  return drawn;
}

/* Limits of a logarithmic scale with some room on both sides. */
function around(values) {
  const positive = values.filter((value) => value > 0);
  return positive.length ? {min: Math.min(...positive) / 2, max: Math.max(...positive) * 2} : {};
}

/* ---- eLBO ---- */

/* Where activations come from, as their files say. */
function originText(of) {
  const from = of ? of.attributes : {};
  return [from.model, from.layer === undefined ? undefined : `layer ${from.layer}`]
    .filter((part) => part !== undefined).join(', ');
}

function origin(model) {
  const of = report.tables[model.table], from = of ? of.attributes : {};
  return {model: from.model, layer: from.layer, text: originText(of)};
}

function byOrigin(a, b) {
  const x = origin(a), y = origin(b);
  return String(x.model).localeCompare(String(y.model), 'en', {numeric: true}) ||
    String(x.layer).localeCompare(String(y.layer), 'en', {numeric: true}) || a.index - b.index;
}

function elboFigure() {
  const having = () => shownModels((m) => at(m, 'evaluation.elbo.median') > 0).sort(byOrigin);
  const e = (model) => model.evaluation.elbo;
  const origins = new Set(models.filter(evaluated).map((model) => origin(model).text));
  const short = (text) => shortened(text, window.innerWidth < 700 ? 16 : 40);
  const label = (model) => (origins.size > 1 ?
    [short(model.name), short(origin(model).text.split('/').pop())] : short(model.name));
  const drawn = figure({
    title: 'eLBO by model',
    caption: 'Half of the tokens are inside the bar, from the lower to the upper quartile; the mark is the ' +
      'median. Small is good: the norm of the code then tells the norm of the input. Models are ordered ' +
      'by the language model and layer that their data name.',
    summary: () => having().map((model) => `${model.name}: median ${number(e(model).median)}`).join('; ') + '.',
    table: () => [['Model', 'Activations of', '25 %', 'Median', '75 %'], having().map((model) =>
      [model.name, origin(model).text, e(model).q25, e(model).median, e(model).q75])],
    rows: () => having().length,
    chart: () => {
      const list = having(), options = chartOptions({title: 'eLBO', log: true,
        ...around(list.flatMap((m) => [e(m).q25, e(m).q75]))}, {title: ''}, {indexAxis: 'y'});
      options.scales.y = {type: 'category', labels: list.map(label), offset: true,
        grid: {display: false, borderColor: themeColour('--line')},
        ticks: {color: themeColour('--text')}};
      return {type: 'bar', data: {labels: list.map(label), datasets: [
        {type: 'scatter', label: 'median', data: list.map((m, i) => ({x: e(m).median, y: i,
          label: `${m.name}, median`})), yAxisID: 'y', borderColor: themeColour('--page'),
        pointStyle: 'line', rotation: 90, pointRadius: 14, borderWidth: 3},
        {label: 'quartiles', data: list.map((m) => [e(m).q25, e(m).q75]), barPercentage: 0.5, minBarLength: 8,
          maxBarThickness: 28, backgroundColor: list.map(colour)}]}, options};
    },
  });
  keepDrawn(drawn.redraw);
  return drawn;
}

/* ---- ZF plots ---- */

const zfBounds = [0.25, 0.5, 1];

/* Lines through the origin: |f~| = slope |z|. */
function zfLines() {
  const lines = [{name: 'y = x', slope: 1, dash: []}];
  zfBounds.forEach((eps, i) => {
    const pattern = [[8, 3], [4, 3], [1, 3]][i];
    lines.push({name: `eps (n − 1) = ${eps}`, slope: 1 / Math.sqrt(1 + eps), dash: pattern});
    if (eps < 1) lines.push({name: `eps (n − 1) = ${eps}`, slope: 1 / Math.sqrt(1 - eps), dash: pattern});
  });
  return lines;
}

/* From 0 where values are spread; norms that hardly differ (input.norm: layernorm) get a closer look. */
function zfRange(values) {
  const least = values.reduce((a, b) => Math.min(a, b), Infinity);
  const most = values.reduce((a, b) => Math.max(a, b), 0);
  const round = 10 ** Math.floor(Math.log10(most || 1)) / 2;
  return {min: least > 0.8 * most ? Math.floor(0.9 * least / round) * round : 0,
    max: Math.ceil(1.02 * most / round) * round};
}

/* The same scales for all models, so that they can be compared. */
function zfScales(having) {
  const z = having.flatMap((model) => model.evaluation.zf.z);
  const x = zfRange(z);
  return {x, narrow: x.min > 0, y: zfRange([...having.flatMap((model) => model.evaluation.zf.f), ...z])};
}

function zfChart(model, scales) {
  const zf = model.evaluation.zf, text = themeColour('--text');
  const points = zf.z.map((z, i) => ({x: z, y: zf.f[i]}));
  const lines = zfLines().map((line) => ({label: line.name, showLine: true, pointRadius: 0,
    pointHitRadius: 0, borderColor: text, borderWidth: line.slope === 1 ? 1.75 : 1.25, borderDash: line.dash,
    data: [scales.x.min, scales.x.max].map((x) => ({x, y: x * line.slope}))}));
  return {type: 'scatter', data: {datasets: [...lines, {label: model.name, data: points, pointRadius: 2,
    pointHitRadius: 2, backgroundColor: faint(colour(model), 0.35), borderWidth: 0}]},
  options: chartOptions({title: '|z|', ...scales.x}, {title: '|f~|', ...scales.y})};
}

function zfCounts(model) {
  const e = model.evaluation, counts = e.zf, rows = [];
  const row = (title, count) => (typeof count === 'number'
    ? rows.push([title, count, percent(count / e.tokens)]) : null);
  row('Over-activated: above y = x', counts.over);
  row('Under-activated: below y = x', counts.under);
  (counts.bounds || []).forEach((bound) => {
    if (bound.upper !== null) row(`Above the bound of eps (n − 1) = ${bound.eps}`, bound.above);
    row(`Below the bound of eps (n − 1) = ${bound.eps}`, bound.below);
  });
  return rows;
}

function zfFigure(model, scales) {
  const zf = model.evaluation.zf, counts = zfCounts(model);
  const drawn = figure({
    title: `ZF plot of ${model.name}`, small: true,
    caption: `${number(zf.z.length)} of ${number(model.evaluation.tokens)} tokens, evenly spaced.` +
      (scales.narrow ? ' Norms of the input hardly differ, as after input.norm: layernorm.' : ''),
    summary: () => counts.slice(0, 2).map((row) => `${row[0]}: ${number(row[1])} tokens, ${row[2]}`).join('; ') + '.',
    table: () => [['|z|', '|f~|'], zf.z.map((z, i) => [z, zf.f[i]])],
    chart: () => zfChart(model, scales),
  });
  if (counts.length) drawn.append(table(`Tokens on either side of the lines, ${model.name}`,
    ['Where', 'Tokens', 'Share'], counts, {more: definitionsLink()}));
  keepDrawn(() => {
    drawn.hidden = !shown.has(model.index);
    if (!drawn.hidden) drawn.redraw();
  });
  return drawn;
}

/* ---- |f~| / |z|, where all |z| are nearly equal and the ZF plot is a bar ---- */

function isNarrow(model) {
  const z = model.evaluation.zf.z;
  const least = z.reduce((a, b) => Math.min(a, b), Infinity), most = z.reduce((a, b) => Math.max(a, b), 0);
  return most > 0 && most - least < 1e-3 * most;
}

/* {edges, counts} in 40 bins. */
function ratioHistogram(model) {
  const zf = model.evaluation.zf, bins = 40;
  const ratios = zf.z.map((z, i) => zf.f[i] / z);
  const least = ratios.reduce((a, b) => Math.min(a, b), Infinity);
  const most = Math.max(ratios.reduce((a, b) => Math.max(a, b), 0), least + 1e-6);
  const counts = new Array(bins).fill(0);
  for (const ratio of ratios)
    counts[Math.min(bins - 1, Math.floor(bins * (ratio - least) / (most - least)))] += 1;
  return {edges: Array.from({length: bins + 1}, (_, i) => least + i * (most - least) / bins), counts};
}

function ratioChart(model, histogram) {
  const text = themeColour('--text'), slopes = zfLines().map((line) => line.slope);
  const points = histogramPoints(histogram), top = 1.05 * Math.max(...points.map((point) => point.y));
  const lines = zfLines().map((line) => ({label: line.name, showLine: true, pointRadius: 0, pointHitRadius: 0,
    borderColor: text, borderWidth: line.slope === 1 ? 1.75 : 1.25, borderDash: line.dash,
    data: [0, top].map((y) => ({x: line.slope, y}))}));
  const min = Math.min(...slopes, histogram.edges[0]) * 0.97, max = Math.max(...slopes, ...histogram.edges) * 1.03;
  return {type: 'scatter', data: {datasets: [...lines, lineOf(model, points, {pointRadius: 0, fill: 'origin',
    borderDash: [], backgroundColor: faint(colour(model), 0.15)})]},
  options: chartOptions({title: '|f~| / |z|', min, max}, {title: 'Share of tokens', min: 0, max: top})};
}

function ratioFigure(model) {
  const histogram = ratioHistogram(model);
  const drawn = figure({
    title: `|f~| / |z| of ${model.name}`, small: true,
    caption: 'Norms of the input hardly differ here, so that the plot above is a bar: the same tokens by the ratio ' +
      'of the norms. The lines are those of the ZF plot: 1 (solid) and 1 / √(1 ± eps (n − 1)).',
    summary: () => `Ratios from ${number(histogram.edges[0])} to ${number(histogram.edges[histogram.counts.length])}.`,
    table: () => [['From', 'To', 'Tokens'], histogram.counts.map((count, i) =>
      [histogram.edges[i], histogram.edges[i + 1], count])],
    chart: () => ratioChart(model, histogram),
  });
  keepDrawn(() => {
    drawn.hidden = !shown.has(model.index);
    if (!drawn.hidden) drawn.redraw();
  });
  return drawn;
}

function zfPlots() {
  const having = models.filter((model) => at(model, 'evaluation.zf.z'));
  if (!having.length) return null;
  const scales = zfScales(having);
  return [element('p', {}, 'Each token: the norm of its input |z| against the norm of its code, the decoder ' +
    'bias counted as one more latent, |f~|. On the solid line y = x they are equal; above it a token is ' +
    'over-activated, below it under-activated. The broken lines are |z| / √(1 ± eps (n − 1)) for ' +
    'eps (n − 1) = 0.25 (dashes), 0.5 (short dashes) and 1 (dots; its upper one is infinite).'),
  element('div', {class: 'grid'}, having.map((model) =>
    element('div', {}, zfFigure(model, scales), isNarrow(model) ? ratioFigure(model) : null)))];
}

/* ---- distributions ---- */

function distributions() {
  const l0 = histogramFigure({title: 'L0 of a token', unit: 'Tokens',
    caption: 'How many latents a token activates; each model has bins of its own width.',
    of: (model) => at(model, 'evaluation.l0.histogram'), x: {title: 'Active latents', min: 0}});
  const frequency = histogramFigure({title: 'Firing frequency', unit: 'Latents',
    caption: 'On which share of the tokens a latent fires, as log10: −2 is one token in a hundred. Dead ' +
      'latents are left out.',
    of: (model) => at(model, 'evaluation.frequency'), x: {title: 'log10 of the share of tokens', max: 0}});
  const elbo = histogramFigure({title: 'eLBO of a token', unit: 'Tokens',
    caption: 'log10 of the eLBO; each bin is a quarter wide.',
    of: (model) => at(model, 'evaluation.elbo.histogram'), x: {title: 'log10 of eLBO',
      ...elboRange()}});
  return [elbo, l0, frequency].filter((drawn) => drawn !== null).map((drawn) => {
    keepDrawn(drawn.redraw);
    return drawn;
  });
}

/* The bins that are not empty: the whole range is 14 orders of magnitude. */
function elboRange() {
  const edges = models.flatMap((model) => {
    const h = at(model, 'evaluation.elbo.histogram');
    return h ? h.counts.flatMap((count, i) => (count > 0 ? [h.edges[i], h.edges[i + 1]] : [])) : [];
  });
  return edges.length ? {min: Math.min(...edges), max: Math.max(...edges)} : {};
}

function quality() {
  if (!models.some(evaluated))
    return [section('quality', 'Quality', note('None of the models was evaluated.'))];
  return [
    section('quality', 'Quality', qualityTable(), frontier()),
    section('elbo', 'eLBO and ZF plots', elboFigure(), zfPlots()),
    section('distributions', 'Distributions', element('div', {class: 'grid'}, distributions())),
  ];
}
