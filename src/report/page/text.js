'use strict';
/* Tokens as text. Vocabularies write spaces and bytes in ways of their own. */

/* How this vocabulary marks words: GPT-2's bytes (Ġ is a space), SentencePiece (▁ is a space),
 * WordPiece (## goes on), or plain strings. */
const vocabulary = (() => {
  const some = (start) => report.strings.some((string) => string.startsWith(start));
  if (some('Ġ')) return 'bytes';
  if (some('▁')) return 'sentencepiece';
  if (some('##')) return 'wordpiece';
  return some(' ') ? 'glued' : 'plain';
})();

/* GPT-2's table of printable stands-in for bytes, backwards. */
const byteOf = (() => {
  const map = new Map();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    map.set(String.fromCodePoint(printable ? byte : next++), byte);
  }
  return map;
})();

/* What a reader would not see, or what would turn the text around it: shown by name. */
function visible(text) {
  return text.replace(/\n/g, '↵').replace(/\t/g, '⇥')
    .replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
      (sign) => `⟨${sign.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}⟩`);
}

function decodeBytes(string) {
  const bytes = [...string].map((sign) => byteOf.get(sign));
  return bytes.includes(undefined) ? string : new TextDecoder().decode(new Uint8Array(bytes));
}

/* A token's text, and whether a space comes before it where it follows another one. */
function tokenText(place) {
  const string = report.strings[place];
  if (vocabulary === 'bytes') {
    const text = decodeBytes(string);
    return {space: text.startsWith(' '), text: visible(text.replace(/^ /, '')) || '␣'};
  }
  if (vocabulary === 'sentencepiece')
    return {space: string.startsWith('▁'), text: visible(string.replace(/^▁/, '').replaceAll('▁', ' ')) || '␣'};
  if (vocabulary === 'wordpiece' && string.startsWith('##') && string.length > 2)
    return {space: false, text: visible(string.slice(2))};
  if (vocabulary === 'glued')
    return {space: string.startsWith(' '), text: visible(string.replace(/^ /, '')) || '␣'};
  return {space: true, text: visible(string) || '␣'};
}

const tokenTexts = [];
function token(place) {
  if (!tokenTexts[place]) tokenTexts[place] = tokenText(place);
  return tokenTexts[place];
}

/* The segment of a table that holds a row: segments are in ascending order. */
function segmentOf(tableIndex, row) {
  const segments = report.tables[tableIndex].segments;
  let low = 0, high = segments.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (segments[middle].row <= row) low = middle;
    else high = middle - 1;
  }
  const found = segments[low];
  return found && row >= found.row && row < found.row + found.tokens.length ? found : null;
}

/* The tokens around a row: [{row, text, space}], empty where the data have no text. */
function contextOf(tableIndex, row) {
  const segment = segmentOf(tableIndex, row);
  if (!segment) return [];
  const begin = Math.max(0, row - segment.row - report.context);
  const end = Math.min(segment.tokens.length, row - segment.row + report.context + 1);
  return segment.tokens.slice(begin, end).map((place, i) => ({row: segment.row + begin + i, ...token(place)}));
}

function plainText(context) {
  return context.map((one, i) => (one.space && i > 0 ? ' ' : '') + one.text).join('');
}
