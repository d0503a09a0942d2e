// The page: takes pictures in, shows captions, gives them back as text. The network runs in worker.js.

const MODEL = new URL('model/', import.meta.url).href;
const WRITES = { '': 'as suits the length', parallel: 'all words at once', beam: 'word after word' };
const KINDS = { blank: 'Blank', text: 'A text', screen: 'A screen', chart: 'A chart', drawing: 'A drawing' };
const find = (selector, within = document) => within.querySelector(selector);
const form = find('#options');
const fields = Object.fromEntries([...form.querySelectorAll('[name]')].map((field) => [field.name, field]));
const status = find('#status');

find('#unstarted').remove();

/**
 * What is on the page, in order: {picture, name, image, card, alt, wordings, milliseconds, edited, request, asked}.
 * `picture` is its number; `alt` is null until there is a caption, whose other `wordings` are the model's; `request` is
 * null while no caption is asked for, and `asked` is what was asked last.
 */
const items = [];
const worker = new Worker(new URL('worker.js', import.meta.url), { type: 'module' });
let manifest = null;
let made = 0;
let keepOnce = () => {};

// --- the model ---------------------------------------------------------------------------------------------------

worker.addEventListener('message', ({ data }) => {
  if (data.progress !== undefined) find('#loading').value = data.progress;
  else if (data.manifest) ready(data);
  else if (data.failed) fail(`The model could not be loaded: ${data.failed}`);
  else if (questions.has(data.id)) answer(data);
  else show(items.find((item) => item.request === data.id), data);
});
worker.addEventListener('error', (event) => fail(`This browser cannot run the page: ${event.message || 'too old'}`));
worker.postMessage({ load: MODEL });

function ready(loaded) {
  manifest = loaded.manifest;
  find('#loading').hidden = true;
  const { min_length: shortest, max_length: longest, max_candidates: most } = manifest.decoding;
  Object.assign(fields.words, { min: shortest, max: longest });
  Object.assign(fields.candidates, { max: most, value: Math.min(most, fields.candidates.value) });
  const decodes = ['', ...loaded.decodes].filter((decode) => Object.hasOwn(WRITES, decode));
  fields.decode.replaceChildren(...decodes.map((decode) => new Option(WRITES[decode], decode)));
  find('#decode').hidden = decodes.length < 3;
  const megabytes = (Object.values(manifest.files).reduce((sum, file) => sum + file.bytes, 0) / 1e6).toFixed(0);
  find('#about').textContent =
    `${manifest.name}: ${manifest.description || 'an image captioning model'}. ${megabytes}\u00a0MB, ${manifest.licence}. ` +
    'It runs in this page, without a server and without tracking.';
  for (const { card } of items) find('.ask', card).hidden = !manifest.questions;
  tell('Ready.');
  items.forEach(request);
  keepOnce = () => {
    keepOnce = () => {};
    if ('serviceWorker' in navigator) keepForOffline(loaded.files).catch(console.warn);
  };
  if (!items.length) keepOnce(); // else after the first captions, which it would slow down
}

async function keepForOffline(files) {
  navigator.serviceWorker.addEventListener('message', ({ data }) => {
    if (!data.kept) console.warn(data.reason);
    else if (!items.length) tell('Ready. Works offline from now on.');
  });
  const links = [...document.querySelectorAll('link[href]')].map((link) => link.href);
  const own = performance.getEntriesByType('resource').map((entry) => entry.name);
  const page = location.href.split('#')[0];
  const keep = [...new Set([page, ...links, ...own, ...files])].filter((url) => url.startsWith(location.origin));
  await navigator.serviceWorker.register(new URL('sw.js', import.meta.url));
  (await navigator.serviceWorker.ready).active.postMessage({ keep });
}

function fail(message) {
  find('#loading').hidden = true;
  tell('');
  complain(message);
}

/** Said as an error, until pictures are added or something else fails; '' takes it away. */
function complain(message) {
  find('#problem').textContent = message;
}

/** Said in writing and, by screen readers, aloud. */
function tell(message) {
  status.textContent = message.trim();
}

// --- pictures in ---------------------------------------------------------------------------------------------------

function add(files) {
  const isPicture = ({ type }) => type.startsWith('image/') || !type;
  const pictures = [...files].filter(isPicture);
  complain(noPictures([...files].filter((file) => !isPicture(file)).map(({ name }) => name)));
  for (const image of pictures) {
    made += 1;
    const name = image.name || `picture-${made}.png`;
    const item = { picture: made, name, image, alt: null, wordings: [], edited: false, request: null };
    item.card = makeCard(item);
    items.push(item);
    find('#list').append(item.card);
    if (manifest) request(item);
  }
  find('#results').hidden = !items.length;
  if (pictures.length && manifest) tell(`Reading ${counted(pictures)}…`);
}

function counted(list) {
  return `${list.length} picture${list.length === 1 ? '' : 's'}`;
}

