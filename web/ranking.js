// Which of several candidates is the best, by the words that people would use of the picture: what
// fastcap/runtime/ranking.py and words.py do, but for memories of pictures.

import { readNpz } from './npz.js';
import { captionWords, namesTwice } from './text.js';

const SMALLEST = 1e-9; // probability, so that every logarithm is finite

/** What a directory's `ranking` may weigh, of candidates {probability, each} with their texts and scores by words. */
const FEATURES = {
  log_p: ({ probability }) => Math.log(Math.max(probability, SMALLEST)),
  token_log_p: ({ each }) =>
    each.reduce((total, p) => total + Math.log(Math.max(p, SMALLEST)), 0) / Math.max(each.length, 1),
  words: (_, text) => captionWords(text).length,
  expected: (_, text, [expected]) => expected,
  information: (_, text, [, information]) => information,
};

/** Orders candidates by the weights of a model directory and its words. */
export class Ranker {
  #ranking;
  #words;
  #tokenizer;

  /** `ranking`: the section of `model.json`; `words`: a PictureWords, or null. */
  constructor(ranking, words, tokenizer) {
    this.#ranking = ranking;
    this.#words = words;
    this.#tokenizer = tokenizer;
  }

  /** Weights [[name, weight]] of candidates of a way of decoding; null where these stay as they are. */
  weights(way) {
    const weights = Object.entries(this.#ranking[way === 'parallel' ? 'parallel' : 'search'] ?? {});
    const used = weights.filter(([, weight]) => weight !== 0);
    // What asks a memory of pictures is not computed here: then the network's order stays.
    return used.length && used.every(([name]) => Object.hasOwn(FEATURES, name)) ? used : null;
  }

  /** Whether the words, if there are any, are of vectors like this one. */
  fits(vector) {
    return !this.#words || this.#words.width === vector?.length;
  }

  /**
   * The candidates {ids, probability, each} of the picture with this vector, best first; equal ones as given. The first
   * does not name a thing twice if another one does not, since people hardly ever do.
   */
  order(candidates, vector, way) {
    const scores = this.scores(candidates, vector, way);
    const places = scores.map((_, place) => place).sort((one, other) => scores[other] - scores[one]);
    const ordered = places.map((place) => candidates[place]);
    if (scores.some((score) => score !== 0)) {
      const first = ordered.findIndex(({ ids }) => !namesTwice(this.#tokenizer.decode(ids)));
      if (first > 0) ordered.unshift(...ordered.splice(first, 1));
    }
    return ordered;
  }

  /** What `order` orders by. */
  scores(candidates, vector, way) {
    const used = this.weights(way) ?? [];
    return candidates.map((candidate) => {
      const text = this.#tokenizer.decode(candidate.ids);
      const told = this.#words?.score(vector, text) ?? [0, 0];
      return used.reduce((total, [name, weight]) => total + weight * FEATURES[name](candidate, text, told), 0);
    });
  }
}

/** A vocabulary whose words are more or less likely, depending on the picture. */
export class PictureWords {
  #rows;
  #scales;
  #offsets;
  #idf;
  #numbers;

  /** The content of a `words.npz`. Throws an Error for another content. */
  static async read(bytes) {
    const { words, rows, scales, offsets, idf } = await readNpz(bytes);
    const read = new PictureWords();
    [read.#rows, read.#scales, read.#offsets, read.#idf] = [rows, scales, offsets, idf].map(({ data }) => data);
    const names = new TextDecoder().decode(words.data).split('\n');
    read.#numbers = new Map(names.map((word, number) => [word, number]));
    /** The width of a picture's vector. */
    read.width = rows.shape[1];
    return read;
  }

  /** [expected, information] of a text for the picture with this vector, as `PictureWords.score` explains them. */
  score(vector, text) {
    let [expected, squares] = [0, 0];
    for (const number of new Set(captionWords(text).map((word) => this.#numbers.get(word)))) {
      if (number === undefined) continue;
      const weight = this.#idf[number] ** 2;
      squares += weight;
      expected += weight * this.#probability(vector, number);
    }
    const information = Math.sqrt(squares);
    return [expected / Math.max(information, 1e-9), information];
  }

  #probability(vector, number) {
    const start = number * this.width;
    const product = vector.reduce((total, each, at) => total + each * this.#rows[start + at], 0);
    return 1 / (1 + Math.exp(-Math.min(Math.max(this.#scales[number] * product + this.#offsets[number], -60), 60)));
  }
}
