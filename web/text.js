// Token ids to a sentence a reader can be shown, worded as alt text: what fastcap/runtime/text.py does.

import { ADJECTIVES, COLOURS, DETERMINERS, NEVER_LAST, PREPOSITIONS, THINGS, TRANSITIVES } from './english.js';

const LONGEST_REPEAT = 3; // words; longer immediate repeats hardly occur, and lists may repeat a phrase on purpose

// Alt text says what is seen, not that it is a picture: screen readers have already said "image".
const PREAMBLE = new RegExp(
  '^(?:this is |there is |it is )?(?:an?|the|this)?\\s*(?<![\\p{L}\\p{N}_])' +
    '(?:image|picture|photo|photograph|snapshot|pic)\\s+' +
    '(?:(?:taken )?of|showing|depicting|shows|depicts|is of|contains|features)\\s+(?=.*[\\p{L}\\p{N}])',
  'iu',
);
const WORD = /[\p{L}\p{N}]+(?:['’-][\p{L}\p{N}]+)*/gu;
// "by" and "on" end a sentence after these alone: "cars drive by", "a crowd looks on", "with a hat on"
const BEFORE_BY = /^(?:pass|stand|go|walk|driv|fl[iy]|run|rid|float|sail|watch)[\p{L}\p{N}_]*$/u;
const BEFORE_ON = /^(?:look[\p{L}\p{N}_]*|with|without|has|have|wear[\p{L}\p{N}_]*|nothing)$/u;
const DRESSED = ['in', 'with', 'wearing', 'wears']; // after which a colour is whole: "dressed in red"
const SPACING = [
  [/\s+([,.;:!?%)\]}])/gu, '$1'],
  [/([([{$#])\s+/gu, '$1'],
  [/\s+(n't|'(?:s|re|ve|ll|d|m|t))(?![\p{L}\p{N}_])/giu, '$1'],
  [/(?<=[\p{L}\p{N}_]) - (?=[\p{L}\p{N}_])/gu, '-'],
  [/"\s*([^"]*?)\s*"/gu, '"$1"'],
];

/** The tokens of a `tokenizer.json` whose decoder is ByteLevel. */
export class Tokenizer {
  #tokens = [];
  #special;
  #bytes = byteOfCharacter();

  constructor({ model, decoder, added_tokens: added }) {
    if (decoder?.type !== 'ByteLevel') throw new Error(`decoder is ${decoder?.type}; expected ByteLevel`);
    for (const [token, id] of Object.entries(model.vocab)) this.#tokens[id] = token;
    for (const { id, content } of added) this.#tokens[id] = content;
    this.#special = new Set(added.filter((token) => token.special).map((token) => token.id));
  }

  get size() {
    return this.#tokens.length;
  }

  /** The text of token ids, special ones left out. */
  decode(ids) {
    const letters = ids.filter((id) => !this.#special.has(id)).flatMap((id) => [...this.#tokens[id]]);
    return new TextDecoder().decode(Uint8Array.from(letters, (letter) => this.#bytes.get(letter)));
  }
}

/** GPT-2's way to write bytes as visible characters: those that are none get the code points from 256 upwards. */
function byteOfCharacter() {
  const found = new Map();
  let unused = 256;
  for (let byte = 0; byte < 256; byte++) {
    const visible = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
    found.set(String.fromCodePoint(visible ? byte : unused++), byte);
  }
  return found;
}

/**
 * Repair raw decoder text: spacing, immediate repeats, picture preambles, first letter, full stop.
 *
 * Applying it twice changes nothing. Returns '' when the text holds no letter or digit.
 */
export function sentence(text) {
  text = text.replace(/[\p{C}\p{Z}]/gu, ' ');
  let before = null;
  while (text !== before) {
    // one repair may lay bare the next: "a dog , a dog"
    before = text;
    text = repaired(text);
  }
  const at = text.search(/[\p{L}\p{N}]/u);
  if (at < 0) return '';
  const [first] = text.slice(at);
  text = text.slice(0, at) + first.toUpperCase() + text.slice(at + first.length);
  text = text.replace(/[ ,;:\-.]+$/, '');
  return /[!?]$/.test(text) ? text : `${text}.`;
}

/**
 * Whether a sentence stops where a word is due: after an article, a preposition, a conjunction, an auxiliary, or an
 * adjective or number whose noun is missing ("A man in a red.").
 */
export function endsEarly(text) {
  const before = text.toLowerCase().match(WORD) ?? [];
  if (!before.length) return true;
  const last = before.pop();
  const previous = before.at(-1) ?? '';
  const article = previous === 'a' || previous === 'an';
  if (NEVER_LAST.has(last)) return true;
  if (last === 'by') return !BEFORE_BY.test(previous);
  if (last === 'on') return !before.some((word) => BEFORE_ON.test(word));
  if (last === 'her') return previous === 'in' || previous === 'on'; // as an object it may: "looks at her"
  if (ADJECTIVES.has(last)) {
    const modifies = (word) => ADJECTIVES.has(word) || COLOURS.has(word) || ['and', 'or', 'very'].includes(word);
    while (before.length && modifies(before.at(-1))) before.pop();
    if (!before.length || DETERMINERS.has(before.at(-1))) return true;
    const needsNoun = PREPOSITIONS.has(before.at(-1)) || TRANSITIVES.has(before.at(-1));
    return needsNoun && !(COLOURS.has(last) && DRESSED.includes(before.at(-1)));
  }
  if (COLOURS.has(last)) return article && before.at(-2) === 'in'; // also nouns: "holds an orange", but "in an orange"
  return article && last.endsWith('ing') && !THINGS.has(last);
}

/** Words as a reader counts them: runs of non-space that hold a letter or digit. */
export function wordCount(text) {
  return text.split(/\s+/u).filter((word) => /[\p{L}\p{N}_]/u.test(word)).length;
}

function repaired(text) {
  for (const [pattern, replacement] of SPACING) text = text.replace(pattern, replacement);
  return withoutRepeats(text.split(/\s+/u).filter(Boolean)).join(' ').replace(PREAMBLE, '');
}

/** Drop immediate repeats of one to three words: "a hat a hat" says no more than "a hat". */
function withoutRepeats(words) {
  const kept = [];
  for (const word of words) {
    kept.push(word);
    for (let n = 1; n <= LONGEST_REPEAT; n++) {
      if (kept.length >= 2 * n && key(kept.slice(-n)) === key(kept.slice(-2 * n, -n))) {
        kept.splice(-2 * n, n); // the later copy stays, with the punctuation that ends it
        break;
      }
    }
  }
  return kept;
}

function key(words) {
  return words.map((word) => word.toLowerCase().replace(/^[,.;:]+|[,.;:]+$/g, '') || word).join(' ');
}
