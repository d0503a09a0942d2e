// The network runs here, so that the page answers while it computes.
//
// In: {load: address of a model directory}, then {id, image, options}. Out: {progress}, {manifest, decodes, files} or
// {failed}, then {id, caption} or {id, error}.

import { load } from './fastcap.js';

// Half of the cores, which are often two to a real one, and four at most: the graph is small.
const threads = self.crossOriginIsolated ? Math.min(4, Math.ceil(navigator.hardwareConcurrency / 2)) : 1;
let captioner;

self.addEventListener('message', async ({ data }) => {
  if (data.load) {
    captioner = load(data.load, { threads, onProgress: (progress) => self.postMessage({ progress }) });
    try {
      const { manifest, decodes } = await captioner;
      const files = performance.getEntriesByType('resource').map((entry) => entry.name);
      self.postMessage({ manifest, decodes, files: [self.location.href, ...files] });
    } catch (error) {
      self.postMessage({ failed: error.message });
    }
    return;
  }
  try {
    const [caption] = await (await captioner).caption(data.image, data.options);
    self.postMessage({ id: data.id, caption });
  } catch (error) {
    self.postMessage({ id: data.id, error: error.message });
  }
});
