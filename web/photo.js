// Whether a picture is a photo, and what is said of one that is none: what fastcap/runtime/photo.py and silence.py do.

import { PICTURES } from './contract.js';

const STEPS = [0, 1, 2, 4, 8, 16, 32, 64];
const MOST = 4;
const LINE = 24;
const FLAT = 3;
const HEDGE = 'Maybe: ';

/** The head of a model directory, made of the content of its `photo.json`. */
export class PhotoHead {
  #values;

  constructor(values) {
    this.#values = values;
  }

  /** What a picture is: {kind, photo}, the latter the probability that it is a photo. */
  judge(pixels, width, height, vector) {
    const { centre, scale, hidden, hidden_bias: hiddenBias, output, output_bias: outputBias } = this.#values;
    const inputs = [...vector, ...statistics(pixels, width, height)].map((value, at) =>
      Math.min(Math.max((value - centre[at]) / scale[at], -MOST), MOST),
    );
    const units = hidden.map((row, at) => Math.max(dot(row, inputs) + hiddenBias[at], 0));
    const logits = output.map((row, at) => dot(row, units) + outputBias[at]);
    const most = Math.max(...logits);
    const shares = logits.map((logit) => Math.exp(logit - most));
    const photo = shares[0] / sum(shares);
    const others = logits.slice(1);
    return { kind: photo >= 0.5 ? PICTURES[0] : PICTURES[1 + others.indexOf(Math.max(...others))], photo };
  }
}

/** The candidates that are shown of a picture, and the confidence of the first of all: {shown, confidence}. */
export function doubted(candidates, verdict, { minConfidence, hedge }) {
  const noPhoto = verdict !== null && verdict.kind !== PICTURES[0];
  const lowered = candidates.map((each) =>
    noPhoto ? { ...each, confidence: each.confidence * verdict.photo } : each,
  );
  const shown = lowered.filter(({ confidence }) => confidence >= minConfidence);
  const isHedged = ({ confidence }) => hedge > 0 && (noPhoto || confidence < hedge);
  const said = shown.map((each) => (isHedged(each) ? { ...each, text: HEDGE + each.text } : each));
  return { shown: said, confidence: lowered[0].confidence };
}

/** Counts of the pixels, RGB in rows, as `statistics` of photo.py explains them. */
export function statistics(pixels, width, height) {
  const shares = [
    ...neighbours(pixels, Math.ceil(height / 4), 12 * width, width, 3),
    ...neighbours(pixels, Math.ceil(width / 4), 12, height, 3 * width),
  ];
  const levels = new Float64Array(256);
  const cells = new Float64Array(4096);
  let count = 0;
  let total = 0;
  let squares = 0;
  let tints = 0;
  let pale = 0;
  let strong = 0;
  for (let row = 0; row < height; row += 3) {
    for (let column = 0; column < width; column += 3) {
      const at = 3 * (row * width + column);
      const red = pixels[at];
      const green = pixels[at + 1];
      const blue = pixels[at + 2];
      const grey = (red + 2 * green + blue) >> 2;
      const tint = Math.max(red, green, blue) - Math.min(red, green, blue);
      levels[grey] += 1;
      cells[((red >> 4) << 8) + ((green >> 4) << 4) + (blue >> 4)] += 1;
      count += 1;
      total += grey;
      squares += grey * grey;
      tints += tint;
      if (tint <= 6) pale += 1;
      if (tint >= 128) strong += 1;
    }
  }
  const share = (part) => sum(part) / count;
  const used = levels.filter((each) => each / count > 0.0005).length;
  shares.push(...largest(levels, count), used / 256, share(levels.slice(0, 9)), share(levels.slice(247)));
  const mean = total / count;
  shares.push(mean / 255, Math.sqrt(Math.max(squares / count - mean * mean, 0)) / 128);
  shares.push(...largest(cells, count), cells.filter((each) => each > 0).length / 4096);
  shares.push(tints / count / 255, pale / count, strong / count);
  return shares.map((each) => Math.log(each + 0.002));
}

/** How neighbours differ along some lines, `apart` bytes from one another, of `size` pixels that are `step` bytes apart. */
function neighbours(pixels, lines, apart, size, step) {
  const counts = new Float64Array(256);
  const sharp = new Float64Array(size - 1);
  let flat = 0;
  let gentle = 0;
  let bends = 0;
  let differences = 0;
  for (let line = 0; line < lines; line += 1) {
    let most = 0;
    let last = 0;
    let from = line * apart;
    let grey = (pixels[from] + 2 * pixels[from + 1] + pixels[from + 2]) >> 2;
    for (let at = 0; at + 1 < size; at += 1) {
      from += step;
      const next = (pixels[from] + 2 * pixels[from + 1] + pixels[from + 2]) >> 2;
      const change = next - grey;
      const difference = Math.abs(change);
      grey = next;
      counts[difference] += 1;
      if (difference > LINE) sharp[at] += 1;
      if (difference > most) most = difference;
      differences += difference;
      if (at) {
        const bend = Math.abs(change - last);
        if (bend <= 1) gentle += 1;
        bends += bend;
      }
      last = change;
    }
    if (most <= FLAT) flat += 1;
  }
  const total = lines * (size - 1);
  const upto = STEPS.map((step) => sum(counts.slice(0, step + 1)) / total);
  const edges = Array.from(sharp, (each) => each / lines).sort((one, other) => other - one);
  const bent = lines * (size - 2);
  return [
    ...upto.map((each, at) => each - (at ? upto[at - 1] : 0)),
    1 - upto.at(-1),
    edges[0],
    sum(edges.slice(0, 6)) / 6,
    edges.filter((each) => each > 0.5).length / edges.length,
    flat / lines,
    gentle / bent,
    bends / bent / (differences / total + 0.01) / 4,
  ];
}

/** How much the 1, 2, 4 and 16 largest counts have together. */
function largest(counts, total) {
  const few = counts.filter((each) => each > 0).sort().reverse();
  return [1, 2, 4, 16].map((number) => sum(few.slice(0, number)) / total);
}

function dot(one, other) {
  return one.reduce((total, value, at) => total + value * other[at], 0);
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}
