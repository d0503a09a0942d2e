// Questions about a picture as a model reads them, and the search for answers: what fastcap/runtime/answering.py and
// conversation.py do, but for turns before a question.

import { IMAGE_MARK, MAX_QUESTION, MAX_QUESTIONS, PLACE, TOGETHER } from './contract.js';
import { ConfigError } from './errors.js';
import { beamSearch } from './search.js';
import { cleanCaption } from './tokenizer.js';

/** Token ids of questions. */
export class Prompts {
  /** `manifest`: of a model that answers. Throws ConfigError for what is no question, or too long a one. */
  constructor(manifest, tokenizer, questions) {
    const { bos_id: bos } = manifest.vocabulary;
    const { template, tokens: most } = manifest.questions;
    const [before, after] = template.split(PLACE);
    if (!(questions.length >= 1 && questions.length <= MAX_QUESTIONS)) {
      throw new ConfigError(`got ${questions.length} questions; allowed are 1 to ${MAX_QUESTIONS}`);
    }
    /** The tokens of each question, begin mark included. */
    this.ids = questions.map((question) => {
      const ids = tokenizer.encode(before + cleanQuestion(question) + after);
      if (ids.length > most) {
        throw new ConfigError(`the question has ${ids.length} tokens; model '${manifest.name}' reads at most ${most}`);
      }
      return [bos, ...ids];
    });
    const opening = [bos, ...tokenizer.encode(before.trimEnd())]; // a space belongs to the question's first token
    const shared = this.ids.every((ids) => opening.every((id, at) => ids[at] === id));
    /** Tokens with which all of them begin, whatever is asked. */
    this.opening = shared ? opening : [bos];
  }
}

/** A question in the form that models read. Throws ConfigError: it is no text, without words or too long. */
export function cleanQuestion(question) {
  if (typeof question !== 'string') throw new ConfigError(`the question is a ${typeof question}; needed: a text`);
  const text = question.replace(IMAGE_MARK, ' ').trim(); // LLaVA's mark for the picture, which is read first
  if (text.includes(IMAGE_MARK)) {
    throw new ConfigError(`${IMAGE_MARK} stands twice in a question about one picture; allowed: once`);
  }
  const { length } = [...text];
  if (length > MAX_QUESTION) {
    throw new ConfigError(`the question has ${length} characters; allowed: 1 to ${MAX_QUESTION}`);
  }
  const cleaned = cleanCaption(text);
  if (!/[\p{L}\p{N}]/u.test(cleaned)) {
    const got = cleaned ? 'holds no words' : 'is empty';
    throw new ConfigError(`the question ${got}; needed: a text of 1 to ${MAX_QUESTION} characters`);
  }
  return cleaned;
}

/** The best answer to each prompt, {ids, logP, score}; `limits` are those of `beamSearch`. */
export async function searchAnswers(reader, state, prompts, limits) {
  const best = [];
  for (let from = 0; from < prompts.length; from += TOGETHER) {
    const found = await beamSearch(reader, state, { ...limits, prompts: prompts.slice(from, from + TOGETHER) });
    best.push(...found.map(([first]) => first));
  }
  return best;
}
