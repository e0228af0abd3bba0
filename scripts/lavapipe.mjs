/**
 * Finds Mesa's lavapipe, a software Vulkan with f16, which the SwiftShader of `chromium.mjs` lacks.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { vulkan } from './chromium.mjs'
import { root } from './setup.mjs'

const folder = join(root, 'node_modules', '.cache', 'lavapipe')
const icd = join(folder, 'icd.json')
const libraries =
  'libllvm15 libwayland-client0 libx11-xcb1 libxcb-dri3-0 libxcb-present0 libxcb-randr0 libxcb-shm0 libxcb-sync1 libxcb-xfixes0 libxshmfence1'

/**
 * Returns an environment in which Vulkan programs find Mesa 25's lavapipe: the ICD file in
 * $FORETOKEN_LAVAPIPE or, for root on Debian 12, that of the backports, unpacked beside the
 * packages without changing the machine's Mesa. Returns undefined on other systems. Throws if
 * unpacking fails.
 */
export function lavapipe() {
  const named = process.env.FORETOKEN_LAVAPIPE
  if (!named && !existsSync(icd)) {
    if (process.getuid?.() !== 0 || !debian12()) return undefined
    unpack()
  }
  // vulkan() installs Vulkan's loader, and sets a folder that it can read.
  return { ...vulkan(), VK_ICD_FILENAMES: named ?? icd }
}

function debian12() {
  return existsSync('/usr/bin/apt-get') && readFileSync('/etc/os-release', 'utf8').includes('VERSION_CODENAME=bookworm')
}

function unpack() {
  process.stderr.write('Unpacking lavapipe, for the tests of WebGPU with f16 (once) ...\n')
  mkdirSync(join(folder, 'lists', 'partial'), { recursive: true })
  const source = 'http://deb.debian.org/debian bookworm-backports main'
  const list = join(folder, 'sources.list')
  writeFileSync(list, `deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${source}\n`)
  const backports = `-o Dir::Etc::SourceList=${list} -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists=${folder}/lists -o APT::Sandbox::User=root`
  const script = `set -e
cd ${folder}
[ -e ${icd} ] && exit 0
apt-get ${backports} update -q
apt-get ${backports} download -q mesa-vulkan-drivers
dpkg -x mesa-vulkan-drivers_*.deb unpacked
rm mesa-vulkan-drivers_*.deb
library=$(echo "$PWD"/unpacked/usr/lib/*/libvulkan_lvp.so)
if ldd "$library" | grep -q 'not found'; then
  apt-get update -q
  apt-get install -y -q --no-install-recommends ${libraries}
fi
printf '{"file_format_version": "1.0.0", "ICD": {"api_version": "1.4.305", "library_path": "%s"}}\\n' "$library" > ${icd}.part
mv ${icd}.part ${icd}`
  // Stdout is reserved for the caller; the lock lets only one process unpack.
  const { status } = spawnSync('flock', [join(folder, 'lock'), 'sh', '-c', script], { stdio: ['ignore', 2, 2] })
  if (status !== 0 || !existsSync(icd)) throw new Error(`unpacking lavapipe did not write ${icd}`)
}
