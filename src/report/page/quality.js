'use strict';
/* Held-out quality: figures, L0 against MSE, eLBO, ZF plots, distributions. */

const evaluated = (model) => model.evaluation;

const figures = [
  ['Tokens', 'tokens'], ['Mean squared error (MSE)', 'mse'], ['Normalised MSE', 'nmse'],
  ['Fraction of variance unexplained (FVU)', 'fvu'], ['Explained variance', 'explained_variance'],
  ['Cosine', 'cosine'], ['L0, mean', 'l0.mean'], ['L0, 5 %', 'l0.p5'], ['L0, median', 'l0.p50'],
  ['L0, 95 %', 'l0.p95'], ['L0, largest', 'l0.max'], ['Dead latents', 'dead'],
  ['Rare latents (fewer than 1 token in 100,000, dead ones too)', 'rare'],
  ['AFA: mean (|f| − |x|)²', 'afa'], ['eLBO, median', 'elbo.median'], ['eLBO, 25 %', 'elbo.q25'],
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
  return table('All figures of the evaluation', ['Figure', ...having.map((model) => model.name)], rows);
}

/* ---- L0 against MSE ---- */

const selectionShapes = {topk: 'circle', topafa: 'rectRot', batchtopk: 'triangle', jumprelu: 'rect'};

function frontierPoint(model) {
  return {x: model.evaluation.l0.mean, y: model.evaluation.mse, label: model.name};
}

/* Models of one selection, in the order of L0, as a thin line. */
function families(having) {
  const selection = (model) => at(model, 'checkpoint.selection');
  return [...new Set(having.map(selection))].map((kind) => ({label: kind, showLine: true, pointRadius: 0,
    pointHitRadius: 0, borderWidth: 1, borderColor: themeColour('--faint'), data: having
      .filter((model) => selection(model) === kind).map(frontierPoint).sort((a, b) => a.x - b.x)}));
}

function frontier() {
  const having = () => shownModels(evaluated);
  const drawn = figure({
    title: 'L0 against MSE',
    caption: 'Lower left is better: fewer active latents and a smaller error. Circles are topk, diamonds ' +
      'topafa, triangles batchtopk, squares jumprelu; models of one kind are joined. Each error is in the ' +
      'space of its model’s own input, after input.norm. Both scales are logarithmic.',
    models: having,
    summary: () => having().map((model) => `${model.name}: L0 ${number(frontierPoint(model).x)}, MSE ` +
      number(frontierPoint(model).y)).join('; ') + '.',
    table: () => [['Model', 'L0', 'MSE'], having().map((model) =>
      [model.name, frontierPoint(model).x, frontierPoint(model).y])],
    chart: () => ({
      type: 'scatter',
      data: {datasets: [...having().map((model) => lineOf(model, [frontierPoint(model)],
        {pointRadius: 7, pointHoverRadius: 8, showLine: false, borderDash: [],
          pointStyle: selectionShapes[at(model, 'checkpoint.selection')] || 'rect'})), ...families(having())]},
      options: chartOptions({title: 'L0', log: true, ...around(having().map((m) => frontierPoint(m).x))},
        {title: 'MSE', log: true, ...around(having().map((m) => frontierPoint(m).y))}),
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
  const label = (model) => (origins.size > 1 ? [model.name, origin(model).text.split('/').pop()] : model.name);
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
    ['Where', 'Tokens', 'Share'], counts));
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
  element('div', {class: 'grid'}, having.map((model) => zfFigure(model, scales)))];
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
