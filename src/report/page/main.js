'use strict';
/* Puts the page together. */

function startTheme() {
  const button = document.getElementById('theme'), root = document.documentElement;
  const show = () => button.setAttribute('aria-pressed', String(isDark()));
  button.addEventListener('click', () => {
    root.dataset.theme = isDark() ? 'light' : 'dark';
    show();
    redrawAll();
  });
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    show();
    redrawAll();
  });
  show();
}

function titleText() {
  const names = models.map((model) => model.name);
  return `Orthant report: ${names.length > 3 ? `${names.length} models` : names.join(', ')}`;
}

function start() {
  document.title = titleText();
  document.getElementById('title').textContent = titleText();
  document.getElementById('made').textContent = `Made by orthant ${report.program_version} on ` +
    `${report.made.replace('T', ' ').replace('Z', ' UTC')}. This file needs no other and no network.`;
  startTheme();
  const main = document.getElementById('main'), list = document.getElementById('sections');
  if (!haveCharts) main.append(note('This program was built without Chart.js, so the figures are tables.'));
  const sections = [overview(), howMade(), training(), ...quality(), dictionary(), latentBrowser(), definitions()]
    .filter((one) => one !== null);
  for (const one of sections) {
    main.append(one);
    const title = one.querySelector('h2').textContent;
    list.append(element('li', {}, element('a', {href: `#${one.id}`}, title)));
  }
  document.getElementById('licences').hidden = !haveCharts;
  /* A chart takes its size when it is in the page. */
  redrawAll();
  followHash();
}

start();
