// Runs the published graph itself, in TensorFlow.js, on PNG images; its answers are what the importer's tests compare with.
//
//   npm install @tensorflow/tfjs@4.22.0 @tensorflow/tfjs-backend-wasm@4.22.0 pngjs@7.0.0
//   node make_reference.mjs centernet.json BACKEND IMAGE.png…       (BACKEND: cpu or wasm)
//
// Writes IMAGE.keypoints.f32 (H/4, W/4, 80) and IMAGE.wh.f32 (H/4, W/4, 4), float32, little endian; pack_reference.py
// takes from them what the repository keeps. The graph has its input size, 512x512, in the three constants of its
// up-sampling; for an image of another size they are set to that size's, nothing else is changed.
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';

const require = createRequire(path.join(process.cwd(), 'package.json'));
const tf = require('@tensorflow/tfjs');
const { PNG } = require('pngjs');

const [modelPath, backend, ...images] = process.argv.slice(2);
if (backend === 'wasm') require('@tensorflow/tfjs-backend-wasm');
await tf.setBackend(backend);
await tf.ready();

function artifacts(height, width) {
  const model = JSON.parse(fs.readFileSync(modelPath, 'utf8'));
  const weightSpecs = model.weightsManifest.flatMap((group) => group.weights);
  const data = Buffer.concat(
    model.weightsManifest.flatMap((group) => group.paths.map((name) => fs.readFileSync(path.join(path.dirname(modelPath), name)))),
  );
  let offset = 0;
  for (const spec of weightSpecs) {
    const bytes = spec.shape.reduce((a, b) => a * b, 1) * (spec.quantization ? 2 : 4);
    const doubled = spec.name.match(/up_sampling2d(?:_(\d))?\/mul$/);
    if (doubled) {
      const stride = 16 >> Number(doubled[1] ?? 0);
      data.writeInt32LE(height / stride, offset);
      data.writeInt32LE(width / stride, offset + 4);
    }
    offset += bytes;
  }
  const placeholder = model.modelTopology.node.find((node) => node.op === 'Placeholder');
  placeholder.attr.shape.shape.dim = [1, height, width, 3].map((size) => ({ size: String(size) }));
  const weightData = data.buffer.slice(data.byteOffset, data.byteOffset + data.length);
  return { modelTopology: model.modelTopology, weightSpecs, weightData, format: 'graph-model' };
}

for (const image of images) {
  const { width, height, data } = PNG.sync.read(fs.readFileSync(image));
  const pixels = new Float32Array(width * height * 3);
  for (let i = 0; i < width * height; i++) for (let c = 0; c < 3; c++) pixels[3 * i + c] = data[4 * i + c];
  const graph = await tf.loadGraphModel({ load: async () => artifacts(height, width) });
  const input = tf.tensor4d(pixels, [1, height, width, 3]);
  const names = ['tower_0/keypoints', 'tower_0/wh'];
  const outputs = graph.execute({ 'tower_0/images': input }, names);
  for (const [k, name] of names.entries()) {
    const values = await outputs[k].data();
    const file = image.replace(/\.png$/, `.${path.basename(name)}.f32`);
    fs.writeFileSync(file, Buffer.from(values.buffer, values.byteOffset, values.byteLength));
    console.log(file, outputs[k].shape);
  }
}
