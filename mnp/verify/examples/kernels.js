// Kernels in JavaScript, and what lets the judge run them.
//
//     mnp check --command "node kernels.js"     cases by the judge, one line of JSON each
//     node kernels.js golden DIR                the golden vectors that `mnp vectors --out DIR` wrote
//
// An array is {shape, data}, its data a typed array in C order: floats come out in the type they came in.

const fs = require("fs");

const TYPES = { F64: Float64Array, F32: Float32Array, I64: BigInt64Array, I32: Int32Array, U8: Uint8Array, BOOL: Uint8Array };

// safetensors: eight bytes with the length of a header, the header in JSON, the numbers.
function readArrays(path) {
  const bytes = fs.readFileSync(path);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const arrays = {};
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(JSON.parse(bytes.subarray(8, start)))) {
    const copy = Uint8Array.from(bytes.subarray(start + data_offsets[0], start + data_offsets[1]));
    const data = new TYPES[dtype](copy.buffer);
    arrays[name] = { shape, data: dtype === "I64" ? Float64Array.from(data, Number) : data };
  }
  return arrays;
}

function writeArrays(path, arrays) {
  const header = {}, body = [];
  let end = 0;
  for (const [name, { shape, data }] of Object.entries(arrays)) {
    const dtype = Object.keys(TYPES).find((type) => data instanceof TYPES[type]);
    header[name] = { dtype, shape, data_offsets: [end, (end += data.byteLength)] };
    body.push(Buffer.from(data.buffer));
  }
  const text = Buffer.from(JSON.stringify(header)), length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  fs.writeFileSync(path, Buffer.concat([length, text, ...body]));
}

// An array of zeros in the floating type of another one, or of 64-bit integers.
function zeros(shape, like) {
  const size = shape.reduce((a, b) => a * b, 1);
  return { shape, data: like ? new like.data.constructor(size) : new BigInt64Array(size) };
}

const at4 = ({ shape: [, b, c, d] }, i, j, k, l) => ((i * b + j) * c + k) * d + l;

// --- the kernels: each takes the agreed arguments by name and returns its outputs by name ---

function conv2d_forward({ x, weight, bias, stride, padding }) {
  const [N, C, H, W] = x.shape, [F, , KH, KW] = weight.shape;
  const OH = Math.floor((H + 2 * padding - KH) / stride) + 1, OW = Math.floor((W + 2 * padding - KW) / stride) + 1;
  const y = zeros([N, F, OH, OW], x);
  // the kernel itself
  for (let n = 0; n < N; n++) for (let f = 0; f < F; f++) {
    for (let oh = 0; oh < OH; oh++) for (let ow = 0; ow < OW; ow++) {
      let sum = bias.data[f];
      for (let c = 0; c < C; c++) for (let i = 0; i < KH; i++) for (let j = 0; j < KW; j++) {
        const h = oh * stride + i - padding, w = ow * stride + j - padding;
        if (h < 0 || h >= H || w < 0 || w >= W) continue; // the padding is zero
        sum += x.data[at4(x, n, c, h, w)] * weight.data[at4(weight, f, c, i, j)];
      }
      y.data[at4(y, n, f, oh, ow)] = sum;
    }
  }
  return { y };
}

function conv2d_backward({ dy, x, weight, stride, padding, need_dx }) {
  const [N, C, H, W] = x.shape, [F, , KH, KW] = weight.shape, [, , OH, OW] = dy.shape;
  // the kernel itself
  const exact = { data: new Float64Array() }; // sums of many terms are taken in 64 bits
  const dx = zeros(x.shape, exact), dweight = zeros(weight.shape, exact), dbias = zeros([F], exact);
  for (let n = 0; n < N; n++) for (let f = 0; f < F; f++) {
    for (let oh = 0; oh < OH; oh++) for (let ow = 0; ow < OW; ow++) {
      const d = dy.data[at4(dy, n, f, oh, ow)];
      dbias.data[f] += d;
      for (let c = 0; c < C; c++) for (let i = 0; i < KH; i++) for (let j = 0; j < KW; j++) {
        const h = oh * stride + i - padding, w = ow * stride + j - padding;
        if (h < 0 || h >= H || w < 0 || w >= W) continue;
        dx.data[at4(x, n, c, h, w)] += d * weight.data[at4(weight, f, c, i, j)];
        dweight.data[at4(weight, f, c, i, j)] += d * x.data[at4(x, n, c, h, w)];
      }
    }
  }
  for (const array of [dx, dweight, dbias]) array.data = new x.data.constructor(array.data);
  return need_dx ? { dx, dweight, dbias } : { dweight, dbias };
}

