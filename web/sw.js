// Keeps the page and its model for the next visit, with or without a network.
//
// A file whose address carries its hash (`model.onnx?585278a36515bc1f`) never changes: the kept one serves. All others
// are asked for first, so that a new version arrives at once, and the kept one serves where there is no answer.

const CACHE = 'fastcap';

self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

// The page says what it has loaded; most of it still lies in the browser's own cache.
self.addEventListener('message', (event) => {
  const keeping = Promise.all(event.data.keep.map(async (url) => keep(url, await fetch(url))));
  const answer = keeping.then(
    () => ({ kept: true }),
    (error) => ({ kept: false, reason: error.message }),
  );
  event.waitUntil(answer.then((message) => event.source.postMessage(message)));
});

self.addEventListener('fetch', (event) => {
  const { url, method } = event.request;
  const { origin, protocol, search } = new URL(url);
  if (protocol === 'blob:' || method !== 'GET') return;
  if (origin !== self.location.origin) event.respondWith(Response.error()); // this page speaks to nobody else
  else event.respondWith(search ? keptFirst(event) : newestFirst(event));
});

async function keptFirst(event) {
  return (await caches.match(event.request.url)) ?? newest(event);
}

async function newestFirst(event) {
  try {
    return await newest(event);
  } catch (error) {
    const kept = await caches.match(event.request.url);
    if (kept) return kept;
    throw error;
  }
}

/** The answer at once; it is kept meanwhile, or not, where the disk is full. */
async function newest(event) {
  const response = await fetch(event.request);
  event.waitUntil(keep(event.request.url, response.clone()).catch(() => {}));
  return response;
}

/** Keep a good answer, in place of one that had another hash. */
async function keep(url, response) {
  if (!response.ok) throw new Error(`${url}: status ${response.status}`);
  const cache = await caches.open(CACHE);
  await cache.put(url, response);
  for (const { url: other } of await cache.keys(url, { ignoreSearch: true })) {
    if (other !== url) await cache.delete(other);
  }
}
