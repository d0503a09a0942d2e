// Which of the captions that a model decoded are shown, in which words, in which order: what fastcap/runtime/wording.py
// does.

import { LEAST_TOKEN, MAX_BEAMS } from './contract.js';
import { neutralise, withNouns } from './neutral.js';
import { endsEarly, isGarbled, lacksNoun, namesTwice, sentence, wordCount } from './text.js';

/**
 * The different wordings of one picture, as they are decoded for a plan. What is decoded is
 * {ids, probability, each, sound}.
 *
 * A caption that stops where a word is due is cut back to where a sentence may end. Such a one comes after captions that
 * are whole: for a number of words, of those equally near to it; otherwise, only if none is whole. Of captions of every
 * length the sound ones that are whole come first, and none is cut: its start is there as well.
 */
export class Wordings {
  #plan;
  #tokenizer;
  #whole = new Map();
  #cut = new Map();
  #broken = new Map(); // of which nothing is left
  #originals = new Set();
  #merged = false;

  constructor(plan, tokenizer) {
    this.#plan = plan;
    this.#tokenizer = tokenizer;
  }

  /** Take what a model decoded, best first. */
  add(captions) {
    const { words, returned, neutral, every_length: everyLength } = this.#plan;
    for (let caption of captions) {
      if (this.#whole.size >= returned && (words === null || !caption.sound)) break; // nobody asks for the others
      let text = this.#text(caption.ids);
      let wordings = this.#whole;
      if (everyLength && !isWhole(text)) {
        wordings = this.#broken;
      } else if (endsEarly(text)) {
        [text, caption] = this.#cutBack(text, caption);
        wordings = endsEarly(text) ? this.#broken : this.#cut;
      }
      if (neutral && words === null) {
        const original = text;
        text = withNouns(neutralise(text, true));
        this.#merged ||= wordings.has(text) && !this.#originals.has(original);
        this.#originals.add(original);
      }
      if (!wordings.has(text)) wordings.set(text, caption);
    }
  }

  /** [text, caption] of each, best first, as many as the plan asks for. */
  best() {
    const { words, returned, neutral } = this.#plan;
    if (words === null) {
      const wordings = [this.#whole, this.#cut, this.#broken].find(({ size }) => size);
      return [...wordings].slice(0, returned);
    }
    const cut = [...this.#cut].filter(([text]) => !this.#whole.has(text));
    const wordings = this.#whole.size + cut.length ? [...this.#whole, ...cut] : [...this.#broken];
    const rank = ([text, { sound }]) => (sound ? 0 : 1000) + this.#distance(text);
    const ordered = wordings.sort((one, other) => rank(one) - rank(other));
    // Other words, maybe fewer or more of them, change nothing of what is chosen.
    return (neutral ? inNeutralWords(ordered) : ordered).slice(0, returned);
  }

  /**
   * What else to decode: other lengths where no sentence is within a word of the number asked for; else more captions
   * where some were not whole, or became the same in neutral wording. Null if that is not so, or nothing is left.
   */
  further(limits) {
    const plan = this.#plan;
    if (plan.every_length) return null;
    if (plan.words !== null) {
      if (!this.#cut.size && !this.#broken.size) return null;
      if ([...this.#whole.keys(), ...this.#cut.keys()].some((text) => this.#distance(text) <= 1)) return null;
      const [low, high] = [plan.high + 1, Math.min(plan.high + plan.decoded, limits.max_length)];
      return low <= high ? { ...plan, low, high, decoded: high - low + 1 } : null;
    }
    if (this.#whole.size >= plan.returned || plan.beams === 1) return null;
    if (!this.#merged && !this.#cut.size && !this.#broken.size) return null;
    const decoded = Math.min(limits.max_candidates, plan.high - plan.low + 1);
    return { ...plan, decoded, beams: MAX_BEAMS, returned: 2 * plan.returned };
  }

  #distance(text) {
    return Math.abs(wordCount(text) - this.#plan.words);
  }

  #text(ids) {
    return sentence(this.#tokenizer.decode(ids));
  }

  /** The longest start of a caption that is a sentence; the caption as it is if none is. */
  #cutBack(text, caption) {
    const { ids, each } = caption;
    for (let end = ids.length - 1; end > 0; end--) {
      if (!this.#tokenizer.decode([ids[end]]).startsWith(' ')) continue;
      const shorter = this.#text(ids.slice(0, end));
      if (!endsEarly(shorter)) return [shorter, { ...caption, ids: ids.slice(0, end), each: each.slice(0, end) }];
    }
    return [text, caption];
  }
}

/**
 * The first of a picture's wordings, and of the rest and the others those that are sound: sentences, no token of which
 * is improbable. Few are better than broken ones. `plan`: of the others, or of all if there are none.
 */
export function withSoundOthers(wordings, others, { returned }) {
  const known = new Map(wordings.slice(0, 1));
  for (const [text, caption] of [...wordings.slice(1), ...others]) {
    const improbable = Math.min(1, ...caption.each) < LEAST_TOKEN;
    if (isWhole(text) && !improbable && !known.has(text)) known.set(text, caption);
  }
  return [...known].slice(0, returned);
}

function isWhole(text) {
  return !(endsEarly(text) || lacksNoun(text) || isGarbled(text) || namesTwice(text));
}

function inNeutralWords(wordings) {
  const rewritten = new Map();
  for (const [text, caption] of wordings) {
    const neutral = withNouns(neutralise(text, true));
    if (!rewritten.has(neutral)) rewritten.set(neutral, caption);
  }
  return [...rewritten];
}
