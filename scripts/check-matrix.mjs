/**
 * `npm run check:matrix [-- MODEL]`: tests the WebGPU kernels for matrix units on Mesa 26's
 * lavapipe, which emulates them in software. Runs the backend's suite and, with MODEL, compares its
 * forward pass with the Wasm core's. Takes some minutes.
 *
 * This Mesa is Debian's newest and needs its libc. Both are unpacked beside the packages, and Node
 * runs with that libc's loader. The system is not changed. Requires Linux with apt.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const folder = join(root, 'node_modules', '.cache', 'lavapipe-sid')
const usr = join(folder, 'root', 'usr')
if (!existsSync(join(folder, 'whole'))) unpack()
const [triplet] = readdirSync(join(usr, 'lib')).filter((name) => name.endsWith('-linux-gnu'))
const [loader] = readdirSync(join(usr, 'lib', triplet)).filter((name) => /^ld-linux-.*\.so/.test(name))
const env = {
  FORETOKEN_MATRIX: '1',
  FORETOKEN_VULKAN: 'own',
  VK_ICD_FILENAMES: join(usr, 'share', 'vulkan', 'icd.d', 'lvp_icd.json'),
  XDG_RUNTIME_DIR: folder,
}
const libraries = join(usr, 'lib', triplet)
const byLoader = (...args) => run(join(libraries, loader), ['--library-path', libraries, node, ...args], { env })
// Process workers would start the loader without its program.
const suite = ['run', '--pool=threads', join(root, 'test', 'backend', 'webgpu-matrix.test.ts')]
process.exitCode = await byLoader(join(root, 'node_modules', 'vitest', 'vitest.mjs'), ...suite)
const [model] = process.argv.slice(2)
if (model && process.exitCode === 0)
  process.exitCode = await byLoader(
    '--disable-warning=ExperimentalWarning',
    join(root, 'test', 'suites', 'webgpu-check-main.ts'),
    model,
  )

function unpack() {
  process.stderr.write('Unpacking the newest lavapipe and its dependencies (once) ...\n')
  for (const part of ['lists/partial', 'archives/partial', 'root']) mkdirSync(join(folder, part), { recursive: true })
  const list = join(folder, 'sources.list')
  const keys = '/usr/share/keyrings/debian-archive-keyring.gpg'
  writeFileSync(list, `deb [signed-by=${keys}] http://deb.debian.org/debian sid main\n`)
  const settings = {
    'Dir::Etc::SourceList': list,
    'Dir::Etc::SourceParts': '/dev/null',
    'Dir::State::Lists': join(folder, 'lists'),
    'Dir::State::status': '/dev/null',
    'Dir::Cache::archives': join(folder, 'archives'),
    'APT::Sandbox::User': 'root',
    'Debug::NoLocking': '1',
  }
  const apt = Object.entries(settings)
    .map(([name, value]) => `-o ${name}=${value}`)
    .join(' ')
  const script = `set -e
cd ${folder}
apt-get ${apt} update -q
apt-get ${apt} install -y -q --download-only --no-install-recommends mesa-vulkan-drivers libvulkan1 libstdc++6
for package in archives/*.deb; do dpkg -x "$package" root; done
rm -r archives
touch whole`
  const { status } = spawnSync('sh', ['-c', script], { stdio: ['ignore', 2, 2] })
  if (status !== 0) {
    process.stderr.write("unpacking failed; it needs apt, dpkg, a network, and Debian's archive keys\n")
    process.exit(1)
  }
}
