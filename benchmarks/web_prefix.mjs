// Captions and answers of pictures by fastcap.js in Node, one JSON object a line: texts, and milliseconds of processor time
// of each step. Standard input: {module, ort, folder, questions, pictures: [{file, width, height}]}, files of RGBA.
import { readFileSync } from 'node:fs';

const { module, ort, folder, questions, pictures } = JSON.parse(readFileSync(0, 'utf8'));
const { load } = await import(module);
const timed = async (job) => {
  const before = process.cpuUsage();
  const result = await job();
  const { user, system } = process.cpuUsage(before);
  return [result, Math.round((user + system) / 1000)];
};
const [captioner, loading] = await timed(async () => load(folder, { threads: 1, ort: ort ? await import(ort) : undefined }));
const asks = captioner.manifest.questions ? questions : [];
for (const { file, width, height } of pictures) {
  const image = { data: new Uint8Array(readFileSync(file)), width, height };
  const [photo, encoding] = await timed(() => captioner.encode(image));
  const [[{ text }], captioning] = await timed(() => captioner.caption(photo));
  const answers = [];
  const asking = [];
  for (const question of asks) {
    const [answer, milliseconds] = await timed(() => captioner.ask(photo, question));
    answers.push(answer.text);
    asking.push(milliseconds);
  }
  const megabytes = Math.round(process.resourceUsage().maxRSS / 1000);
  console.log(JSON.stringify({ text, answers, loading, encoding, captioning, asking, megabytes }));
}
