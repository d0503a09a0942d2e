// The graphs that decode from left to right: a picture is encoded once, then captions and answers are read a token at a
// time. What fastcap/runtime/stepper.py and scales.py do.
//
// `past` is what rows have read: {cache, padding}, a tensor (layers, heads, rows, tokens, width) of keys and values,
// and how many tokens of each row only make the rows equally long.

import { BEFORE, FEW, IMAGE_VECTORS } from './contract.js';

/** The graphs of a model directory; rows are captions of one picture, or answers about it. */
export class Stepper {
  apart = false;
  #ort;
  #encoders;
  #decoder;
  #cache;
  #readsMany; // tokens in one go, as a language model does

  /** `ort`: ONNX Runtime's API; `encoders`: sessions that run in turn on a picture; `decoder`: what reads tokens. */
  constructor(ort, encoders, decoder) {
    this.#ort = ort;
    this.#encoders = encoders;
    this.#decoder = decoder;
    this.#cache = decoder.inputMetadata.find(({ name }) => name === 'cache').shape;
    this.#readsMany = decoder.inputNames.includes('padding');
  }

  /** `images`, a tensor of one picture, to {state, vector}: what the decoder needs, by name; undefined if not given. */
  async encode(images) {
    let [state, vector] = [{ images }];
    for (const encoder of this.#encoders) {
      const { [IMAGE_VECTORS]: found, ...values } = await encoder.run(state);
      vector ??= found?.data;
      state = values;
    }
    return { state, vector };
  }

  /**
   * Read one prompt a row, each of one token or more; a decoder of ours reads one token alone. To {log_p, past}: a tensor
   * of rows x vocabulary, and what these rows have read.
   *
   * `opened`: a cache of one row, of tokens with which all prompts begin; they are not read again.
   */
  read(prompts, state, opened = null) {
    const longest = Math.max(...prompts.map(({ length }) => length));
    const padding = prompts.map(({ length }) => longest - length);
    const length = opened?.dims[3] ?? 0;
    const cache = this.#empty(prompts.length, length);
    // What no longer fits behind the padding is read again: all rows read equally many new tokens.
    padding.forEach((short, row) => short < length && copyColumns(opened, [0, 0], cache, [row, short], length - short));
    const ids = prompts.map((prompt, row) => [...Array(padding[row]).fill(0), ...prompt].slice(length));
    return this.#run(ids, prompts.map((_, row) => row), { cache, padding }, state);
  }

  /** Read one more token a row, each of which continues row `parents[r]` of the past: as `read`. */
  step(ids, parents, { cache, padding }, state) {
    const continued = { cache, padding: parents.map((parent) => padding[parent]) };
    return this.#run(ids.map((id) => [id]), parents, continued, state);
  }

  /** The first tokens of the first row of a past, its padding left out: a cache of one row. */
  opening({ cache, padding }, length) {
    const opened = this.#empty(1, length);
    copyColumns(cache, [0, padding[0]], opened, [0, 0], length);
    return opened;
  }

  #empty(rows, length) {
    const [layers, heads, , , width] = this.#cache;
    const data = new Float32Array(layers * heads * rows * length * width);
    return new this.#ort.Tensor('float32', data, [layers, heads, rows, length, width]);
  }

  /** Run the decoder; `padding` is that of the rows that are made, not of their parents. */
  async #run(ids, parents, { cache, padding }, state) {
    const whole = (values, dims) => new this.#ort.Tensor('int64', BigInt64Array.from(values, BigInt), dims);
    const rows = [ids.length];
    const feeds = { ...state, cache, parents: whole(parents, rows) };
    feeds.token_ids = whole(ids.flat(), this.#readsMany ? [...rows, ids[0].length] : rows);
    if (this.#readsMany) feeds.padding = whole(padding, rows);
    const { log_p, new_cache: grown } = await this.#decoder.run(feeds);
    return { log_p, past: { cache: grown, padding } };
  }
}

/** Copy `count` columns of a row of a cache, in every layer and head: from [row, column] to [row, column]. */
function copyColumns(from, [row, column], to, [toRow, toColumn], count) {
  const [layers, heads, rows, length, width] = from.dims;
  const [, , toRows, toLength] = to.dims;
  for (let head = 0; head < layers * heads; head++) {
    const start = ((head * rows + row) * length + column) * width;
    const part = from.data.subarray(start, start + count * width);
    to.data.set(part, ((head * toRows + toRow) * toLength + toColumn) * width);
  }
}

/** As a session of the vision part, made of one for each scale: later ones run only where no exit before is sure. */
export class Scales {
  #sessions;
  #thresholds;

  /** `thresholds`: for each exit but the last, the confidence from which nothing further is computed. */
  constructor(sessions, thresholds) {
    this.#sessions = sessions;
    this.#thresholds = thresholds;
  }

  async run(feeds) {
    let values = feeds;
    for (const [at, session] of this.#sessions.entries()) {
      const asked = session.inputNames.map((name) => [name, values[BEFORE[name] ?? name]]);
      values = { ...feeds, ...(await session.run(Object.fromEntries(asked))) };
      if (values.sure.data[0] >= this.#thresholds[at]) break;
    }
    const { images, sure, carry, ...told } = values;
    return told;
  }
}

/**
 * Reads prompts about one picture as a Stepper does, but what all of them begin with only once: what a language model
 * makes of a token does not depend on those after it, so that the first prompts leave what the next ones need.
 */
export class Opened {
  apart = true;
  #stepper;
  #opening;
  #cache = null;

  /** `opening`: the tokens that every prompt begins with; each has more than these. */
  constructor(stepper, opening) {
    this.#stepper = stepper;
    this.#opening = opening;
  }

  async read(prompts, state) {
    const { length } = this.#opening;
    if (!this.#cache && prompts.length > FEW) {
      this.#cache = this.#stepper.opening((await this.#stepper.read([this.#opening], state)).past, length);
    }
    const told = await this.#stepper.read(prompts, state, this.#cache);
    this.#cache ??= this.#stepper.opening(told.past, length);
    return told;
  }

  step(...what) {
    return this.#stepper.step(...what);
  }
}
