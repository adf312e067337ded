'use strict';
/* The dictionary: its geometry and spectra, and PCA beside the models. */

function geometryTable() {
  const having = models.filter((model) => model.geometry);
  const figures = [
    ['Length of a latent, smallest', 'norm_min'], ['Length of a latent, mean', 'norm_mean'],
    ['Length of a latent, largest', 'norm_max'], ['Latents of zeros', 'zero_rows'],
    ['eps (as stored), largest', 'stored.max'], ['eps (as stored), mean', 'stored.mean'],
    ['eps (as stored), largest absolute', 'stored.max_abs'], ['eps (as stored), mean absolute', 'stored.mean_abs'],
    ['Cosine, largest', 'unit.max'], ['Cosine, mean', 'unit.mean'],
    ['Cosine, largest absolute', 'unit.max_abs'], ['Cosine, mean absolute', 'unit.mean_abs'],
    ['Welch bound: no dictionary of this size has a smaller largest absolute', 'unit.welch'],
  ];
  const spectra = [
    ['Frame operator, rank', 'frame.rank'],
    ['Frame operator, effective rank', 'frame.effective_rank'],
    ['Covariance of the tokens, effective rank', 'pca.covariance.effective_rank'],
    ['Covariance of the tokens, participation ratio', 'pca.covariance.participation'],
  ];
  /* The latents of a small dictionary do not span all directions. */
  const condition = ['Frame operator, condition number', ...having.map((m) => (m.frame
    ? m.frame.condition ?? '∞' : undefined))];
  const rows = [...figures.map(([title, path]) => [title, ...having.map((m) => at(m.geometry, path))]),
    condition, ...spectra.map(([title, path]) => [title, ...having.map((m) => at(m, path))])]
    .filter((row) => row.slice(1).some((value) => value !== undefined));
  return table('Geometry of the dictionaries: products of two latents, eps, and their spectra',
    ['Figure', ...having.map((model) => model.name)], rows, {more: definitionsLink()});
}

/* Eigenvalues that are zero to rounding would take most of a logarithmic scale. */
function zeroBelow(spectrum) {
  return spectrum.eigenvalues[0] * spectrum.d * 2 ** -52;
}

function zerosText(of) {
  const some = models.filter((model) => of(model) && of(model).rank < of(model).d)
    .map((model) => `${number(of(model).d - of(model).rank)} of ${model.name}`);
  return some.length ? ` Not drawn are eigenvalues that are zero to rounding: ${some.join(', ')}.` : '';
}

function spectrumFigure(title, caption, of) {
  if (!models.some(of)) return null;
  const having = () => shownModels(of);
  const points = (model) => of(model).index.map((x, i) => ({x, y: of(model).eigenvalues[i]}));
  const drawnPoints = (model) => points(model).filter((point) => point.y > zeroBelow(of(model)));
  const drawn = figure({
    title, caption: caption + zerosText(of), models: having,
    summary: () => having().map((model) => `${model.name}: from ${number(of(model).eigenvalues[0])} to ` +
      number(of(model).eigenvalues[of(model).eigenvalues.length - 1])).join('; ') + '.',
    table: () => [['Model', 'Index', 'Eigenvalue'], having().flatMap((model) =>
      points(model).map((point) => [model.name, point.x, point.y]))],
    chart: () => ({type: 'scatter', data: {datasets: having().map((model) =>
      lineOf(model, drawnPoints(model), {pointRadius: 0}))},
    options: chartOptions({title: 'Index', log: true}, {title: 'Eigenvalue', log: true})}),
  });
  keepDrawn(drawn.redraw);
  return drawn;
}

function pcaFigure() {
  const having = () => shownModels((model) => model.pca);
  if (!models.some((model) => model.pca)) return null;
  const points = (model) => model.pca.rank.map((x, i) => ({x, y: model.pca.fvu[i]}));
  const own = (model) => ({x: model.evaluation.l0.mean, y: model.evaluation.fvu, label: model.name});
  const drawn = figure({
    title: 'PCA beside the models',
    caption: 'The curve is the variance that the best linear map of rank r leaves unexplained, fitted to these ' +
      'very tokens; the mark is the model, at its L0. A mark below its curve explains more with as many ' +
      'numbers a token.',
    models: having,
    summary: () => having().map((model) => `${model.name}: FVU ${number(own(model).y)} at L0 ` +
      number(own(model).x)).join('; ') + '.',
    table: () => [['Model', 'What', 'Rank or L0', 'FVU'], having().flatMap((model) => [
      [model.name, 'model', own(model).x, own(model).y],
      ...points(model).map((point) => [model.name, 'PCA', point.x, point.y])])],
    chart: () => ({type: 'scatter', data: {datasets: having().flatMap((model) => [
      lineOf(model, [own(model)], {pointRadius: 7, showLine: false, borderDash: []}),
      lineOf(model, points(model).filter((p) => p.x > 0 && p.y > 0),
        {pointRadius: 0, label: `PCA of the tokens of ${model.name}`})])},
    options: chartOptions({title: 'Rank r, or L0', log: true}, {title: 'FVU', log: true,
      min: pcaFloor(having())})}),
  });
  keepDrawn(drawn.redraw);
  return drawn;
}

/* The last ranks explain everything and would squeeze the rest. */
function pcaFloor(having) {
  const least = Math.min(...having.map((model) => model.evaluation.fvu).filter((fvu) => fvu > 0), 0.1);
  return 10 ** (Math.floor(Math.log10(least)) - 1);
}

function dictionary() {
  if (!models.some((model) => model.geometry)) return null;
  const cosines = histogramFigure({title: 'Cosines of pairs of latents', unit: 'Pairs',
    caption: 'Cosines of all pairs of decoder rows, in bins of 1/64.',
    of: (model) => at(model, 'geometry.cosines'), x: {title: 'Cosine', min: -1, max: 1}});
  if (cosines) keepDrawn(cosines.redraw);
  return section('dictionary', 'Dictionary and spectra', geometryTable(),
    element('div', {class: 'grid'}, cosines,
      spectrumFigure('Spectrum of the frame operator', 'Eigenvalues of the decoder’s W_dec^T W_dec. A tight frame ' +
        'has d equal ones.', (model) => model.frame),
      spectrumFigure('Spectrum of the tokens', 'Eigenvalues of the covariance of the evaluated tokens, as the ' +
        'model sees them (after input.norm).', (model) => at(model, 'pca.covariance')),
      pcaFigure()));
}