function maxout_forward({ z }) {
  const [N, units, k] = z.shape;
  const y = zeros([N, units], z), winner = zeros([N, units]);
  // the kernel itself
  for (let row = 0; row < N * units; row++) {
    const neurons = z.data.subarray(row * k, (row + 1) * k);
    // the first of equal values wins, and a NaN over any number
    const first = neurons.findIndex(Number.isNaN);
    const best = first >= 0 ? first : neurons.indexOf(neurons.reduce((a, b) => Math.max(a, b)));
    y.data[row] = neurons[best];
    winner.data[row] = BigInt(best);
  }
  return { y, winner };
}

function maxout_backward({ dy, winner, k }) {
  const dz = zeros([...dy.shape, k], dy);
  // the kernel itself
  dy.data.forEach((d, row) => (dz.data[row * k + winner.data[row]] = d));
  return { dz };
}

function win_counts({ winner, k }) {
  const units = winner.shape[1], counts = zeros([units, k]);
  // the kernel itself
  winner.data.forEach((j, row) => counts.data[(row % units) * k + j]++);
  return { counts };
}

const kernels = { conv2d_forward, conv2d_backward, maxout_forward, maxout_backward, win_counts };

// --- the judge's lines ---

// The agreed arguments: {"array": name} is an array of the file, a list has one entry each.
function named(described, arrays) {
  if (Array.isArray(described)) return described.map((entry) => named(entry, arrays));
  return described?.array !== undefined ? arrays[described.array] : described;
}

const argumentsOf = (described, arrays) =>
  Object.fromEntries(Object.entries(described).map(([name, entry]) => [name, named(entry, arrays)]));

function answer(line) {
  const asked = JSON.parse(line);
  if (asked.kernel === "list") return Object.keys(kernels).join(" ");
  const outputs = kernels[asked.kernel](argumentsOf(asked.arguments, readArrays(asked.inputs)));
  if (outputs === undefined) return "not implemented";
  writeArrays(asked.outputs, outputs);
  return "ok";
}

// --- the golden vectors ---

// |mine - right| <= tolerance * max |right|, NaN with NaN.
function agrees(mine, right, tolerance) {
  const largest = Math.max(0, ...Array.from(right.data, Math.abs).filter(Number.isFinite));
  return mine.length === right.data.length && mine.every((a, i) => {
    const b = right.data[i];
    return Math.abs(a - b) <= tolerance * largest || Object.is(a, b) || a === b;
  });
}

function golden(folder) {
  const manifest = JSON.parse(fs.readFileSync(`${folder}/manifest.json`));
  let cases = 0, wrong = 0;
  for (const [name, kernel] of Object.entries(kernels)) {
    const arrays = readArrays(`${folder}/${name}.safetensors`), { tolerance } = manifest.kernels[name];
    for (const { case: number, arguments: described, outputs } of manifest.kernels[name].cases) {
      const given = kernel(argumentsOf(described, arrays));
      if (given === undefined) continue; // not written yet
      for (const [output, { array }] of Object.entries(outputs).filter(([, entry]) => entry !== null)) {
        const mine = given[output].data, integers = mine instanceof BigInt64Array;
        if (agrees(Array.from(mine, Number), arrays[array], integers ? 0 : tolerance.float32)) continue;
        console.log(`${name}, case ${number}: ${output} differs`);
        wrong++;
      }
      cases++;
    }
  }
  console.log(`${cases} golden cases, ${wrong} outputs differ`);
  process.exitCode = wrong ? 1 : 0;
}

if (process.argv[2] === "golden") golden(process.argv[3]);
else require("readline").createInterface({ input: process.stdin }).on("line", (line) => console.log(answer(line)));