/** One sentence about files that are no pictures, however many; an empty one about none. */
function noPictures(names) {
  if (!names.length) return '';
  if (names.length === 1) return `${names[0]} is no picture.`;
  const more = names.length - 2;
  const listed = more > 1 ? [...names.slice(0, 2), `${more} others`] : names;
  return `${listed.slice(0, -1).join(', ')} and ${listed.at(-1)} are no pictures.`;
}

find('#files').addEventListener('change', ({ target }) => {
  add(target.files);
  target.value = ''; // the same file may be chosen again
});
addEventListener('paste', ({ clipboardData }) => add(clipboardData.files));
addEventListener('dragover', (event) => {
  event.preventDefault();
  find('#drop').classList.add('over');
});
addEventListener('dragleave', ({ relatedTarget }) => {
  if (!relatedTarget) find('#drop').classList.remove('over');
});
addEventListener('drop', (event) => {
  event.preventDefault();
  find('#drop').classList.remove('over');
  add(event.dataTransfer.files);
});

const viewfinder = find('#viewfinder');
const video = find('video');
if (!navigator.mediaDevices) find('#camera').hidden = true;

find('#camera').addEventListener('click', async () => {
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } });
  } catch (error) {
    complain(`No camera: ${error.message}`);
    return;
  }
  viewfinder.showModal();
  await video.play();
});
find('#shoot').addEventListener('click', async () => {
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext('2d').drawImage(video, 0, 0);
  const blob = await canvas.convertToBlob({ type: 'image/png' });
  viewfinder.close();
  add([new File([blob], `camera-${made + 1}.png`, { type: blob.type })]);
});
find('#leave').addEventListener('click', () => viewfinder.close());
viewfinder.addEventListener('close', () => {
  for (const track of video.srcObject.getTracks()) track.stop();
  video.srcObject = null;
});

// --- captions ------------------------------------------------------------------------------------------------------

function options() {
  const length = fields.length.value === 'words' ? fields.words.valueAsNumber : fields.length.value;
  const candidates = fields.candidates.valueAsNumber;
  const minConfidence = fields.silence.valueAsNumber / 100;
  return { length, candidates, neutral: fields.neutral.checked, decode: fields.decode.value || undefined, minConfidence };
}

let requests = 0;

/** Ask for a caption, no longer for the one that was asked for before. */
function request(item) {
  cancel(item);
  requests += 1;
  item.request = requests;
  item.card.dataset.state = 'waiting';
  find('.waiting', item.card).textContent = 'Waiting…';
  const asked = options();
  item.asked = JSON.stringify(asked);
  worker.postMessage({ id: item.request, picture: item.picture, image: item.image, options: asked });
}

/** What somebody wrote or chose stays, also when an answer is still under way. */
function keep(item) {
  cancel(item);
  item.edited = true;
  item.card.dataset.state = 'done';
}

/** No longer wait for a caption; one that is under way comes all the same, and is ignored. */
function cancel(item) {
  if (item.request !== null) worker.postMessage({ cancel: item.request });
  item.request = null;
}

form.addEventListener('submit', (event) => event.preventDefault());
form.addEventListener('change', () => {
  find('#words').hidden = fields.length.value !== 'words';
  if (!manifest || !form.reportValidity()) return;
  items.filter((item) => !item.edited).forEach(request);
});

function show(item, { caption, error }) {
  if (!item) return; // removed, or asked anew
  const { card } = item;
  card.dataset.state = error ? 'failed' : 'done';
  find('.waiting', card).textContent = error ?? '';
  for (const part of card.querySelectorAll('textarea, .facts, .copy-text, .copy-html')) part.hidden = Boolean(error);
  if (caption) {
    item.wordings = caption.candidates;
    item.milliseconds = Math.round(caption.milliseconds);
    item.noPhoto = caption.kind && caption.kind !== 'photo' ? `${KINDS[caption.kind]}, no photo; ` : '';
    item.sure = caption.confidence;
    write(item, caption.text);
  }
  item.request = null;
  if (items.every((each) => each.request === null)) announce();
}

function announce() {
  keepOnce();
  const done = items.filter((item) => item.alt !== null);
  const failed = items.filter(({ card }) => card.dataset.state === 'failed');
  const count = `${done.length} of ${items.length} pictures have a caption.`;
  const unread = failed.length ? ` ${failed.length} could not be read.` : '';
  const said = () => done[0].alt || find('.facts span', done[0].card).textContent;
  tell(items.length === 1 && done.length ? said() : count + unread);
}

function write(item, text) {
  find('textarea', item.card).value = text;
  describe(item, text);
}

/** Take a text for a picture's, with the model's confidence if the words are the model's. */
function describe(item, text) {
  const { card, wordings } = item;
  const wording = wordings.find((each) => each.text === text);
  const others = wordings.filter((each) => each !== wording);
  item.alt = text;
  find('.picture', card).alt = text;
  find('meter', card).hidden = !wording;
  find('meter', card).value = wording?.confidence ?? 0;
  find('.facts span', card).textContent = wording
    ? `${item.noPhoto}${percent(wording.confidence)} sure, ${item.milliseconds} ms`
    : wordings.length || item.edited || text
      ? 'Edited by you'
      : `No caption: ${item.noPhoto}${percent(item.sure)} sure`;
  find('details', card).hidden = !others.length;
  find('.wordings', card).replaceChildren(...others.map((each) => wordingButton(item, each)));
}

