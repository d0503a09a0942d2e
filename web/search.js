// Word after word: greedy and beam search, and the two graphs that they step. What fastcap/runtime/stepper.py and
// beam_search in fastcap/generation/autoregressive.py do.

import { LENGTH_PENALTY, STATE } from './contract.js';

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

  /** `images`, a tensor of one picture, to all that the decoder needs of it, by name. */
  encode(images) {
    return this.#encoder.run({ images }, this.#encoder.outputNames.filter((name) => name.startsWith(STATE)));
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
 * The `beams` best captions of a picture within each of `ranges`, [smallest, largest] numbers of tokens, best first:
 * arrays of {ids, logP, score}, one a range. `logP` are the log-probabilities of the tokens, and last of the end mark;
 * `score` is their sum over the length ** 0.7.
 *
 * `state`: what `stepper.encode` gave; `marks`: {bos, eos}; `forbidden`: ids that are never said. A token is never said
 * twice in a row either. One beam is greedy search.
 */
export async function beamSearch(stepper, state, { ranges, beams, marks, forbidden }) {
  const groups = ranges.map(([low, high]) => {
    const rows = Array.from({ length: beams }, () => ({ ids: [], logP: [], total: -Infinity, done: false }));
    rows[0].total = 0; // all rows are equal at first: only one of them may branch
    return { low, high, rows };
  });
  const count = groups.length * beams;
  const steps = Math.max(...ranges.map(([, high]) => high)) + 1;
  let cache = stepper.start(count);
  let parents = Array.from({ length: count }, (_, row) => row);
  let last = parents.map(() => marks.bos);
  for (let position = 0; position < steps; position++) {
    const { log_p: told, new_cache: grown } = await stepper.step(last, parents, cache, state);
    cache = grown;
    const size = told.dims[1];
    parents = [];
    for (const [at, group] of groups.entries()) {
      const first = at * beams;
      const found = new Best(beams);
      for (const [beam, row] of group.rows.entries()) {
        if (row.total === -Infinity) continue;
        if (row.done) {
          found.offer(row.total, beam, marks.eos, 0); // a finished caption goes on as itself
          continue;
        }
        const logP = told.data.subarray((first + beam) * size, (first + beam + 1) * size);
        const end = logP[marks.eos];
        logP[marks.eos] = -Infinity;
        for (const id of forbidden) logP[id] = -Infinity;
        logP[last[first + beam]] = -Infinity;
        if (position < group.high) logP.forEach((each, id) => found.offer(row.total + each, beam, id, each));
        if (position >= group.low) found.offer(row.total + end, beam, marks.eos, end);
      }
      const before = group.rows;
      group.rows = found.all.map(({ total, beam, id, logP }) => {
        const { ids, logP: each, done } = before[beam];
        if (done) return before[beam];
        const ends = id === marks.eos;
        return { ids: ends ? ids : [...ids, id], logP: [...each, logP], total, done: ends };
      });
      while (group.rows.length < beams) group.rows.push({ ids: [], logP: [], total: -Infinity, done: true });
      for (let beam = 0; beam < beams; beam++) parents.push(first + (found.all[beam]?.beam ?? 0));
    }
    const rows = groups.flatMap((group) => group.rows);
    if (rows.every(({ done }) => done)) break;
    last = rows.map(({ ids, done }) => (done ? marks.eos : ids.at(-1)));
  }
  return groups.map(({ rows }) =>
    rows
      .filter(({ total }) => total > -Infinity)
      .map(({ ids, logP, total }) => ({ ids, logP, score: total / Math.max(1, ids.length) ** LENGTH_PENALTY }))
      .sort((one, other) => other.score - one.score),
  );
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
