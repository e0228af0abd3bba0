import { fileSource } from './node/index.ts'
import { loadWasm } from './node/wasm.ts'
import { Engine } from './src/index.ts'
const t0=performance.now()
const source = await fileSource('/tmp/gemma/gemma.gguf')
const engine = await Engine.load({ name: 'gemma', files: ['model.gguf'], open: async () => source }, { wasm: await loadWasm('auto'), context: 2048, kv: 'f32' })
console.log('load', performance.now()-t0, engine.promptIds?.('The capital of Norway is', { raw: true }))
for (const p of ['The capital of Norway is', 'Once upon a time, there was a little', 'def fibonacci(n):\n    ']) {
  const t=performance.now()
  const { ids, text } = await engine.submit({ prompt: p, raw: true, maxTokens: 48, temperature: 0 } as any).result()
  console.log(JSON.stringify(p), JSON.stringify(text), performance.now()-t)
}
await engine.close()
