// Texts to token ids and back, and the one form in which a model reads texts: what fastcap/runtime/encoding.py does, and
// the tokenizers library for the tokenizers that our models have.

import { TOKENIZER } from './contract.js';
import { ModelFileError } from './errors.js';

const NORMALIZERS = {
  NFC: () => (text) => text.normalize('NFC'),
  Lowercase: () => (text) => text.toLowerCase(),
  Prepend: ({ prepend }) => (text) => (text ? prepend + text : text),
  Sequence: ({ normalizers }) => inTurn(normalizers.map((each) => part(NORMALIZERS, each, 'normalizer'))),
};
// GPT-2's words: contractions, letters, digits, signs, spaces. They never merge with one another.
const GPT2 = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;
const PRE_TOKENIZERS = {
  ByteLevel: ({ add_prefix_space: spaced, use_regex: split = true }) => (words) =>
    words
      .map((text) => (spaced && !text.startsWith(' ') ? ` ${text}` : text))
      .flatMap((text) => (split ? (text.match(GPT2) ?? []) : [text])),
  Digits: ({ individual_digits: alone }) => (words) =>
    words.flatMap((text) => text.match(alone ? /\p{N}|[^\p{N}]+/gu : /\p{N}+|[^\p{N}]+/gu) ?? []),
  Sequence: ({ pretokenizers }) => inTurn(pretokenizers.map((each) => part(PRE_TOKENIZERS, each, 'pre_tokenizer'))),
};

function inTurn(steps) {
  return (value) => steps.reduce((result, step) => step(result), value);
}

/** A step of a tokenizer. Throws ModelFileError for one that is not known here. */
function part(known, settings, name) {
  if (settings === null) return (value) => value;
  if (!Object.hasOwn(known, settings.type)) {
    throw new ModelFileError(`${TOKENIZER}: ${name} is ${settings.type}; allowed are ${Object.keys(known).join(', ')}`);
  }
  return known[settings.type](settings);
}

/** A byte-level BPE, made of the content of its `tokenizer.json`. */
export class Tokenizer {
  #tokens = [];
  #special;
  #bytes = byteOfCharacter();
  #settings;
  #encoder = null; // made when it is first asked for

  constructor(settings) {
    const { model, decoder, added_tokens: added } = settings;
    if (decoder?.type !== 'ByteLevel') {
      throw new ModelFileError(`${TOKENIZER}: decoder is ${decoder?.type}; expected ByteLevel`);
    }
    for (const [token, id] of Object.entries(model.vocab)) this.#tokens[id] = token;
    for (const { id, content } of added) this.#tokens[id] = content;
    this.#special = new Set(added.filter((token) => token.special).map((token) => token.id));
    this.#settings = settings;
  }

  get size() {
    return this.#tokens.length;
  }

  /** The text of token ids, special ones left out. */
  decode(ids) {
    const letters = ids.filter((id) => !this.#special.has(id)).flatMap((id) => [...this.#tokens[id]]);
    return new TextDecoder().decode(Uint8Array.from(letters, (letter) => this.#bytes.get(letter)));
  }

  /** Token ids of a text, without marks: one that spells `<pad>` is text. Throws ModelFileError for another kind. */
  encode(text) {
    this.#encoder ??= new Encoder(this.#settings, this.#bytes);
    return this.#encoder.encode(text);
  }
}

/** The half of a tokenizer that only questions need. */
class Encoder {
  #ids;
  #ranks;
  #letters = []; // of each byte; '' where the tokenizer has none for it
  #normalized;
  #words;

  constructor({ model, normalizer, pre_tokenizer: words, added_tokens: added }, bytes) {
    if (model.type !== 'BPE' || model.ignore_merges || added.some(({ special }) => !special)) {
      throw new ModelFileError(`${TOKENIZER}: to read questions it has to be a BPE, whose added tokens are marks`);
    }
    this.#ids = new Map(Object.entries(model.vocab));
    const pairs = model.merges.map((pair) => (typeof pair === 'string' ? pair : pair.join(' ')));
    this.#ranks = new Map(pairs.map((pair, rank) => [pair, rank]));
    for (const [letter, byte] of bytes) this.#letters[byte] = this.#ids.has(letter) ? letter : (model.unk_token ?? '');
    this.#normalized = part(NORMALIZERS, normalizer, 'normalizer');
    this.#words = part(PRE_TOKENIZERS, words, 'pre_tokenizer');
  }

  encode(text) {
    const pieces = this.#words([this.#normalized(text)]).flatMap((word) => this.#merged(word));
    return pieces.map((piece) => this.#ids.get(piece));
  }

  /** The pieces of a word: its bytes, of which the pair that was learnt first is joined, until none is left. */
  #merged(word) {
    let pieces = Array.from(new TextEncoder().encode(word), (byte) => this.#letters[byte]).filter(Boolean);
    for (;;) {
      const ranks = pieces.slice(1).map((piece, at) => this.#ranks.get(`${pieces[at]} ${piece}`) ?? Infinity);
      const first = Math.min(...ranks, Infinity);
      if (first === Infinity) return pieces;
      const at = ranks.indexOf(first);
      pieces = [...pieces.slice(0, at), pieces[at] + pieces[at + 1], ...pieces.slice(at + 2)];
    }
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

const LETTER = '[\\p{L}\\p{N}_]'; // \w of Python
const ENTITIES = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0' };
const ENTITY = new RegExp(`&(?:#(\\d{1,7})|#[xX]([\\da-fA-F]{1,6})|(${Object.keys(ENTITIES).join('|')}));`, 'g');
const RULES = [
  [/(?:[^\S\ufeff]|[\x1c-\x1f\x85])+/gu, ' '], // \s of Python
  [new RegExp(`(?<=${LETTER}) (?=n't(?!${LETTER}))`, 'gu'), ''],
  [new RegExp(`(?<=${LETTER}) (?='(?:s|re|ve|ll|d|m)(?!${LETTER}))`, 'gu'), ''],
  [/ (?=[,.;:!?)%](?:[ "').,]|$))/gu, ''],
  [/(?<=[($#]) /gu, ''],
  [new RegExp(`(?<![^ ])" ?([^"]*?) ?"(?!${LETTER})`, 'gu'), '"$1"'],
  [/(?<![^ ])' ([^']+) '(?![\p{L}\p{N}_])/gu, "'$1'"],
  [new RegExp(`(?<=s) (?=' ${LETTER}[^']*$)`, 'gu'), ''], // parents ' house
  [/[ .]+("?)$/gu, '$1'],
];

/** The one form in which a model reads and writes texts. Of HTML's entities it knows numbers, and the six names above. */
export function cleanCaption(text) {
  for (let before = null; text !== before; ) {
    before = text;
    text = cleanOnce(text); // a removal can bring two marks together
  }
  return text;
}

function cleanOnce(text) {
  text = text.replace(ENTITY, (whole, decimal, hex, name) => {
    if (name) return ENTITIES[name];
    const code = decimal ? Number(decimal) : Number.parseInt(hex, 16);
    const isLetter = code > 0x9f || (code > 0x1f && code < 0x7f);
    return isLetter && code < 0x110000 && (code & ~0x7ff) !== 0xd800 ? String.fromCodePoint(code) : whole;
  });
  text = text.toLowerCase().normalize('NFC').replace(/[\u2018\u2019]/g, "'").replace(/[\u201c\u201d]/g, '"');
  text = text.replaceAll('``', '"').replaceAll("''", '"');
  for (const [pattern, replacement] of RULES) text = text.replace(pattern, replacement);
  return text.trim();
}
