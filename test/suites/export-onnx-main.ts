/** `npm run export:onnx`; run by scripts/export-onnx.mjs. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { defaultModel, modelFiles } from '../../node/index.ts'
import { openModel } from '../../src/model/open.ts'
import { llamaOnnx } from '../helpers/onnx-writer.ts'

const [first, second] = process.argv.slice(2)
const [model, folder] = second === undefined ? [defaultModel, first] : [first!, second]
if (folder === undefined) {
  console.error('usage: npm run export:onnx -- [MODEL] FOLDER')
  process.exit(2)
}
const files = await modelFiles(model)
try {
  const archive = await openModel(files)
  const { config, tokenizer } = archive
  mkdirSync(join(folder, 'onnx'), { recursive: true })
  const json = (name: string, value: unknown) => writeFileSync(join(folder, name), JSON.stringify(value))
  json('config.json', {
    model_type: 'llama',
    architectures: ['LlamaForCausalLM'],
    vocab_size: config.vocab,
    hidden_size: config.hidden,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    max_position_embeddings: config.maxContext,
    eos_token_id: tokenizer.eosIds[0],
  })
  json('generation_config.json', { eos_token_id: tokenizer.eosIds })
  json('tokenizer.json', tokenizer.json)
  json('tokenizer_config.json', { ...tokenizer.config, chat_template: tokenizer.chatTemplate })
  const bytes = await llamaOnnx(archive)
  writeFileSync(join(folder, 'onnx', 'model.onnx'), bytes)
  console.log(`${folder}: ${archive.name} as ONNX, f32, ${Math.round(bytes.length / 1e6)} MB`)
} finally {
  await files.close()
}
