// The network runs here, so that the page answers while it computes.
//
// In: {load: address of a model directory}, then {id, picture, image, options} for a caption, or {..., question} for an
// answer, or {cancel: id}; `picture` is a number of the picture's own. Out: {progress}, {manifest, decodes, files} or
// {failed}, then {id, caption}, {id, answer} or {id, error}, but nothing of what was cancelled before its turn.

import { KINDS } from './contract.js';
import { load } from './fastcap.js';
import { addressOf, locate } from './files.js';

const KEPT = 16; // pictures, as `fastcap serve` keeps them: of a prefix model, about a megabyte each

let captioner;
let last = Promise.resolve();
const waiting = new Set(); // ids whose turn has not come
const encoded = new Map(); // by picture, the one that was asked for last at the end

self.addEventListener('message', async ({ data }) => {
  if (data.load) {
    captioner = load(data.load, { onProgress: (progress) => self.postMessage({ progress }) });
    try {
      const { manifest, decodes } = await captioner;
      const files = performance.getEntriesByType('resource').map((entry) => entry.name);
      // Graphs that are loaded when they are first asked for, without a network perhaps.
      const stepped = KINDS[manifest.kind].left_to_right.filter((name) => name in manifest.files);
      const later = stepped.map((name) => addressOf(locate(data.load), name, manifest.files[name]).href);
      self.postMessage({ manifest, decodes, files: [self.location.href, ...files, ...later] });
    } catch (error) {
      self.postMessage({ failed: error.message });
    }
  } else if (data.cancel) {
    waiting.delete(data.cancel);
  } else {
    waiting.add(data.id);
    last = last.then(() => answer(data));
  }
});

async function answer({ id, picture, image, options, question }) {
  if (!waiting.delete(id)) return; // cancelled
  const started = performance.now();
  try {
    const held = await encode(picture, image);
    const model = await captioner;
    const [kind, told] = question
      ? ['answer', await model.ask(held, question)]
      : ['caption', (await model.caption(held, options))[0]];
    self.postMessage({ id, [kind]: { ...told, milliseconds: performance.now() - started } });
  } catch (error) {
    self.postMessage({ id, error: error.message });
  }
  await new Promise((heard) => setTimeout(heard)); // to hear what was cancelled while the network computed
}

/** What the network made of a picture: once for its captions and for what is asked about it. */
async function encode(picture, image) {
  const held = encoded.get(picture) ?? (await (await captioner).encode(image));
  encoded.delete(picture);
  encoded.set(picture, held);
  if (encoded.size > KEPT) encoded.delete(encoded.keys().next().value);
  return held;
}
