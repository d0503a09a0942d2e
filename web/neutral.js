// Neutral wording: captions that say "person" where a picture cannot tell who somebody is. What
// fastcap/runtime/neutral.py does.

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
