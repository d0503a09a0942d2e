// The network runs here, so that the page answers while it computes.
//
// In: {load: address of a model directory}, then {id, image, options}, or {cancel: id}. Out: {progress}, {manifest,
// decodes, files} or {failed}, then {id, caption} or {id, error}, but nothing of what was cancelled before its turn.

import { load } from './fastcap.js';

let captioner;
let last = Promise.resolve();
const waiting = new Set(); // ids whose turn has not come

self.addEventListener('message', async ({ data }) => {
  if (data.load) {
    captioner = load(data.load, { onProgress: (progress) => self.postMessage({ progress }) });
    try {
      const { manifest, decodes } = await captioner;
      const files = performance.getEntriesByType('resource').map((entry) => entry.name);
      self.postMessage({ manifest, decodes, files: [self.location.href, ...files] });
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

async function answer({ id, image, options }) {
  if (!waiting.delete(id)) return; // cancelled
  try {
    const [caption] = await (await captioner).caption(image, options);
    self.postMessage({ id, caption });
  } catch (error) {
    self.postMessage({ id, error: error.message });
  }
  await new Promise((heard) => setTimeout(heard)); // to hear what was cancelled while the network computed
}
