/** Everything that takes requests and gives events keeps one contract. */
import { loadWasm } from '../../node/wasm.ts'
import { Engine, OrtEngine, RemoteCompanion, Routed, StaticCompanions } from '../../src/index.ts'
import { memoryFiles } from '../../src/model/source.ts'
import { companionOf, pairKey, patience } from '../helpers/companion.ts'
import { fakeOrt } from '../helpers/fake-ort.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { describeTextService } from '../suites/text-service.ts'

const wasm = await loadWasm('auto', 1)
const load = (prefixBytes = 1 << 22) =>
  Engine.load(tinyFiles({ context: 512 }), { wasm, threads: 1, passTokens: 64, prefixBytes })
const idle = ({ stats }: Engine) => stats.running + stats.waiting === 0 && stats.pages_in_use === stats.prefix_pages

describeTextService('Engine', async () => {
  const engine = await load()
  return { service: engine, idle: () => idle(engine) }
})

describeTextService('OrtEngine', async () => {
  const core = await load()
  const fake = fakeOrt(core)
  const files = memoryFiles('fake', { 'model.onnx': new Uint8Array(1) })
  const service = await OrtEngine.load(files, { ort: fake.ort, reader: core, closesReader: true })
  return { service, idle: () => fake.live === 0 }
})

for (const always of ['local', 'remote', 'relay', 'race'] as const)
  describeTextService(`Routed, ${always}`, async () => {
    const [engine, far] = await Promise.all([load(), load(0)])
    const client = new RemoteCompanion({ url: 'http://far.test', id: 'edge', key: pairKey }, companionOf(far), patience)
    const service = new Routed(engine, { companions: new StaticCompanions([{ name: 'far', client }]), always })
    return { service, idle: () => idle(engine) && idle(far), close: () => far.close(), progress: always !== 'relay' }
  })

describeTextService('Routed, without companions', async () => {
  const engine = await load()
  const service = new Routed(engine, { companions: new StaticCompanions([]) })
  return { service, idle: () => idle(engine) }
})
