'use strict';
/* A figure: heading, legend, chart, caption, and its data as a table for those who cannot or do not
 * want to see it. */

const haveCharts = typeof Chart !== 'undefined';
if (haveCharts) {
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  Chart.defaults.font.size = 13;
}

function themeColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/* Options that all charts share; they follow the theme. */
function chartOptions(x, y, more) {
  const text = themeColour('--text'), line = themeColour('--line');
  const axis = (of) => ({
    type: of.log ? 'logarithmic' : 'linear',
    title: {display: true, text: of.title, color: text},
    min: of.min, max: of.max,
    grid: {color: line, borderColor: line},
    ticks: {color: text, maxRotation: 0, autoSkip: true, maxTicksLimit: of.log ? 12 : 8,
      includeBounds: false, callback: of.log ? logTick : plain},
  });
  const options = {
    animation: false, responsive: true, maintainAspectRatio: false, normalized: true,
    scales: {x: axis(x), y: axis(y)},
    plugins: {legend: {display: false}, tooltip: {callbacks: {label: pointLabel}}},
    interaction: {mode: 'nearest', intersect: false},
    ...more,
  };
  return options;
}

/* The first digit of a number that has only one, else 0. */
function onlyDigit(value) {
  const parts = /^(\d)e/.exec(value.toExponential());
  return parts ? Number(parts[1]) : 0;
}

/* Powers of ten alone where there are enough of them, else 2, 3 and 5 times those too. */
function logTick(value, index, ticks) {
  const fits = this.chart.width < 500 ? [1, 3] : [1, 2, 3, 5];
  const digit = onlyDigit(value);
  const powers = ticks.filter((tick) => onlyDigit(tick.value) === 1).length;
  const enough = this.chart.width < 500 && this.isHorizontal() ? 2 : 3;
  const wanted = powers >= enough ? digit === 1 : fits.includes(digit);
  return wanted ? plain(value) : null;
}

function plain(value) {
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-3 || size >= 1e5)) return exponential(value);
  return value.toLocaleString('en', {maximumSignificantDigits: 6}).replace('-', '−');
}

function pointLabel(context) {
  const point = context.raw;
  const name = context.dataset.label || '';
  if (Array.isArray(point)) return `${name}: ${number(point[0])} to ${number(point[1])}`;
  return `${point.label || name}: ${number(point.x)}, ${number(point.y)}`;
}

function legend(entries) {
  return element('ul', {class: 'legend'},
    entries.map((model) => element('li', {}, swatch(model), model.name)));
}

/*
 * figure({title, caption, summary, chart, table, models, controls, small})
 *   title     a text, or a function that gives it
 *   chart()   gives {type, data, options}; called again when the theme or the models change
 *   table()   gives [columns, rows]; made when it is first opened
 *   summary() what the chart shows, in a sentence, for those who hear the page
 *   rows()    how many lines of labels the chart has, if it grows with them
 *   models()  those in the chart, for the legend; none: no legend
 */
function figure(what) {
  const title = () => (typeof what.title === 'function' ? what.title() : what.title);
  const heading = element('h3', {id: newId('figure')}, title());
  const canvas = element('canvas', {role: 'img'});
  const frame = haveCharts ? element('div', {class: 'chart'}, canvas) : null;
  const names = element('div', {class: 'legend-place'});
  const place = element('div', {});
  const details = element('details', {class: 'data', open: !haveCharts},
    element('summary', {}, 'Show as table'), place);
  const node = element('figure', {'aria-labelledby': heading.id, class: what.small ? 'small' : ''},
    heading, what.controls || null, names, frame,
    element('figcaption', {}, what.caption), details);
  let chart = null;
  const fill = () => {
    const [columns, rows] = what.table();
    place.replaceChildren(table(title(), columns, rows, {heads: false, long: true}));
  };
  details.addEventListener('toggle', () => {
    if (details.open) fill();
    else place.replaceChildren();
  });
  node.redraw = () => {
    heading.textContent = title();
    if (what.models) names.replaceChildren(legend(what.models()));
    canvas.setAttribute('aria-label', `${title()}. ${what.summary()} The data follow as a table.`);
    if (details.open) fill();
    if (!haveCharts) return;
    if (what.rows) frame.style.height = `${Math.max(12, 6 + 2.5 * what.rows())}rem`;
    if (chart) chart.destroy();
    chart = new Chart(canvas, what.chart());
  };
  return node;
}

/* A line through (x, y) points in a model's colour. */
function lineOf(model, points, more) {
  return {label: model.name, data: points, borderColor: colour(model), backgroundColor: colour(model),
    borderDash: dash(model), borderWidth: 1.75, pointRadius: points.length > 40 ? 0 : 2.5,
    pointHitRadius: 6, pointStyle: shape(model), showLine: true, ...more};
}

/* The outline of a histogram, as shares of its total. */
function histogramPoints(histogram) {
  const total = histogram.counts.reduce((sum, count) => sum + count, 0) || 1;
  const points = [];
  histogram.counts.forEach((count, bin) => {
    points.push({x: histogram.edges[bin], y: count / total}, {x: histogram.edges[bin + 1], y: count / total});
  });
  return points;
}

/* Histograms of several models in one chart. */
function histogramFigure({title, caption, of, x, unit}) {
  const having = () => shownModels((model) => of(model));
  if (!models.some((model) => of(model))) return null;
  return figure({
    title, caption, models: having,
    summary: () => `Histograms of ${having().length} models.`,
    table: () => [['Model', 'From', 'To', unit], having().flatMap((model) => of(model).counts
      .map((count, bin) => [model.name, of(model).edges[bin], of(model).edges[bin + 1], count])
      .filter((row) => row[3] > 0))],
    chart: () => ({
      type: 'scatter',
      data: {datasets: having().map((model) => lineOf(model, histogramPoints(of(model)),
        {pointRadius: 0, fill: 'origin', backgroundColor: faint(colour(model), 0.15)}))},
      options: chartOptions(x, {title: `Share of ${unit.toLowerCase()}`, min: 0}),
    }),
  });
}
