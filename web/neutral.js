// Neutral wording: captions that say "person" where a picture cannot tell who somebody is. What
// fastcap/runtime/neutral.py does.

import * as english from './english.js';
import { genderedWords, sentences } from './grammar.js';
import { Rewriting, UncertainError } from './rewriting.js';

export { genderedWords };

/**
 * A text in neutral wording: {text, left}. `left` are the gendered words, as they are written, of sentences that were
 * left alone, since no rule is certain to get their grammar right. `always`: leave none alone.
 */
export function neutralWording(text, always = false) {
  const left = [];
  const written = sentences(text).map((sentence) => {
    try {
      return sentence.gendered.length ? new Rewriting(sentence, always).text() : `${sentence}`;
    } catch (error) {
      if (!(error instanceof UncertainError)) throw error;
      left.push(...sentence.gendered.map((place) => sentence.words[place]));
      return `${sentence}`;
    }
  });
  return { text: written.join(''), left };
}

/** The text that `neutralWording` gives. */
export function neutralise(text, always = false) {
  return neutralWording(text, always).text;
}

/**
 * A caption with a noun for each adjective that a model left without one: "A young is riding" is "A young person is
 * riding", "on a wooden in the snow" is "on a wooden one in the snow".
 */
export function withNouns(text) {
  const supplied = sentences(text).map((sentence) => {
    for (const place of sentence.words.keys()) {
      const noun = missingNoun(sentence, place);
      if (noun) sentence.words[place] += ` ${noun}`;
    }
    return `${sentence}`;
  });
  return supplied.join('');
}

/** The noun that is due after a word; nothing if none is. */
function missingNoun(sentence, place) {
  const [word, after, then] = [sentence.lower[place], sentence.after(place), sentence.after(place + 1)];
  if (!english.NEVER_NOUNS.has(word)) return '';
  let start = place;
  while (english.ADJECTIVES.has(sentence.before(start)) || sentence.before(start) === 'very') start -= 1;
  const determiner = sentence.before(start);
  const personal = english.PERSONAL.has(word);
  if (!english.BEFORE_NOUNS.has(determiner) || (determiner === 'the' && personal)) return ''; // "the young are many"
  const degree = after === 'of' || (start > 1 && !english.FUNCTION_WORDS.has(sentence.before(start - 1)));
  if (word === 'little' && degree) return ''; // "jumps a little in the air"
  const last = place + 1 === sentence.words.length && !sentence.gaps[place + 1].includes('-');
  const participle = after.endsWith('ing') && !english.THINGS.has(after);
  const verb = participle && (!then || english.FUNCTION_WORDS.has(then) || english.BARE_OBJECTS.has(after));
  if (!last && !verb && !english.AUXILIARIES.has(after) && !english.PLAIN_PREPOSITIONS.has(after)) return '';
  const several = english.NUMBERS.has(determiner);
  if (word === 'little') return several ? 'children' : 'child';
  if (personal) return several ? 'people' : 'person';
  return several ? 'ones' : 'one';
}
