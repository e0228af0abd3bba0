/** One of each service over a tiny model, to be called carelessly. */
import { loadGuides } from '../../node/guides.ts'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, OrtEngine, RemoteCompanion, Routed, StaticCompanions } from '../../src/index.ts'
import { memoryFiles } from '../../src/model/source.ts'
import { fakeOrt } from './fake-ort.ts'
import { tinyFiles } from './tiny-model.ts'

export const prompt = [1, 2, 3, 4, 5]
export const key = new Uint8Array(32)
export const patience = { firstMs: 50, stallMs: 50 }
export const address = { url: 'http://127.0.0.1:9', id: 'edge', key }

/** Answers every request with an empty failure. */
export const refusing = async () => new Response('', { status: 500 })

export async function openServices() {
  const wasm = await loadWasm('auto', 1)
  const engine = await Engine.load(tinyFiles({ context: 256 }), { wasm, threads: 1, guides: loadGuides })
  const { ort: runtime } = fakeOrt(engine)
  const onnx = () => memoryFiles('fake', { 'model.onnx': new Uint8Array(1) })
  const ort = await OrtEngine.load(onnx(), { ort: runtime, reader: engine })
  const nobody = new RemoteCompanion(address, refusing, patience)
  const companions = new StaticCompanions([{ name: 'none', client: nobody }])
  const routed = new Routed(engine, { companions })
  const close = async () => {
    await ort.close()
    await engine.close()
  }
  return { wasm, engine, ort, runtime, onnx, companions, routed, close }
}

/** Reads a stream of events to its end. */
export async function read(events: unknown): Promise<void> {
  for await (const _ of events as AsyncIterable<unknown>);
}