function wordingButton(item, wording) {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = `${wording.text} (${percent(wording.confidence)})`;
  button.addEventListener('click', () => {
    write(item, wording.text);
    keep(item);
    find('textarea', item.card).focus();
  });
  const entry = document.createElement('li');
  entry.append(button);
  return entry;
}

// --- questions -----------------------------------------------------------------------------------------------------

const questions = new Map(); // by the request's number, those that wait for an answer: {question, row, name}

/** Ask the model about a picture, after all that it was asked before. */
function ask(item, question) {
  requests += 1;
  const row = document.createElement('li');
  row.textContent = `${question} …`;
  find('.answers', item.card).append(row);
  questions.set(requests, { question, row, name: item.name });
  worker.postMessage({ id: requests, picture: item.picture, image: item.image, question });
}

function answer({ id, answer: told, error }) {
  const { question, row, name } = questions.get(id);
  questions.delete(id);
  const text = document.createElement('b');
  text.textContent = error ?? (told.text || 'no answer');
  const sure = error ? '' : ` (${percent(told.confidence)} sure, ${Math.round(told.milliseconds)} ms)`;
  row.replaceChildren(question, text, sure);
  tell(`${name}: ${text.textContent}`);
}

function makeCard(item) {
  const card = find('#card').content.firstElementChild.cloneNode(true);
  const picture = find('.picture', card);
  const text = find('textarea', card);
  picture.src = URL.createObjectURL(item.image);
  find('h3', card).textContent = item.name;
  text.setAttribute('aria-label', `Alt text of ${item.name}`);
  text.addEventListener('input', () => {
    describe(item, text.value);
    keep(item);
  });
  const form = find('.ask', card);
  const field = find('input', form);
  form.hidden = !manifest?.questions;
  field.setAttribute('aria-label', `Question about ${item.name}`);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (field.value.trim()) ask(item, field.value.trim());
    form.reset();
  });
  find('.copy-text', card).addEventListener('click', ({ target }) => copy(item.alt, target));
  find('.copy-html', card).addEventListener('click', ({ target }) => copy(formats.html([item]), target));
  find('.remove', card).addEventListener('click', () => {
    remove([item]);
    (find('#list .remove') ?? find('#files')).focus(); // not lost with the button that was pressed
  });
  return card;
}

let removed = []; // what the last press on Remove or Clear took away, in order: {item, at}

function remove(gone) {
  for (const { item } of removed) URL.revokeObjectURL(find('.picture', item.card).src);
  removed = gone.map((item) => ({ item, at: items.indexOf(item) }));
  for (const item of gone) {
    if (item.request !== null) item.asked = null; // to be asked again, should it come back
    cancel(item);
    item.card.remove();
    items.splice(items.indexOf(item), 1);
  }
  find('#results').hidden = !items.length;
  complain('');
  find('#undo').textContent = `Undo removing ${counted(gone)}`;
  find('#undo').hidden = false;
  tell(`${gone.length === 1 ? gone[0].name : 'All pictures'} removed.`);
}

find('#undo').addEventListener('click', () => {
  find('#results').hidden = false;
  find('#undo').hidden = true;
  for (const { item, at } of removed) {
    find('#list').insertBefore(item.card, find('#list').children[at] ?? null);
    items.splice(at, 0, item);
    const stale = !item.edited && item.asked !== JSON.stringify(options());
    if (manifest && stale) request(item);
  }
  tell(`${counted(removed)} brought back.`);
  find('.remove', removed[0].item.card).focus();
  removed = [];
});

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

// --- captions out --------------------------------------------------------------------------------------------------

/** Several pictures as one text. */
const formats = {
  txt: (list) => (list.length === 1 ? list[0].alt : list.map(({ name, alt }) => `${name}: ${alt}`).join('\n')),
  csv: (list) => ['image,caption', ...list.map(({ name, alt }) => `${csvField(name)},${csvField(alt)}`)].join('\r\n'),
  html: (list) => list.map(imageTag).join('\n'),
};
const types = { txt: 'text/plain', csv: 'text/csv', html: 'text/html' };

function imageTag({ name, alt }) {
  return `<img src="${escapeHtml(encodeURIComponent(name))}" alt="${escapeHtml(alt)}">`;
}

function csvField(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function escapeHtml(text) {
  return text.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;');
}

function allAs(format) {
  return formats[format](items.filter((item) => item.alt !== null));
}

async function copy(text, button) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
    tell('Copied.');
  } catch (error) {
    complain(`Not copied: ${error.message}`);
  }
  setTimeout(() => (button.textContent = label), 1500);
}

find('#copy').addEventListener('click', ({ target }) => copy(allAs(find('#format').value), target));
find('#download').addEventListener('click', () => {
  const format = find('#format').value;
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([`${allAs(format)}\n`], { type: `${types[format]};charset=utf-8` }));
  link.download = `captions.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
find('#clear').addEventListener('click', () => {
  remove([...items]);
  find('#undo').focus();
});
