/**
 * Writes the stored corpus: small hostile model files, each named `<expected code>-<what is wrong>.<format>`.
 *
 *     node test/corpus/make.ts
 *
 * A file that once crashed or hung a parser belongs here, too.
 */
import { writeFileSync } from 'node:fs'

const here = new URL('.', import.meta.url)
const text = (value: string) => [...u64(value.length), ...new TextEncoder().encode(value)]
const u32 = (value: number) => [0, 8, 16, 24].map((shift) => (value >>> shift) & 255)
const u64 = (value: number) => [...u32(value % 2 ** 32), ...u32(Math.floor(value / 2 ** 32))]
const huge = [255, 255, 255, 255, 255, 255, 255, 127]
const head = (tensors: number[], metadata: number[], version = 3) => [
  ...u32(0x46554747),
  ...u32(version),
  ...tensors,
  ...metadata,
]
const padding = new Array<number>(64).fill(0)

const gguf: Record<string, number[]> = {
  'bad_model-empty': [],
  'bad_model-not-gguf': [...u32(0x12345678), ...padding],
  'unsupported-version-99': [...head(u64(0), u64(0), 99), ...padding],
  'unsupported-big-endian': [...u32(0x46554747), 0, 0, 0, 3, ...padding],
  'unsupported-bytes-swapped': [...u32(0x47475546), 0, 0, 0, 3, ...padding],
  'bad_model-5000-metadata-entries': [...head(u64(0), u64(5000)), ...new Array<number>(5000 * 13).fill(0)],
  'bad_model-key-of-600-bytes': [...head(u64(0), u64(1)), ...text('k'.repeat(600)), ...u32(4), ...u32(1), ...padding],
  'bad_model-absurd-tensor-count': [...head(huge, u64(0)), ...padding],
  'bad_model-absurd-metadata-count': [...head(u64(0), huge), ...padding],
  'bad_model-string-past-the-end': [...head(u64(0), u64(1)), ...huge, ...padding],
  'bad_model-array-of-a-billion': [
    ...head(u64(0), u64(1)),
    ...text('a'),
    ...u32(9),
    ...u32(8),
    ...u64(1e9),
    ...padding,
  ],
  'bad_model-array-in-array-in-array': [
    ...head(u64(0), u64(1)),
    ...text('a'),
    ...u32(9),
    ...Array.from({ length: 64 }, () => [...u32(9), ...u64(1)]).flat(),
    ...padding,
  ],
  'bad_model-unknown-value-type': [...head(u64(0), u64(1)), ...text('a'), ...u32(77), ...padding],
  'bad_model-key-twice': [
    ...head(u64(0), u64(2)),
    ...text('a'),
    ...u32(4),
    ...u32(1),
    ...text('a'),
    ...u32(4),
    ...u32(1),
    ...padding,
  ],
  'bad_model-key-not-utf8': [...head(u64(0), u64(1)), ...u64(2), 0xc3, 0x28, ...u32(4), ...u32(1), ...padding],
  'bad_model-alignment-zero': [...head(u64(0), u64(1)), ...text('general.alignment'), ...u32(4), ...u32(0), ...padding],
  'bad_model-dimensions-overflow': [
    ...head(u64(1), u64(0)),
    ...text('t'),
    ...u32(2),
    ...u64(2 ** 40),
    ...u64(2 ** 40),
    ...u32(0),
    ...u64(0),
    ...padding,
  ],
  'bad_model-nine-dimensions': [...head(u64(1), u64(0)), ...text('t'), ...u32(9), ...padding],
  'bad_model-tensor-past-the-end': [
    ...head(u64(1), u64(0)),
    ...text('t'),
    ...u32(1),
    ...u64(8),
    ...u32(0),
    ...u64(1 << 20),
    ...padding,
  ],
  'bad_model-offset-overflow': [
    ...head(u64(1), u64(0)),
    ...text('t'),
    ...u32(1),
    ...u64(8),
    ...u32(0),
    ...huge,
    ...padding,
  ],
  'unsupported-tensor-type': [
    ...head(u64(1), u64(0)),
    ...text('t'),
    ...u32(1),
    ...u64(8),
    ...u32(29),
    ...u64(0),
    ...padding,
  ],
}

const json = (value: string) => [...u64(new TextEncoder().encode(value).length), ...new TextEncoder().encode(value)]
const safetensors: Record<string, number[]> = {
  'bad_model-empty': [],
  'bad_model-head-past-the-end': [...huge, ...padding],
  'bad_model-head-not-json': [...json('{"a'), ...padding],
  'bad_model-null': [...json('null'), ...padding],
  'bad_model-shape-overflow': [
    ...json('{"a":{"dtype":"F32","shape":[9007199254740991,9007199254740991],"data_offsets":[0,8]}}'),
    ...padding,
  ],
  'bad_model-nested-lists': [...json(`{"a":${'['.repeat(200)}`), ...padding],
  'bad_model-prototype': [...json('{"__proto__":{"dtype":"F32"},"a":{}}'), ...padding],
}

for (const [format, files] of Object.entries({ gguf, safetensors }))
  for (const [name, bytes] of Object.entries(files))
    writeFileSync(new URL(`${name}.${format}.bin`, here), Uint8Array.from(bytes))
