// The network runs here, so that the page answers while it computes.
//
// In: {load: address of a model directory}, then {id, image, options}. Out: {progress}, {manifest, decodes, files} or
// {failed}, then {id, caption} or {id, error}.

import { load } from './fastcap.js';

let captioner;

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
    return;
  }
  try {
    const [caption] = await (await captioner).caption(data.image, data.options);
    self.postMessage({ id: data.id, caption });
  } catch (error) {
    self.postMessage({ id: data.id, error: error.message });
  }
});
