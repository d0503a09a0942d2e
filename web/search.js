// Word after word: greedy and beam search, and the two graphs that they step. What fastcap/runtime/stepper.py, and
// beam_search and every_length in fastcap/generation/autoregressive.py, do.

import { IMAGE_VECTORS, LENGTH_PENALTY } from './contract.js';

/** `encode.onnx` and `step.onnx` of a model directory; rows are captions of one picture. */
export class Stepper {
  #ort;
  #encoder;
  #decoder;
  #cache;

  /** `ort`: ONNX Runtime's API; `encoder`, `decoder`: sessions of the two graphs. */
  constructor(ort, encoder, decoder) {
    this.#ort = ort;
    this.#encoder = encoder;
    this.#decoder = decoder;
    this.#cache = decoder.inputMetadata.find(({ name }) => name === 'cache').shape;
  }

  /** `images`, a tensor of one picture, to {state, vector}: all that the decoder needs, by name; undefined if not given. */
  async encode(images) {
    const { [IMAGE_VECTORS]: vector, ...state } = await this.#encoder.run({ images }, this.#encoder.outputNames);
    return { state, vector: vector?.data };
  }

  /** The cache of so many rows that have read nothing. */
  start(rows) {
    const [layers, heads, , , width] = this.#cache;
    return new this.#ort.Tensor('float32', new Float32Array(0), [layers, heads, rows, 0, width]);
  }

  /**
   * Read one more token a row, each of which continues the past of row `parents[r]` of the cache: {log_p, new_cache},
   * tensors, the first of rows x vocabulary.
   */
  step(ids, parents, cache, state) {
    const whole = (values) => new this.#ort.Tensor('int64', BigInt64Array.from(values, BigInt), [values.length]);
    return this.#decoder.run({ ...state, token_ids: whole(ids), parents: whole(parents), cache });
  }
}

/**
 * The `beams` best captions of a picture with `low` to `high` tokens, best first: [{ids, logP, score}]. `logP` are the
 * log-probabilities of the tokens, and last of the end mark; `score` is their sum over the length ** 0.7.
 *
 * `state`: what `stepper.encode` gave; `marks`: {bos, eos}; `forbidden`: ids that are never said. A token is never said
 * twice in a row either. One beam is greedy search.
 */
export async function beamSearch(stepper, state, { low, high, beams, marks, forbidden }) {
  let rows = firstRows(beams);
  const paths = new Paths(stepper, state, beams, marks.bos);
  for (let position = 0; position <= high && !rows.every(({ done }) => done); position++) {
    await paths.step();
    const found = new Best(beams);
    for (const [beam, row] of rows.entries()) {
      if (row.total === -Infinity) continue;
      if (row.done) {
        found.offer(row.total, beam, marks.eos, 0); // a finished caption goes on as itself
        continue;
      }
      const { logP, end } = paths.next(beam, marks, forbidden);
      if (position < high) logP.forEach((each, id) => found.offer(row.total + each, beam, id, each));
      if (position >= low) found.offer(row.total + end, beam, marks.eos, end);
    }
    rows = paths.follow(rows, found, marks);
  }
  return rows.filter(({ total }) => total > -Infinity).map(scored).sort(byScore);
}

/**
 * Captions of every length from `low` to `high` tokens, up to `beams` of each, best first, as of `beamSearch`.
 *
 * The end mark competes with no token: the likeliest beginnings go on whether or not they could end, and each is a
 * caption as well. `noRepeat`: no so many tokens in a row come twice.
 */
export async function everyLength(stepper, state, { low, high, beams, marks, forbidden, noRepeat }) {
  let rows = firstRows(beams);
  const paths = new Paths(stepper, state, beams, marks.bos);
  const captions = [];
  for (let position = 0; position <= high; position++) {
    await paths.step();
    const found = new Best(beams);
    for (const [beam, row] of rows.entries()) {
      if (row.total === -Infinity) continue;
      const { logP, end } = paths.next(beam, marks, forbidden);
      if (position >= low) captions.push({ ids: row.ids, logP: [...row.logP, end], total: row.total + end });
      for (const id of repeating(row.ids, noRepeat)) logP[id] = -Infinity;
      if (position < high) logP.forEach((each, id) => found.offer(row.total + each, beam, id, each));
    }
    rows = paths.follow(rows, found, marks);
  }
  return captions.map(scored).sort(byScore);
}

/** Rows that have read nothing. They are equal at first: only one of them may branch. */
function firstRows(beams) {
  const total = (row) => (row ? -Infinity : 0);
  return Array.from({ length: beams }, (_, row) => ({ ids: [], logP: [], total: total(row), done: false }));
}

function scored({ ids, logP, total }) {
  return { ids, logP, score: total / Math.max(1, ids.length) ** LENGTH_PENALTY };
}

function byScore(one, other) {
  return other.score - one.score;
}

/** The tokens that would end a sequence of so many which `ids` hold already. */
function repeating(ids, noRepeat) {
  const start = ids.slice(ids.length - noRepeat + 1);
  return ids.filter((_, at) => at >= start.length && start.every((id, back) => ids[at - start.length + back] === id));
}

/** The network's side of a search: what each row read last, and what it says comes next. */
class Paths {
  #stepper;
  #state;
  #cache;
  #parents;
  #last;
  #told;

  constructor(stepper, state, rows, bos) {
    this.#stepper = stepper;
    this.#state = state;
    this.#cache = stepper.start(rows);
    this.#parents = Array.from({ length: rows }, (_, row) => row);
    this.#last = this.#parents.map(() => bos);
  }

  async step() {
    const { log_p: told, new_cache: grown } = await this.#stepper.step(
      this.#last, this.#parents, this.#cache, this.#state,
    );
    [this.#told, this.#cache] = [told, grown];
  }

  /** Log-probabilities of a row's next token, -Infinity where it is barred; that of the end mark is apart. */
  next(row, { eos }, forbidden) {
    const size = this.#told.dims[1];
    const logP = this.#told.data.subarray(row * size, (row + 1) * size);
    const end = logP[eos];
    logP[eos] = -Infinity;
    for (const id of forbidden) logP[id] = -Infinity;
    logP[this.#last[row]] = -Infinity;
    return { logP, end };
  }

  /** The rows that continue those before as `found` says. */
  follow(before, found, { eos }) {
    const rows = found.all.map(({ total, beam, id, logP }) => {
      const { ids, logP: each, done } = before[beam];
      if (done) return before[beam];
      const ends = id === eos;
      return { ids: ends ? ids : [...ids, id], logP: [...each, logP], total, done: ends };
    });
    this.#parents = before.map((_, beam) => found.all[beam]?.beam ?? 0);
    while (rows.length < before.length) rows.push({ ids: [], logP: [], total: -Infinity, done: true });
    this.#last = rows.map(({ ids, done }) => (done ? eos : ids.at(-1)));
    return rows;
  }
}

/** The few highest totals among many, best first; of equal ones those that came first. */
class Best {
  all = [];
  #most;
  #least = -Infinity;

  constructor(most) {
    this.#most = most;
  }

  offer(total, beam, id, logP) {
    if (!(total > this.#least)) return;
    let at = this.all.length;
    while (at > 0 && this.all[at - 1].total < total) at -= 1;
    this.all.splice(at, 0, { total, beam, id, logP });
    this.all.length = Math.min(this.all.length, this.#most);
    if (this.all.length === this.#most) this.#least = this.all.at(-1).total;
  }
}
