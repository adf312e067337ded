'use strict';
/* What the figures of the page are, as formulas. */

const definitionList = [
  ['z, |z|', 'The input x of a token after input.norm, not centred, and its Euclidean norm.'],
  ['x̂, r', 'What the model makes of the token, in the space of z, and the residual r = x̂ − z.'],
  ['n, d', 'The number of latents, and of coordinates of a token.'],
  ['f~, |f~|', 'The code weighted by the lengths of the decoder’s rows, with the decoder bias as one more ' +
    'coordinate: f~ = (f_1 |w_1|, …, f_n |w_n|, |b_dec|), w_i the rows of W_dec as stored; and its norm.'],
  ['MSE', 'Mean over tokens and coordinates of r². It has the units of z: models of different input.norm have ' +
    'theirs in different spaces.'],
  ['Normalised MSE (NMSE)', 'Mean over tokens with |z| > 0 of |r|² / |z|².'],
  ['FVU, explained variance', 'Fraction of variance unexplained: Σ |r|² / Σ |z − mean z|²; explained variance is ' +
    '1 − FVU.'],
  ['Cosine', 'Mean over tokens with |z| > 0 of cos(z, x̂), 0 where x̂ = 0.'],
  ['L0', 'Number of latents of a token with f_i > 0; the mean over tokens where nothing else is said.'],
  ['Dead, rare, dense', 'Dead: a latent that fired on no evaluated token. Rare: on fewer than 1 token in 100,000, ' +
    'dead ones too. Dense: on more than 10 % of the tokens.'],
  ['Description length', 'L0 (7 + log2 n) bits a token: for each active latent its number and 7 bits of value.'],
  ['AFA', 'Approximate feature activation: mean over tokens of (|f| − |z|)², f the code without weights and bias.'],
  ['eLBO', 'Of a token with |f~| > 0: abs(|z|² − |f~|²) / ((n − 1) |f~|²); no token has one when n = 1.'],
  ['Over- and under-activated', 'Tokens with |f~| > |z| and with |f~| < |z|.'],
  ['Bounds of the ZF plot', '|f~| = |z| / √(1 ± eps (n − 1)). Were all cosines of two decoder rows at most eps, ' +
    'then abs(|x̂|² − |f~|²) ≤ eps (n − 1) |f~|², and a token with x̂ = z would lie between them.'],
  ['eps', 'Products w_i · w_j of two different decoder rows as stored; cosines are those of the rows divided by ' +
    'their lengths. The Welch bound √((n − d) / (d (n − 1))), or 0: no n unit vectors have a smaller ' +
    'largest absolute cosine.'],
  ['Bound of quasi-orthogonality', 'abs(|x̂|² − |f~|₂²) ≤ eps_max (|f~|₁² − |f~|₂²), eps_max the largest absolute ' +
    'cosine of two decoder rows, or of one and b_dec. It holds for x̂ whatever the model; a token counts as ' +
    'within it when |z|² in place of |x̂|² is, too: the residual does not spoil the link of |z| and |f~|.'],
  ['Smallest eps that would do for all', 'Largest over tokens of abs(|x̂|² − |f~|₂²) / (|f~|₁² − |f~|₂²): the bound ' +
    'of quasi-orthogonality would hold for all of them with no smaller eps_max.'],
  ['Rank, condition, effective rank, participation ratio', 'Of eigenvalues λ: how many are above d 2⁻⁵² times the ' +
    'largest (the others are zero to rounding); largest / smallest; exp(−Σ p log p) with p = λ / Σ λ; ' +
    '(Σ p)² / Σ p².'],
];

function definitions() {
  return section('definitions', 'Definitions', element('dl', {},
    definitionList.map(([term, text]) => [element('dt', {}, term), element('dd', {}, text)])));
}

/* For the captions of tables whose figures are defined there. */
function definitionsLink() {
  return [' (', element('a', {href: '#definitions'}, 'definitions'), ')'];
}
