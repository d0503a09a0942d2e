// Captions of pictures by an unmodified @huggingface/transformers, one JSON array of token ids a line: after those of the
// picture. Standard input: {folder, dtype, threads, pictures}.
import { readFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';

import { AutoModelForImageTextToText, AutoProcessor, RawImage, env } from '@huggingface/transformers';

const { folder, dtype, threads, pictures } = JSON.parse(readFileSync(0, 'utf8'));
env.allowRemoteModels = false;
env.localModelPath = `${dirname(folder)}/`;
const processor = await AutoProcessor.from_pretrained(basename(folder));
const session_options = { intraOpNumThreads: threads };
const model = await AutoModelForImageTextToText.from_pretrained(basename(folder), { dtype, session_options });
for (const picture of pictures) {
    const inputs = await processor(await RawImage.read(picture), '<image>');
    const started = performance.now();
    const [ids] = (await model.generate(inputs)).tolist();
    const milliseconds = Math.round(performance.now() - started);
    console.log(JSON.stringify({ ids: ids.slice(inputs.input_ids.dims[1]).map(Number), milliseconds }));
}
