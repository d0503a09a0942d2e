// Token ids to a sentence a reader can be shown, worded as alt text: what fastcap/runtime/text.py does.

import {
  ADJECTIVES, AUXILIARIES, COLOURS, COMPOUNDS, DETERMINERS, NEVER_LAST, NUMBERS, PREPOSITIONS, THINGS, TRANSITIVES,
} from './english.js';

const LONGEST_REPEAT = 3; // words; longer immediate repeats hardly occur, and lists may repeat a phrase on purpose

// Alt text says what is seen, not that it is a picture: screen readers have already said "image".
const PREAMBLE = new RegExp(
  '^(?:this is |there is |it is )?(?:an?|the|this)?\\s*(?<![\\p{L}\\p{N}_])' +
    '(?:image|picture|photo|photograph|snapshot|pic)\\s+' +
    '(?:(?:taken )?of|showing|depicting|shows|depicts|is of|contains|features)\\s+(?=.*[\\p{L}\\p{N}])',
  'iu',
);
const WORD = /[\p{L}\p{N}]+(?:['’-][\p{L}\p{N}]+)*/gu;
// These end a sentence after some words alone: "cars drive by", "two men sitting down", "a crowd looks on"
const MAY_END = new Map([
  ['by', /^(?:pass|stand|go|walk|driv|fl[iy]|run|rid|float|sail|watch)[\p{L}\p{N}_]*$/u],
  [
    'down',
    new RegExp(
      '^(?:(?:sit|look|la[iy]|l[iy]|fall|bend|kneel|hang|dangl|slid|climb|bow|stoop|crouch|com[ei]|crash|tip|roll|turn|' +
        'pull|knock)[\\p{L}\\p{N}_]*|sat|set|bent|upside|back|one|heads?|face|hands?|and|it|them|go(?:es|ing)?)$',
      'u',
    ),
  ],
  [
    'over',
    new RegExp(
      '^(?:(?:look|bend|lean|hunch|flip|knock|turn|roll|fall|tip|toppl|tumbl|hang|pull)[\\p{L}\\p{N}_]*|' +
        'bent|all|and|it)$',
      'u',
    ),
  ],
  ['front', /^(?!in$)/u],
]);
const BEFORE_ON = /^(?:look[\p{L}\p{N}_]*|with|without|has|have|wear[\p{L}\p{N}_]*|nothing)$/u;
const PLURAL = /^(?:people|men|women|children|[\p{L}\p{N}_]*(?!s)[\p{L}\p{N}]s)$/u;
const PARTS = ['group', 'bunch', 'pair', 'couple', 'number', 'row']; // of something
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
 * adjective or number whose noun is missing ("A man in a red."). A single noun is whole in the plural alone.
 */
export function endsEarly(text) {
  const before = text.toLowerCase().match(WORD) ?? [];
  if (!before.length) return true;
  const last = before.pop();
  const previous = before.at(-1) ?? '';
  const article = previous === 'a' || previous === 'an';
  if (NEVER_LAST.has(last)) return true;
  if (!before.length) return !PLURAL.test(last); // "Dogs" tells what is seen, "Dog" lacks its article
  if (MAY_END.has(last)) return !MAY_END.get(last).test(previous);
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
  if (article && last.endsWith('ing') && !THINGS.has(last)) return true;
  if (last === 'standing' || last === 'sitting') {
    return before.length < 6 && !before.some((word) => AUXILIARIES.has(word)); // where? "A man is standing" is whole
  }
  return article && before.length === 1 && PARTS.includes(last);
}

/**
 * Whether a sentence stops after the first part of a compound ("A man holding a tennis.", "A man is rock.",
 * "Two soccer."). Stricter than `endsEarly`: for captions among which others can be chosen.
 */
export function lacksNoun(text) {
  const [previous, last] = ['', '', ...(text.toLowerCase().match(WORD) ?? [])].slice(-2);
  if (previous === 'is' || previous === 'are') return last === 'rock' || (COMPOUNDS.has(last) && !last.endsWith('ing'));
  if (NUMBERS.has(previous)) return !PLURAL.test(last);
  return (previous === 'a' || previous === 'an') && COMPOUNDS.has(last);
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
